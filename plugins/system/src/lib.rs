//! The built-in plugin `system`: the machine itself.
//!
//! It says how the machine is (`system.state`), what is wrong with it (`system.condition.*`), and
//! answers what the classic `SysAdm` pages ask: `sysadm/systemmanager`, `sysadm/services`,
//! `sysadm/fs`, `sysadm/users`, `sysadm/network`. It watches where the kernel tells, and reads again
//! at an interval what it does not.

mod classic;
mod condition;
mod config;
mod facts;
pub mod fuzzing;
mod judge;
mod kind;
mod ledger;
mod machine;
mod parse;
mod plugin;
mod state;
mod story;
mod tool;
mod unit;
mod updates;
mod watch;

use std::process::ExitCode;

/// What the plugin declares.
pub const MANIFEST: &str = include_str!("../manifest.json");

/// Serves the daemon on standard input and output until it is told to end.
pub fn run() -> ExitCode {
    sdk::serve(MANIFEST, plugin::System::default())
}
