//! `sysadmctl plugin`: for people who write plugins. Writes a new one, checks any, runs one by hand.
//!
//! It plays the daemon's part of the plugin link (`docs/protocols/plugin.md`) and needs no daemon.
//! It knows the words of `protocol` and nothing else of the product, so that what it finds is what
//! the protocol says and not what the daemon happens to do. The command line calls it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;

mod check;
pub(crate) mod child;
mod new;
mod run;
mod target;

/// What an author of plugins can do without a daemon.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum PluginCommand {
    /// Write a complete plugin to start from
    New(new::New),
    /// Check whether a plugin in any language keeps to the protocol
    Check(check::Check),
    /// Start a plugin, call it by hand and see its events
    Run(run::Run),
}

/// Does what the command says. Exit code 0: done or all checks passed; 1: not; 64 to 74: the
/// command could not begin (see sysexits.h).
pub(crate) fn run(command: PluginCommand, json: bool) -> ExitCode {
    let outcome = match command {
        PluginCommand::New(new) => new::run(&new, json),
        PluginCommand::Check(check) => check::run(&check, json),
        PluginCommand::Run(run) => run::run(&run, json),
    };
    outcome.unwrap_or_else(|problem| {
        let mut text = format!("sysadmctl: {}\n", problem.message);
        if let Some(hint) = &problem.hint {
            // Writing to a `String` cannot fail.
            writeln!(text, "  {hint}").ok();
        }
        io::stderr().write_all(text.as_bytes()).ok();
        ExitCode::from(problem.code)
    })
}

/// Why a command could not begin.
#[derive(Debug)]
pub(crate) struct Problem {
    code: u8,
    message: String,
    hint: Option<String>,
}

// Exit codes of sysexits.h.
const USAGE: u8 = 64;
const NO_INPUT: u8 = 66;
const CANNOT_CREATE: u8 = 73;
const OUTPUT: u8 = 74;

impl Problem {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Prints a line to standard output. What came from elsewhere must have been through [`printable`].
fn print(line: &str) -> Result<(), Problem> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .map_err(|error| Problem::new(OUTPUT, format!("standard output: {error}")))
}

fn print_json(value: &Value) -> Result<(), Problem> {
    print(&value.to_string())
}

/// The text without characters that would steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
