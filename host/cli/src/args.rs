//! The command line.

use std::{ffi::OsString, path::PathBuf};

use berth_embed::core::RemovedScope;
use clap::{Args as ClapArgs, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::exit::Exit;

/// Sync many AWS accounts into a Port catalog
///
/// Berth reads settings from the environment (the `OCEAN__…` variables of Port's AWS integration), then
/// from a `.env` file, then from `berth.toml`. The first one that has a setting wins.
#[derive(Debug, Parser)]
#[command(name = "berth", version, after_help = Exit::HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

impl Args {
    /// Returns the arguments of this process. Exits if they are wrong or ask for help.
    pub(crate) fn of_process() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let mut command = Self::command().color(help_colour(&arguments));
        let matches = command.clone().get_matches_from(arguments);
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
    }
}

/// Returns when to color help and errors that are printed before the arguments are parsed.
fn help_colour(arguments: &[OsString]) -> ColorChoice {
    let given = arguments.iter().filter_map(|argument| argument.to_str()).collect::<Vec<_>>();
    let after = given.windows(2).filter(|pair| pair[0] == "--color").map(|pair| pair[1]);
    let within = given.iter().filter_map(|argument| argument.strip_prefix("--color="));
    match after.chain(within).last() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// Options of every command.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Global {
    /// Settings file [default: berth.toml in the working directory, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory with plugins (`*.wasm`); may be repeated, and the last one with a kind wins
    /// [default: BERTH_PLUGINS, else the directory installed beside the binary]
    #[arg(long = "plugins", global = true, value_name = "DIR")]
    pub(crate) plugins: Vec<PathBuf>,
    /// Lockfile with the approved third-party plugins; `berth plugin add` writes it
    /// [default: `BERTH_PLUGINS_LOCK` or `plugins_lock`, else plugins.lock in the working directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) plugins_lock: Option<PathBuf>,
    /// Format of the log on standard error
    #[arg(long, global = true, value_enum, env = "BERTH_LOG_FORMAT", default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Log level: error, warn, info, debug, trace, or a filter such as `berth_aws=debug`
    /// [default: APPLICATION__LOG_LEVEL, else the setting `log_level`, else error with text and info
    /// with json or in a service]
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log_level: Option<String>,
    /// When to use colors
    ///
    /// `auto` uses colors on a terminal, unless `NO_COLOR` is set. `CLICOLOR_FORCE` forces them elsewhere.
    /// JSON never has colors.
    #[arg(long = "color", global = true, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    pub(crate) colour: Colour,
}

