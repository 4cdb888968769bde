//! The accepted imports of a component: the contract's log, and the interfaces of WASI 0.2 that have an
//! empty implementation here.

use berth_core::{Problem, ProblemCode};

/// The only interface outside WASI that a plugin may import.
pub(crate) const LOG: &str = "berth:plugin/log";

/// The accepted interfaces of WASI 0.2, by package: the stable ones of the world `wasi:cli/imports`.
const WASI: [(&str, &[&str]); 6] = [
    (
        "cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
    ),
    ("clocks", &["monotonic-clock", "wall-clock"]),
    ("filesystem", &["preopens", "types"]),
    ("io", &["error", "poll", "streams"]),
    ("random", &["insecure", "insecure-seed", "random"]),
    (
        "sockets",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
];

/// Returns whether an import is an interface of WASI.
pub(crate) fn is_wasi(import: &str) -> bool {
    import.starts_with("wasi:")
}

/// Checks an import that is not the contract's own.
///
/// # Errors
/// A [`Problem`] that names the import. Its message continues after the name of the file.
pub(crate) fn check(import: &str) -> Result<(), Problem> {
    if is_known(import) {
        return Ok(());
    }
    let packages: Vec<&str> = WASI.iter().map(|(package, _)| *package).collect();
    Err(Problem::new(
        ProblemCode::PluginIncompatible,
        format!(
            "imports `{import}`; a plugin may import only `{LOG}` and the WASI 0.2 packages {}",
            packages.join(", ")
        ),
    )
    .remedy("build it without that import: a plugin gets data only through its fetch plan"))
}

fn is_known(import: &str) -> bool {
    let Some((interface, version)) = import.strip_prefix("wasi:").and_then(|import| import.split_once('@'))
    else {
        return false;
    };
    let Some((package, interface)) = interface.split_once('/') else { return false };
    let known = WASI.iter().any(|(known, interfaces)| *known == package && interfaces.contains(&interface));
    known && version.strip_prefix("0.2.").is_some_and(|patch| patch.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stable_interfaces_of_wasi_0_2_are_accepted() {
        for import in ["wasi:cli/stdout@0.2.0", "wasi:io/poll@0.2.12", "wasi:sockets/tcp@0.2.3"] {
            assert!(check(import).is_ok(), "{import}");
        }
        for import in [
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:clocks/timezone@0.2.12",
            "wasi:clocks/wall-clock@0.3.0",
            "wasi:clocks/wall-clock@0.2.0-rc-2023-11-10",
            "wasi:clocks/wall-clock",
            "wasi:clocks",
            "wasi:logging/logging",
            "evil:cli/stdout@0.2.0",
        ] {
            let problem = check(import).unwrap_err();
            assert!(problem.message.starts_with(&format!("imports `{import}`; a plugin may import")));
            assert!(problem.remedy.is_some());
        }
    }
}
