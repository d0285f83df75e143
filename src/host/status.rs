//! What can be seen of a plugin from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::Time;
use protocol::link::Unavailable;
use schemars::JsonSchema;
use serde::Serialize;

use super::confinement::Confinement;
use super::discover::{Origin, PluginSpec};
use super::instance::Link;

/// Where a plugin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not running, and nobody wants it to.
    Inactive,
    /// It cannot run under this daemon as it is; the reason says what would have to change.
    Incompatible,
    /// Its process runs and has not answered the handshake yet.
    Starting,
    /// It takes calls.
    Ready,
    /// It takes calls, but has missed a health question.
    Degraded,
    /// It has been asked to end.
    Stopping,
    /// It ended by itself and is started again after a pause.
    Failed,
    /// It ended too often; only a person starts it again.
    Quarantined,
}

impl State {
    /// The word, for example `ready`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Incompatible => "incompatible",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }
}

/// A plugin as `plugins/list` and the status page show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PluginStatus {
    /// The manifest's id, or the directory's name when there is no readable manifest.
    pub id: String,
    /// The plugin's version; empty when there is no readable manifest.
    pub version: String,
    /// One sentence for people.
    pub description: String,
    /// Where it stands.
    pub state: State,
    /// Why it stands there, for people.
    pub reason: String,
    /// The process that answers, while there is one.
    pub pid: Option<u32>,
    /// Processes started after the first one.
    pub restarts: u64,
    /// When it came into this state.
    pub since: Time,
    /// Calls it was asked for.
    pub calls: u64,
    /// How many of them ended with a fault, also of the caller's making.
    pub calls_failed: u64,
    /// Events recorded for it.
    pub events_published: u64,
    /// Events of its that were refused.
    pub events_refused: u64,
    /// Where it comes from.
    pub origin: Origin,
    /// What its process is confined to, while it takes calls.
    pub confinement: Option<Box<Confinement>>,
    /// Methods of its manifest that do not work on this machine, and why.
    pub unavailable: Vec<Unavailable>,
}

/// Numbers that every part of a plugin's supervision adds to.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) calls: Count,
    pub(crate) calls_failed: Count,
    pub(crate) events_published: Count,
    pub(crate) events_refused: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The part of a plugin that its supervisor alone changes and everybody may look at.
#[derive(Debug, Clone)]
pub(crate) struct Face {
    /// What is running, or would be.
    pub(crate) spec: Arc<PluginSpec>,
    pub(crate) state: State,
    pub(crate) reason: String,
    pub(crate) pid: Option<u32>,
    pub(crate) confinement: Option<Box<Confinement>>,
    pub(crate) unavailable: Vec<Unavailable>,
    pub(crate) restarts: u64,
    pub(crate) since: Time,
    /// Where calls go; `None` while nobody would answer.
    pub(crate) link: Option<Link>,
    /// In state `failed`: milliseconds of the pause before the next start.
    pub(crate) pause_ms: Option<u64>,
}

impl Face {
    pub(crate) fn new(spec: Arc<PluginSpec>, state: State, reason: String, since: Time) -> Self {
        let (pid, confinement, link, pause_ms) = (None, None, None, None);
        let unavailable = Vec::new();
        let restarts = 0;
        Self { spec, state, reason, pid, confinement, unavailable, restarts, since, link, pause_ms }
    }

    /// Its process is gone.
    pub(crate) fn ended(&mut self) {
        (self.link, self.pid, self.confinement) = (None, None, None);
    }

    /// Why this call does not work on this machine; `None` when it does, or nobody has said.
    pub(crate) fn missing(&self, method: &str, action: Option<&str>) -> Option<&str> {
        let missing = self.unavailable.iter().find(|it| it.concerns(method, action))?;
        Some(&missing.reason)
    }

    pub(crate) fn status(&self, counters: &Counters) -> PluginStatus {
        let manifest = &self.spec.manifest;
        PluginStatus {
            id: manifest.id.clone(),
            version: manifest.version.clone(),
            description: manifest.description.clone(),
            state: self.state,
            reason: self.reason.clone(),
            pid: self.pid,
            restarts: self.restarts,
            since: self.since,
            calls: counters.calls.now(),
            calls_failed: counters.calls_failed.now(),
            events_published: counters.events_published.now(),
            events_refused: counters.events_refused.now(),
            origin: self.spec.origin,
            confinement: self.confinement.clone(),
            unavailable: self.unavailable.clone(),
        }
    }
}
