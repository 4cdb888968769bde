//! The mapping process itself.

use std::{
    fs::File,
    io,
    os::fd::AsFd as _,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use berth_core::MapContext;
use wasmtime::{Store, component::Component};

use super::{
    ProcessLockdown, Role, lockdown,
    protocol::{self, CallEnd, CallFailure, CallOutcome, ProcessReply, ProcessRequest, Start, Started},
};
use crate::{
    Limits,
    cache::{CODE_BYTES, ready},
    contract::{MapBatch, OutputForm, jq_v1_0::Instance},
    interfaces::Interfaces,
    loader::{Code, bind},
    log_lines::{Lines, LoggedLine},
    runtime::{Runtime, Setup, THREAD_STACK},
    sandbox::{Bounds, Guest, LOG_LINE_BYTES, LogContext, PluginFailure},
    wasi::{Inputs, Seed},
};

type Out = Arc<Mutex<File>>;

/// Maps what arrives on standard input until that ends.
pub(crate) fn run() -> ExitCode {
    // This comes first, before any other thread runs.
    let first = lockdown::close_first();
    let served = thread::Builder::new().stack_size(THREAD_STACK).spawn(move || serve(first));
    match served.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        // A panic has printed its message, and the parent detects a broken pipe.
        _ => ExitCode::FAILURE,
    }
}

fn serve(first: Result<ProcessLockdown, String>) -> io::Result<()> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = Arc::new(Mutex::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)));
    let (start, code) = protocol::read::<Start>(&mut input, CODE_BYTES)?;
    let memory_bytes = start.limits.memory_bytes;
    let loaded = first
        .map_err(Started::Open)
        .and_then(|lockdown| Ok((lockdown, load(&start, &code, Arc::clone(&output))?)))
        .and_then(|loaded| lockdown::close(memory_of(&start.limits)).map(|()| loaded).map_err(Started::Open));
    drop(code);
    let (lockdown, mut server) = match loaded {
        Ok(loaded) => loaded,
        Err(not) => return send(&output, &not, &[]),
    };
    send(&output, &Started::Ready(lockdown), &[])?;
    loop {
        let (request, body) = match protocol::read(&mut input, memory_bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        };
        let Some(server) = &mut server else { return Ok(()) };
        let (done, returned) = server.answer(request, &body);
        send(&output, &ProcessReply::Done(done), &returned)?;
    }
}

fn send(output: &Out, header: &impl serde::Serialize, body: &[u8]) -> io::Result<()> {
    protocol::write(&mut *output.lock().unwrap_or_else(PoisonError::into_inner), header, body)
}

/// Returns the total memory limit of a process: one instance, its input and output with one or two copies,
/// and the needs of the program itself. A plugin reaches its own limit long before.
fn memory_of(limits: &Limits) -> u64 {
    let Limits { memory_bytes, output_bytes, .. } = limits;
    let all = memory_bytes.saturating_mul(3).saturating_add(output_bytes.saturating_mul(3));
    u64::try_from(all).unwrap_or(u64::MAX).saturating_add(256 << 20)
}

/// Code that is ready to be called.
struct Server {
    runtime: Runtime,
    code: Code,
    seed: Seed,
    /// An instance that has compiled a mapping.
    session: Option<(Store<Guest>, Instance)>,
}

/// Loads the code, if there is any.
fn load(start: &Start, code: &[u8], output: Out) -> Result<Option<Server>, Started> {
    let Start { setup, role, sha256, limits, wasi } = start;
    let setup = Setup::of_name(setup).ok_or_else(|| Started::OtherEngine(format!("no setup `{setup}`")))?;
    let lines = Lines::To(Arc::new(move |said: LoggedLine<'_>| {
        let reply = match said {
            LoggedLine::Line(level, message) => ProcessReply::Line { level, message: message.to_owned() },
            LoggedLine::Frame(frame) => ProcessReply::Frame(frame.to_owned()),
        };
        // Without a reader, the response fails as well.
        _ = send(&output, &reply, &[]);
    }));
    let runtime = Runtime::of_setup(setup, limits.clone(), *wasi, lines)
        .map_err(|error| Started::Open(format!("the WebAssembly engine: {error}")))?;
    let wanted = match role {
        Role::Probe => return Ok(None),
        Role::Mapper | Role::Evaluator => *role,
    };
    let other = |error: wasmtime::Error| Started::OtherEngine(cut(&format!("{error:#}")));
    let component: Component = ready(&runtime.engine, code).map_err(other)?;
    // Later, this would need a file.
    component.initialize_copy_on_write_image().map_err(other)?;
    let interfaces = Interfaces::of_component(&component, &runtime.engine)
        .map_err(|problem| Started::Unfit(cut(&problem.message)))?;
    let code = bind(&runtime, &component, &interfaces);
    let code = code.map_err(|error| Started::Unfit(cut(&format!("{error:#}"))))?;
    if interfaces.role != wanted {
        return Err(Started::Unfit("it has another role".into()));
    }
    Ok(Some(Server { runtime, code, seed: Seed::of(*wasi, sha256), session: None }))
}

