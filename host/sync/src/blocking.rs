//! Calls to a ledger, which may wait for a disk.

use berth_core::{Problem, ProblemCode};
use tokio::task::spawn_blocking;

/// Makes a call on a blocking thread; directly if it is known not to block.
pub(crate) async fn blocking<T: Send + 'static>(
    blocks: bool,
    call: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if !blocks {
        return call();
    }
    spawn_blocking(call).await.unwrap_or_else(|error| Err(Problem::from_error(ProblemCode::Internal, &error)))
}
