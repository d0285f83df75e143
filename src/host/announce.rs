//! Tells everybody when a plugin changes its state: events of class `plugin.state`, each recorded
//! together with its entry in the audit trail.

use protocol::alert::ALERT_TEXT_BYTES_MAX;
use protocol::manifest::ClassDeclaration;
use protocol::{Draft, Json, Priority};
use serde::Serialize;
use tokio::sync::mpsc;

use super::status::State;
use crate::alarm::Alarm;
use crate::bus::{Bus, own_class};
use crate::store::AuditEntry;

/// The class of a change of state.
const STATE_CLASS: &str = "plugin.state";
/// The alert about a plugin that is not started any more.
const QUARANTINED: &str = "plugin.quarantined";
/// Changes that wait to be recorded: many times all plugins at once. They are slow by nature
/// (restarts back off), so a full queue means a log that cannot be written.
const CHANGES_MAX: usize = 256;

/// A change of a plugin's state, as `data` of the event.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Change {
    pub(crate) plugin: String,
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u64,
}

/// Hands changes over. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Announcer(mpsc::Sender<Change>);

impl Announcer {
    /// The handle, and the other end for [`run`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Change>) {
        let (sender, changes) = mpsc::channel(CHANGES_MAX);
        (Self(sender), changes)
    }

    /// Never waits: supervision must go on when the log cannot be written.
    pub(crate) fn announce(&self, change: Change) {
        tracing::info!(
            plugin = change.plugin,
            state = change.to.as_str(),
            reason = change.reason,
            "a plugin has changed its state"
        );
        if let Err(error) = self.0.try_send(change) {
            tracing::error!(%error, "a plugin's change of state was not recorded");
        }
    }
}

/// Publishes changes in their order until nobody can make any more.
pub(crate) async fn run(mut changes: mpsc::Receiver<Change>, bus: Bus, alarm: Alarm) {
    let Some(own) = own_class(STATE_CLASS) else { return };
    while let Some(change) = changes.recv().await {
        ring(&alarm, &change);
        let Some(draft) = draft(&own.declared, &change) else { continue };
        let entry = entry(&own.source, &change, draft.data.clone());
        if let Err(fault) = bus.publish_audited(&own.source, draft, entry).await {
            let plugin = change.plugin;
            tracing::error!(plugin, %fault, "its change of state was not recorded");
        }
    }
}

/// A plugin in quarantine is wrong until it is anywhere else.
fn ring(alarm: &Alarm, change: &Change) {
    let subject = subject(&change.plugin);
    match change.to {
        State::Quarantined => {
            let message =
                format!("The plugin {} ended too often: {}", change.plugin, change.reason);
            alarm.raise(QUARANTINED, &subject, shortened(message));
        }
        _ => alarm.clear(QUARANTINED, &subject),
    }
}

fn subject(plugin: &str) -> String {
    format!("/plugins/{plugin}")
}

/// What an alert may say at most.
fn shortened(mut message: String) -> String {
    let end = (0..=message.len().min(ALERT_TEXT_BYTES_MAX)).rev();
    let end = end.into_iter().find(|end| message.is_char_boundary(*end));
    message.truncate(end.unwrap_or_default());
    message
}

fn draft(declared: &ClassDeclaration, change: &Change) -> Option<Draft> {
    let mut draft = Draft::new(declared.class.clone());
    draft.subject = subject(&change.plugin);
    draft.priority = Some(priority(declared, change.to));
    draft.message =
        format!("The plugin {} is {}: {}", change.plugin, change.to.as_str(), change.reason);
    draft.data = Json::of(change).ok()?;
    Some(draft)
}

/// In the audit trail: the daemon's own doing, with the new state as its outcome.
fn entry(actor: &str, change: &Change, details: Json) -> AuditEntry {
    AuditEntry {
        actor: actor.to_owned(),
        origin: "host".to_owned(),
        method: STATE_CLASS.to_owned(),
        outcome: change.to.as_str().to_owned(),
        details,
    }
}

fn priority(declared: &ClassDeclaration, state: State) -> Priority {
    match state {
        State::Quarantined => declared.priority_max,
        State::Failed | State::Incompatible => Priority::clamped(4),
        _ => declared.priority_default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_state_becomes_an_event_within_its_declaration() {
        let change = Change {
            plugin: "demo".to_owned(),
            from: State::Ready,
            to: State::Quarantined,
            reason: "it exited with status 1".to_owned(),
            pid: Some(7),
            restarts: 5,
        };
        let declared = &own_class(STATE_CLASS).unwrap().declared;
        let draft = draft(declared, &change).unwrap();
        assert_eq!(draft.check(), Ok(()));
        assert_eq!(draft.subject, "/plugins/demo");
        assert_eq!(draft.priority, Some(declared.priority_max));
        let data: serde_json::Value = draft.data.read().unwrap();
        for member in data.as_object().unwrap().keys() {
            assert!(declared.schema["properties"].get(member).is_some(), "{member}");
        }
        for state in [data["from"].clone(), data["to"].clone()] {
            let states = declared.schema["properties"]["to"]["enum"].as_array().unwrap();
            assert!(states.contains(&state), "{state}");
        }
    }
}
