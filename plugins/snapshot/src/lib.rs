//! The built-in snapshot plugin: takes, lists and destroys snapshots on ZFS, on btrfs and, with a
//! store of its own, on every other file system.
//!
//! [`backend`] is the library half: blocking, without knowledge of plugins or events. The other half
//! is the plugin: it finds the back end for what was asked, answers, and says what happened. It
//! speaks the public protocol and has nothing a stranger's plugin could not have.

pub mod backend;
#[doc(hidden)]
pub mod fuzzing;
mod plugin;
pub mod policy;

use std::process::ExitCode;

/// The plugin's manifest: its methods, event classes and limits.
pub const MANIFEST: &str = include_str!("../manifest.json");

/// Serves the daemon on standard input and output until it is done with us; returns what the process
/// is to exit with.
pub fn run() -> ExitCode {
    sdk::serve(MANIFEST, plugin::Snapshots::default())
}
