//! From the first line to the last: reads what the daemon says and sees that it is done.

use std::any::Any;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::{Duration, Instant};

use jsonrpsee_types::Id;
use protocol::link::{
    self, Call, Cancel, Credit, Frame, Initialize, Initialized, PluginInfo, Shutdown, Unavailable,
    method,
};
use protocol::{Fault, FaultKind, Json, Manifest, Request};
use serde_json::Value;

use crate::call::Running;
use crate::link::{Link, Output, locked};
use crate::pool::Pool;
use crate::{Context, Level, Plugin};

/// How long running calls get to notice that the daemon has died.
const EOF_GRACE: Duration = Duration::from_millis(500);
/// Answers other than to calls that may wait to be written; beyond it reading pauses.
const CONTROL_QUEUE: usize = 64;

// Exit codes from `sysexits.h`.
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const OS_ERROR: u8 = 71;
const PROTOCOL_ERROR: u8 = 76;
const CONFIG: u8 = 78;

/// Serves the daemon on standard input and output until it says `shutdown` or is gone, and returns
/// the code to exit with: return it from `main`, since threads may still run.
///
/// `manifest` is the text of the plugin's `manifest.json`, usually by `include_str!`. From here on
/// the process's standard input is empty and what it prints goes to standard error, that is, to the
/// daemon's log.
pub fn serve(manifest: &str, plugin: impl Plugin) -> ExitCode {
    let manifest = match Manifest::parse(manifest) {
        Ok(manifest) => manifest,
        Err(error) => return refuse(CONFIG, &format!("manifest: {error}")),
    };
    if io::stdin().is_terminal() {
        return refuse(
            USAGE,
            "this program is a sysadmd plugin; try it with `sysadmctl plugin run DIRECTORY`",
        );
    }
    match private_stdio() {
        Ok((input, output)) => ExitCode::from(run(manifest, plugin, input, Box::new(output))),
        Err(error) => refuse(OS_ERROR, &format!("standard input and output: {error}")),
    }
}

fn refuse(code: u8, sentence: &str) -> ExitCode {
    // Nobody to tell if standard error is closed.
    drop(writeln!(io::stderr(), "{sentence}"));
    ExitCode::from(code)
}

/// Moves the link to descriptors that neither `println!` nor a child program can reach.
fn private_stdio() -> io::Result<(File, File)> {
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok((input, output))
}

/// The whole life of a plugin over any pair of streams; returns its exit code.
pub(crate) fn run(
    manifest: Manifest,
    plugin: impl Plugin,
    input: impl Read + Send + 'static,
    output: Output,
) -> u8 {
    let mut lines = Lines { most: manifest.limits.line_bytes, input: BufReader::new(input) };
    let link = match greet(manifest, &plugin, &mut lines, output) {
        Ok(Some(link)) => Arc::new(link),
        Ok(None) => return 0,
        Err(sentence) => {
            drop(writeln!(io::stderr(), "{sentence}"));
            return PROTOCOL_ERROR;
        }
    };
    // The first end counts; later ones find the place taken.
    let (ended, end) = sync_channel(1);
    let (control, controls) = sync_channel(CONTROL_QUEUE);
    let server = Arc::new(Server {
        plugin: Box::new(plugin),
        pool: Pool::new(link.manifest.limits.calls),
        calls: Mutex::new(HashMap::new()),
        stopping: AtomicBool::new(false),
        link,
        ended,
    });
    let reader = Arc::clone(&server);
    let controller = Arc::clone(&server);
    let threads = [
        Builder::new().name("read".to_owned()).spawn(move || reader.read(lines, &control)),
        Builder::new().name("control".to_owned()).spawn(move || controller.control(&controls)),
    ];
    if threads.iter().any(Result::is_err) {
        return OS_ERROR;
    }
    end.recv().unwrap_or(0)
}

/// Reads and answers `initialize`; `None` when the daemon went away before.
fn greet(
    manifest: Manifest,
    plugin: &impl Plugin,
    lines: &mut Lines<impl Read>,
    mut output: Output,
) -> Result<Option<Link>, String> {
    let Some(line) = lines.next()? else { return Ok(None) };
    let frame = Frame::parse(&line).map_err(|error| format!("not a JSON-RPC object: {error}"))?;
    let (Some(method::INITIALIZE), Some(id)) = (frame.method.as_deref(), frame.id.clone()) else {
        return Err("the first message must be the request `initialize`".to_owned());
    };
    let outcome = welcome(&manifest, &frame);
    let answer = match &outcome {
        Ok(welcome) => Frame::result(id, hello(&manifest, plugin.unavailable(&welcome.config))),
        Err(sentence) => Frame::fault(id, &Fault::bad_request(sentence.as_str())),
    };
    let mut line = answer.line();
    line.push('\n');
    if output.write_all(line.as_bytes()).and_then(|()| output.flush()).is_err() {
        return Ok(None);
    }
    let welcome = outcome?;
    lines.most = welcome.line_bytes;
    Ok(Some(Link::new(manifest, welcome, output)))
}

