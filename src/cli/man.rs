//! `sysadmctl man`: the manual pages, made from the command line itself.

use std::fs;
use std::path::Path;

use clap::Command;

use super::exit::{Exit, Failure};
use super::output;

/// Prints the page, or writes those of all commands into a directory.
pub(crate) fn run(command: Command, out: Option<&Path>) -> Result<(), Failure> {
    let Some(out) = out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(|error| {
            Failure::new(Exit::Failed, format!("the page cannot be made: {error}"))
        })?;
        return output::print(&String::from_utf8_lossy(&page));
    };
    fs::create_dir_all(out).and_then(|()| clap_mangen::generate_to(command, out)).map_err(|error| {
        Failure::new(Exit::File, format!("cannot write {}: {error}", out.display()))
    })
}
