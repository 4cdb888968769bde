//! Version 1.0 of the contract with the JQ component.

use wasmtime::{
    Store,
    component::{Component, Linker},
};

use crate::sandbox::Guest;

include!(concat!(env!("OUT_DIR"), "/jq.rs"));

/// The JQ component, ready to be instantiated.
pub(crate) struct Evaluator(JqPre<Guest>);

/// An instance of it.
pub(crate) struct Instance(Jq);

impl Evaluator {
    pub(crate) fn bind(component: &Component, linker: &Linker<Guest>) -> wasmtime::Result<Self> {
        Ok(Self(JqPre::new(linker.instantiate_pre(component)?)?))
    }

    pub(crate) fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Instance> {
        self.0.instantiate(store).map(Instance)
    }
}

impl Instance {
    /// Compiles a mapping. The inner error names the invalid expression.
    pub(crate) fn compile(
        &self,
        store: &mut Store<Guest>,
        mapping: &[u8],
    ) -> wasmtime::Result<Result<(), String>> {
        self.0.berth_jq_evaluator().call_compile(store, mapping)
    }

    /// Evaluates the mapping on documents.
    pub(crate) fn evaluate(
        &self,
        store: &mut Store<Guest>,
        documents: &[u8],
        now: u64,
    ) -> wasmtime::Result<Result<Vec<u8>, String>> {
        self.0.berth_jq_evaluator().call_evaluate(store, documents, now)
    }
}
