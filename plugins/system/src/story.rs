//! What the plugin says about what happened. Pure: facts in, drafts out.

use sdk::{
    ALERT_TEXT_BYTES_MAX, Class, Clear, Draft, Fault, Json, Priority, Raise, SUBJECT_BYTES_MAX,
    Value, json,
};
use serde::Serialize;

use crate::condition::{Change, Key, Raised, Verb};
use crate::ledger::{self, Ledger};
use crate::state::{self, Facts};

/// How the machine is.
pub(crate) fn state(facts: &Facts<'_>) -> Result<Draft, Fault> {
    let mut draft = Draft::new(sdk::class("system.state")?);
    draft.priority = Some(facts.priority());
    draft.message = facts.message();
    draft.data = facts.data().into();
    Ok(draft)
}

/// A condition has been raised, told again or cleared.
pub(crate) fn condition(change: &Change) -> Result<Draft, Fault> {
    let (class, begin, priority) = match change.verb {
        Verb::Raised => ("system.condition.raised", "", change.raised.trouble.priority),
        Verb::Repeated => ("system.condition.repeated", "Still: ", change.raised.trouble.priority),
        Verb::Cleared => ("system.condition.cleared", "Over: ", 0),
    };
    let mut draft = Draft::new(sdk::class(class)?);
    draft.subject.clone_from(&change.key.subject);
    draft.priority = Some(Priority::clamped(priority));
    draft.message = format!("{begin}{}", change.raised.trouble.message);
    draft.data = state::condition(&change.key, &change.raised).into();
    Ok(draft)
}

/// A condition that is raised, as an alert.
pub(crate) fn alert(key: &Key, raised: &Raised) -> Result<Raise, Fault> {
    let trouble = &raised.trouble;
    Ok(Raise {
        kind: alert_kind(key)?,
        subject: within(&key.subject, SUBJECT_BYTES_MAX),
        priority: Some(Priority::clamped(trouble.priority)),
        message: within(&trouble.message, ALERT_TEXT_BYTES_MAX),
        advice: within(&trouble.advice, ALERT_TEXT_BYTES_MAX),
        value: None,
        data: Json::default(),
    })
}

/// A condition that is over, as an alert.
pub(crate) fn over(key: &Key) -> Result<Clear, Fault> {
    Ok(Clear { kind: alert_kind(key)?, subject: within(&key.subject, SUBJECT_BYTES_MAX) })
}

fn alert_kind(key: &Key) -> Result<Class, Fault> {
    sdk::class(&format!("system.{}", key.kind))
}

/// The beginning of a text, as much as an alert may hold.
fn within(text: &str, most: usize) -> String {
    let end = (0..=text.len().min(most)).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

/// A list as of a revision.
pub(crate) fn list<R: Clone + PartialEq + Serialize>(
    name: &str,
    epoch: &str,
    ledger: &Ledger<R>,
) -> Value {
    let rows: Vec<&R> = ledger.rows().values().collect();
    json!({ "epoch": epoch, "revision": ledger.revision(), name: rows })
}

/// A list begins anew, with revisions of its own: whoever follows it asks for it again.
pub(crate) fn renewed(list: &str, epoch: &str) -> Result<Draft, Fault> {
    let mut draft = Draft::new(sdk::class("system.list.renewed")?);
    draft.subject = format!("/{list}");
    draft.message = format!("the list of {list} begins anew");
    draft.data = json!({ "list": list, "epoch": epoch }).into();
    Ok(draft)
}

/// A row of a list is another one, or gone.
pub(crate) fn row<R: Serialize>(
    class: &str,
    epoch: &str,
    subject: String,
    change: &ledger::Change<R>,
) -> Result<Draft, Fault> {
    let mut draft = Draft::new(sdk::class(class)?);
    draft.subject = subject;
    draft.message = match change.row {
        Some(_) => format!("{} has changed", change.name),
        None => format!("{} is gone", change.name),
    };
    let row = serde_json::to_value(&change.row).unwrap_or(Value::Null);
    let data = json!({
        "epoch": epoch, "revision": change.revision, "name": change.name, "row": row,
    });
    draft.data = data.into();
    Ok(draft)
}

#[cfg(test)]
mod tests;
