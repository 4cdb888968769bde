//! The world of the guides: what they deploy, and the commands that they show.

use std::path::Path;

use serde_json::{Value, json};

use super::{BASE, World};
use crate::{
    aws::python_script,
    berth::{Run, cache},
    gate::TrustedRole,
    guide::{self, Shell},
    image::Container,
};

impl World {
    /// Deploys the CloudFormation templates of the examples: the member roles, with no more
    /// permissions than they need, and the user whose access key is the base identity of the runs to
    /// come. From then on, AWS checks signatures and permissions, so nothing else can read it.
    pub fn deploy_templates(&mut self) {
        let printed = self.aws.run("deploy.py", &self.accounts, &["up"]);
        let deployed: Value = serde_json::from_str(&printed).expect("the script prints JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let access_key = text(&deployed["access_key_id"]);
        let roles: Vec<TrustedRole> = deployed["roles"]
            .as_array()
            .expect("the script lists roles")
            .iter()
            .map(|role| TrustedRole {
                arn: text(&role["arn"]),
                external_id: text(&role["external_id"]),
                access_key: access_key.clone(),
            })
            .collect();
        let arns: Vec<&str> = roles.iter().map(|role| role.arn.as_str()).collect();
        self.set("OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS", &json!(arns).to_string());
        self.set("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID", &roles[0].external_id);
        self.set("OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID", &access_key);
        let secret = text(&deployed["secret_access_key"]);
        self.set("OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY", &secret);
        self.gate.trust(roles);
        self.aws.run("deploy.py", &self.accounts, &["enforce"]);
    }

    /// Runs the image with the settings, and the same AWS; see [`Container`].
    pub fn run_image(&self, container: &Container, mounts: &[(&Path, &str)], arguments: &[&str]) -> Run {
        let aws = ("AWS_ENDPOINT_URL".to_owned(), self.gate_url());
        let variables = self.variables.iter().chain([(&aws.0, &aws.1)]);
        Run::of(&mut container.run(mounts, variables, arguments), &self.report())
    }

    /// Gives the runs to come the settings that a release of the Helm chart gives its container, with
    /// the values that tell the same as the settings so far.
    pub fn use_chart(&mut self) {
        let listener: Value =
            serde_json::from_str(&self.variables["OCEAN__EVENT_LISTENER"]).expect("the listener is JSON");
        let value = |name: &str| self.variables[name].clone();
        let roles = value("OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS").replace(',', "\\,");
        let values = [
            ("port.clientId", value("OCEAN__PORT__CLIENT_ID")),
            ("port.clientSecret", value("OCEAN__PORT__CLIENT_SECRET")),
            ("port.baseUrl", value("OCEAN__PORT__BASE_URL")),
            ("initializePortResources", value("OCEAN__INITIALIZE_PORT_RESOURCES")),
            ("integration.identifier", value("OCEAN__INTEGRATION__IDENTIFIER")),
            ("integration.type", "aws-v3".to_owned()),
            ("integration.eventListener.type", listener["type"].as_str().unwrap_or_default().to_owned()),
            ("integration.secrets.awsAccessKeyId", value("OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID")),
            (
                "integration.secrets.awsSecretAccessKey",
                value("OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY"),
            ),
            ("integration.config.accountRoleArns", roles),
            ("integration.config.externalId", value("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID")),
            ("workload.kind", "CronJob".to_owned()),
            ("scheduledResyncInterval", "@daily".to_owned()),
        ];
        let values = values.map(|(name, value)| format!("{name}={value}"));
        let printed = python_script("../deploy/chart.py", &values);
        self.variables = serde_json::from_str(&printed).expect("the script prints JSON");
    }
}

impl World {
    /// A terminal as a reader of the guides has it: with `berth`, the AWS CLI and its profiles
    /// (`base`, `management`, `member-1`, …) at hand, and what the pages leave to the reader filled in.
    pub fn reader(&self) -> Shell {
        let home = self.folder.path();
        let plugins = std::env::join_paths(&self.plugins).expect("no plugin's folder has a colon");
        let variables = [
            ("AWS_ENDPOINT_URL", self.gate_url()),
            ("BERTH_CACHE_DIR", cache().display().to_string()),
            ("BERTH_PLUGINS", plugins.into_string().expect("a UTF-8 path")),
            ("BERTH_PLUGIN_TRUST", "any".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        let profiles =
            [("base", BASE), ("management", BASE)].map(|(name, id)| (name.to_owned(), id.to_owned()));
        let members = self.accounts.iter().enumerate();
        let members = members.map(|(place, account)| (format!("member-{}", place + 1), account.clone()));
        let mut shell = guide::terminal(home, variables, profiles.into_iter().chain(members));
        for (placeholder, variable) in [
            ("<client id>", "OCEAN__PORT__CLIENT_ID"),
            ("<client secret>", "OCEAN__PORT__CLIENT_SECRET"),
            ("https://api.getport.io", "OCEAN__PORT__BASE_URL"),
            ("<access key id>", "OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID"),
            ("<secret access key>", "OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY"),
            ("<your external id>", "OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID"),
        ] {
            shell.replace(placeholder, &self.variable(variable));
        }
        for (placeholder, account) in ["111111111111", "222222222222"].into_iter().zip(&self.accounts) {
            shell.replace(placeholder, account);
        }
        shell
    }
}
