//! One life of the plugin under check: says what the daemon would say, notes what comes back.

use std::collections::{BTreeSet, HashMap};
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use jsonrpsee_types::Id;
use protocol::link::{
    Call, CallContext, Credit, Frame, Initialized, METHOD_NOT_FOUND, VERSIONS, fault_of, method,
};
use protocol::{Draft, Json, Role};
use serde_json::{Value, json};

use super::super::child::{Child, Heard};
use super::super::target::{StateDir, Target};

/// Messages that may wait to be looked at; beyond it the plugin's pipe is not read.
const HEARD_QUEUE: usize = 256;
/// How often to look whether the process still runs.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Things of one kind that are noted; more tell nothing new.
const NOTED: usize = 3;

/// What was noticed in all lives together.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) garbage: Vec<String>,
    pub(super) undeclared: BTreeSet<String>,
    pub(super) bad_events: Vec<String>,
    pub(super) overdrawn: bool,
    pub(super) strange_answers: Vec<String>,
    pub(super) events: u64,
    pub(super) last_words: String,
}

/// A started plugin.
pub(super) struct Session<'a> {
    target: &'a Target,
    seen: &'a mut Seen,
    child: Child,
    state: &'a StateDir,
    heard: Receiver<Heard>,
    /// Answers by the number of their request; `None` while one is awaited.
    answers: HashMap<u64, Option<Frame>>,
    last_number: u64,
    /// Events it may still publish, and whether what it publishes is given back.
    credit: u32,
    gives_back: bool,
    output_ended: bool,
}

impl<'a> Session<'a> {
    /// Starts the plugin without a word.
    pub(super) fn start(
        target: &'a Target,
        state: &'a StateDir,
        seen: &'a mut Seen,
    ) -> Result<Self, String> {
        let (said, heard) = sync_channel(HEARD_QUEUE);
        let child = Child::start(target, false, move |heard| said.send(heard).is_ok())
            .map_err(|error| format!("{} cannot be started: {error}", target.program.display()))?;
        Ok(Self {
            target,
            seen,
            child,
            state,
            heard,
            answers: HashMap::new(),
            last_number: 0,
            credit: target.manifest.limits.events_burst,
            gives_back: true,
            output_ended: false,
        })
    }

    /// Starts it and shakes hands.
    pub(super) fn ready(
        target: &'a Target,
        state: &'a StateDir,
        seen: &'a mut Seen,
    ) -> Result<Self, String> {
        let mut session = Self::start(target, state, seen)?;
        session.greet(&json!({}))?;
        Ok(session)
    }

    /// Hands out this much credit in the handshake and gives nothing back by itself.
    pub(super) fn keep_short(&mut self, credit: u32) {
        self.credit = credit;
        self.gives_back = false;
    }

    /// Gives credit, and from now on gives back what is used.
    pub(super) fn give(&mut self, n: u32) {
        self.gives_back = true;
        self.credit = self.credit.saturating_add(n);
        self.notify(method::CREDIT, &json!(Credit { n }));
    }

    /// Shakes hands; the members of `more` are added to `initialize`.
    pub(super) fn greet(&mut self, more: &Value) -> Result<(), String> {
        let manifest = &self.target.manifest;
        let mut params = json!({
            "protocol": protocol::link::PROTOCOL,
            "versions": VERSIONS,
            "daemon": {
                "version": env!("CARGO_PKG_VERSION"),
                "instance": "00000000-0000-8000-8000-000000000000",
            },
            "plugin": { "id": manifest.id },
            "features": ["progress", "note"],
            "credit": self.credit,
            "line_bytes": manifest.limits.line_bytes,
            "state_dir": self.state.path(),
            "config": self.target.config,
        });
        if let (Some(params), Some(more)) = (params.as_object_mut(), more.as_object()) {
            params.extend(more.clone());
        }
        let within = manifest.limits.start_ms;
        let number = self.ask(method::INITIALIZE, &params);
        let answer = self.answer(number, within)?;
        self.judge_hello(&answer)?;
        self.notify(method::INITIALIZED, &Value::Null);
        Ok(())
    }

