//! The tree back end: the suite every back end must pass, and what is its own. Needs no privileges.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test panics when it fails")]

mod bench;
#[path = "../suite/cases.rs"]
mod cases;
mod content;
mod crash;
mod followed;
mod store;

use bench::TreeBench;

cases::suite!(TreeBench::new());
