//! The whole product as root on real file systems: btrfs on a loop device, ZFS by zfs-fuse, a disk
//! that is full. Each of these tests has a mount namespace of its own, which takes everything down
//! with it. And passwords of real users, which each test makes and removes; the validators of the specifications
//! that the daemon describes itself by; and other people's client libraries.
//!
//! A machine that systemd-nspawn boots, the packages installed in another, and disks that fill up. A daemon that is killed at every
//! state of a job. Names made to hurt, beside tools that do nothing.
//!
//! Needs root, systemd-container, mmdebstrap, dpkg-dev, lintian, rpm, e2fsprogs, xfsprogs, btrfs-progs, zfs-fuse, strace and PAM; without them it fails and says what to install. `tests/run`
//! brings all of it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic is how a test says what did not come"
)]

mod booted;
mod brute_force;
mod canaries;
mod classic;
mod clock;
mod cloudevents;
mod conditions;
mod consul;
mod container_changes;
mod containers;
mod crowd;
mod disks;
mod dockercloud;
mod documents;
mod engine;
mod first_minute;
mod follower;
mod full_disk;
mod hostile;
#[path = "../it"]
#[allow(dead_code, reason = "what these tests do not use of it, the others do")]
mod it {
    pub(crate) mod chance;
    pub(crate) mod harness;
    pub(crate) mod http;
    pub(crate) mod villain;
}
mod killed_jobs;
mod machine;
mod middleman;
mod names;
mod package;
mod passwords;
mod place;
mod pressure;
mod redeploy;
mod replication;
mod scripts;
mod snapshots;
mod syscalls;
mod triggers;
mod untrusted;

/// Runs the future on a runtime that begins here: its threads and children see what this thread has
/// mounted.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}
