//! What a plugin's code holds: its way to the daemon, and the call it is working on.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::alert::{Clear, Raise, Sync};
use protocol::link::{Alerted, Log, Note, Progress, Published, method};
use protocol::{Draft, Fault, Role};
use serde_json::Value;

use crate::call::Running;
use crate::link::Link;
use crate::{Limits, Manifest};

/// The plugin's way to the daemon. Cheap to clone; a clone may live in any thread and outlive the
/// call it was made in.
#[derive(Clone)]
pub struct Context {
    link: Arc<Link>,
    call: Option<Arc<Running>>,
}

impl Context {
    pub(crate) fn new(link: Arc<Link>, call: Option<Arc<Running>>) -> Self {
        Self { link, call }
    }

    /// Publishes an event and returns when the daemon has recorded it: from then on it survives a
    /// crash. Waits while the daemon wants no more events.
    ///
    /// # Errors
    /// `bad-request` when the class is not in the manifest or a part is over its bound, `too-large`
    /// when the line would be, `unavailable` when the daemon is gone, and whatever the daemon
    /// refuses it with.
    pub fn publish(&self, draft: &Draft) -> Result<Published, Fault> {
        self.link.publish(draft)
    }

    /// Publishes an event and does not wait for it to be recorded; waits only while the daemon
    /// wants no more events. For many events of little worth each.
    ///
    /// # Errors
    /// As [`Context::publish`], without the daemon's refusals: those go to the daemon's log.
    pub fn publish_unacknowledged(&self, draft: &Draft) -> Result<(), Fault> {
        self.link.tell_event(draft)
    }

    /// Says that something is wrong, and returns when that is durable. Saying it again while it is
    /// known counts it. Waits while the daemon wants no more events.
    ///
    /// # Errors
    /// `bad-request` when the kind is not in the manifest or a part is over its bound, `too-many`
    /// when too much is wrong already, `unavailable` when it cannot be recorded or the daemon is
    /// gone.
    pub fn raise(&self, alert: &Raise) -> Result<Alerted, Fault> {
        self.link.declared_alert(&alert.kind)?;
        self.link.ask(method::ALERT_RAISE, alert)
    }

    /// Says that it is over, and returns when that is durable.
    ///
    /// # Errors
    /// As [`Context::raise`].
    pub fn clear(&self, alert: &Clear) -> Result<Alerted, Fault> {
        self.link.declared_alert(&alert.kind)?;
        self.link.ask(method::ALERT_CLEAR, alert)
    }

    /// Says that something is wrong, and waits only while the daemon wants no more events. What cannot
    /// be recorded now the daemon tries again.
    ///
    /// # Errors
    /// As [`Context::raise`], without the daemon's refusals: those go to the daemon's log.
    pub fn raise_unacknowledged(&self, alert: &Raise) -> Result<(), Fault> {
        self.link.declared_alert(&alert.kind)?;
        self.link.tell_for_credit(method::ALERT_RAISE, alert)
    }

    /// Says that it is over, in the same way.
    ///
    /// # Errors
    /// As [`Context::raise_unacknowledged`].
    pub fn clear_unacknowledged(&self, alert: &Clear) -> Result<(), Fault> {
        self.link.declared_alert(&alert.kind)?;
        self.link.tell_for_credit(method::ALERT_CLEAR, alert)
    }

    /// Says that this is all that is wrong: whatever else this plugin has raised is over. For the
    /// moment after the start, when nobody knows what an earlier life has raised.
    ///
    /// # Errors
    /// As [`Context::raise`].
    pub fn sync_alerts(&self, alerts: &[Raise]) -> Result<(), Fault> {
        alerts.iter().try_for_each(|alert| self.link.declared_alert(&alert.kind))?;
        let all = Sync { alerts: alerts.to_vec() };
        self.link.ask::<_, Alerted>(method::ALERT_SYNC, &all).map(drop)
    }

