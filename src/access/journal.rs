//! What goes into the audit trail, and when.
//!
//! A change is recorded before it is made, and what came of it afterwards. Refusals are recorded,
//! too, but a stranger must not be able to fill the disk with them: of a source that is refused
//! often most are only counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use protocol::{Fault, FaultKind};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Source;
use super::peer::Peer;
use super::redact::redact;
use crate::bucket::Bucket;
use crate::store::{AuditEntry, AuditTrail, StoreError};

/// Refusals of one source that are recorded at once, and each second after that.
const REFUSALS: (u32, u32) = (1, 20);
/// Sources whose refusals are counted on their own; beyond it they are not recorded one by one.
const SOURCES_MAX: usize = 4096;
/// How long a change waits for another attempt at a full disk to be worth something.
const RETRY_MS: u64 = 1_000;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The other end of the connection.
    pub peer: Peer,
    /// By which face: `websocket`, `rest`.
    pub face: &'static str,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.peer, self.face)
    }
}

/// What is about to be done, for the record.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    /// In whose name.
    pub actor: &'a str,
    /// From where.
    pub origin: Origin,
    /// `namespace/name`.
    pub method: &'a str,
    /// Of methods with actions: which.
    pub action: Option<&'a str>,
    /// The arguments; secrets are taken out here.
    pub args: &'a Value,
    /// Names of arguments that are secrets, beside those that are so by their name.
    pub secrets: &'a [String],
}

impl Deed<'_> {
    /// As one record that says all of it.
    pub fn entry(&self, outcome: &str) -> AuditEntry {
        self.with(outcome, json!({ "args": redact(self.args, self.secrets) }))
    }

    fn with(&self, outcome: &str, details: Value) -> AuditEntry {
        let method = match self.action {
            Some(action) => format!("{}:{action}", self.method),
            None => self.method.to_owned(),
        };
        let (actor, origin) = (self.actor.to_owned(), self.origin.to_string());
        AuditEntry { actor, origin, method, outcome: outcome.to_owned(), details: details.into() }
    }
}

/// A change on record whose outcome is not known yet.
#[derive(Debug)]
#[must_use = "what came of it is to be recorded"]
pub struct Begun {
    seq: u64,
    entry: AuditEntry,
    since: Instant,
}

/// Writes the audit trail.
#[derive(Debug)]
pub struct Journal {
    trail: AuditTrail,
    refusals: Mutex<HashMap<Source, Refused>>,
}

#[derive(Debug)]
struct Refused {
    bucket: Bucket,
    unrecorded: u64,
}

impl Journal {
    pub(super) fn new(trail: AuditTrail) -> Self {
        Self { trail, refusals: Mutex::new(HashMap::new()) }
    }

    /// The trail itself, to be read.
    pub fn trail(&self) -> &AuditTrail {
        &self.trail
    }

    /// Records that a change is about to be made; durable when this returns.
    ///
    /// # Errors
    /// `unavailable` when it cannot be recorded: then the change must not be made.
    pub async fn begin(&self, deed: &Deed<'_>) -> Result<Begun, Fault> {
        let seq = self.append(deed.entry("begun")).await?;
        let entry = deed.with("done", Value::Null);
        Ok(Begun { seq, entry, since: Instant::now() })
    }

    /// Records what came of it. It has happened, so a failure to record is only logged.
    pub async fn end(&self, begun: Begun, outcome: Result<(), FaultKind>) {
        let Begun { seq, mut entry, since } = begun;
        if let Err(kind) = outcome {
            entry.outcome = format!("failed:{}", kind.as_str());
        }
        let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        entry.details = json!({ "begun_seq": seq, "took_us": took }).into();
        self.append(entry).await.ok();
    }

    /// Records a change that is made in one step with its record, or a login.
    ///
    /// # Errors
    /// `unavailable` when it cannot be recorded.
    pub async fn record(&self, deed: &Deed<'_>, outcome: &str) -> Result<(), Fault> {
        self.append(deed.entry(outcome)).await.map(|_| ())
    }

    /// Records a refusal, unless its source has been refused too often lately.
    pub async fn refused(&self, deed: &Deed<'_>, kind: FaultKind) {
        if let Some(unrecorded) = self.admit(deed.origin.peer.source()) {
            let mut details = json!({ "args": redact(deed.args, deed.secrets) });
            if unrecorded > 0 {
                details["unrecorded_refusals_before"] = unrecorded.into();
            }
            let entry = deed.with(&format!("refused:{}", kind.as_str()), details);
            self.append(entry).await.ok();
        }
    }

    /// How many refusals were not recorded before this one, if this one is to be.
    fn admit(&self, source: Source) -> Option<u64> {
        let now = Instant::now();
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() >= SOURCES_MAX && !refusals.contains_key(&source) {
            let idle = |refused: &Refused| refused.bucket.is_full(now) && refused.unrecorded == 0;
            refusals.retain(|_, refused| !idle(refused));
            if refusals.len() >= SOURCES_MAX {
                return None;
            }
        }
        let (per_second, burst) = REFUSALS;
        let new = || Refused { bucket: Bucket::new(per_second, burst, now), unrecorded: 0 };
        let refused = refusals.entry(source).or_insert_with(new);
        if refused.bucket.take(now).is_err() {
            refused.unrecorded += 1;
            return None;
        }
        Some(std::mem::take(&mut refused.unrecorded))
    }

    async fn append(&self, entry: AuditEntry) -> Result<u64, Fault> {
        self.trail.append(entry).await.map_err(|error| {
            tracing::error!(%error, "the audit trail could not be written");
            unwritable(&error)
        })
    }
}

/// Nothing may be changed that cannot be recorded.
fn unwritable(error: &StoreError) -> Fault {
    let sentence = match error {
        StoreError::Full => "the disk is full, so what is changed could not be recorded",
        _ => "the audit trail cannot be written, so nothing may be changed",
    };
    Fault::new(FaultKind::Unavailable, sentence)
        .with_hint(
            "nothing was changed and reading goes on; make room in the daemon's state directory",
        )
        .with_retry_after_ms(RETRY_MS)
}
