//! The SDK as the daemon sees it: whole processes, driven line by line. No daemon is needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests and their helpers"
)]

mod driver;
mod life;
mod transcripts;
