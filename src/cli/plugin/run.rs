//! `sysadmctl plugin run`: a plugin on the desk. What a person types is called, what the plugin
//! says is shown.

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use jsonrpsee_types::Id;
use protocol::link::{
    Call, CallContext, Credit, Frame, Log, PROTOCOL, Progress, Published, VERSIONS, fault_of,
    method,
};
use protocol::{Draft, Fault, Json, Role};
use serde_json::{Value, json};

use super::child::{Child, Heard};
use super::target::{StateDir, Target, TargetArgs};
use super::{NO_INPUT, Problem, print, print_json, printable};

/// Lines from either side that may wait to be shown; beyond it the writer waits.
const QUEUE: usize = 64;

/// Which plugin to run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Type calls, one a line: say {\"to\": \"x\"}, or NAMESPACE/NAME {…}.\n\
                        `cancel` cancels the calls that run, `help` lists the methods, the end of \
                        the input (Ctrl-D) shuts the plugin down.")]
pub(crate) struct Run {
    #[command(flatten)]
    target: TargetArgs,
    /// The actor to call as
    #[arg(long, default_value = "local:root")]
    actor: String,
}

enum Input {
    Typed(String),
    TypedAll,
    Heard(Heard),
}

/// Runs the plugin until the input ends or the plugin does.
pub(crate) fn run(run: &Run, json: bool) -> Result<ExitCode, Problem> {
    let target = Target::find(&run.target)?
        .map_err(|found| Problem::new(NO_INPUT, format!("manifest.json: {found}")))?;
    let state = StateDir::make()?;
    let (said, inputs) = sync_channel(QUEUE);
    let heard = said.clone();
    let child = Child::start(&target, true, move |what| heard.send(Input::Heard(what)).is_ok())
        .map_err(|error| {
            Problem::new(NO_INPUT, format!("cannot start {}: {error}", target.program.display()))
                .with_hint("is it built, and is it executable?")
        })?;
    let mut desk =
        Desk { target: &target, actor: &run.actor, child, json, calls: 0, waiting: 0, events: 0 };
    if !desk.greet(&state, &inputs)? {
        return Ok(ExitCode::FAILURE);
    }
    if !json && io::stdin().is_terminal() {
        desk.help()?;
    }
    thread::spawn(move || type_in(&said));
    desk.work(&inputs)
}

fn type_in(said: &SyncSender<Input>) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        if said.send(Input::Typed(line)).is_err() {
            return;
        }
    }
    // The desk has closed already when nobody takes it.
    said.send(Input::TypedAll).ok();
}

struct Desk<'a> {
    target: &'a Target,
    actor: &'a str,
    child: Child,
    json: bool,
    /// The number of the last request.
    calls: u64,
    waiting: usize,
    events: u64,
}

