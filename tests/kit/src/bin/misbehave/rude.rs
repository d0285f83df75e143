//! Behaviours that break the protocol, by frames of its own.

use std::io::{BufRead, Write};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio, exit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jsonrpsee_types::Id;
use nix::sys::signal::{SigSet, Signal};
use protocol::link::{Call, Frame, Initialize, Initialized, PluginInfo, VERSIONS, method};
use protocol::{Class, Draft, Fault, Json};

use crate::Order;
use crate::process::linger;

const NAMES: [&str; 22] = [
    "exit-before-hello",
    "silent",
    "slow-hello",
    "refuse",
    "garbage-before-hello",
    "garbage-after-hello",
    "huge-line",
    "endless-line",
    "invalid-utf8",
    "wrong-id",
    "wrong-version",
    "undeclared-class",
    "undeclared-alert",
    "too-loud",
    "flood",
    "flood-notifications",
    "unknown-ids",
    "answer-twice",
    "stop-reading",
    "close-stdout",
    "ignore-shutdown",
    "grandchild",
];

/// What the process re-executes itself as, to be its own grandchild.
pub(crate) const HOLD: &str = "hold-stdout";

/// Serves with frames of its own; `None` when the behaviour is not one of these.
pub(crate) fn serve(order: &Order) -> Option<ExitCode> {
    if order.behaviour == HOLD {
        linger();
    }
    let behaviour = *NAMES.iter().find(|name| **name == order.behaviour)?;
    let rude = Rude { behaviour, order, line_bytes: 1024 * 1024 };
    Some(rude.live())
}

struct Rude<'a> {
    behaviour: &'static str,
    order: &'a Order,
    line_bytes: usize,
}