    fn judge_hello(&self, answer: &Frame) -> Result<(), String> {
        if let Some(error) = &answer.error {
            return Err(format!("it answered initialize with an error: {}", fault_of(error)));
        }
        let hello: Initialized = answer
            .result
            .clone()
            .unwrap_or_default()
            .read()
            .map_err(|error| format!("its answer to initialize is not understood: {error}"))?;
        let manifest = &self.target.manifest;
        if !VERSIONS.contains(&hello.version) {
            return Err(format!("it chose version {}, which was not offered", hello.version));
        }
        if hello.plugin.id != manifest.id {
            return Err(format!("it says its id is {:?}", hello.plugin.id));
        }
        match hello.plugin.version {
            Some(version) if version != manifest.version => Err(format!(
                "it says its version is {version:?}; the manifest says {:?}",
                manifest.version
            )),
            _ => Ok(()),
        }
    }

    /// Sends a request and returns its number.
    pub(super) fn ask(&mut self, name: &str, params: &Value) -> u64 {
        self.last_number += 1;
        self.answers.insert(self.last_number, None);
        self.child.say(&Frame::request(self.last_number, name, Json::from(params.clone())));
        self.last_number
    }

    /// Sends a notification.
    pub(super) fn notify(&mut self, name: &str, params: &Value) {
        self.child.say(&Frame::notification(name, Json::from(params.clone())));
    }

    /// Sends a line as it is.
    pub(super) fn say_line(&mut self, line: &str) {
        self.child.say_line(line);
    }

    /// Sends a call of `namespace/name`; its request id is `check-` and the number it returns.
    pub(super) fn call(&mut self, called: &str, args: &Value) -> u64 {
        let (namespace, name) = called.split_once('/').unwrap_or((called, ""));
        let ctx = CallContext {
            request_id: format!("check-{}", self.last_number + 1),
            actor: "local:check".to_owned(),
            role: Role::Admin,
            deadline_ms: self.target.call_ms(called),
            version: 1,
        };
        let call = Call {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            args: args.clone(),
            ctx,
        };
        self.last_number += 1;
        self.answers.insert(self.last_number, None);
        let params = Json::of(&call).unwrap_or_default();
        self.child.say(&Frame::request(self.last_number, method::CALL, params));
        self.last_number
    }

    /// The answer to request `number`, awaited for at most so many milliseconds.
    pub(super) fn answer(&mut self, number: u64, within_ms: u64) -> Result<Frame, String> {
        let end = Instant::now() + Duration::from_millis(within_ms);
        loop {
            if let Some(Some(answer)) = self.answers.get(&number) {
                return Ok(answer.clone());
            }
            if self.output_ended {
                return Err(match self.exit(1000) {
                    Some(status) => format!("it ended ({status}) instead of answering"),
                    None => "it closed its standard output instead of answering".to_owned(),
                });
            }
            let soon = Instant::now() + LOOK_EVERY;
            if self.hear_until(soon.min(end)) {
                continue;
            }
            // Somebody else may hold its standard output when it has long ended.
            if let Some(status) = self.child.ended() {
                return Err(format!("it ended ({status}) instead of answering"));
            }
            if Instant::now() >= end {
                return Err(format!("no answer within {within_ms} ms"));
            }
        }
    }

    /// Whether request `number` has been answered by now.
    pub(super) fn is_answered(&self, number: u64) -> bool {
        self.answers.get(&number).is_some_and(Option::is_some)
    }

    /// Listens for a while.
    pub(super) fn listen(&mut self, ms: u64) {
        let end = Instant::now() + Duration::from_millis(ms);
        while !self.output_ended && self.hear_until(end) {}
    }

    /// Asks for health.
    pub(super) fn health(&mut self) -> Result<(), String> {
        let number = self.ask(method::HEALTH, &Value::Null);
        let answer = self.answer(number, self.target.manifest.health.timeout_ms)?;
        match answer.error {
            None => Ok(()),
            Some(error) => Err(format!("health was answered with an error: {}", fault_of(&error))),
        }
    }