    /// Says how far the call is: `done` of `total` (if known) in `unit` (`bytes`, `files`, …), and
    /// one sentence for a person. Call it as often as you like: at most twenty a second are sent,
    /// and the last one always. Outside a call it does nothing.
    pub fn progress(&self, done: u64, total: Option<u64>, unit: &str, message: &str) {
        self.progress_in("", (done, total), unit, message);
    }

    /// The same for work that has several parts, each of which counts from the beginning: `phase`
    /// names the part in a word or two, such as `copying`.
    pub fn progress_in(
        &self,
        phase: &str,
        (done, total): (u64, Option<u64>),
        unit: &str,
        message: &str,
    ) {
        let Some(call) = &self.call else { return };
        if call.may_tell(Instant::now(), total == Some(done)) {
            let progress = Progress {
                request_id: call.who.request_id.clone(),
                done,
                total,
                unit: unit.to_owned(),
                message: message.to_owned(),
                phase: phase.to_owned(),
            };
            self.link.tell(method::PROGRESS, &progress);
        }
    }

    /// Writes one line into the log of the job that this call is, for those who follow it: what is
    /// being done, not why it went wrong inside. Of a call that is no job, and outside of calls,
    /// nobody reads it.
    pub fn note(&self, text: &str) {
        let Some(call) = &self.call else { return };
        let note = Note { request_id: call.who.request_id.clone(), text: text.to_owned() };
        self.link.tell(method::NOTE, &note);
    }

    /// Whether to stop: nobody waits for this call any more, or the plugin is to end.
    pub fn cancelled(&self) -> bool {
        self.link.is_ending() || self.call.as_ref().is_some_and(|call| call.is_cancelled())
    }

    /// Sleeps, but no longer than until [`Context::cancelled`]. Returns whether the whole time
    /// passed: `while ctx.pause(second) { … }` is a loop that ends when it should.
    pub fn pause(&self, time: Duration) -> bool {
        self.link.pause(time, || self.cancelled())
    }

    /// When the daemon gives up on this call; `None` outside a call.
    pub fn deadline(&self) -> Option<Instant> {
        self.call.as_ref().map(|call| call.deadline)
    }

    /// Who asks, for example `local:root` or `token:backup`; outside a call `plugin:` and the id.
    pub fn actor(&self) -> &str {
        match &self.call {
            Some(call) => &call.who.actor,
            None => &self.link.actor,
        }
    }

    /// In which version of the method the caller asks: the `since` of one of its entries in the
    /// manifest. 1 outside a call.
    pub fn version(&self) -> u32 {
        self.call.as_ref().map_or(1, |call| call.who.version)
    }

    /// What the asker may do. The daemon has checked it against the manifest already. Outside a
    /// call: [`Role::Viewer`], since nobody asked.
    pub fn role(&self) -> Role {
        self.call.as_ref().map_or(Role::Viewer, |call| call.who.role)
    }

    /// Writes one line into the daemon's log. Causes go here; secrets must not.
    pub fn log(&self, level: Level, message: &str) {
        let log = Log { level: level.as_str().to_owned(), message: message.to_owned() };
        self.link.tell(method::LOG, &log);
    }

    /// The plugin's private directory: mode 0700, its own across restarts.
    pub fn state_dir(&self) -> &Path {
        Path::new(&self.link.welcome.state_dir)
    }

    /// The plugin's section of the daemon's configuration; `null` when there is none.
    pub fn config(&self) -> &Value {
        &self.link.welcome.config
    }

    /// The manifest's limits, which the daemon enforces.
    pub fn limits(&self) -> &Limits {
        &self.link.manifest.limits
    }

    /// The plugin's own manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.link.manifest
    }

    /// How many events may be published right now without waiting.
    pub fn credit(&self) -> u32 {
        self.link.credit()
    }
}

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Somebody must act.
    Error,
    /// Somebody may want to act.
    Warn,
    /// It happened.
    Info,
    /// For the author of the plugin.
    Debug,
    /// For the author of the plugin on a bad day.
    Trace,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