/// When to use colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless the environment says otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people, with progress.
    Text,
    /// One JSON object per line, without progress.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one resync: read AWS, map the resources, and update Port
    #[command(after_help = Exit::HELP)]
    Sync(SyncArgs),
    /// Show what a resync would create, update and delete, without writing anything
    ///
    /// Use --out to save the plan for review and for `berth apply`.
    #[command(after_help = Exit::HELP)]
    Plan(PlanArgs),
    /// Apply a plan of `berth plan --out`, or nothing if the plan is out of date
    ///
    /// Plans again first. If every change and deletion in the file is still due, Berth makes exactly those,
    /// including deletions that a resync would skip because of a limit. Otherwise it changes nothing, lists
    /// the differences, and exits with code 5. Changes that became due later are left to the next resync.
    #[command(after_help = Exit::HELP)]
    Apply(ApplyArgs),
    /// Take over the entities of another integration
    ///
    /// Plans a resync that takes over the entities that the other integration, of the same type, wrote last.
    /// Shows the plan, asks for approval, and applies exactly that plan. Stop the other integration first.
    #[command(after_help = Exit::HELP)]
    Adopt(AdoptArgs),
    /// Run as a service that resyncs on request from Port or on a schedule
    ///
    /// `OCEAN__EVENT_LISTENER` (`{"type": "POLLING"}`, `KAFKA`, `WEBHOOK` or `ONCE`) and
    /// `OCEAN__SCHEDULED_RESYNC_INTERVAL` set what triggers a resync. The status page, health checks and
    /// metrics are on `APPLICATION__PORT`. SIGTERM and SIGINT shut the service down cleanly, with exit code 0.
    /// Berth reloads its settings on SIGHUP and when the settings file or `.env` changes; they apply from the
    /// next resync.
    #[command(after_help = Exit::HELP)]
    Run(ServiceArgs),
    /// Check your setup without writing anything
    ///
    /// Checks the AWS base identity, each role, the regions, one read per kind and account, Port's
    /// credentials, and the plugins. Suggests a fix for every failed check.
    Doctor {
        /// Check every kind that a plugin maps, not only the kinds of the mapping in Port
        #[arg(long)]
        all_kinds: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Generate the IAM policies of the roles and of the base identity
    ///
    /// Prints the read policy of the roles, or with --trust their trust policy, or with --base the policy of the
    /// base identity. The output is JSON that AWS accepts unchanged.
    Policy(PolicyArgs),
    /// Create, build, test and manage plugins
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Generate shell completions
    ///
    /// For example, in bash: `berth completions bash > ~/.local/share/bash-completion/completions/berth`.
    Completions {
        /// The shell to generate completions for
        shell: Shell,
    },
    /// Generate manual pages, one per command
    Man {
        /// Directory for the pages (`berth.1` and so on); created if it does not exist
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

/// Options of a run.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// Print the report as JSON on standard output instead of the summary
    ///
    /// If the run cannot start, standard output is empty: see the exit code and standard error.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the report to this file; may be repeated
    ///
    /// A name that ends with `.html` gets a self-contained page; any other name gets JSON.
    #[arg(long = "report", value_name = "FILE")]
    pub(crate) reports: Vec<PathBuf>,
    /// Units (account × region × kind) to read at once [default: the setting `concurrency`]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Options of the ledger.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct StateArgs {
    /// Directory of the ledger, or `none` to run without a ledger
    /// [default: `BERTH_STATE_DIR` or `state_dir`, else one for this integration in the user's state
    /// directory]
    ///
    /// If the default directory cannot be used, Berth logs a warning and runs without a ledger.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// Options to record and replay AWS's responses.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct RecordingArgs {
    /// Also record AWS's responses in this directory, which must be new or empty; anything that looks like
    /// a secret is replaced
    #[arg(long, value_name = "DIR", conflicts_with = "replay")]
    pub(crate) record: Option<PathBuf>,
    /// Replay a recording instead of reading AWS
    #[arg(long, value_name = "DIR")]
    pub(crate) replay: Option<PathBuf>,
}

/// Options to confirm removed accounts and regions.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct RemovalArgs {
    /// Delete the entities of an account or region that Berth no longer reads; may be repeated
    ///
    /// `account=<id>`, `region=<region>` or `region=<account>/<region>`. Adds to the setting
    /// `confirm_removal`.
    #[arg(long = "confirm-removal", value_name = "SCOPE")]
    pub(crate) confirmed: Vec<RemovedScope>,
}

/// Options of `berth sync`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SyncArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) removal: RemovalArgs,
    #[command(flatten)]
    pub(crate) recording: RecordingArgs,
}

/// Options of `berth plan`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlanArgs {
    /// Also write the plan to this file, for `berth apply`
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) removal: RemovalArgs,
    #[command(flatten)]
    pub(crate) recording: RecordingArgs,
}

