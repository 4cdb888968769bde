//! The command line.

use std::{ffi::OsString, path::PathBuf};

use berth_embed::core::RemovedScope;
use clap::{Args as ClapArgs, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::exit::Exit;

/// Fills a Port catalog from many AWS accounts.
///
/// Settings come from the environment (the `OCEAN__…` variables of Port's AWS integration), a
/// `.env` file, and `berth.toml`, in this order.
#[derive(Debug, Parser)]
#[command(name = "berth", version, after_help = Exit::HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

impl Args {
    /// The arguments of this process. Ends it where they are wrong, or ask for help.
    pub(crate) fn of_process() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let mut command = Self::command().color(help_colour(&arguments));
        let matches = command.clone().get_matches_from(arguments);
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
    }
}

/// The colour of help and of complaints, which are printed before anything is parsed.
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
#[derive(Debug, ClapArgs)]
pub(crate) struct Global {
    /// Settings file [default: berth.toml in the working directory, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory with plugins (`*.wasm`); may be repeated, later ones win per kind
    /// [default: BERTH_PLUGINS, else the directory installed beside the binary]
    #[arg(long = "plugins", global = true, value_name = "DIR")]
    pub(crate) plugins: Vec<PathBuf>,
    /// File with the plugins of others that may be used; `berth plugin add` writes it
    /// [default: `BERTH_PLUGINS_LOCK` or `plugins_lock`, else plugins.lock in the working directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) plugins_lock: Option<PathBuf>,
    /// Form of the log on standard error
    #[arg(long, global = true, value_enum, env = "BERTH_LOG_FORMAT", default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Level of the log: error, warn, info, debug, trace, or a filter such as `berth_aws=debug`
    /// [default: APPLICATION__LOG_LEVEL, else the setting `log_level`, else error with text and info
    /// with json or in a service]
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log_level: Option<String>,
    /// Whether what people read is coloured
    ///
    /// With `auto` it is on a terminal, unless `NO_COLOR` is set; `CLICOLOR_FORCE` colours it elsewhere, too.
    /// JSON is never coloured.
    #[arg(long = "color", global = true, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    pub(crate) colour: Colour,
}

