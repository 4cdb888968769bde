//! AWS from the simulator: every kind, any number of accounts and regions.

use aws_simulator::{AwsSimulator, Options};
use serde_json::json;

use crate::world::{EXTERNAL_ID, World, role};

impl World {
    /// Lets the runs to come read a simulator rather than moto, with its accounts.
    ///
    /// # Panics
    /// When the simulator does not start.
    pub fn simulate(&mut self, options: Options) -> AwsSimulator {
        let options = Options {
            role_name: Some("PortOceanReadRole".to_owned()),
            external_id: Some(EXTERNAL_ID.to_owned()),
            ..options
        };
        let simulator = self.block_on(AwsSimulator::start(options)).expect("the simulator starts");
        let roles: Vec<String> = simulator.accounts().iter().map(|account| role(account)).collect();
        self.set("OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS", &json!(roles).to_string());
        self.set("AWS_ENDPOINT_URL", simulator.base_url().as_str().trim_end_matches('/'));
        simulator
    }
}
