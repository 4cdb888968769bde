//! Stubs for platforms without isolated processes: the types cannot be constructed.

use std::{path::Path, sync::Arc};

use berth_core::Problem;

use super::{IsolationProcess, ProcessLockdown, Role};
use crate::{
    Limits, Wasi,
    contract::MapBatch,
    runtime::Setup,
    sandbox::{Bounds, Called, LogContext, PluginFailure},
    wasi::Inputs,
};

pub(crate) enum Pool {}
pub(crate) enum IsolatedComponent {}
pub(crate) enum NotStarted {}
pub(crate) enum MappingProcess {}

impl Pool {
    pub(crate) fn open(
        _: &IsolationProcess,
        _: Setup,
        _: (Limits, Wasi),
        _: usize,
    ) -> Result<Arc<Self>, String> {
        Err("process isolation is only available on Linux".into())
    }

    pub(crate) fn lockdown(&self) -> ProcessLockdown {
        match *self {}
    }

    pub(crate) fn keeps_apart(&self, _: &Path, _: Role) -> bool {
        match *self {}
    }
}

impl NotStarted {
    pub(crate) fn is_of_the_code(&self) -> bool {
        match *self {}
    }

    pub(crate) fn problem(&self) -> Problem {
        match *self {}
    }
}

impl IsolatedComponent {
    pub(crate) fn start(pool: &Arc<Pool>, _: Role, _: &str, _: Arc<Vec<u8>>) -> Result<Self, NotStarted> {
        match **pool {}
    }

    pub(crate) fn manifest(&self, _: &LogContext, _: Bounds) -> Called<Vec<u8>> {
        match *self {}
    }

    pub(crate) fn map_batch(
        &self,
        _: &LogContext,
        _: Option<Inputs>,
        _: Bounds,
        _: MapBatch<'_>,
    ) -> Called<Result<Vec<u8>, String>> {
        match *self {}
    }
}

impl MappingProcess {
    pub(crate) fn compile(
        apart: &IsolatedComponent,
        _: Option<Self>,
        _: &LogContext,
        _: &[u8],
        _: Bounds,
    ) -> Result<Result<Self, String>, PluginFailure> {
        match *apart {}
    }

    pub(crate) fn evaluate(
        &mut self,
        _: &IsolatedComponent,
        _: &[u8],
        _: u64,
        _: Bounds,
    ) -> Result<Result<Vec<u8>, String>, PluginFailure> {
        match *self {}
    }

    pub(crate) fn memory(&self) -> usize {
        match *self {}
    }
}