fn welcome(manifest: &Manifest, frame: &Frame) -> Result<Initialize, String> {
    let welcome: Initialize =
        frame.read_params().map_err(|error| format!("initialize: {error}"))?;
    if welcome.protocol != link::PROTOCOL {
        return Err(format!("expected protocol {:?}, got {:?}", link::PROTOCOL, welcome.protocol));
    }
    if !welcome.versions.contains(&link::VERSIONS[0]) {
        return Err(format!(
            "this plugin speaks protocol version {}, the daemon {:?}",
            link::VERSIONS[0],
            welcome.versions
        ));
    }
    if welcome.plugin.id != manifest.id {
        return Err(format!("this plugin is {:?}, not {:?}", manifest.id, welcome.plugin.id));
    }
    Ok(welcome)
}

fn hello(manifest: &Manifest, unavailable: Vec<Unavailable>) -> Json {
    let hello = Initialized {
        version: link::VERSIONS[0],
        plugin: PluginInfo { id: manifest.id.clone(), version: Some(manifest.version.clone()) },
        features: Vec::new(),
        unavailable,
    };
    Json::of(&hello).unwrap_or_default()
}

/// Lines of bounded length.
struct Lines<R> {
    input: BufReader<R>,
    most: usize,
}

impl<R: Read> Lines<R> {
    /// The next line that is not empty; `None` at the end, also when the link broke.
    fn next(&mut self) -> Result<Option<String>, String> {
        loop {
            let mut line = Vec::new();
            let room = u64::try_from(self.most).unwrap_or(u64::MAX).saturating_add(1);
            let read = self.input.by_ref().take(room).read_until(b'\n', &mut line);
            if read.is_err() || line.is_empty() {
                return Ok(None);
            }
            if line.last() != Some(&b'\n') {
                if line.len() > self.most {
                    return Err(format!("the daemon sent a line of more than {} bytes", self.most));
                }
                // The end in the middle of a line: what there is of it was never said.
                return Ok(None);
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return String::from_utf8(line)
                .map(Some)
                .map_err(|_| "the daemon sent a line that is not UTF-8".to_owned());
        }
    }
}

struct Server {
    plugin: Box<dyn Plugin>,
    link: Arc<Link>,
    pool: Pool,
    calls: Mutex<HashMap<String, Arc<Running>>>,
    /// `shutdown` was heard: no more calls.
    stopping: AtomicBool,
    ended: SyncSender<u8>,
}

/// What is neither a call nor read at once.
enum Control {
    Health(Id<'static>),
    Unknown(Id<'static>, String),
    Refuse(Id<'static>, Fault),
    Shutdown(Id<'static>, Shutdown, Instant),
}

impl Server {
    fn read(self: &Arc<Self>, mut lines: Lines<impl Read>, control: &SyncSender<Control>) {
        loop {
            match lines.next() {
                Ok(Some(line)) => match Frame::parse(&line) {
                    Ok(frame) => self.heard(frame, control),
                    Err(error) => self.complain(&format!("a line that is no message: {error}")),
                },
                Ok(None) => return self.left_alone(0),
                Err(sentence) => {
                    self.complain(&sentence);
                    return self.left_alone(PROTOCOL_ERROR);
                }
            }
        }
    }

    fn complain(&self, sentence: &str) {
        drop(writeln!(io::stderr(), "{}: {sentence}", self.link.actor));
    }

    /// The daemon is gone. Nothing can be said any more, so end what runs and go.
    fn left_alone(&self, code: u8) {
        self.link.close();
        self.pool.drained_by(Instant::now() + EOF_GRACE);
        self.end(code);
    }

    fn end(&self, code: u8) {
        // Full means that another end came first.
        self.ended.try_send(code).ok();
    }

    fn heard(self: &Arc<Self>, frame: Frame, control: &SyncSender<Control>) {
        let Some(name) = frame.method.clone() else {
            return self.link.answered(frame);
        };
        match (name.as_str(), frame.id.clone()) {
            (method::CALL, Some(id)) => {
                if let Err(fault) = self.called(id.clone(), &frame) {
                    drop(control.send(Control::Refuse(id, fault)));
                }
            }
            (method::HEALTH, Some(id)) => drop(control.send(Control::Health(id))),
            (method::SHUTDOWN, Some(id)) => {
                self.stopping.store(true, Ordering::Release);
                let asked = frame
                    .read_params()
                    .unwrap_or_else(|_| Shutdown { reason: String::new(), grace_ms: 0 });
                drop(control.send(Control::Shutdown(id, asked, Instant::now())));
            }
            (_, Some(id)) => drop(control.send(Control::Unknown(id, name))),
            (method::CANCEL, None) => self.cancel(&frame),
            (method::CREDIT, None) => match frame.read_params::<Credit>() {
                Ok(credit) => self.link.give_credit(credit.n),
                Err(error) => self.complain(&format!("event/credit: {error}")),
            },
            (method::INITIALIZED, None) => self.start(),
            _ => {}
        }
    }

    fn start(self: &Arc<Self>) {
        let server = Arc::clone(self);
        let begin = move || {
            let ctx = Context::new(Arc::clone(&server.link), None);
            match guarded(|| server.plugin.start(&ctx)) {
                Ok(()) => server.pool.open(),
                Err(fault) => {
                    ctx.log(Level::Error, &format!("cannot start: {fault}"));
                    server.end(UNAVAILABLE);
                }
            }
        };
        if Builder::new().name("start".to_owned()).spawn(begin).is_err() {
            self.end(OS_ERROR);
        }
    }

    fn cancel(&self, frame: &Frame) {
        let Ok(Cancel { request_id }) = frame.read_params() else {
            return self.complain("cancel without request_id");
        };
        let call = locked(&self.calls).get(&request_id).cloned();
        if let Some(call) = call {
            call.cancel();
            self.link.wake();
        }
    }

    fn called(self: &Arc<Self>, id: Id<'static>, frame: &Frame) -> Result<(), Fault> {
        let call: Call =
            frame.read_params().map_err(|error| Fault::bad_request(format!("call: {error}")))?;
        if self.stopping.load(Ordering::Acquire) {
            return Err(Fault::new(FaultKind::Unavailable, "the plugin is shutting down"));
        }
        let request = Request { namespace: call.namespace, name: call.name, args: call.args };
        let running = Arc::new(Running::new(call.ctx, Instant::now()));
        let request_id = running.who.request_id.clone();
        locked(&self.calls).insert(request_id.clone(), Arc::clone(&running));
        let server = Arc::clone(self);
        let work = move || {
            let request_id = running.who.request_id.clone();
            let ctx = Context::new(Arc::clone(&server.link), Some(running));
            let outcome = guarded(|| server.plugin.call(&ctx, &request));
            locked(&server.calls).remove(&request_id);
            server.link.answer(id, outcome);
        };
        self.pool.submit(Box::new(work)).map_err(|_| {
            locked(&self.calls).remove(&request_id);
            Fault::new(FaultKind::TooMany, "the plugin is busy with other calls")
                .with_retry_after_ms(1000)
        })
    }

    fn control(self: &Arc<Self>, controls: &Receiver<Control>) {
        let ctx = Context::new(Arc::clone(&self.link), None);
        for message in controls {
            match message {
                Control::Health(id) => match guarded(|| self.plugin.health(&ctx)) {
                    Ok(value) => self.link.answer(id, Ok(value)),
                    // To the daemon any answer means well; only silence says otherwise.
                    Err(fault) => ctx.log(Level::Warn, &format!("not well: {fault}")),
                },
                Control::Unknown(id, name) => self.link.answer_unknown(id, &name),
                Control::Refuse(id, fault) => self.link.answer(id, Err(fault)),
                Control::Shutdown(id, asked, since) => self.shut_down(id, asked, since),
            }
        }
    }

    /// Ends the plugin from a thread of its own, so that what comes meanwhile is still answered.
    fn shut_down(self: &Arc<Self>, id: Id<'static>, asked: Shutdown, since: Instant) {
        let server = Arc::clone(self);
        let end = move || {
            let ctx = Context::new(Arc::clone(&server.link), None);
            server.finish(&ctx, &asked, since);
            server.link.answer(id, Ok(Value::Null));
            server.end(0);
        };
        if Builder::new().name("shutdown".to_owned()).spawn(end).is_err() {
            self.end(OS_ERROR);
        }
    }

    /// Lets running calls finish: half of the grace as they like, the other half asked to stop.
    fn finish(&self, ctx: &Context, asked: &Shutdown, since: Instant) {
        let grace = Duration::from_millis(asked.grace_ms.min(3_600_000));
        if !self.pool.drained_by(since + grace / 2) {
            self.link.end();
            self.pool.drained_by(since + grace * 9 / 10);
        }
        self.link.end();
        drop(guarded(|| {
            self.plugin.shutdown(ctx);
            Ok(())
        }));
    }
}

/// Runs the plugin's code; a panic becomes a fault for whoever asked.
fn guarded<T>(code: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // The plugin is shared by reference and sees its own locks poisoned: it can tell.
    catch_unwind(AssertUnwindSafe(code)).unwrap_or_else(|panic: Box<dyn Any + Send>| {
        drop(panic);
        Err(Fault::new(FaultKind::Internal, "the plugin hit a defect of its own in this call")
            .with_hint("the cause is in the daemon's log"))
    })
}

#[cfg(test)]
mod tests;
