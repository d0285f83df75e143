//! `rpc/audit`: reading the audit trail.

use protocol::{Fault, FaultKind, Json, Time};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Dispatch;
use super::shape::{read, said};
use crate::access::hex;
use crate::store::{AuditQuery, AuditRecord, AuditVerdict, StoreError};

/// The most records in one answer.
const LIMIT_MAX: usize = 1000;

/// Arguments of `query`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(rename = "action")]
    #[schemars(skip)]
    _action: IgnoredAny,
    /// Whose deeds, as the trail names them.
    actor: Option<String>,
    /// Of this method.
    method: Option<String>,
    /// With this outcome.
    outcome: Option<String>,
    /// Recorded at this time or later.
    since: Option<Time>,
    /// Recorded before this time.
    until: Option<Time>,
    /// Only numbers above this one.
    after_seq: Option<u64>,
    /// Only numbers below this one.
    before_seq: Option<u64>,
    /// The most records of one page.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: usize,
    /// Begin with the newest.
    #[serde(default)]
    newest_first: bool,
}

/// Answer to `query`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Page {
    /// What was found, in the order asked for.
    records: Vec<Shown>,
    /// Whether the end was not reached.
    more: bool,
    /// With `more`: the `after_seq`, or with `newest_first` the `before_seq`, of the next page.
    resume: Option<u64>,
}

/// A record as it is shown.
#[derive(Serialize, JsonSchema)]
struct Shown {
    /// Its number.
    seq: u64,
    /// When it was made.
    time: Time,
    /// Who did it.
    actor: String,
    /// From where, and on which face.
    origin: String,
    /// What was asked for.
    method: String,
    /// What became of it.
    outcome: String,
    /// With what, secrets left out.
    details: Json,
    /// SHA-256 over this record and the hash before it, in hexadecimal.
    hash: String,
}

/// Answer to `verify`.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Verdict {
    /// Every hash is right.
    Intact {
        /// True.
        intact: bool,
        /// The oldest record.
        first: u64,
        /// The newest record.
        last: u64,
        /// The newest record's hash, in hexadecimal.
        head: String,
    },
    /// The trail was changed.
    Broken {
        /// False.
        intact: bool,
        /// The first record that is wrong.
        seq: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// Answer to `head`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Head {
    /// The newest record's number.
    seq: u64,
    /// Its hash, in hexadecimal.
    hash: String,
}

const fn default_limit() -> usize {
    100
}

/// Answers one action.
pub(super) async fn answer(dispatch: &Dispatch, action: &str, args: &Value) -> Result<Json, Fault> {
    let trail = dispatch.0.access.journal().trail();
    match action {
        "query" => {
            let page = trail.page(query(args)?).await.map_err(|error| unreadable(&error))?;
            let records = page.records.into_iter().map(shown).collect();
            said(&Page { records, more: page.more, resume: page.resume })
        }
        "verify" => {
            let verdict = trail.verify().await.map_err(|error| unreadable(&error))?;
            said(&told(verdict))
        }
        _ => {
            let (seq, hash) = trail.head();
            said(&Head { seq, hash: hex(&hash) })
        }
    }
}

/// What is asked of the trail.
pub fn query(args: &Value) -> Result<AuditQuery, Fault> {
    let asked: Asked = read(args)?;
    if !(1..=LIMIT_MAX).contains(&asked.limit) {
        return Err(Fault::bad_request(format!("\"limit\" must be from 1 to {LIMIT_MAX}")));
    }
    let Asked { actor, method, outcome, since, until, .. } = asked;
    let Asked { after_seq, before_seq, limit, newest_first, .. } = asked;
    Ok(AuditQuery {
        actor,
        method,
        outcome,
        since,
        until,
        after_seq,
        before_seq,
        limit,
        newest_first,
    })
}

fn shown(record: AuditRecord) -> Shown {
    let AuditRecord { seq, time, entry, hash } = record;
    Shown {
        seq,
        time,
        actor: entry.actor,
        origin: entry.origin,
        method: entry.method,
        outcome: entry.outcome,
        details: entry.details,
        hash: hex(&hash),
    }
}

fn told(verdict: AuditVerdict) -> Verdict {
    match verdict {
        AuditVerdict::Intact { first, last, head } => {
            Verdict::Intact { intact: true, first, last, head: hex(&head) }
        }
        AuditVerdict::Broken { seq, what } => Verdict::Broken { intact: false, seq, what },
    }
}

fn unreadable(error: &StoreError) -> Fault {
    tracing::error!(%error, "the audit trail could not be read");
    Fault::new(FaultKind::Unavailable, "the audit trail could not be read")
        .with_retry_after_ms(1_000)
}
