//! Components that are hard to compile do not harm the process that requests the compilation.
//!
//! This program is also the compiler process, so it has its own `main`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests, and what runs them")]

mod components;

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use berth_engine::{
    CodeOrigin, CompileLimits, Compiler, CompilerProcess, Engine, EngineConfig, run_child_if_asked,
};
use wasm_encoder::{
    BlockType, CodeSection, Component, Function, FunctionSection, Instruction, Module, ModuleSection,
    TypeSection, ValType,
};

use components::component;

const TESTS: [(&str, fn()); 4] = [
    ("a_plugin_is_compiled_and_kept", a_plugin_is_compiled_and_kept),
    ("one_that_takes_too_long_is_refused", one_that_takes_too_long_is_refused),
    ("one_that_takes_too_much_memory_is_refused", one_that_takes_too_much_memory_is_refused),
    ("what_is_no_component_or_no_program_is_named", what_is_no_component_or_no_program_is_named),
];

fn main() -> ExitCode {
    if let Some(exit) = run_child_if_asked(std::env::args_os()) {
        return exit;
    }
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&only)) {
        let begun = Instant::now();
        test();
        println!("test {name} ... ok ({:.1} s)", begun.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}

fn with(limits: CompileLimits) -> Compiler {
    Compiler::Process(CompilerProcess { limits, ..CompilerProcess::new(std::env::current_exe().unwrap()) })
}

fn engine(compiler: Compiler, dir: Option<&Path>, cache: Option<&Path>) -> Engine {
    let plugin_dirs = dir.into_iter().map(ToOwned::to_owned).collect();
    let cache_dir = cache.map(ToOwned::to_owned);
    Engine::new(EngineConfig { plugin_dirs, cache_dir, compiler, ..EngineConfig::default() }).unwrap()
}

fn a_plugin_is_compiled_and_kept() {
    let cache = tempfile::tempdir().unwrap();
    let compiled = engine(with(CompileLimits::default()), None, Some(cache.path()));
    let info = compiled.inspect(&component("honest")).unwrap();
    assert_ne!(info.code, CodeOrigin::Cached);
    assert_eq!(compiled.inspect(&component("honest")).unwrap().code, CodeOrigin::Cached);
    // Another process compiles the same code as this one.
    let here = engine(Compiler::InProcess, None, Some(cache.path()));
    assert_eq!(here.inspect(&component("honest")).unwrap().code, CodeOrigin::Cached);

    let ahead = tempfile::tempdir().unwrap();
    let plugins = tempfile::tempdir().unwrap();
    fs::copy(component("honest"), plugins.path().join("honest.wasm")).unwrap();
    let config = EngineConfig {
        plugin_dirs: vec![plugins.path().to_owned()],
        precompiled_dirs: vec![ahead.path().to_owned()],
        compiler: with(CompileLimits::default()),
        ..EngineConfig::default()
    };
    assert_eq!(Engine::precompile(&config, ahead.path()).unwrap(), 1);
    let engine = Engine::new(config).unwrap();
    assert_eq!(engine.plugins()[0].code, CodeOrigin::Cached);
}

fn one_that_takes_too_long_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("slow.wasm");
    fs::write(&file, plugin(2_000, 400)).unwrap();
    let begun = Instant::now();
    let limits = CompileLimits { cpu: Duration::from_secs(1), ..CompileLimits::default() };
    // When a service starts, only this component is rejected.
    let engine = engine(with(limits), Some(dir.path()), None);
    let refused = engine.refused();
    assert_eq!(refused.len(), 1);
    let message = &refused[0].problem.message;
    assert!(message.starts_with("cannot be compiled within 1 s of processor time and 2048 MiB"), "{message}");
    // It is also rejected before anybody is asked to trust it.
    let refused = engine.inspect(&file).unwrap_err();
    assert!(refused.message.contains("slow.wasm cannot be compiled within 1 s"), "{}", refused.message);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

fn one_that_takes_too_much_memory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large.wasm");
    fs::write(&file, plugin(2_000, 400)).unwrap();
    let limits = CompileLimits { memory_bytes: 48 << 20, ..CompileLimits::default() };
    let refused = engine(with(limits), None, None).inspect(&file).unwrap_err();
    assert!(
        refused.message.contains("cannot be compiled within 120 s of processor time and 48 MiB of memory"),
        "{}",
        refused.message
    );
}

fn what_is_no_component_or_no_program_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("none.wasm");
    fs::write(&file, "\0asm\x0d\0\x01\0and nothing that could follow").unwrap();
    let refused = engine(with(CompileLimits::default()), None, None).inspect(&file).unwrap_err();
    assert!(refused.message.contains("none.wasm cannot be compiled: "), "{}", refused.message);

    let program = dir.path().join("no-program");
    let compiler = Compiler::Process(CompilerProcess::new(program));
    let refused = engine(compiler, None, None).inspect(&component("honest")).unwrap_err();
    assert!(refused.message.contains("no-program"), "{}", refused.message);
}

/// Builds a plugin that is expensive to compile: in one additional function, nested loops change many
/// locals, so that the compiler must track each of them through each loop.
fn plugin(locals: u32, loops: u32) -> Vec<u8> {
    let mut function = Function::new([(locals, ValType::I32)]);
    for depth in 0..loops {
        function.instruction(&Instruction::Loop(BlockType::Empty));
        for local in (depth % 7..locals).step_by(7) {
            function.instruction(&Instruction::LocalGet(local));
            function.instruction(&Instruction::LocalGet((local + 1) % locals));
            function.instruction(&Instruction::I32Add);
            function.instruction(&Instruction::LocalSet(local));
        }
    }
    for _ in 0..loops {
        function.instruction(&Instruction::LocalGet(0));
        function.instruction(&Instruction::BrIf(0));
        function.instruction(&Instruction::End);
    }
    function.instruction(&Instruction::End);
    let (mut types, mut functions, mut code) =
        (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([], []);
    functions.function(0);
    code.function(&function);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    let mut more = Component::new();
    more.section(&ModuleSection(&module));
    let mut plugin = fs::read(component("honest")).unwrap();
    plugin.extend_from_slice(&more.as_slice()[8..]);
    plugin
}
