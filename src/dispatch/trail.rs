//! `rpc/audit`: reading the audit trail.

use std::fmt::Write as _;

use protocol::{Fault, FaultKind, Json, Time};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::Dispatch;
use crate::store::{AuditQuery, AuditRecord, AuditVerdict, StoreError};

/// The most records in one answer.
const LIMIT_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(rename = "action")]
    _action: IgnoredAny,
    actor: Option<String>,
    method: Option<String>,
    outcome: Option<String>,
    since: Option<Time>,
    until: Option<Time>,
    after_seq: Option<u64>,
    before_seq: Option<u64>,
    #[serde(default = "default_limit")]
    limit: usize,
    #[serde(default)]
    newest_first: bool,
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
            let records: Vec<Value> = page.records.iter().map(shown).collect();
            Ok(Json::from(json!({"records": records, "more": page.more, "resume": page.resume})))
        }
        "verify" => {
            let verdict = trail.verify().await.map_err(|error| unreadable(&error))?;
            Ok(Json::from(told(&verdict)))
        }
        _ => {
            let (seq, hash) = trail.head();
            Ok(Json::from(json!({"seq": seq, "hash": hex(&hash)})))
        }
    }
}

/// What is asked of the trail.
pub fn query(args: &Value) -> Result<AuditQuery, Fault> {
    let asked = Asked::deserialize(args)
        .map_err(|error| Fault::bad_request(format!("the question is wrong: {error}")))?;
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

fn shown(record: &AuditRecord) -> Value {
    let AuditRecord { seq, time, entry, hash } = record;
    json!({
        "seq": seq,
        "time": time,
        "actor": entry.actor,
        "origin": entry.origin,
        "method": entry.method,
        "outcome": entry.outcome,
        "details": entry.details.read::<Value>().unwrap_or_default(),
        "hash": hex(hash),
    })
}

fn told(verdict: &AuditVerdict) -> Value {
    match verdict {
        AuditVerdict::Intact { first, last, head } => {
            json!({"intact": true, "first": first, "last": last, "head": hex(head)})
        }
        AuditVerdict::Broken { seq, what } => json!({"intact": false, "seq": seq, "what": what}),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn unreadable(error: &StoreError) -> Fault {
    tracing::error!(%error, "the audit trail could not be read");
    Fault::new(FaultKind::Unavailable, "the audit trail could not be read")
        .with_retry_after_ms(1_000)
}
