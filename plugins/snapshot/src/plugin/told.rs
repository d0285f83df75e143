//! What is said about policies: events, and alerts for what stays wrong until somebody does something.

use chrono::{DateTime, Utc};
use sdk::{Clear, Context, Draft, Fault, Level, Priority, Raise, Value, json};
use uuid::Uuid;

use super::engine::{now, tell};
use super::events::unix_date;
use crate::backend::{Dataset, SnapshotId};
use crate::policy::clock::Doubt;
use crate::policy::schedule::{Due, MISSED_MAX};
use crate::policy::store::Kept;

/// Ids and names in one event; the others are counted. Each is some hundred bytes.
const LISTED_MAX: usize = 500;
/// Names in one sentence.
const NAMED_MAX: usize = 3;
/// From this failure in a row on they are more urgent, as with a single snapshot.
const STUBBORN: u32 = 3;

const FAILING: &str = "snapshot.policy-failing";
const APPROVAL: &str = "snapshot.prune-needs-approval";
const CLOCK: &str = "snapshot.clock-suspect";

/// A policy was saved or removed.
pub(super) fn changed(ctx: &Context, kept: &Kept, verb: &str) {
    let message = format!("The policy {} was {verb}", kept.policy.title);
    let more = json!({ "verb": verb, "revision": kept.revision, "enabled": kept.policy.enabled });
    publish(ctx, "snapshot.policy-changed", of(kept), &message, &more);
    if verb == "removed" {
        over(ctx, FAILING, kept.policy.id);
        over(ctx, APPROVAL, kept.policy.id);
    }
}

/// No snapshot was taken, because nothing has changed.
pub(super) fn skipped(ctx: &Context, kept: &Kept, dataset: &Dataset) {
    let message = format!("No snapshot of {}: nothing has changed", dataset.name);
    let more = json!({ "dataset": dataset.id, "dataset_name": dataset.name });
    publish(ctx, "snapshot.skipped", of(kept), &message, &more);
}

/// Slots have passed without a snapshot.
pub(super) fn missed(ctx: &Context, kept: &Kept, label: &str, due: &Due) {
    let many = if due.missed >= MISSED_MAX - 1 { "more than " } else { "" };
    let instead = match due.slot {
        Some(_) => "one is taken for all of them",
        None => "none is taken for them",
    };
    let message = format!(
        "{many}{} ({label}) of the policy {} missed; {instead}",
        counted(due.missed),
        kept.policy.title
    );
    let more = json!({ "label": label, "missed": due.missed, "slot": due.slot });
    publish(ctx, "snapshot.missed", of(kept), &message, &more);
}

/// Some datasets of a policy fail; said behind everything else of a run.
pub(super) fn failing(
    ctx: &Context,
    kept: &Kept,
    total: usize,
    failing: &[(&Dataset, String)],
    row: u32,
) {
    let names: Vec<&str> =
        failing.iter().take(NAMED_MAX).map(|(dataset, _)| dataset.name.as_str()).collect();
    let more = if failing.len() > NAMED_MAX { ", …" } else { "" };
    let count = failing.len();
    let sentence = format!(
        "{count} of {total} datasets of the policy {} fail: {}{more}",
        kept.policy.title,
        names.join(", ")
    );
    let rows: Vec<Value> = failing
        .iter()
        .take(LISTED_MAX)
        .map(|(dataset, why)| {
            json!({ "dataset": dataset.id, "dataset_name": dataset.name, "error": why })
        })
        .collect();
    let more = json!({ "failing": count, "total": total, "datasets": rows });
    fail(ctx, kept, &sentence, &more, row);
}

/// A policy finds nothing to take a snapshot of.
pub(super) fn nothing_to_take(ctx: &Context, kept: &Kept, sentence: &str) {
    fail(ctx, kept, sentence, &json!({ "failing": 0, "total": 0, "datasets": [] }), 1);
}

fn fail(ctx: &Context, kept: &Kept, sentence: &str, more: &Value, row: u32) {
    let priority = Priority::clamped(if row >= STUBBORN { 7 } else { 6 });
    let said = said(ctx, FAILING, of(kept), sentence, more);
    tell(ctx, said.map(|draft| Draft { priority: Some(priority), ..draft }));
    raise(ctx, FAILING, kept.policy.id, sentence);
}

/// Nothing of the policy fails any more.
pub(super) fn well_again(ctx: &Context, kept: &Kept) {
    let message = format!("The policy {} takes all its snapshots again", kept.policy.title);
    publish(ctx, "snapshot.policy-recovered", of(kept), &message, &json!({}));
    over(ctx, FAILING, kept.policy.id);
}

/// Snapshots were destroyed, in a run that may have been killed in between.
pub(super) fn pruned(
    ctx: &Context,
    policy: (Uuid, &str),
    gone: &[SnapshotId],
    was_interrupted: bool,
) {
    let cut = if was_interrupted { " before the plugin was ended" } else { "" };
    let message = format!("{} of the policy {} destroyed{cut}", counted(gone.len()), policy.1);
    let more = json!({
        "destroyed": gone.len(),
        "snapshots": gone.iter().take(LISTED_MAX).collect::<Vec<_>>(),
        "interrupted": was_interrupted,
    });
    publish(ctx, "snapshot.pruned", policy, &message, &more);
}

