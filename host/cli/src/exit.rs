//! Exit codes: stable, for scripts and schedulers.

use std::process::ExitCode;

use berth_embed::Outcome;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 1: internal error.
    Internal,
    /// 2: arguments or settings are wrong; nothing was read or changed.
    Settings,
    /// 3: some accounts, regions, kinds or entities failed; everything else succeeded.
    Partial,
    /// 4: nothing could be read, or Port could not be reached; nothing was changed.
    NothingRead,
    /// 5: deletions were skipped because of a limit or need a decision; or a plan was not applied because it
    /// is out of date.
    DeletionsHeldBack,
}

impl Exit {
    /// The table of codes in `--help`.
    pub(crate) const HELP: &'static str = "\
Exit codes:
  0  done
  1  internal error
  2  arguments or settings are wrong; nothing was read or changed
  3  partial: some accounts, regions, kinds or entities failed; everything else succeeded
  4  nothing could be read, or Port could not be used; nothing was deleted
  5  deletions were skipped because of a limit, or need your decision; everything else succeeded
     (`berth apply`: the plan is out of date; nothing was changed)";
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            // A stopped run is partly done.
            Outcome::Partial | Outcome::Aborted => Self::Partial,
            Outcome::NothingRead => Self::NothingRead,
            Outcome::DeletionsHeldBack => Self::DeletionsHeldBack,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Internal => 1,
            Exit::Settings => 2,
            Exit::Partial => 3,
            Exit::NothingRead => 4,
            Exit::DeletionsHeldBack => 5,
        })
    }
}