impl Server {
    fn answer(&mut self, request: ProcessRequest, body: &[u8]) -> (CallEnd, Vec<u8>) {
        match (request, self.code.clone()) {
            (ProcessRequest::Manifest { bounds }, Code::Mapper(program)) => {
                let inputs = Some(Inputs::of_manifest(self.seed));
                let mut store = self.store(inputs, bounds);
                let called = Runtime::call_in(&mut store, bounds, |store| program.manifest(store));
                done(called.map(Ok), store.data())
            }
            (ProcessRequest::Map { bounds, time, batch }, Code::Mapper(program)) => {
                let context = MapContext {
                    account: Arc::new(batch.account),
                    region: batch.region,
                    options: batch.options,
                };
                let output = if batch.documents { OutputForm::Documents } else { OutputForm::Entities };
                let batch = MapBatch { kind: &batch.kind, context: &context, output, resources: body };
                let mut store = self.store(time.map(|time| Inputs { seed: self.seed, time }), bounds);
                let called = Runtime::call_in(&mut store, bounds, |store| program.map_batch(store, batch));
                done(called, store.data())
            }
            (ProcessRequest::Compile { bounds }, Code::Jq(evaluator)) => {
                self.session = None;
                let mut store = self.store(Some(Inputs::of_manifest(self.seed)), bounds);
                let called = Runtime::call_in(&mut store, bounds, |store| {
                    let instance = evaluator.instantiate(store)?;
                    let compiled = instance.compile(store, body)?;
                    Ok((instance, compiled))
                });
                let (instance, called) = match called {
                    Ok((instance, compiled)) => (Some(instance), Ok(compiled.map(|()| Vec::new()))),
                    Err(failure) => (None, Err(failure)),
                };
                let done = done(called, store.data());
                self.session = instance.map(|instance| (store, instance));
                done
            }
            (ProcessRequest::Evaluate { bounds, now }, Code::Jq(_)) => {
                let Some((store, instance)) = &mut self.session else { return nothing() };
                let called = Runtime::call_in(store, bounds, |store| instance.evaluate(store, body, now));
                done(called, store.data())
            }
            _ => nothing(),
        }
    }

    fn store(&self, inputs: Option<Inputs>, bounds: Bounds) -> Store<Guest> {
        // The parent knows the plugin and its batch.
        let log_context = LogContext { plugin: "".into(), at: "".into() };
        self.runtime.store(&log_context, inputs, bounds.log)
    }
}

/// Returns the response to a request that does not fit the code.
fn nothing() -> (CallEnd, Vec<u8>) {
    let outcome =
        CallOutcome::Failed(CallFailure::Trapped("it got a request that does not fit its code".into()));
    (CallEnd { outcome, peak_memory: 0, memory: 0, dropped: 0 }, Vec::new())
}

fn done(called: Result<Result<Vec<u8>, String>, PluginFailure>, guest: &Guest) -> (CallEnd, Vec<u8>) {
    let (outcome, returned) = match called {
        Ok(Ok(returned)) => (CallOutcome::Returned, returned),
        Ok(Err(reason)) => (CallOutcome::Refused(cut(&reason)), Vec::new()),
        Err(failure) => (CallOutcome::Failed(ended(&failure)), Vec::new()),
    };
    let (peak_memory, memory) = (guest.peak_memory(), guest.memory());
    (CallEnd { outcome, peak_memory, memory, dropped: guest.dropped_lines() }, returned)
}

fn ended(failure: &PluginFailure) -> CallFailure {
    match failure {
        PluginFailure::Deadline { .. } => CallFailure::Deadline,
        PluginFailure::Memory { .. } => CallFailure::Memory,
        PluginFailure::Output { .. } => CallFailure::Output,
        PluginFailure::Recursion => CallFailure::Recursion,
        PluginFailure::Handles => CallFailure::Handles,
        PluginFailure::Exited { code } => CallFailure::Exited(*code),
        PluginFailure::Panicked(text) => CallFailure::Panicked(cut(text)),
        PluginFailure::Denied(import) => CallFailure::Denied(cut(import)),
        PluginFailure::Trapped(trap) => CallFailure::Trapped(cut(trap)),
        other => CallFailure::Trapped(cut(&other.to_string())),
    }
}

/// Cuts a text so that it fits into a header.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(4 * LOG_LINE_BYTES)].to_owned()
}