impl Desk<'_> {
    fn greet(&mut self, state: &StateDir, inputs: &Receiver<Input>) -> Result<bool, Problem> {
        let limits = &self.target.manifest.limits;
        let params = json!({
            "protocol": PROTOCOL,
            "versions": VERSIONS,
            "daemon": {
                "version": env!("CARGO_PKG_VERSION"),
                "instance": "00000000-0000-8000-8000-000000000000",
            },
            "plugin": { "id": self.target.manifest.id },
            "features": ["progress", "note"],
            "credit": limits.events_burst,
            "line_bytes": limits.line_bytes,
            "state_dir": state.path(),
            "config": self.target.config,
        });
        self.calls += 1;
        self.child.say(&Frame::request(self.calls, method::INITIALIZE, Json::from(params)));
        let end = Instant::now() + Duration::from_millis(limits.start_ms);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(Input::Heard(heard)) = inputs.recv_timeout(left) else {
                self.remark("the plugin did not answer initialize in time")?;
                return Ok(false);
            };
            match heard {
                Heard::Message(frame) if frame.id == Some(Id::Number(self.calls)) => {
                    return self.greeted(&frame);
                }
                Heard::Message(frame) => {
                    self.remark(&format!("before its hello: {}", frame.line()))?;
                }
                Heard::Garbage(why) => self.remark(&why)?,
                Heard::End => {
                    self.remark("the plugin ended before its hello")?;
                    return Ok(false);
                }
            }
        }
    }

    fn greeted(&mut self, frame: &Frame) -> Result<bool, Problem> {
        if let Some(error) = &frame.error {
            self.remark(&format!("the plugin refused to start: {}", fault_of(error)))?;
            return Ok(false);
        }
        self.child.say(&Frame::notification(method::INITIALIZED, Json::default()));
        Ok(true)
    }

    fn work(mut self, inputs: &Receiver<Input>) -> Result<ExitCode, Problem> {
        let mut typed_all = false;
        loop {
            if typed_all && self.waiting == 0 {
                return self.close(inputs);
            }
            match inputs.recv() {
                Ok(Input::Typed(line)) => self.typed(line.trim())?,
                Ok(Input::TypedAll) => typed_all = true,
                Ok(Input::Heard(Heard::Message(frame))) => self.heard(&frame)?,
                Ok(Input::Heard(Heard::Garbage(why))) => self.remark(&why)?,
                Ok(Input::Heard(Heard::End)) | Err(_) => {
                    self.child.stop(Duration::from_secs(1));
                    let how = self.child.ended().map_or_else(
                        || "closed its standard output".to_owned(),
                        |status| format!("ended: {status}"),
                    );
                    self.remark(&format!("the plugin {how}"))?;
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
    }

    fn typed(&mut self, line: &str) -> Result<(), Problem> {
        let (called, args) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match called {
            "" => return Ok(()),
            "help" => return self.help(),
            "cancel" => {
                for number in 1..=self.calls {
                    let params = json!({ "request_id": number.to_string() });
                    self.child.say(&Frame::notification(method::CANCEL, Json::from(params)));
                }
                return Ok(());
            }
            _ => {}
        }
        let args = if args.trim().is_empty() { "null" } else { args };
        match serde_json::from_str(args) {
            Ok(args) => self.call(called, args),
            Err(error) => self.remark(&format!("the arguments are not JSON: {error}"))?,
        }
        Ok(())
    }

    fn call(&mut self, called: &str, args: Value) {
        let methods = &self.target.manifest.methods;
        let (namespace, name) = called.split_once('/').unwrap_or_else(|| {
            let declared = methods.iter().filter_map(|method| method.method.split_once('/'));
            let of_name = declared.clone().find(|(_, name)| *name == called);
            (of_name.map_or(self.target.manifest.id.as_str(), |(namespace, _)| namespace), called)
        });
        self.calls += 1;
        self.waiting += 1;
        let ctx = CallContext {
            request_id: self.calls.to_string(),
            actor: self.actor.to_owned(),
            role: Role::Admin,
            deadline_ms: self.target.call_ms(&format!("{namespace}/{name}")),
            version: 1,
        };
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let params = Json::of(&Call { namespace, name, args, ctx }).unwrap_or_default();
        self.child.say(&Frame::request(self.calls, method::CALL, params));
    }

    fn heard(&mut self, frame: &Frame) -> Result<(), Problem> {
        if self.json {
            print(&frame.line())?;
        }
        let id = frame.id.clone();
        match (frame.method.as_deref(), id) {
            (None, Some(Id::Number(number))) if number <= self.calls => {
                self.waiting = self.waiting.saturating_sub(1);
                let shown = match (&frame.error, &frame.result) {
                    (Some(error), _) => format!("[{number}] fault: {}", fault_of(error)),
                    (None, Some(result)) => format!("[{number}] {}", result.text()),
                    (None, None) => format!("[{number}] null"),
                };
                self.show(&shown)
            }
            (None, _) => self.remark(&format!("an answer to nothing: {}", frame.line())),
            (Some(method::PUBLISH), id) => self.published(id, frame),
            (Some(method::PROGRESS), None) => self.progress(frame),
            (Some(method::LOG), None) => match frame.read_params::<Log>() {
                Ok(log) => self.show(&format!("log {}: {}", log.level, log.message)),
                Err(error) => self.remark(&format!("log: {error}")),
            },
            (Some(name), id) => {
                let shown = format!("a message that the daemon does not know: {name}");
                if let Some(id) = id {
                    self.child.say(&Frame::unknown_method(id, name));
                }
                self.remark(&shown)
            }
        }
    }

    fn progress(&self, frame: &Frame) -> Result<(), Problem> {
        match frame.read_params::<Progress>() {
            Ok(progress) => {
                let total = progress.total.map(|total| format!("/{total}")).unwrap_or_default();
                let Progress { request_id, done, unit, message, .. } = progress;
                self.show(&format!("[{request_id}] progress: {done}{total} {unit} {message}"))
            }
            Err(error) => self.remark(&format!("progress: {error}")),
        }
    }

    fn published(&mut self, id: Option<Id<'static>>, frame: &Frame) -> Result<(), Problem> {
        let outcome = frame
            .read_params::<Draft>()
            .map_err(|error| Fault::bad_request(format!("event/publish: {error}")))
            .and_then(|draft| self.accept(&draft));
        let answer = match &outcome {
            Ok((published, _)) => Json::of(published).map_err(|_| Fault::internal()),
            Err(fault) => Err(fault.clone()),
        };
        if let Some(id) = id {
            self.child.say(&match answer {
                Ok(result) => Frame::result(id, result),
                Err(fault) => Frame::fault(id, &fault),
            });
        }
        let credit = Json::of(&Credit { n: 1 }).unwrap_or_default();
        self.child.say(&Frame::notification(method::CREDIT, credit));
        match outcome {
            Ok((_, shown)) => self.show(&shown),
            Err(fault) => self.remark(&format!("refused an event: {fault}")),
        }
    }

    /// What the daemon would do with the event, and how to show it.
    fn accept(&mut self, draft: &Draft) -> Result<(Published, String), Fault> {
        let declared = self.target.manifest.class(&draft.class).ok_or_else(|| {
            Fault::bad_request(format!("the class {} is not in the manifest", draft.class))
        })?;
        draft.check().map_err(Fault::bad_request)?;
        self.events += 1;
        let priority = draft.priority.unwrap_or(declared.priority_default);
        let Draft { class, subject, message, data, .. } = draft;
        let shown = format!(
            "event {} {class} ({}) {subject} {message} {}",
            self.events,
            priority.min(declared.priority_max),
            data.text()
        );
        let published = json!({
            "seq": self.events,
            "id": format!("00000000-0000-8000-8000-{:012x}", self.events),
            "time": "2026-01-01T00:00:00.000000Z",
        });
        let published = serde_json::from_value(published).map_err(|_| Fault::internal())?;
        Ok((published, shown))
    }

    /// Shuts the plugin down and shows its last words.
    fn close(mut self, inputs: &Receiver<Input>) -> Result<ExitCode, Problem> {
        let stop_ms = self.target.manifest.limits.stop_ms;
        self.calls += 1;
        let params = json!({ "reason": "end of input", "grace_ms": stop_ms });
        self.child.say(&Frame::request(self.calls, method::SHUTDOWN, Json::from(params)));
        let end = Instant::now() + Duration::from_millis(stop_ms);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match inputs.recv_timeout(left) {
                Ok(Input::Heard(Heard::Message(frame))) => {
                    if frame.method.is_none() && frame.id == Some(Id::Number(self.calls)) {
                        break;
                    }
                    self.heard(&frame)?;
                }
                Ok(Input::Heard(Heard::Garbage(why))) => self.remark(&why)?,
                Ok(Input::Typed(_) | Input::TypedAll) => {}
                Ok(Input::Heard(Heard::End)) | Err(_) => break,
            }
        }
        self.child.stop(end.saturating_duration_since(Instant::now()));
        match self.child.ended() {
            Some(status) if status.success() => Ok(ExitCode::SUCCESS),
            Some(status) => {
                self.remark(&format!("the plugin ended: {status}"))?;
                Ok(ExitCode::FAILURE)
            }
            None => {
                self.remark(&format!("the plugin still ran {stop_ms} ms after shutdown"))?;
                Ok(ExitCode::FAILURE)
            }
        }
    }

    fn help(&self) -> Result<(), Problem> {
        self.show("type calls, one a line; these are the methods:")?;
        for known in &self.target.manifest.methods {
            let example = known.examples.first().map(|example| example.args.to_string());
            let (name, args) = (&known.method, example.unwrap_or_default());
            self.show(&format!("  {name} {args}  {}", known.summary))?;
        }
        Ok(())
    }

    fn show(&self, text: &str) -> Result<(), Problem> {
        if self.json { Ok(()) } else { print(&printable(text)) }
    }

    fn remark(&self, text: &str) -> Result<(), Problem> {
        if self.json {
            print_json(&json!({ "remark": text }))
        } else {
            print(&format!("! {}", printable(text)))
        }
    }
}
