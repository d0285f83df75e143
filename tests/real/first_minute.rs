//! The first minute of the README, with the real command line: follow, take a snapshot, be killed,
//! take another, go on.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::it::harness::{Program, until};
use crate::place::{Places, daemon, text};
use crate::run;

#[test]
fn the_command_line_follows_snapshots_across_its_own_death() {
    let places = Places::new("minute");
    run(async {
        let program = daemon().await;
        let dir = program.site().path().to_owned();
        let status = said(&program, &["status"]);
        assert!(status.contains("snapshot") && status.contains("ready"), "{status}");
        let backends = said(&program, &["snapshots", "backends"]);
        assert!(backends.contains("zfs") && backends.contains("btrfs"), "{backends}");

        let tail = follow(&program, &dir, "first");
        until("the tail has subscribed", async || dir.join("place").exists()).await;
        for place in places.names() {
            said(&program, &["snapshots", "create", place]);
        }
        until("the tail shows them", async || printed(&dir, "first").len() == 3).await;
        drop(tail);
        let label = ["--label", "after-edit"];
        for place in places.names() {
            said(&program, &[&["snapshots", "create", place][..], &label].concat());
        }
        let tail = follow(&program, &dir, "second");
        until("the tail shows what it missed", async || printed(&dir, "second").len() >= 3).await;
        drop(tail);
        let second = printed(&dir, "second");
        let labelled = second.iter().filter(|event| {
            event["data"]["name"].as_str().is_some_and(|name| name.contains("after-edit"))
        });
        assert_eq!(labelled.count(), 3, "{second:?}");

        let listed = said(&program, &["--json", "snapshots", "list", text(&places.directory)]);
        let listed: Value = serde_json::from_str(&listed).expect("the answer as it came");
        let snapshots = listed["snapshots"].as_array().expect("a list");
        assert_eq!(snapshots.len(), 2, "{listed:#}");
        let id = snapshots[0]["id"].as_str().expect("an id");
        said(&program, &["snapshots", "destroy", id]);
        let refused = sysadmctl(&program, &["snapshots", "destroy", id]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");

        let token = said(&program, &["tokens", "create", "--name", "gui", "--role", "operator"]);
        let mut gui = program.remote(token.trim()).await;
        let answer = gui.call("snapshot", "list", serde_json::json!({})).await;
        assert_eq!(answer.expect("a list")["snapshots"].as_array().map(Vec::len), Some(5));
        drop(gui);
        program.stop().await;
    });
}

/// What a command prints that must succeed.
fn said(program: &Program, arguments: &[&str]) -> String {
    let output = sysadmctl(program, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn sysadmctl(program: &Program, arguments: &[&str]) -> Output {
    command(program).args(arguments).output().expect("sysadmctl runs")
}

fn command(program: &Program) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sysadmctl"));
    command.arg("--socket").arg(&program.socket).stdin(Stdio::null());
    command
}

/// `events tail` until it is dropped, which is `kill -9`.
fn follow(program: &Program, dir: &Path, name: &str) -> Tail {
    let output = File::create(dir.join(name)).expect("a file for the output");
    let mut command = command(program);
    command.args(["--json", "events", "tail", "snapshot.*", "--cursor-file"]);
    let child = command.arg(dir.join("place")).stdout(output).stderr(Stdio::null()).spawn();
    Tail(child.expect("sysadmctl starts"))
}

fn printed(dir: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join(name)).expect("what was printed");
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        // It may be dead already; what counts is that it is gone.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
