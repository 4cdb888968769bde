//! Permanently removes files, network, other processes and privileges from a mapping process.
//!
//! There are two independent layers. With Landlock, the kernel denies access to files, TCP and signals, if
//! the kernel supports it. The system call filter allows only the calls that compiled code needs; a call
//! that only an attack makes kills the process.

use std::{collections::BTreeMap, fmt::Display, io};

use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetStatus, Scope};
use rustix::process::{Signal, set_parent_process_death_signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::ProcessLockdown;
use crate::subprocess::Limit;

/// The system calls of compiled code: pipes, memory, waiting, time, signals of traps, exit.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// System calls that no library makes by itself in a process that only computes: they indicate an attack.
const FATAL: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_kill,
];

/// Applies the first restrictions, while there is only one thread: inherited resources and files.
pub(super) fn close_first() -> Result<ProcessLockdown, String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    // Otherwise an endless loop would outlive this program when it is killed.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("the signal at the end of the parent: {error}"))?;
    close_inherited().map_err(failed("open files"))?;
    Limit::NoCore.apply().map_err(failed("core dumps"))?;
    rustix::process::chdir("/").map_err(|error| format!("the working directory: {error}"))?;
    // As far as the kernel supports it: the filter denies the same operations, too.
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(ABI::V4)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| format!("Landlock: {error}"))?;
    Ok(ProcessLockdown { landlock: restricted.ruleset != RulesetStatus::NotEnforced })
}

/// Closes every file except the three pipes.
fn close_inherited() -> io::Result<()> {
    #[expect(unsafe_code, reason = "the standard library has no equivalent")]
    // SAFETY: this runs first in the program, so nothing in it has opened a file yet.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Applies the remaining restrictions, once the code is loaded and all threads run.
pub(super) fn close(memory_bytes: u64) -> Result<(), String> {
    let limited = Limit::NoFiles.apply().and_then(|()| Limit::Memory(memory_bytes).apply());
    limited.map_err(|error| format!("limits: {error}"))?;
    let filtered = |error: &dyn Display| format!("the filter of system calls: {error}");
    // If several filters match, the strictest result counts.
    for filter in [fatal(), allowed()] {
        let program = filter.map_err(|error| filtered(&error))?;
        seccompiler::apply_filter_all_threads(&program).map_err(|error| filtered(&error))?;
    }
    Ok(())
}

fn fatal() -> seccompiler::Result<BpfProgram> {
    let rules = FATAL.iter().map(|call| (*call, Vec::new())).collect();
    program(rules, SeccompAction::Allow, SeccompAction::KillProcess)
}

fn allowed() -> seccompiler::Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // No further executable memory.
    let exec = u64::from(libc::PROT_EXEC.unsigned_abs());
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![only_if(2, SeccompCmpOp::MaskedEq(exec), 0)?]);
    }
    // `abort` ends this process by a signal; other processes must not be reachable.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![only_if(0, SeccompCmpOp::Eq, own)?]);
    program(rules, SeccompAction::Errno(libc::EPERM.unsigned_abs()), SeccompAction::Allow)
}

fn only_if(argument: u8, operator: SeccompCmpOp, value: u64) -> seccompiler::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    action: SeccompAction,
) -> seccompiler::Result<BpfProgram> {
    let architecture = target_lexicon::Triple::host().architecture.to_string().as_str().try_into()?;
    Ok(SeccompFilter::new(rules, otherwise, action, architecture)?.try_into()?)
}