/// Options of `berth apply`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ApplyArgs {
    /// The plan that `berth plan --out` wrote
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Options of `berth adopt`.
#[derive(Debug, ClapArgs)]
pub(crate) struct AdoptArgs {
    /// The identifier of the other integration
    #[arg(long, value_name = "IDENTIFIER")]
    pub(crate) from: String,
    /// Write the plan to this file, for `berth apply`, and change nothing (unless --yes is given)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Apply the plan without asking for approval
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Options of the service.
#[derive(Debug, ClapArgs)]
pub(crate) struct ServiceArgs {
    /// Units (account × region × kind) to read at once [default: the setting `concurrency`]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// The plugin commands.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Create a plugin from AWS's service models: fetch plan, mapping, blueprint, fixture and test
    New(NewPlugin),
    /// Build a plugin into a component, `target/plugin/<name>.wasm` in its folder
    ///
    /// Uses the language's own tools: cargo if the folder has a Cargo.toml, npm for a package.json, pip for a
    /// requirements.txt.
    Build {
        /// The plugin's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check that a host accepts a component, and that its manifest fits AWS's models
    #[command(after_help = "Exit codes: 0 accepted, 2 rejected, 3 the manifest does not fit AWS's models")]
    Check {
        /// The plugin's file, or its folder, which Berth builds first
        #[arg(default_value = ".")]
        plugin: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a plugin's fixtures through the real engine: golden files and the conformance suite
    ///
    /// A fixture is an AWS response in `fixtures/`, as `aws … --output json` prints it, or an array of
    /// resources as the host passes them. Berth compares the plugin's output with the file of the same name
    /// in `golden/`. The conformance suite then removes, empties and replaces every member. For all valid AWS
    /// data, the plugin's own code and its default mapping in JQ must give the same entities. No input
    /// may crash the plugin.
    #[command(after_help = "Exit codes: 0 all passed, 2 the tests could not run, 3 some failed")]
    Test {
        /// The plugin's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Test this component instead of building the folder
        #[arg(long, value_name = "FILE")]
        component: Option<PathBuf>,
        /// Accept the current output as the golden files
        #[arg(long)]
        bless: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read a plugin's kinds from AWS or a recording, and print the entities or write them to Port
    ///
    /// Prints one JSON object per line. The summary goes to standard error.
    ///
    /// Uses the AWS settings of `berth sync`. Without --port, Berth does not call Port and needs no
    /// settings for it.
    #[command(after_help = Exit::HELP)]
    Run {
        /// The plugin's file, or its folder, which Berth builds first
        #[arg(default_value = ".")]
        plugin: PathBuf,
        /// Read a recording (`berth sync --record`) instead of AWS
        #[arg(long, value_name = "DIR")]
        replay: Option<PathBuf>,
        /// Write the entities to this file instead of standard output
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Write the entities to Port instead, and create their blueprint if it does not exist; deletes
        /// nothing
        #[arg(long, conflicts_with = "to")]
        port: bool,
    },
    /// Review and approve a third-party plugin; the lockfile pins its digest and permissions
    Add {
        /// A component, a directory of components, the folder of a plugin, which Berth builds first, or
        /// `oci://…`, which Berth pulls into the directory of --to
        plugin: PathBuf,
        /// Also copy the plugin into this plugin directory
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// Approve without a prompt
        #[arg(long)]
        yes: bool,
        #[cfg(feature = "oci")]
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Push a plugin to an OCI registry, with its signature file if there is one
    #[cfg(feature = "oci")]
    Push {
        /// The plugin's file, or its folder, which Berth builds first
        plugin: PathBuf,
        /// Where to push it, as in `registry.example.com/plugins/acme-widget:1.0.0`
        reference: String,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Pull a plugin from an OCI registry; use `berth plugin add` to approve it
    #[cfg(feature = "oci")]
    Pull {
        /// What to pull, as in `registry.example.com/plugins/acme-widget:1.0.0`
        reference: String,
        /// Directory to write the plugin to
        #[arg(long, value_name = "DIR", default_value = ".")]
        to: PathBuf,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Revoke a plugin's approval (the file is kept)
    Remove {
        /// The plugin's name, as in the lockfile
        name: String,
    },
    /// List the plugins, their kinds, where they come from, and those that Berth rejects
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compile the plugins ahead of time, for any processor of this architecture
    ///
    /// For container images: Berth does not compile again what it finds in the directory `compiled` beside the
    /// bundled plugins.
    Compile {
        /// Directory for the compiled code; created if it does not exist
        into: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show everything about one plugin: kinds, operations, IAM actions, options, blueprints
    Inspect {
        /// A plugin's file, its folder, which Berth builds first, or the name or kind of an installed plugin
        plugin: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Options of an OCI registry.
#[cfg(feature = "oci")]
#[derive(Debug, ClapArgs)]
pub(crate) struct RegistryArgs {
    /// User name at the registry; the password is in `BERTH_REGISTRY_PASSWORD`
    /// [default: the credentials of `docker login`, else anonymous]
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Connect to the registry without TLS, which is the default for a registry on this machine
    #[arg(long)]
    pub(crate) plain_http: bool,
}

/// Options of `berth plugin new`.
#[derive(Debug, ClapArgs)]
pub(crate) struct NewPlugin {
    /// The kind to map, with your own namespace, as in `Acme::Widget`
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: String,
    /// The AWS operation that lists the resources, as in `ec2:DescribeVolumes`
    #[arg(long, value_name = "SERVICE:OPERATION")]
    pub(crate) from: String,
    /// Path of the resources in the response, as in `Reservations[].Instances[]`
    /// [default: taken from AWS's models]
    #[arg(long, value_name = "PATH")]
    pub(crate) items: Option<String>,
    /// The language of the mapping
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub(crate) lang: Language,
    /// The plugin's name [default: the kind's, as in `acme-widget`]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Folder for the plugin, which must be new or empty [default: the plugin's name]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Folder or version of the Rust SDK [default: a copy in the plugin's folder]
    #[arg(long, value_name = "PATH|VERSION")]
    pub(crate) sdk: Option<String>,
    /// Print JSON: the folder and the files in it
    #[arg(long)]
    pub(crate) json: bool,
}

/// A language that `berth plugin new` supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Generated from the manifest; built with cargo, without WASI.
    Rust,
    /// Rust with a mapping in code and the whole standard library (hash maps, clocks, printing), through WASI.
    RustWasi,
    /// Built with Zig, which Python can install.
    C,
    /// Built with Zig, which Python can install.
    Zig,
    /// JavaScript, built with Node.js and npm.
    Js,
    /// Built with Python and its `venv` module.
    Python,
}

/// Options of `berth policy`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PolicyArgs {
    /// Limit the policy to this kind; may be repeated [default: the kinds of all plugins]
    #[arg(long = "kind", value_name = "KIND", conflicts_with_all = ["trust", "base"])]
    pub(crate) kinds: Vec<String>,
    /// Print the trust policy of the roles instead
    #[arg(long, requires = "principal", conflicts_with = "base")]
    pub(crate) trust: bool,
    /// ARN of the user or role that may assume the roles: the base identity
    #[arg(long, value_name = "ARN")]
    pub(crate) principal: Option<String>,
    /// The external ID that the trust policy requires
    #[arg(long, value_name = "ID", requires = "trust")]
    pub(crate) external_id: Option<String>,
    /// Print the policy of the base identity instead, which may assume these role ARNs
    #[arg(long, value_name = "ROLE_ARN", num_args = 1..)]
    pub(crate) base: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(command: &clap::Command, look: &mut dyn FnMut(&clap::Command)) {
        look(command);
        command.get_subcommands().for_each(|command| every(command, look));
    }

    #[test]
    fn everything_says_what_it_is_for() {
        let mut command = Args::command();
        command.build();
        command.clone().debug_assert();
        every(&command, &mut |command| {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.len() > 5, "{name}: {}: `{help}`", argument.get_id());
                for value in argument.get_possible_values() {
                    // The names of shells, and yes and no, need no help text.
                    let plain = argument.get_id() == "shell" || ["true", "false"].contains(&value.get_name());
                    assert!(plain || value.get_help().is_some(), "{name}: {value:?}");
                }
            }
        });
    }

    #[test]
    fn removals_are_confirmed_by_scope() {
        let parsed = |scope: &str| Args::try_parse_from(["berth", "plan", "--confirm-removal", scope]);
        for scope in ["account=111111111111", "region=eu-west-1", "region=111111111111/eu-west-1"] {
            let Command::Plan(plan) = parsed(scope).unwrap().command else { panic!("not a plan") };
            assert_eq!(plan.removal.confirmed[0].to_string(), scope);
        }
        for wrong in ["", "111111111111", "account=1", "region=mars"] {
            let error = parsed(wrong).unwrap_err().to_string();
            assert!(error.contains("--confirm-removal"), "{error}");
        }
    }

    #[test]
    fn what_shows_something_shows_it_to_programs_as_well() {
        // These commands read, write or move files, or never end; they print nothing for programs.
        let moving = ["add", "remove", "push", "pull"];
        let without = ["berth", "run", "policy", "completions", "man", "plugin", "help"];
        let mut found = 0;
        let mut command = Args::command();
        command.build();
        every(&command, &mut |command| {
            let json = command.get_arguments().any(|argument| argument.get_id() == "json");
            found += usize::from(json);
            let name = command.get_name();
            let help = command.get_arguments().next().is_none()
                || command.get_bin_name().is_some_and(|name| name.contains(" help"));
            assert!(json || help || without.contains(&name) || moving.contains(&name), "{name}");
        });
        assert!(found >= 11, "{found}");
    }
}
