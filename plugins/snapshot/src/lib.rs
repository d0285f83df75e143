//! The built-in snapshot plugin: takes, lists and destroys snapshots on ZFS, on btrfs and, with a
//! store of its own, on every other file system.
//!
//! [`backend`] is the library half: blocking, without knowledge of plugins or events.

pub mod backend;
