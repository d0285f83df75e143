//! The plugin's end of the link: writes lines, counts credit, waits for answers. It does not read.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jsonrpsee_types::Id;
use protocol::link::{Frame, Initialize, Published, fault_of, method};
use protocol::{Class, Draft, Fault, FaultKind, Json, Manifest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where lines go.
pub(crate) type Output = Box<dyn Write + Send>;

type Waiting = SyncSender<Result<Json, Fault>>;

pub(crate) struct Link {
    pub(crate) manifest: Manifest,
    pub(crate) welcome: Initialize,
    /// `plugin:ID`, the actor of whatever the plugin does unasked.
    pub(crate) actor: String,
    output: Mutex<Output>,
    credit: Mutex<Credit>,
    /// Told when `credit` or anything that ends a wait has changed.
    changed: Condvar,
    ending: AtomicBool,
    /// Publishers that wait for an answer: never more than threads that publish.
    waiting: Mutex<HashMap<u64, Waiting>>,
    last_id: AtomicU64,
}

struct Credit {
    left: u32,
    closed: bool,
}

impl Link {
    pub(crate) fn new(manifest: Manifest, welcome: Initialize, output: Output) -> Self {
        Self {
            actor: format!("plugin:{}", manifest.id),
            credit: Mutex::new(Credit { left: welcome.credit, closed: false }),
            manifest,
            welcome,
            output: Mutex::new(output),
            changed: Condvar::new(),
            ending: AtomicBool::new(false),
            waiting: Mutex::new(HashMap::new()),
            last_id: AtomicU64::new(0),
        }
    }

    /// Answers a request. An answer that does not fit into a line becomes a fault.
    pub(crate) fn answer(&self, id: Id<'static>, outcome: Result<Value, Fault>) {
        let frame = match outcome {
            Ok(value) => Frame::result(id.clone(), Json::from(value)),
            Err(fault) => Frame::fault(id.clone(), &fault),
        };
        if let Err(fault) = self.write(&frame)
            && fault.kind == FaultKind::TooLarge
        {
            // The fault that replaces it has a bounded length, so this fits; a closed link does not
            // want it any more.
            self.write_or_drop(&Frame::fault(id, &fault));
        }
    }

    pub(crate) fn answer_unknown(&self, id: Id<'static>, name: &str) {
        let name: String = name.chars().take(64).collect();
        self.write_or_drop(&Frame::unknown_method(id, &name));
    }

    /// Sends a notification that may be lost: `log`, `progress`.
    pub(crate) fn tell<T: Serialize>(&self, name: &str, params: &T) {
        if let Ok(params) = Json::of(params) {
            self.write_or_drop(&Frame::notification(name, params));
        }
    }

    /// Publishes and waits for the answer.
    pub(crate) fn publish(&self, draft: &Draft) -> Result<Published, Fault> {
        self.ask(method::PUBLISH, &self.checked(draft)?)
    }

    /// Whether the manifest declares this kind of alert.
    pub(crate) fn declared_alert(&self, kind: &Class) -> Result<(), Fault> {
        if self.manifest.alert(kind).is_some() {
            return Ok(());
        }
        let sentence = format!("the alert {kind} is not in the plugin's manifest");
        Err(Fault::bad_request(sentence).with_hint("add it to `alerts` in manifest.json"))
    }

    /// Asks what costs the credit of an event, and waits for the answer.
    pub(crate) fn ask<T: Serialize, A: DeserializeOwned>(
        &self,
        name: &str,
        params: &T,
    ) -> Result<A, Fault> {
        let params = Json::of(params).map_err(|error| Fault::bad_request(error.to_string()))?;
        let number = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let frame = Frame::request(number, name, params);
        self.spend_credit()?;
        // One answer comes, so one place is enough.
        let (answered, answer) = sync_channel(1);
        locked(&self.waiting).insert(number, answered);
        if let Err(fault) = self.write(&frame) {
            locked(&self.waiting).remove(&number);
            self.give_credit(1);
            return Err(fault);
        }
        if locked(&self.credit).closed {
            // Closed between the two steps: nobody would wake us.
            locked(&self.waiting).remove(&number);
        }
        let result = answer.recv().map_err(|_| gone())??;
        result.read().map_err(|_| {
            Fault::new(FaultKind::Internal, format!("the daemon's answer to {name} is no such one"))
        })
    }

    /// Publishes as a notification.
    pub(crate) fn tell_event(&self, draft: &Draft) -> Result<(), Fault> {
        self.tell_for_credit(method::PUBLISH, &self.checked(draft)?)
    }

    /// Tells what costs the credit of an event, and waits for no answer.
    pub(crate) fn tell_for_credit<T: Serialize>(
        &self,
        name: &str,
        params: &T,
    ) -> Result<(), Fault> {
        let params = Json::of(params).map_err(|error| Fault::bad_request(error.to_string()))?;
        self.spend_credit()?;
        self.write(&Frame::notification(name, params)).inspect_err(|_| self.give_credit(1))
    }

    fn checked(&self, draft: &Draft) -> Result<Json, Fault> {
        if self.manifest.class(&draft.class).is_none() {
            return Err(Fault::bad_request(format!(
                "the class {} is not in the plugin's manifest",
                draft.class
            ))
            .with_hint("add it to `events` in manifest.json"));
        }
        draft.check().map_err(Fault::bad_request)?;
        Json::of(draft).map_err(|error| Fault::bad_request(error.to_string()))
    }

    /// The daemon answered a request of ours; answers nobody waits for are dropped.
    pub(crate) fn answered(&self, frame: Frame) {
        let Some(Id::Number(number)) = frame.id else { return };
        if let Some(waiting) = locked(&self.waiting).remove(&number) {
            let outcome = match (frame.result, frame.error) {
                (_, Some(error)) => Err(fault_of(&error)),
                (result, None) => Ok(result.unwrap_or_default()),
            };
            // The publisher may have gone; its place is free all the same.
            drop(waiting.try_send(outcome));
        }
    }

    pub(crate) fn give_credit(&self, more: u32) {
        let mut credit = locked(&self.credit);
        credit.left = credit.left.saturating_add(more);
        drop(credit);
        self.changed.notify_all();
    }

    pub(crate) fn credit(&self) -> u32 {
        locked(&self.credit).left
    }

    fn spend_credit(&self) -> Result<(), Fault> {
        let mut credit = locked(&self.credit);
        while credit.left == 0 && !credit.closed {
            credit = self.changed.wait(credit).unwrap_or_else(PoisonError::into_inner);
        }
        if credit.closed {
            return Err(gone());
        }
        credit.left -= 1;
        Ok(())
    }

    /// Everything running is to stop.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// The daemon is gone: whoever waits for it waits in vain.
    pub(crate) fn close(&self) {
        locked(&self.credit).closed = true;
        locked(&self.waiting).clear();
        self.end();
    }

    /// Wakes whoever pauses, so that it looks again whether to go on.
    pub(crate) fn wake(&self) {
        // Taking the lock keeps a sleeper from missing it between its look and its sleep.
        drop(locked(&self.credit));
        self.changed.notify_all();
    }

    /// Waits until the time is over (true) or `stop` says so (false).
    pub(crate) fn pause(&self, time: Duration, stop: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        let mut guard = locked(&self.credit);
        while !stop() {
            let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero())
            else {
                return true;
            };
            let woken = self.changed.wait_timeout(guard, left);
            guard = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    fn write(&self, frame: &Frame) -> Result<(), Fault> {
        let mut line = frame.line();
        line.push('\n');
        let most = self.welcome.line_bytes;
        if line.len() > most {
            return Err(Fault::new(
                FaultKind::TooLarge,
                format!("the plugin's message has {} bytes; a line may have {most}", line.len()),
            )
            .with_hint("ask for less at once, or raise limits.line_bytes in its manifest"));
        }
        let mut output = locked(&self.output);
        output.write_all(line.as_bytes()).and_then(|()| output.flush()).map_err(|_| gone())
    }

    /// Writes what may be lost: a closed link is noticed by the reader, which ends the plugin.
    fn write_or_drop(&self, frame: &Frame) {
        drop(self.write(frame));
    }
}

fn gone() -> Fault {
    Fault::new(FaultKind::Unavailable, "the daemon has closed the link to this plugin")
}

/// The value, also after a panic elsewhere: nothing here is left half-changed by one.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
