//! The problems of code that cannot be used.

use std::fmt::Display;

use berth_core::{Problem, ProblemCode};

/// Returns the problem of code that this engine cannot load.
pub(crate) fn compiled_for_another_engine(reason: &dyn Display) -> Problem {
    Problem::new(ProblemCode::PluginCompile, format!("was compiled for another engine: {reason:#}"))
        .remedy("use the same version of Berth to start and to compile")
}

/// Returns the problem of a component that cannot be bound to the contract.
pub(crate) fn misfits_the_contract(reason: &dyn Display) -> Problem {
    Problem::new(ProblemCode::PluginIncompatible, format!("does not fit the plugin contract: {reason:#}"))
        .remedy("build it again, with the contract's own `plugin.wit`")
}