/// When something is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless the environment says otherwise.
    Auto,
    /// Wherever it goes.
    Always,
    /// Nowhere.
    Never,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people; progress is shown besides.
    Text,
    /// One JSON object a line; no progress.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one resync: read AWS, map, and bring Port up to date
    #[command(after_help = Exit::HELP)]
    Sync(SyncArgs),
    /// Run one resync that writes nothing, and show what it would create, update and delete
    ///
    /// With --out the plan is kept, for people to review and `berth apply` to carry out.
    #[command(after_help = Exit::HELP)]
    Plan(PlanArgs),
    /// Carry out a plan of `berth plan --out`, or nothing if the world has changed since
    ///
    /// Plans again first. If each change and deletion of the file is still due exactly as it stands there,
    /// Berth makes these and no others, including deletions that a resync holds back. Otherwise it changes
    /// nothing, names the differences, and exits with code 5. Whatever else is due is left to the next
    /// resync.
    #[command(after_help = Exit::HELP)]
    Apply(ApplyArgs),
    /// Take over the entities of another integration
    ///
    /// Plans a resync in which resources may take over the entities that the other integration, of the same
    /// type, wrote last; shows the plan, asks, and carries out exactly that. Stop the other integration
    /// first.
    #[command(after_help = Exit::HELP)]
    Adopt(AdoptArgs),
    /// Run as a service: resyncs as they are asked for at Port, or on a schedule, until stopped
    ///
    /// What triggers a resync is told by `OCEAN__EVENT_LISTENER` (`{"type": "POLLING"}`, `KAFKA`,
    /// `WEBHOOK` or `ONCE`) and `OCEAN__SCHEDULED_RESYNC_INTERVAL`. The status page, health and metrics
    /// are served on `APPLICATION__PORT`. SIGTERM and SIGINT stop it in order, with exit code 0. Settings are read
    /// anew on SIGHUP, and when the settings file or `.env` changes; they hold from the next resync on.
    #[command(after_help = Exit::HELP)]
    Run(ServiceArgs),
    /// Check, without writing anything, that a resync would work
    ///
    /// Looks at the AWS base identity, each role, the regions, one read per kind and account,
    /// Port's credentials, and the plugins; tells the remedy for what does not work.
    Doctor {
        /// Look at every kind that is found, not only at those of the mapping in Port
        #[arg(long)]
        all_kinds: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print IAM policies: what the member roles need, whom they trust, what the base identity may do
    ///
    /// Standard output is the policy, as JSON that AWS takes as it is.
    Policy(PolicyArgs),
    /// Look at plugins
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Print what lets a shell complete Berth's commands and options
    ///
    /// In bash, for example: `berth completions bash > ~/.local/share/bash-completion/completions/berth`.
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual: a page for each command, in the form of man(1)
    Man {
        /// The directory for the pages, `berth.1` and so on; created if it is not there
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

/// Options of a run.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// Print the report as JSON on standard output instead of the summary
    ///
    /// If the run cannot begin, nothing is printed there: see the exit code and standard error.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the report to this file; may be repeated
    ///
    /// A name that ends with `.html` gives a page that shows it and needs nothing else; any other
    /// gives JSON.
    #[arg(long = "report", value_name = "FILE")]
    pub(crate) reports: Vec<PathBuf>,
    /// Units (account × region × kind) read at once [default: the setting `concurrency`]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Where the ledger is.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct StateArgs {
    /// Directory of the ledger of what Port holds, or `none` to do without
    /// [default: `BERTH_STATE_DIR` or `state_dir`, else one for this integration in the user's state
    /// directory]
    ///
    /// If the default directory cannot be used, the run goes on without a ledger and says so.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// What is read instead of AWS, or kept of its answers.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct RecordingArgs {
    /// Also write what AWS answers to this directory, which must be new or empty; what looks like a
    /// secret is replaced
    #[arg(long, value_name = "DIR", conflicts_with = "replay")]
    pub(crate) record: Option<PathBuf>,
    /// Read a recording instead of AWS
    #[arg(long, value_name = "DIR")]
    pub(crate) replay: Option<PathBuf>,
}

/// What an operator says about removed accounts and regions.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct RemovalArgs {
    /// Delete the entities of an account or region that is not read any more; may be repeated
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
    /// The plan, as `berth plan --out` wrote it
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
    /// Write the plan to this file, for `berth apply`, and change nothing (unless with --yes)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Carry the plan out without asking
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Options of the service.
#[derive(Debug, ClapArgs)]
pub(crate) struct ServiceArgs {
    /// Units (account × region × kind) read at once [default: the setting `concurrency`]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Begin a plugin: fetch plan, mapping, blueprint, fixture and test, made of AWS's models
    New(NewPlugin),
    /// Make a plugin's folder a component, `target/plugin/<name>.wasm` in it
    ///
    /// By the language's own tools: cargo where there is a Cargo.toml, npm where there is a package.json,
    /// pip where there is a requirements.txt.
    Build {
        /// The plugin's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a component as a host would, and its fetch plans against AWS's models
    #[command(
        after_help = "Exit codes: 0 a host takes it, 2 it is refused, 3 its fetch plans do not fit AWS's models"
    )]
    Check {
        /// The plugin's file, or its folder, which is built first
        #[arg(default_value = ".")]
        plugin: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a plugin's fixtures through the real engine: golden files, and what every plugin promises
    ///
    /// A fixture is an answer of AWS in `fixtures/`, as `aws … --output json` prints it, or an array of
    /// resources as the host hands them over. What the plugin makes of it is compared with the file of
    /// the same name in `golden/`; then every member is left out, emptied, and replaced by what is odd.
    /// What AWS may send must give the same entities by the plugin's own code and by its default mapping
    /// in JQ; nothing may crash the plugin.
    #[command(after_help = "Exit codes: 0 all passed, 2 it could not be run, 3 some failed")]
    Test {
        /// The plugin's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// A component that was built before [default: the folder is built]
        #[arg(long, value_name = "FILE")]
        component: Option<PathBuf>,
        /// Take what the plugin makes now as right
        #[arg(long)]
        bless: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read a plugin's kinds from AWS or a recording, and print the entities, one a line, or write them
    /// to Port
    ///
    /// Each line is a JSON object; the summary goes to standard error.
    ///
    /// AWS is read with the settings of `berth sync`. Without --port, Port is not asked, and needs no
    /// settings.
    #[command(after_help = Exit::HELP)]
    Run {
        /// The plugin's file, or its folder, which is built first
        #[arg(default_value = ".")]
        plugin: PathBuf,
        /// Read a recording (`berth sync --record`) instead of AWS
        #[arg(long, value_name = "DIR")]
        replay: Option<PathBuf>,
        /// Write the entities to this file instead of standard output
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Write the entities to Port instead, and create their blueprint where there is none; nothing is
        /// deleted there
        #[arg(long, conflicts_with = "to")]
        port: bool,
    },
    /// Show what a plugin of others asks for, and approve it: the lock pins its file and what it may do
    Add {
        /// A component, a directory of components, the folder of a plugin, which is built first, or
        /// `oci://…`, which is pulled into the directory of --to
        plugin: PathBuf,
        /// Also copy it into this plugin directory
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// Approve without being asked
        #[arg(long)]
        yes: bool,
        #[cfg(feature = "oci")]
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Put a plugin into an OCI registry, with its signature if there is one beside it
    #[cfg(feature = "oci")]
    Push {
        /// The plugin's file, or its folder, which is built first
        plugin: PathBuf,
        /// Where it goes, as in `registry.example.com/plugins/acme-widget:1.0.0`
        reference: String,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Fetch a plugin from an OCI registry; `berth plugin add` approves it
    #[cfg(feature = "oci")]
    Pull {
        /// Where it is, as in `registry.example.com/plugins/acme-widget:1.0.0`
        reference: String,
        /// The directory that it goes into
        #[arg(long, value_name = "DIR", default_value = ".")]
        to: PathBuf,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Take the approval of a plugin back; its file stays, and is not used any more
    Remove {
        /// The plugin's name, as in the lock
        name: String,
    },
    /// List the plugins that are found, the kinds they map, whose they are, and those that are refused
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compile the plugins ahead of time, for any processor of this architecture
    ///
    /// For images: what lies in the directory `compiled` beside the bundled plugins is not compiled
    /// again when Berth starts.
    Compile {
        /// Where the code goes; created if it is not there
        into: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show everything about one plugin: kinds, operations, IAM actions, options, blueprints
    Inspect {
        /// A plugin's file, its folder, which is built first, or the name or kind of a plugin that is found
        plugin: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// How a registry is asked.
#[cfg(feature = "oci")]
#[derive(Debug, ClapArgs)]
pub(crate) struct RegistryArgs {
    /// The user at the registry, whose password is in `BERTH_REGISTRY_PASSWORD`
    /// [default: what `docker login` wrote, else nobody]
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Speak to the registry without TLS, as is done with one on this machine
    #[arg(long)]
    pub(crate) plain_http: bool,
}

/// How a plugin begins.
#[derive(Debug, ClapArgs)]
pub(crate) struct NewPlugin {
    /// The kind that it maps, with a first name of your own, as in `Acme::Widget`
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: String,
    /// The AWS operation that lists the resources, as in `ec2:DescribeVolumes`
    #[arg(long, value_name = "SERVICE:OPERATION")]
    pub(crate) from: String,
    /// Where the resources are in its answer, as in `Reservations[].Instances[]`
    /// [default: as AWS's models tell]
    #[arg(long, value_name = "PATH")]
    pub(crate) items: Option<String>,
    /// The language of the mapping
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub(crate) lang: Language,
    /// The plugin's name [default: the kind's, as in `acme-widget`]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The folder to write, which must be new or empty [default: the plugin's name]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Where the SDK for Rust comes from: a folder or a version [default: a copy in the plugin's folder]
    #[arg(long, value_name = "PATH|VERSION")]
    pub(crate) sdk: Option<String>,
    /// Print JSON: the folder and the files that were written
    #[arg(long)]
    pub(crate) json: bool,
}

/// A language that `plugin new` can begin a plugin in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Built with cargo, without WASI.
    Rust,
    /// Rust with the whole standard library: random hash maps, clocks and printing, by way of WASI.
    RustWasi,
    /// Built with Zig, which Python can install.
    C,
    /// Built with Zig, which Python can install.
    Zig,
    /// JavaScript, built with Node.js and npm.
    Js,
    /// Built with Python and its module `venv`.
    Python,
}

/// Which policy to print.
#[derive(Debug, ClapArgs)]
pub(crate) struct PolicyArgs {
    /// Only for these kinds; may be repeated [default: every kind that is found]
    #[arg(long = "kind", value_name = "KIND", conflicts_with_all = ["trust", "base"])]
    pub(crate) kinds: Vec<String>,
    /// The trust policy of the member roles instead
    #[arg(long, requires = "principal", conflicts_with = "base")]
    pub(crate) trust: bool,
    /// Who may assume the roles: the ARN of the base identity's user or role
    #[arg(long, value_name = "ARN")]
    pub(crate) principal: Option<String>,
    /// The external ID that must be sent
    #[arg(long, value_name = "ID", requires = "trust")]
    pub(crate) external_id: Option<String>,
    /// The policy of the base identity instead: it may assume these role ARNs
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
                    // Names of shells, and yes and no, tell for themselves.
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
    fn what_tells_something_tells_it_to_programs_as_well() {
        // These print nothing but what programs read, write or move files, or never end.
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
