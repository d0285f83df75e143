//! `sysadmctl events tail --cursor-file` as a process that is killed again and again.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::harness::until;

/// One run after the other, each with a file of its own for what it prints.
pub(super) struct Tails {
    socket: PathBuf,
    dir: PathBuf,
    runs: usize,
}

impl Tails {
    /// Nothing has run yet; `dir` takes the files.
    pub(super) fn new(socket: &Path, dir: &Path) -> Self {
        Self { socket: socket.to_owned(), dir: dir.to_owned(), runs: 0 }
    }

    /// One run that is killed after this long.
    pub(super) async fn run_and_kill(&mut self, patience: Duration) {
        let mut child = self.run();
        sleep(patience).await;
        child.0.kill().expect("the tail is killed");
    }

    /// The last run, until it has printed the last event. Together they have left nothing out; a run
    /// may print again what the one before had printed last.
    pub(super) async fn finish(mut self, log: &[Value]) {
        let last = log.len() as u64;
        let child = self.run();
        until("the tail has printed the last event", async || {
            self.printed(self.runs).last() == Some(&last)
        })
        .await;
        drop(child);
        let seen: BTreeSet<u64> = (1..=self.runs).flat_map(|run| self.printed(run)).collect();
        assert_eq!(seen.len() as u64, last, "the runs together printed the whole log");
    }

    fn run(&mut self) -> Running {
        self.runs += 1;
        let output = File::create(self.file(self.runs)).expect("a file for the output");
        let child = Command::new(env!("CARGO_BIN_EXE_sysadmctl"))
            .arg("--socket")
            .arg(&self.socket)
            .args(["--json", "events", "tail", "--from", "oldest", "--cursor-file"])
            .arg(self.dir.join("place"))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn();
        Running(child.expect("sysadmctl starts"))
    }

    /// The numbers that a run has printed; a line that was cut short does not count.
    fn printed(&self, run: usize) -> Vec<u64> {
        let text = std::fs::read_to_string(self.file(run)).expect("what was printed");
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let events = whole.map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        events.map(|event| event["seq"].as_u64().expect("an event with a number")).collect()
    }

    fn file(&self, run: usize) -> PathBuf {
        self.dir.join(format!("tail-{run}"))
    }
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may be dead already; what counts is that it is gone.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
