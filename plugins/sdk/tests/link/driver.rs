//! A plugin process and somebody who plays the daemon.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Nothing here takes a tenth of it; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The process; killed when dropped.
pub(crate) struct Plugin {
    process: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Plugin {
    pub(crate) fn start(program: &Path, args: &[&str]) -> Self {
        let mut process = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (heard, lines) = sync_channel(64);
        thread::spawn(move || {
            for line in output.lines() {
                if line.is_err() || line.is_ok_and(|line| heard.send(line).is_err()) {
                    break;
                }
            }
        });
        Self { input: process.stdin.take(), process, lines }
    }

    /// A kit plugin that behaves like this, after the handshake.
    pub(crate) fn kit(behaviour: &str) -> Self {
        let mut plugin = Self::start(kit::plugins::program(), &[behaviour]);
        plugin.greet("kit", 256, 1024 * 1024);
        plugin
    }

    pub(crate) fn hello() -> Self {
        let program = kit::plugins::workspace_program("sysadmd-example-hello", "hello");
        Self::start(&program, &[])
    }

    pub(crate) fn greet(&mut self, id: &str, credit: u32, line_bytes: usize) {
        let params = json!({
            "protocol": "sysadmd-plugin", "versions": [1], "plugin": { "id": id },
            "daemon": { "version": "0", "instance": "7d444840-9dc0-8003-8000-0000000004d2" },
            "features": ["progress"], "credit": credit, "line_bytes": line_bytes,
            "state_dir": "/nowhere", "config": { "colour": "blue" },
        });
        self.send(&json!({"jsonrpc":"2.0","id":1,"method":"initialize","params":params}));
        assert_eq!(self.next()["result"]["version"], 1);
        self.send(&json!({"jsonrpc":"2.0","method":"initialized","params":null}));
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.send_line(&message.to_string());
    }

    pub(crate) fn send_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input has been closed");
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Calls `kit/NAME`; the request id is the number's text.
    pub(crate) fn call(&mut self, number: u64, name: &str, args: &Value) {
        let ctx = json!({
            "request_id": number.to_string(), "actor": "local:root", "role": "admin",
            "deadline_ms": 60_000,
        });
        let params = json!({ "namespace": "kit", "name": name, "args": args, "ctx": ctx });
        self.send(&json!({ "jsonrpc": "2.0", "id": number, "method": "call", "params": params }));
    }

    pub(crate) fn request(&mut self, number: u64, method: &str, params: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": number, "method": method, "params": params }));
    }

    /// The next message; a line that is no JSON fails the test.
    pub(crate) fn next(&mut self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).expect("the plugin says nothing more");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
    }

    /// The next message that is not `progress` or `log`.
    pub(crate) fn next_answer(&mut self) -> Value {
        loop {
            let message = self.next();
            if !["progress", "note", "log"].iter().any(|told| message["method"] == *told) {
                return message;
            }
        }
    }

    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Waits for its end; what it still said stays to be read with [`Plugin::next`].
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "the plugin does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has closed its output without saying anything more.
    pub(crate) fn says_nothing_more(&mut self) -> bool {
        matches!(self.lines.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
