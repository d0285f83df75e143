//! The built-in replication plugin: copies snapshots to another place and keeps the copies up to
//! date, without ever destroying anything there.
//!
//! One algorithm over two abstract ends. [`plan`] is pure: snapshots here and there in, steps or a
//! conflict out. [`ends`] reads and writes the storage, through the back ends of the snapshot plugin.
//! `carry` takes one step through its phases, each journalled before it begins and harmless when it
//! is done twice; after a crash what happened is read back from the storage, not from the journal.
//! `plugin` speaks the public protocol and has nothing a stranger's plugin could not have.

mod carry;
pub mod ends;
mod engine;
mod holds;
pub mod journal;
mod meter;
pub mod plan;
mod plugin;
pub mod run;
pub mod serve;
mod state_file;
pub mod task;

use std::io;
use std::process::ExitCode;

/// The plugin's manifest: its methods, event classes and limits.
pub const MANIFEST: &str = include_str!("../manifest.json");

/// Serves the daemon on standard input and output until it is done with us; returns what the process
/// is to exit with.
pub fn run() -> ExitCode {
    sdk::serve(MANIFEST, plugin::Replication::default())
}

/// Answers another machine's replication on standard input and output until it ends; returns what the
/// process is to exit with.
pub fn serve_stdio(limits: &serve::Limits) -> ExitCode {
    let mut talk = ends::frame::Talk::new(io::stdin(), io::BufWriter::new(io::stdout()));
    match serve::serve(&mut talk, limits) {
        Ok(()) => ExitCode::SUCCESS,
        // The other side hears of it by the end of its pipe.
        Err(_) => ExitCode::FAILURE,
    }
}
