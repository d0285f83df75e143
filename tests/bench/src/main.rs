//! `sysadmd-bench`: the daemon and its anchors, compared in one run on one machine.
//!
//! Every figure is measured when the program runs. Each server is a child process of its own, pinned to one core; the
//! client, the same for all, is pinned to the other. Runs are interleaved and the median is told.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line instrument")]

mod args;
mod client;
mod disk;
mod frame;
mod pin;
mod pipe;
mod plugin;
mod scratch;
mod serve;
mod server;
mod stats;
mod table;
mod tls;
mod work;

use clap::Parser;

/// Whatever went wrong, told to the one who runs the benchmark.
type Res<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> std::process::ExitCode {
    let outcome = match args::Args::parse().split() {
        args::What::Serve(serve) => serve.run().map(|()| true),
        args::What::Plugin => match plugin::serve() {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        args::What::Measure(plan) => work::run(&plan),
    };
    match outcome {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sysadmd-bench: {error}");
            std::process::ExitCode::from(70)
        }
    }
}
