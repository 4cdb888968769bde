//! Problems of the calls of a fetch plan.

use berth_core::{AccountId, ErrorClass, Problem, ProblemCode, Region};

use super::plan::ReadyStep;
use crate::{
    errors::{AWS, CallError, refuses_credentials},
    policy,
};

/// A failed call of a step, with what to do about it.
pub(super) fn of_call(account: &AccountId, ready: &ReadyStep, region: &Region, error: &CallError) -> Problem {
    let step = &ready.step;
    let place = format!("account {account}, region {region}");
    let call = format!("{}:{}", step.service, step.operation);
    let actions = policy::actions(step);
    match error {
        CallError::Credentials(problem) => Problem::clone(problem)
            .map_message(|why| format!("no credentials for account {account}: {why}")),
        _ if error.is_unavailable() => {
            Problem::new(ProblemCode::AwsNotInRegion, format!("`{}` cannot be reached in {place}: {error}", step.service)).remedy(format!(
                "if the service is not offered in {region}, exclude the region by the selector's `regionPolicy`; else check the name resolution of this machine"
            ))
        }
        CallError::Transport { error: silence, .. } => {
            silence.problem(AWS, format!("`{call}` failed in {place}: {error}"))
        }
        // The session was renewed and the call repeated; the same keys work elsewhere.
        _ if error.code().is_some_and(refuses_credentials) => {
            Problem::new(ProblemCode::AwsCredentials, format!("AWS does not take the session's credentials for `{call}` in {place}: {error}"))
                .remedy(format!(
                    "check that region {region} is enabled in account {account}; if it is opt-in, let STS issue \
                     session tokens that are valid in all regions, or exclude it by the selector's `regionPolicy`"
                ))
        }
        _ if error.class() == ErrorClass::Denied => {
            Problem::new(ProblemCode::AwsAccessDenied, format!("`{call}` is denied in {place}: {error}")).remedy(format!(
                "allow `{}` for the role that reads account {account}, and check that no service control policy denies it and that region {region} is enabled",
                actions.join("`, `")
            ))
        }
        _ if error.is_busy() => {
            Problem::new(ProblemCode::AwsThrottled, format!("`{call}` was still refused after all retries in {place}: {error}"))
                .remedy("AWS is too busy or throttles this account; the next resync tries again")
        }
        _ => Problem::new(error.problem_code(), format!("`{call}` failed in {place}: {error}")).remedy(error.remedy()),
    }
}
