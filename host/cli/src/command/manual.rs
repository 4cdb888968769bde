//! `berth completions` and `berth man`: what shells and readers of manuals are given, made of the
//! command line itself.

use std::{fs, path::Path};

use berth_embed::{Problem, ProblemCode};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::{
    args::Args,
    exit::Exit,
    output::{data, err, out},
    summary,
};

/// Prints the completions for a shell.
pub(crate) fn completions(shell: Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "berth", &mut script);
    data(String::from_utf8_lossy(&script).trim_end());
    Exit::Done
}

/// Writes the pages of the manual.
pub(crate) fn pages(to: &Path) -> Exit {
    let written = fs::create_dir_all(to).and_then(|()| clap_mangen::generate_to(Args::command(), to));
    match written {
        Ok(()) => {
            out(&format!(
                "the manual is in {}; read it with `man {}`",
                to.display(),
                to.join("berth.1").display()
            ));
            Exit::Done
        }
        Err(error) => {
            let problem = Problem::new(ProblemCode::FileUnwritable, format!("{}: {error}", to.display()))
                .remedy("check the path given with --to");
            err(&summary::problem("the manual cannot be written", &problem));
            Exit::Internal
        }
    }
}