    /// Closes its standard input.
    pub(super) fn close_input(&mut self) {
        self.child.close_input();
    }

    /// How it ended, awaited for at most so many milliseconds.
    pub(super) fn exit(&mut self, within_ms: u64) -> Option<ExitStatus> {
        let end = Instant::now() + Duration::from_millis(within_ms);
        loop {
            if let Some(status) = self.child.ended() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            if self.output_ended {
                std::thread::sleep(LOOK_EVERY);
            } else {
                self.hear_until(end.min(Instant::now() + LOOK_EVERY));
            }
        }
    }

    /// What is left of it after its end: processes of its group, or a standard output that
    /// somebody still holds.
    pub(super) fn remains(&mut self, within_ms: u64) -> Option<String> {
        self.listen(within_ms);
        let group = self.child.group();
        if !group.is_empty() {
            return Some(format!("still running: {}", group.join(", ")));
        }
        (!self.output_ended).then(|| "somebody still holds its standard output open".to_owned())
    }

    /// Takes in one message; false when none came in time.
    fn hear_until(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        match self.heard.recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) | Ok(Heard::End) => self.output_ended = true,
            Ok(Heard::Garbage(why)) => note(&mut self.seen.garbage, why),
            Ok(Heard::Message(frame)) => self.message(frame),
        }
        true
    }

    fn message(&mut self, frame: Frame) {
        match (frame.method.as_deref(), frame.id.clone()) {
            (None, id) => self.answered(id.as_ref(), frame),
            (Some(method::PUBLISH), id) => self.published(id, &frame),
            (Some(name), Some(id)) => {
                let refusal = Frame::unknown_method(id, name);
                self.child.say(&refusal);
            }
            // `progress`, `log` and what this version does not know.
            (Some(_), None) => {}
        }
    }

    fn answered(&mut self, id: Option<&Id<'static>>, frame: Frame) {
        let strange = match id {
            Some(Id::Number(number)) => match self.answers.get_mut(number) {
                Some(place @ None) => {
                    *place = Some(frame);
                    return;
                }
                Some(Some(_)) => format!("request {number} was answered twice"),
                None => format!("an answer to request {number}, which nobody made"),
            },
            _ => "an answer whose id is no number of ours".to_owned(),
        };
        note(&mut self.seen.strange_answers, strange);
    }

    fn published(&mut self, id: Option<Id<'static>>, frame: &Frame) {
        self.seen.events += 1;
        match frame.read_params::<Draft>().map_err(|error| error.to_string()) {
            Ok(draft) => {
                if self.target.manifest.class(&draft.class).is_none() {
                    self.seen.undeclared.insert(draft.class.to_string());
                } else if let Err(sentence) = draft.check() {
                    note(&mut self.seen.bad_events, sentence);
                }
            }
            Err(error) => note(&mut self.seen.bad_events, error),
        }
        match self.credit.checked_sub(1) {
            Some(left) => self.credit = left,
            None => self.seen.overdrawn = true,
        }
        if let Some(id) = id {
            let result = json!({
                "seq": self.seen.events,
                "id": format!("00000000-0000-8000-8000-{:012x}", self.seen.events),
                "time": "2026-01-01T00:00:00.000000Z",
            });
            self.child.say(&Frame::result(id, Json::from(result)));
        }
        if self.gives_back {
            self.give(1);
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.child.stop(Duration::from_millis(200));
        let words = self.child.last_words();
        if !words.is_empty() {
            self.seen.last_words = words;
        }
    }
}

/// Whether an answer says that the method is unknown to the link.
pub(super) fn is_unknown_method(answer: &Frame) -> bool {
    answer.error.as_ref().is_some_and(|error| error.code() == METHOD_NOT_FOUND)
}

fn note(list: &mut Vec<String>, what: String) {
    if list.len() < NOTED {
        list.push(what);
    }
}