/// Some snapshots, or all, could not be destroyed now.
pub(super) fn blocked(ctx: &Context, kept: &Kept, why: &str, rows: &[(SnapshotId, String)]) {
    let message = format!("The policy {} cannot destroy what it should: {why}", kept.policy.title);
    let listed: Vec<Value> = rows
        .iter()
        .take(LISTED_MAX)
        .map(|(id, error)| json!({ "snapshot": id, "error": error }))
        .collect();
    let more = json!({ "reason": why, "blocked": rows.len(), "snapshots": listed });
    publish(ctx, "snapshot.prune-blocked", of(kept), &message, &more);
}

/// A plan goes beyond what may go at once.
pub(super) fn needs_approval(ctx: &Context, kept: &Kept, plan: &str, counts: [usize; 3]) {
    let [destroy, owned, limit] = counts;
    let message = format!(
        "The policy {} would destroy {destroy} of its {owned} snapshots, {limit} may go at once: \
         nothing is destroyed until somebody approves",
        kept.policy.title
    );
    let more = json!({ "plan": plan, "destroy": destroy, "owned": owned, "limit": limit });
    publish(ctx, APPROVAL, of(kept), &message, &more);
    raise(ctx, APPROVAL, kept.policy.id, &message);
}

/// No plan of the policy waits for anybody any more.
pub(super) fn approved(ctx: &Context, policy: Uuid) {
    over(ctx, APPROVAL, policy);
}

/// The clock is no longer believed.
pub(super) fn doubt(ctx: &Context, at: DateTime<Utc>, doubt: &Doubt) {
    let message = format!(
        "The clock jumped from {} to {}: nothing is destroyed until it is trusted again",
        doubt.expected.format("%F %T"),
        doubt.said.format("%F %T UTC")
    );
    clock(ctx, at, &message, false);
    alert(ctx, CLOCK, String::new(), &message);
}

/// The clock is behind what it said in an earlier life.
pub(super) fn doubt_from_start(ctx: &Context, why: &str) {
    let message = format!("{why} Nothing is destroyed until it is trusted again");
    clock(ctx, now(), &message, false);
    alert(ctx, CLOCK, String::new(), &message);
}

/// It is believed again.
pub(super) fn belief(ctx: &Context, at: DateTime<Utc>) {
    clock(ctx, at, "The clock is trusted again", true);
    clear(ctx, CLOCK, String::new());
}

fn clock(ctx: &Context, at: DateTime<Utc>, message: &str, is_trusted: bool) {
    let made = sdk::class(CLOCK).map(|class| {
        let mut draft = Draft::new(class);
        draft.subject.push_str("/clock");
        draft.message = format!("{}: {message}", unix_date(at));
        draft.data = json!({ "type": CLOCK, "trusted": is_trusted }).into();
        // That all is well again wakes nobody.
        draft.priority = is_trusted.then(|| Priority::clamped(2));
        draft
    });
    tell(ctx, made);
}

fn counted(number: impl std::fmt::Display) -> String {
    let number = number.to_string();
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} snapshot{plural}")
}

fn of(kept: &Kept) -> (Uuid, &str) {
    (kept.policy.id, &kept.policy.title)
}

fn subject(policy: Uuid) -> String {
    format!("/policies/{policy}")
}

fn publish(ctx: &Context, class: &str, policy: (Uuid, &str), message: &str, more: &Value) {
    tell(ctx, said(ctx, class, policy, message, more));
}

fn said(
    ctx: &Context,
    class: &str,
    (policy, title): (Uuid, &str),
    message: &str,
    more: &Value,
) -> Result<Draft, Fault> {
    let class = sdk::class(class)?;
    let mut data = json!({
        "type": class.as_str(),
        "policy": policy,
        "policy_title": title,
        "actor": ctx.actor(),
    });
    super::events::merge(&mut data, more);
    let mut draft = Draft::new(class);
    draft.subject = subject(policy);
    draft.message = format!("{}: {message}", unix_date(now()));
    draft.data = data.into();
    Ok(draft)
}

fn raise(ctx: &Context, kind: &str, policy: Uuid, message: &str) {
    alert(ctx, kind, subject(policy), message);
}

fn over(ctx: &Context, kind: &str, policy: Uuid) {
    clear(ctx, kind, subject(policy));
}

fn alert(ctx: &Context, kind: &str, subject: String, message: &str) {
    let message: String = message.chars().take(sdk::ALERT_TEXT_BYTES_MAX / 4).collect();
    let raised = sdk::class(kind).and_then(|kind| {
        ctx.raise_unacknowledged(&Raise {
            kind,
            subject,
            priority: None,
            message,
            advice: String::new(),
            value: None,
            data: Value::Null.into(),
        })
    });
    grumble(ctx, raised);
}

fn clear(ctx: &Context, kind: &str, subject: String) {
    let cleared =
        sdk::class(kind).and_then(|kind| ctx.clear_unacknowledged(&Clear { kind, subject }));
    grumble(ctx, cleared);
}

fn grumble(ctx: &Context, told: Result<(), Fault>) {
    if let Err(fault) = told {
        ctx.log(Level::Error, &format!("an alert could not be told: {fault}"));
    }
}
