//! Everything that is seen only from outside a running daemon.
//!
//! One binary, a module for each subject. `harness` starts daemons, in this process or as a process
//! of their own; `http`, `raw` and `player` are what several subjects talk with, `villain` is a plugin
//! that means harm.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic is how a test says what did not come"
)]

mod access;
mod alerts;
mod audit;
mod bad_input;
mod chance;
mod classic;
mod cloudevents;
mod command;
mod configuration;
mod conformance;
mod consul;
mod containers;
mod crash;
mod describe;
mod doctor;
mod faces;
mod faults;
mod front;
mod harness;
mod hostile;
mod http;
mod jobs;
mod jsonrpc;
mod keys;
mod leaks;
mod logs;
mod origins;
mod packaging;
mod player;
mod probes;
mod protocol_page;
mod raw;
mod reference;
mod rights;
mod rules;
mod sessions;
mod sinks;
mod slow;
mod subscribe;
mod system;
mod tidy;
mod tls;
mod transcripts;
mod triggers;
mod villain;
