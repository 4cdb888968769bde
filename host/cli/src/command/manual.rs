//! `berth completions` and `berth man`: shell completions and manual pages, generated from the command line.

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

/// Writes the manual pages.
pub(crate) fn pages(to: &Path) -> Exit {
    let written = fs::create_dir_all(to).and_then(|()| clap_mangen::generate_to(Args::command(), to));
    match written {
        Ok(()) => {
            out(&format!(
                "wrote the manual to {}; read it with `man {}`",
                to.display(),
                to.join("berth.1").display()
            ));
            Exit::Done
        }
        Err(error) => {
            let problem = Problem::new(ProblemCode::FileUnwritable, format!("{}: {error}", to.display()))
                .remedy("check the path given with --to");
            err(&summary::problem("cannot write the manual", &problem));
            Exit::Internal
        }
    }
}
