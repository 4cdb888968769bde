//! `berth policy`.

use berth_aws::policy;
use berth_embed::{
    Problem, ProblemCode,
    core::{Kind, RoleArn},
};
use berth_engine::Engine;
use secrecy::SecretString;
use serde_json::Value;

use crate::{
    args::{Global, PolicyArgs},
    exit::Exit,
    output::{data, err},
    settings::{Environment, FoundPlugins, PluginSettings, SettingsInputs},
    summary,
};

/// Prints the requested policy, as JSON that AWS accepts unchanged.
pub(crate) fn run(global: &Global, args: &PolicyArgs, environment: &Environment) -> Exit {
    if let (true, Some(principal)) = (args.trust, &args.principal) {
        let external_id = args.external_id.clone().map(SecretString::from);
        return print(&policy::trust_policy(principal, external_id.as_ref()));
    }
    if !args.base.is_empty() {
        let roles: Result<Vec<RoleArn>, _> = args.base.iter().map(|arn| RoleArn::new(arn)).collect();
        return match roles {
            Ok(roles) => print(&policy::assume_policy(&roles)),
            Err(error) => refuse("--base", &Problem::from_error(ProblemCode::CommandArgument, &error)),
        };
    }
    let config = match SettingsInputs::read(global, environment).section() {
        Ok(FoundPlugins(PluginSettings { engine, trust })) => match trust.applied_to(engine) {
            Ok(config) => config,
            Err(problem) => return refuse("cannot start the plugin engine", &problem),
        },
        Err(issues) => {
            err(&summary::issues(&issues));
            return Exit::Settings;
        }
    };
    let kinds = match Engine::new(config) {
        Ok(engine) => engine.kinds(),
        Err(error) => {
            return refuse(
                "cannot start the plugin engine",
                &Problem::from_error(ProblemCode::CommandArgument, &error),
            );
        }
    };
    let mut chosen = Vec::new();
    for name in &args.kinds {
        let Some(entry) = Kind::new(name).ok().and_then(|kind| kinds.get(&kind)) else {
            let problem = Problem::new(ProblemCode::PluginMissing, format!("no plugin maps `{name}`"))
                .remedy("run `berth plugin list` to see the kinds");
            return refuse("--kind", &problem);
        };
        chosen.push(entry);
    }
    if args.kinds.is_empty() {
        chosen.extend(kinds.values());
    }
    print(&policy::read_policy(chosen.into_iter().map(|entry| entry.manifest.as_ref())))
}

fn print(policy: &Value) -> Exit {
    // Pretty-printing a JSON value cannot fail; `#` is the pretty form.
    data(&format!("{policy:#}"));
    Exit::Done
}

fn refuse(title: &str, problem: &Problem) -> Exit {
    err(&summary::problem(title, problem));
    Exit::Settings
}
