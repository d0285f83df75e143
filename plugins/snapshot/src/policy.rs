//! Policies: of what snapshots are taken when, and which of them stay for how long.
//!
//! Knows schedules, calendars and what is kept on disk about policies. Must not know the plugin
//! protocol, nor how a back end works. What decides is pure: [`schedule::due`] says whether it is
//! time, [`retention::plan`] what stays and why. The plugin half of this crate calls it.

pub mod clock;
pub mod journal;
pub mod model;
pub mod retention;
pub mod schedule;
pub mod select;
pub mod store;

pub use model::{Policy, Retention, Schedule, Selection};
