//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

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
    Sync(RunArgs),
    /// Run one resync that writes nothing, and show what it would create, update and delete
    #[command(after_help = Exit::HELP)]
    Plan(RunArgs),
    /// Run as a service: resyncs as they are asked for at Port, or on a schedule, until stopped
    ///
    /// What triggers a resync is told by `OCEAN__EVENT_LISTENER` (`{"type": "POLLING"}`, `KAFKA`,
    /// `WEBHOOK` or `ONCE`) and `OCEAN__SCHEDULED_RESYNC_INTERVAL`. Health and metrics are served on
    /// `APPLICATION__PORT`. SIGTERM and SIGINT stop it in order, with exit code 0. Settings are read
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
    Policy(PolicyArgs),
    /// Look at plugins
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
}

/// Options of a run.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// Print the report as JSON on standard output instead of the summary
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the report as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Units (account × region × kind) read at once [default: the setting `concurrency`, else 64]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<std::num::NonZeroUsize>,
    /// Directory that remembers what Port holds, from one run to the next
    /// [default: `BERTH_STATE_DIR` or `state_dir`, else nothing is remembered]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Also write what AWS answers to this directory, which must be new or empty; what looks like a
    /// secret is replaced
    #[arg(long, value_name = "DIR", conflicts_with = "replay")]
    pub(crate) record: Option<PathBuf>,
    /// Read a recording instead of AWS
    #[arg(long, value_name = "DIR")]
    pub(crate) replay: Option<PathBuf>,
}

/// Options of the service.
#[derive(Debug, ClapArgs)]
pub(crate) struct ServiceArgs {
    /// Units (account × region × kind) read at once [default: the setting `concurrency`, else 64]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<std::num::NonZeroUsize>,
    /// Directory that remembers what Port holds, from one run to the next
    /// [default: `BERTH_STATE_DIR` or `state_dir`, else nothing is remembered]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Begin a plugin: fetch plan, mapping, blueprint, fixture and test, made of AWS's models
    New(NewPlugin),
    /// Compile a plugin to a component, `target/plugin/<name>.wasm` in its folder
    Build {
        /// The plugin's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Check a component as a host would, and its fetch plans against AWS's models
    Check {
        /// The plugin's file, or its folder, which is built first
        #[arg(default_value = ".")]
        plugin: PathBuf,
    },
    /// Run a plugin's fixtures through the real engine: golden files, and what every plugin promises
    ///
    /// A fixture is an answer of AWS in `fixtures/`, as `aws … --output json` prints it, or an array of
    /// resources as the host hands them over. What the plugin makes of it is compared with the file of
    /// the same name in `golden/`; then every member is left out, emptied and filled with odd text.
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
    },
    /// Read a plugin's kinds from AWS or a recording, and print the entities, one a line
    ///
    /// AWS is read with the settings of `berth sync`; Port is not asked, and needs no settings.
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
    },
    /// Show everything about one plugin: kinds, operations, IAM actions, options, blueprints
    Inspect {
        /// A plugin's file, or the name or kind of a plugin that is found
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
    #[arg(long)]
    pub(crate) kind: String,
    /// The AWS operation that lists the resources, as in `ec2:DescribeVolumes`
    #[arg(long, value_name = "SERVICE:OPERATION")]
    pub(crate) from: String,
    /// Where the resources are in its answer, as in `Reservations[].Instances[]`
    /// [default: as AWS's models tell]
    #[arg(long, value_name = "PATH")]
    pub(crate) items: Option<String>,
    /// The plugin's name [default: the kind's, as in `acme-widget`]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The folder to write, which must be new or empty [default: the plugin's name]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Where the SDK comes from: a folder or a version [default: a copy in the plugin's folder]
    #[arg(long, value_name = "PATH|VERSION")]
    pub(crate) sdk: Option<String>,
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