impl Rude<'_> {
    fn live(mut self) -> ExitCode {
        match self.behaviour {
            "exit-before-hello" => return ExitCode::from(self.small_number(1)),
            "garbage-before-hello" => garbage(),
            "ignore-shutdown" => ignore_sigterm(),
            _ => {}
        }
        for line in std::io::stdin().lock().lines() {
            let Ok(frame) = line.map(|line| Frame::parse(&line)) else { break };
            if let Ok(frame) = frame
                && let Some(code) = self.heard(&frame)
            {
                return code;
            }
        }
        if self.behaviour == "ignore-shutdown" { linger() } else { ExitCode::SUCCESS }
    }

    fn heard(&mut self, frame: &Frame) -> Option<ExitCode> {
        let id = frame.id.clone();
        match (frame.method.as_deref()?, id) {
            _ if self.behaviour == "silent" => {}
            (method::INITIALIZE, Some(id)) => self.hello(id, frame),
            (method::INITIALIZED, None) => self.after_hello(),
            (method::CALL, Some(id)) => self.call(id, frame),
            (method::SHUTDOWN, Some(id)) if self.behaviour != "ignore-shutdown" => {
                say(&Frame::result(id, Json::default()));
                return Some(ExitCode::SUCCESS);
            }
            (method::SHUTDOWN, _) => {}
            (method::HEALTH, Some(id)) => say(&Frame::result(id, Json::default())),
            (other, Some(id)) => say(&Frame::unknown_method(id, other)),
            _ => {}
        }
        None
    }

    fn hello(&mut self, id: Id<'static>, frame: &Frame) {
        let welcome: Option<Initialize> = frame.read_params().ok();
        self.line_bytes = welcome.map_or(self.line_bytes, |welcome| welcome.line_bytes);
        if self.behaviour == "slow-hello" {
            std::thread::sleep(Duration::from_millis(self.order.number.unwrap_or(200)));
        }
        if self.behaviour == "refuse" {
            say(&Frame::fault(id, &Fault::bad_request("this plugin does not want to")));
            return;
        }
        let wrong = |what| self.behaviour == what;
        let hello = Initialized {
            version: if wrong("wrong-version") { 99 } else { VERSIONS[0] },
            plugin: PluginInfo {
                id: if wrong("wrong-id") { "somebody-else" } else { &self.order.id }.to_owned(),
                version: Some("1.2.3".to_owned()),
            },
            features: Vec::new(),
            unavailable: Vec::new(),
        };
        say(&Frame::result(id, Json::of(&hello).unwrap_or_default()));
    }

    fn after_hello(&self) {
        match self.behaviour {
            "garbage-after-hello" => garbage(),
            "huge-line" => {
                let bytes = self.order.number.and_then(|bytes| usize::try_from(bytes).ok());
                let mut line = vec![b'x'; bytes.unwrap_or(self.line_bytes * 2)];
                line.push(b'\n');
                shout(&line);
            }
            "endless-line" => while shout(&[b'x'; 4096]) {},
            "invalid-utf8" => {
                shout(b"{\"jsonrpc\":\"2.0\",\"method\":\"log\",\"params\":\"\xff\xfe\"}\n");
            }
            "undeclared-class" => {
                let draft = |text| Json::of(&Draft::new(class(text))).unwrap_or_default();
                say(&Frame::request(1, method::PUBLISH, draft("never.declared")));
                // A class of another plugin, and one of the daemon.
                say(&Frame::notification(method::PUBLISH, draft("kit.event")));
                say(&Frame::notification(method::PUBLISH, draft("daemon.stopping")));
            }
            "undeclared-alert" => {
                let alert = |kind| {
                    Json::from(serde_json::json!({ "kind": kind, "alerts": [{"kind": kind}] }))
                };
                say(&Frame::request(1, method::ALERT_RAISE, alert("never.declared")));
                // One of the daemon, none at all, and no kind.
                say(&Frame::notification(method::ALERT_CLEAR, alert("daemon.overloaded")));
                say(&Frame::notification(method::ALERT_SYNC, alert("system.disk-full")));
                say(&Frame::notification(method::ALERT_RAISE, alert("No Kind")));
                say(&Frame::notification(method::ALERT_RAISE, Json::default()));
            }
            "too-loud" => {
                let class = format!("{}.event", self.order.id);
                for priority in [11, 256, 1000] {
                    let draft = serde_json::json!({ "class": class, "priority": priority });
                    say(&Frame::notification(method::PUBLISH, Json::from(draft)));
                }
            }
            "flood" => self.flood(true),
            "flood-notifications" => self.flood(false),
            "unknown-ids" => {
                say(&Frame::result(Id::Number(987_654_321), Json::default()));
                say(&Frame::result(Id::Str("nobody".into()), Json::default()));
                say(&Frame::fault(Id::Null, &Fault::bad_request("to nobody")));
            }
            "stop-reading" => linger(),
            "close-stdout" => close_stdout(),
            "grandchild" => grandchild(),
            _ => {}
        }
    }

    /// Ends with the link: a flood must not outlive whom it annoys.
    fn flood(&self, as_requests: bool) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let most = self.order.number.unwrap_or(u64::MAX);
        let class = class(&format!("{}.event", self.order.id));
        std::thread::spawn(move || {
            for i in 0..most {
                let mut draft = Draft::new(class.clone());
                draft.data = serde_json::json!({ "i": i }).into();
                let params = Json::of(&draft).unwrap_or_default();
                let frame = if as_requests {
                    let number = NEXT.fetch_add(1, Ordering::Relaxed);
                    Frame::request(number, method::PUBLISH, params)
                } else {
                    Frame::notification(method::PUBLISH, params)
                };
                if !shout(format!("{}\n", frame.line()).as_bytes()) {
                    break;
                }
            }
        });
    }

    fn call(&self, id: Id<'static>, frame: &Frame) {
        let Ok(call) = frame.read_params::<Call>() else { return };
        let answer = if call.name == "echo" {
            Frame::result(id, Json::from(call.args))
        } else {
            Frame::fault(id, &Fault::not_found(format!("there is no method {}", call.name)))
        };
        say(&answer);
        if self.behaviour == "answer-twice" {
            say(&answer);
        }
    }

    fn small_number(&self, otherwise: u8) -> u8 {
        self.order.number.and_then(|number| u8::try_from(number).ok()).unwrap_or(otherwise)
    }
}

fn garbage() {
    shout(b"starting up...\nnot json at all\n{\"half\": \n[1,2,3]\n\n\"a text\"\n");
}

fn ignore_sigterm() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    // Blocked in the first thread and so in every later one; a failure shows in the test.
    signals.thread_block().ok();
}

/// Puts the null device where standard output was, which closes the link.
fn close_stdout() {
    let replaced = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .map(|null| nix::unistd::dup2_stdout(null.as_fd()));
    drop(replaced);
}

/// Leaves a process behind that holds standard output, and exits.
fn grandchild() -> ! {
    let own = std::env::current_exe().unwrap_or_default();
    let child = Command::new(own).arg(HOLD).stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    exit(i32::from(child.is_err()))
}

fn class(text: &str) -> Class {
    Class::parse(text).unwrap_or_else(|_| exit(64))
}

fn say(frame: &Frame) {
    shout(format!("{}\n", frame.line()).as_bytes());
}

/// Writes bytes as they are; false when nobody takes them any more.
fn shout(bytes: &[u8]) -> bool {
    let mut output = std::io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).is_ok()
}
