//! A monotonic clock whose waits take no time, and pollables that are always ready.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    DynPollable,
    bindings::{clocks::monotonic_clock, sync::io::poll},
};

use super::{TICK, WasiState};
use crate::sandbox::Guest;

/// All pollables are equal.
const POLLABLE: u32 = 0;

impl WasiState {
    /// Returns a pollable that is ready.
    pub(super) fn ready(&mut self) -> wasmtime::Result<Resource<DynPollable>> {
        self.hand_out(POLLABLE)
    }
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<monotonic_clock::Instant> {
        let state = self.wasi();
        state.monotonic = state.monotonic.saturating_add(TICK);
        Ok(state.monotonic)
    }

    fn resolution(&mut self) -> wasmtime::Result<monotonic_clock::Duration> {
        Ok(TICK)
    }

    fn subscribe_instant(
        &mut self,
        when: monotonic_clock::Instant,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let state = self.wasi();
        state.monotonic = state.monotonic.max(when);
        state.ready()
    }

    fn subscribe_duration(
        &mut self,
        when: monotonic_clock::Duration,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let then = self.wasi().monotonic.saturating_add(when);
        self.subscribe_instant(then)
    }
}

impl poll::Host for Guest {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        if pollables.is_empty() {
            return Err(wasmtime::Error::msg("polled an empty list"));
        }
        (0..pollables.len()).map(|index| Ok(u32::try_from(index)?)).collect()
    }
}

impl poll::HostPollable for Guest {
    fn ready(&mut self, _: Resource<DynPollable>) -> wasmtime::Result<bool> {
        Ok(true)
    }

    fn block(&mut self, _: Resource<DynPollable>) -> wasmtime::Result<()> {
        Ok(())
    }

    fn drop(&mut self, _: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.wasi().take_back();
        Ok(())
    }
}
