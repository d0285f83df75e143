//! The daemon's end of a plugin link, small enough to see what is said on it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "only tests use it, and a panic is how a test says what is wrong"
)]

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use uuid::Uuid;

/// A plugin as a process of its own, and what it has published.
pub struct Link {
    child: Child,
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    calls: u64,
    /// Where the plugin keeps its state, in `state`.
    pub dir: PathBuf,
    /// Published and not yet looked at, oldest first.
    pub events: VecDeque<Value>,
    /// Alerts that were raised, cleared or told as a whole: method and parameters.
    pub alerts: VecDeque<(String, Value)>,
    /// What is looked at when an event comes, before it is acknowledged.
    pub on_event: Box<dyn FnMut(&Value)>,
}

/// How a plugin is started.
pub struct Start<'a> {
    /// Its id.
    pub id: &'a str,
    /// The program, with what is to be started before it, such as strace.
    pub command: Vec<OsString>,
    /// Its section of the configuration.
    pub config: &'a Value,
}

impl<'a> Start<'a> {
    /// A program that cargo has built as an example of the calling test's crate.
    ///
    /// # Panics
    /// When the test's own program is nowhere.
    pub fn example(id: &'a str, example: &str, config: &'a Value) -> Self {
        let test = std::env::current_exe().expect("the test's own program");
        // Cargo builds examples with the tests, two folders up from the test's own program.
        let folder = test.ancestors().nth(2).expect("a folder of programs");
        Self { id, command: vec![folder.join("examples").join(example).into()], config }
    }
}

impl Link {
    /// Starts a plugin whose state is in `dir`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(dir: &Path, start: &Start<'_>) -> Self {
        Self::try_start(dir, start).expect("the plugin starts")
    }

    /// The same; `None` when it ends before it has said hello.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn try_start(dir: &Path, start: &Start<'_>) -> Option<Self> {
        fs::create_dir_all(dir.join("state")).expect("a directory");
        let dir = dir.canonicalize().expect("a directory");
        let (program, args) = start.command.split_first().expect("a program");
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: run cargo test", program.display()));
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        let mut link = Self {
            child,
            input,
            lines,
            calls: 0,
            dir,
            events: VecDeque::new(),
            alerts: VecDeque::new(),
            on_event: Box::new(|_| {}),
        };
        let welcome = json!({
            "protocol": "sysadmd-plugin", "versions": [1],
            "daemon": { "version": "0.1.0", "instance": Uuid::new_v4() },
            "plugin": { "id": start.id }, "credit": 256, "line_bytes": 1 << 20,
            "state_dir": link.dir.join("state"), "config": start.config,
        });
        let asked = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": welcome });
        link.say(&asked);
        let hello = link.hear()?;
        assert_eq!(hello["result"]["plugin"]["id"], start.id, "{hello}");
        link.say(&json!({ "jsonrpc": "2.0", "method": "initialized" }));
        Some(link)
    }

    /// Calls a method; an error is the fault.
    ///
    /// # Panics
    /// When the plugin ends meanwhile.
    pub fn call(&mut self, method: &str, args: &Value) -> Result<Value, Value> {
        self.try_call(method, args).expect("the plugin lives until the call is over")
    }

    /// The same; `None` when the plugin ends meanwhile.
    ///
    /// # Panics
    /// When a method has no slash.
    pub fn try_call(&mut self, method: &str, args: &Value) -> Option<Result<Value, Value>> {
        let id = self.send(method, args);
        loop {
            let mut frame = self.hear()?;
            if frame["method"].is_null() && frame["id"] == id {
                return Some(match frame.get("error") {
                    Some(error) => Err(error["data"].clone()),
                    None => Ok(frame["result"].take()),
                });
            }
        }
    }

    /// Begins a call and waits for nothing; returns its number.
    ///
    /// # Panics
    /// When a method has no slash.
    pub fn send(&mut self, method: &str, args: &Value) -> u64 {
        self.calls += 1;
        let (namespace, name) = method.split_once('/').expect("a method");
        let ctx = json!({
            "request_id": self.calls.to_string(), "actor": "local:test", "role": "operator",
            "deadline_ms": 60_000,
        });
        let params = json!({ "namespace": namespace, "name": name, "args": args, "ctx": ctx });
        let id = self.calls;
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": "call", "params": params }));
        id
    }

    /// The oldest event not looked at yet.
    ///
    /// # Panics
    /// When there is none.
    pub fn event(&mut self) -> Value {
        let Some(event) = self.events.pop_front() else { panic!("no event was published") };
        event
    }

    /// Ends the plugin by closing its input; returns its exit code.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn close(&mut self) -> Option<i32> {
        self.input = None;
        while self.hear().is_some() {}
        self.child.wait().expect("its end").code()
    }

    /// Kills the plugin (SIGKILL).
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _dead = self.child.kill();
        self.child.wait().expect("its end");
    }

    fn say(&mut self, frame: &Value) {
        let mut line = frame.to_string();
        line.push('\n');
        if let Some(input) = &mut self.input {
            // One that has died meanwhile is heard of by the end of its output.
            let _unheard = input.write_all(line.as_bytes());
        }
    }

    /// The next frame; events and alerts are acknowledged, and collected on the way.
    pub fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).ok()?;
        // Of a line that was torn off nothing is known.
        if length == 0 || !line.ends_with('\n') {
            return None;
        }
        let frame: Value = serde_json::from_str(&line).ok()?;
        let method = frame["method"].as_str().unwrap_or_default();
        if method == "event/publish" {
            let event = frame["params"].clone();
            (self.on_event)(&event);
            self.events.push_back(event);
            let recorded = json!({
                "seq": self.events.len(), "id": Uuid::new_v4(), "time": "2026-11-21T22:20:00Z",
            });
            self.answer(&frame, &recorded);
        } else if method.starts_with("alert/") {
            self.alerts.push_back((method.to_owned(), frame["params"].clone()));
            self.answer(&frame, &json!({}));
        }
        Some(frame)
    }

    fn answer(&mut self, frame: &Value, result: &Value) {
        if !frame["id"].is_null() {
            self.say(&json!({ "jsonrpc": "2.0", "id": frame["id"], "result": result }));
        }
        self.say(&json!({ "jsonrpc": "2.0", "method": "event/credit", "params": { "n": 1 } }));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _dead = self.child.kill();
        let _dead = self.child.wait();
    }
}
