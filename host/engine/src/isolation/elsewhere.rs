//! Stubs for platforms without isolated processes: the types cannot be constructed.

use std::{path::Path, sync::Arc};

use berth_core::Problem;

use super::{IsolationProcess, IsolationWalls, Role};
use crate::{
    Limits, Wasi,
    contract::Batch,
    runtime::Setup,
    sandbox::{Bounds, Called, Failure, Speaker},
    wasi::Inputs,
};

pub(crate) enum Pool {}
pub(crate) enum Apart {}
pub(crate) enum NotStarted {}
pub(crate) enum Session {}

impl Pool {
    pub(crate) fn open(
        _: &IsolationProcess,
        _: Setup,
        _: (Limits, Wasi),
        _: usize,
    ) -> Result<Arc<Self>, String> {
        Err("process isolation is only available on Linux".into())
    }

    pub(crate) fn walls(&self) -> IsolationWalls {
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

impl Apart {
    pub(crate) fn start(pool: &Arc<Pool>, _: Role, _: &str, _: Arc<Vec<u8>>) -> Result<Self, NotStarted> {
        match **pool {}
    }

    pub(crate) fn manifest(&self, _: &Speaker, _: Bounds) -> Called<Vec<u8>> {
        match *self {}
    }

    pub(crate) fn map_batch(
        &self,
        _: &Speaker,
        _: Option<Inputs>,
        _: Bounds,
        _: Batch<'_>,
    ) -> Called<Result<Vec<u8>, String>> {
        match *self {}
    }
}

impl Session {
    pub(crate) fn compile(
        apart: &Apart,
        _: Option<Self>,
        _: &Speaker,
        _: &[u8],
        _: Bounds,
    ) -> Result<Result<Self, String>, Failure> {
        match *apart {}
    }

    pub(crate) fn evaluate(
        &mut self,
        _: &Apart,
        _: &[u8],
        _: u64,
        _: Bounds,
    ) -> Result<Result<Vec<u8>, String>, Failure> {
        match *self {}
    }

    pub(crate) fn memory(&self) -> usize {
        match *self {}
    }
}
