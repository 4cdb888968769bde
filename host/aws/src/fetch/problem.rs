//! Problems of failed calls of a fetch plan.

use berth_core::{AccountId, Problem, ProblemCode, Region};

use super::plan::ReadyStep;
use crate::{
    errors::{AWS, CallError},
    policy,
};

/// Returns the problem of a failed call of a step, with its remedy.
pub(super) fn of_call(account: &AccountId, ready: &ReadyStep, region: &Region, error: &CallError) -> Problem {
    let step = &ready.step;
    let place = format!("account {account}, region {region}");
    let call = format!("{}:{}", step.service, step.operation);
    let actions = policy::actions(step);
    let failed = |message: String| Problem::new(error.problem_code(), message);
    match error {
        CallError::Credentials(problem) => Problem::clone(problem)
            .map_message(|why| format!("no credentials for account {account}: {why}")),
        CallError::Transport { error: silence, .. } if !error.is_unavailable() => {
            silence.problem(AWS, format!("`{call}` failed in {place}: {error}"))
        }
        _ => match error.problem_code() {
            ProblemCode::AwsNotInRegion => {
                failed(format!("cannot reach `{}` in {place}: {error}", step.service)).remedy(format!(
                    "if the service is not available in {region}, exclude the region in the selector's `regionPolicy`; otherwise check the name resolution of this machine"
                ))
            }
            // The session was renewed and the call repeated; the same keys work elsewhere.
            ProblemCode::AwsCredentials => {
                failed(format!("AWS rejects the session's credentials for `{call}` in {place}: {error}"))
                    .remedy(format!(
                        "check that region {region} is enabled in account {account}; if it is opt-in, configure STS to issue \
                         session tokens that are valid in all regions, or exclude it in the selector's `regionPolicy`"
                    ))
            }
            ProblemCode::AwsAccessDenied => {
                failed(format!("`{call}` is denied in {place}: {error}")).remedy(format!(
                    "allow `{}` for the role that reads account {account}, and check that no service control policy denies it and that region {region} is enabled",
                    actions.join("`, `")
                ))
            }
            ProblemCode::AwsThrottled => {
                failed(format!("`{call}` still failed after all retries in {place}: {error}"))
                    .remedy("AWS is too busy or throttles this account; the next resync retries the call")
            }
            _ => failed(format!("`{call}` failed in {place}: {error}")).remedy(error.remedy()),
        },
    }
}
