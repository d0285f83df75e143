//! The daemon's end of a plugin link, small enough to see what is said on it.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use uuid::Uuid;

/// The plugin as a process of its own, and what it has published.
pub(crate) struct Link {
    child: Child,
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    calls: u64,
    /// Where the plugin keeps its state; it goes with the link.
    pub(crate) dir: PathBuf,
    /// Published and not yet looked at, oldest first.
    pub(crate) events: VecDeque<Value>,
    /// What is looked at when an event comes, before it is acknowledged.
    pub(crate) on_event: Box<dyn FnMut(&Value)>,
}

impl Link {
    /// Starts the plugin with a state directory of its own and this configuration.
    pub(crate) fn start(config: &Value) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("plugin-{}", Uuid::new_v4()));
        fs::create_dir_all(dir.join("state")).unwrap();
        let dir = dir.canonicalize().unwrap();
        // Cargo builds examples with the tests, two folders up from the test's own program.
        let test = std::env::current_exe().unwrap();
        let program = test.ancestors().nth(2).unwrap().join("examples/snapshot-plugin");
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: run cargo test", program.display()));
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut link = Self {
            child,
            input,
            lines,
            calls: 0,
            dir,
            events: VecDeque::new(),
            on_event: Box::new(|_| {}),
        };
        let welcome = json!({
            "protocol": "sysadmd-plugin", "versions": [1],
            "daemon": { "version": "0.1.0", "instance": Uuid::new_v4() },
            "plugin": { "id": "snapshot" }, "credit": 256, "line_bytes": 1 << 20,
            "state_dir": link.dir.join("state"), "config": config,
        });
        link.say(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": welcome }));
        let hello = link.hear().unwrap();
        assert_eq!(hello["result"]["plugin"]["id"], "snapshot", "{hello}");
        link.say(&json!({ "jsonrpc": "2.0", "method": "initialized" }));
        link
    }

    /// Calls a method; an error is the fault.
    pub(crate) fn call(&mut self, method: &str, args: &Value) -> Result<Value, Value> {
        self.calls += 1;
        let (namespace, name) = method.split_once('/').unwrap();
        let ctx = json!({
            "request_id": self.calls.to_string(), "actor": "local:test", "role": "operator",
            "deadline_ms": 60_000,
        });
        let params = json!({ "namespace": namespace, "name": name, "args": args, "ctx": ctx });
        let id = self.calls;
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": "call", "params": params }));
        loop {
            let Some(mut frame) = self.hear() else { panic!("the plugin ended in a call") };
            if frame["method"].is_null() && frame["id"] == id {
                return match frame.get("error") {
                    Some(error) => Err(error["data"].clone()),
                    None => Ok(frame["result"].take()),
                };
            }
        }
    }

    /// The oldest event not looked at yet.
    pub(crate) fn event(&mut self) -> Value {
        let Some(event) = self.events.pop_front() else { panic!("no event was published") };
        event
    }

    /// Ends the plugin by closing its input; returns its exit code.
    pub(crate) fn close(&mut self) -> Option<i32> {
        self.input = None;
        while self.hear().is_some() {}
        self.child.wait().unwrap().code()
    }

    fn say(&mut self, frame: &Value) {
        let mut line = frame.to_string();
        line.push('\n');
        self.input.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// The next frame; events are acknowledged, and collected on the way.
    fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        let frame: Value = serde_json::from_str(&line).unwrap();
        if frame["method"] == "event/publish" {
            let event = frame["params"].clone();
            (self.on_event)(&event);
            self.events.push_back(event);
            let recorded = json!({
                "seq": self.events.len(), "id": Uuid::new_v4(), "time": "2026-11-21T22:20:00Z",
            });
            self.say(&json!({ "jsonrpc": "2.0", "id": frame["id"], "result": recorded }));
            self.say(&json!({ "jsonrpc": "2.0", "method": "event/credit", "params": { "n": 1 } }));
        }
        Some(frame)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _dead = self.child.kill();
        let _dead = self.child.wait();
        let _left = fs::remove_dir_all(&self.dir);
    }
}
