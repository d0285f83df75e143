//! The built-in plugin `containers`: what runs in the container engines of this machine.
//!
//! It keeps a model of each engine's containers, of the services and stacks they belong to by their
//! labels, and tells what happens to them as events and alerts. The engine's own events are heard,
//! but not believed to be complete: what they do not tell is found by comparing the model with the
//! engine's list.

mod change;
mod config;
mod container;
mod engine;
mod flap;
pub mod fuzzing;
mod gate;
mod group;
mod hand;
mod identity;
mod inbox;
mod kept;
mod model;
mod plugin;
mod query;
mod reader;
mod redeploy;
mod scale;
mod show;
mod signal;
mod story;
mod worker;

use std::process::ExitCode;

/// What the plugin declares.
pub const MANIFEST: &str = include_str!("../manifest.json");

/// Serves the daemon on standard input and output until it is told to end.
pub fn run() -> ExitCode {
    sdk::serve(MANIFEST, plugin::Containers::default())
}
