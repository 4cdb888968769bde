//! Version 1.0 of the contract.

use wasmtime::{
    Store,
    component::{Component, HasSelf, Linker},
};

use self::{berth::plugin::log::Level, exports::berth::plugin::mapper};
use super::{MapBatch, OutputForm, Program};
use crate::{log_lines::PluginLogLevel, sandbox::Guest};

include!(concat!(env!("OUT_DIR"), "/plugin.rs"));

struct V1_0(PluginPre<Guest>);

pub(super) fn bind(
    component: &Component,
    mut linker: Linker<Guest>,
) -> wasmtime::Result<impl Program + use<>> {
    berth::plugin::log::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    Ok(V1_0(PluginPre::new(linker.instantiate_pre(component)?)?))
}

impl Program for V1_0 {
    fn manifest(&self, store: &mut Store<Guest>) -> wasmtime::Result<Vec<u8>> {
        let plugin = self.0.instantiate(&mut *store)?;
        plugin.berth_plugin_mapper().call_manifest(store)
    }

    fn map_batch(
        &self,
        store: &mut Store<Guest>,
        batch: MapBatch<'_>,
    ) -> wasmtime::Result<Result<Vec<u8>, String>> {
        let account = &batch.context.account;
        let options: Vec<&str> = batch.context.options.iter().map(String::as_str).collect();
        let context = mapper::Context {
            kind: batch.kind.as_str(),
            account_id: account.id.as_str(),
            account_name: &account.name,
            region: batch.context.region.as_ref().map(berth_core::Region::as_str),
            partition: account.partition.as_str(),
            options: &options,
            output: match batch.output {
                OutputForm::Entities => mapper::Output::Entities,
                OutputForm::Documents => mapper::Output::Documents,
            },
        };
        let plugin = self.0.instantiate(&mut *store)?;
        plugin.berth_plugin_mapper().call_map_batch(store, context, batch.resources)
    }
}

impl berth::plugin::log::Host for Guest {
    fn log(&mut self, level: Level, message: String) {
        let level = match level {
            Level::Debug => PluginLogLevel::Debug,
            Level::Info => PluginLogLevel::Info,
            Level::Warn => PluginLogLevel::Warn,
            Level::Error => PluginLogLevel::Error,
        };
        self.write_log(level, &message);
    }
}
