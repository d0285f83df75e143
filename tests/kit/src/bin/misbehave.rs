//! A plugin that behaves or misbehaves on demand, for tests of whoever hosts plugins.
//!
//! It knows the plugin link and nothing of the daemon. What a plugin can do wrong with the SDK is in
//! `polite`, what takes wrong frames is in `rude`, what is meant to harm in `hostile`.

use std::io::Write;
use std::process::ExitCode;

#[path = "misbehave/hostile.rs"]
mod hostile;
#[path = "misbehave/polite.rs"]
mod polite;
#[path = "misbehave/process.rs"]
mod process;
#[path = "misbehave/rude.rs"]
mod rude;

const HELP: &str = "\
misbehave [--id ID] [--manifest=PATH] BEHAVIOUR [NUMBER]

  good                    does all that it should
  hang                    never answers a call
  slow MS                 answers each call after MS milliseconds
  late MS                 answers each call MS milliseconds after its deadline, cancelled or not
  slow-start MS           is ready for calls only after MS milliseconds
  fail-start              fails in its start
  crash-loop MS           dies of SIGABRT MS milliseconds after each start
  eat-memory BYTES        allocates BYTES (default: 2 GiB) after the start
  no-health               never answers health
  chatty                  writes much to standard error

  exit-before-hello CODE  exits at once
  silent                  never answers anything
  slow-hello MS           answers initialize after MS milliseconds
  refuse                  answers initialize with an error
  garbage-before-hello    writes lines that are no JSON, then goes on well
  garbage-after-hello     the same after the handshake
  huge-line BYTES         writes one line of BYTES (default: twice what is allowed)
  endless-line            writes a line that never ends
  invalid-utf8            writes a line that is not UTF-8
  wrong-id                says another id in the handshake
  wrong-version           says another version in the handshake
  undeclared-class        publishes classes that its manifest lacks
  undeclared-alert        raises alerts that its manifest lacks
  too-loud                publishes events of a priority that there is not
  flood N                 publishes N events (default: no end) as requests, ignoring credit
  flood-notifications N   the same as notifications
  unknown-ids             answers requests that nobody made
  answer-twice            answers each call twice
  stop-reading            reads nothing more after the handshake
  close-stdout            closes standard output and lives on
  ignore-shutdown         ignores shutdown, the end of standard input and SIGTERM
  grandchild              leaves a process that keeps standard output open, and exits
";

fn main() -> ExitCode {
    let Some(order) = Order::read(std::env::args().skip(1)) else {
        // Nobody to tell if standard error is closed.
        drop(std::io::stderr().write_all(HELP.as_bytes()));
        return ExitCode::from(64);
    };
    polite::serve(&order).or_else(|| rude::serve(&order)).unwrap_or_else(|| {
        drop(writeln!(std::io::stderr(), "no behaviour {:?}\n{HELP}", order.behaviour));
        ExitCode::from(64)
    })
}

/// What is asked of this process.
struct Order {
    id: String,
    manifest: Option<String>,
    behaviour: String,
    number: Option<u64>,
}

impl Order {
    fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut order =
            Self { id: "kit".to_owned(), manifest: None, behaviour: String::new(), number: None };
        while let Some(word) = words.next() {
            if word == "--id" {
                order.id = words.next()?;
            } else if let Some(path) = word.strip_prefix("--manifest=") {
                order.manifest = Some(std::fs::read_to_string(path).ok()?);
            } else if order.behaviour.is_empty() {
                order.behaviour = word;
            } else {
                order.number = Some(word.parse().ok()?);
            }
        }
        (!order.behaviour.is_empty()).then_some(order)
    }

    fn manifest_text(&self) -> String {
        let made = || kit::plugins::manifest(&self.id, &[&self.behaviour]).to_string();
        self.manifest.clone().unwrap_or_else(made)
    }
}
