//! Putting alerts on record, each change in one step with the event that tells of it.

use protocol::{Draft, Fault, Json, Priority, Time};
use serde_json::json;
use tokio::sync::MutexGuard;

use super::Shared;
use super::book::{Book, Entry, Kept, When};
use super::state::{Alert, Change, Input, Verb};
use crate::bus::own_class;
use crate::store::StoredAlert;

/// The source of events about alerts.
const SOURCE: &str = "sysadmd";

impl Shared {
    /// Takes one step with one alert. It is in the book only when it is on record; but for changes
    /// that need not be at once.
    pub(super) async fn step(
        &self,
        book: &mut MutexGuard<'_, Book>,
        mut entry: Entry,
        input: Input,
        now: Time,
    ) -> Result<Alert, Fault> {
        let Some(change) = entry.kept.alert.step(input, &entry.rule, now) else {
            let alert = entry.kept.alert.clone();
            book.put(entry);
            return Ok(alert);
        };
        match entry.when(change, now) {
            When::Now => {
                self.record(&entry.kept, change).await?;
                entry.unrecorded = None;
            }
            When::At(at) => {
                // A figure must not hide that it came or went.
                let is_more = |(before, _): (Change, Time)| before.verb != Verb::Repeated;
                let before =
                    entry.unrecorded.filter(|it| is_more(*it) && change.verb == Verb::Repeated);
                entry.unrecorded = Some((before.map_or(change, |(change, _)| change), at));
            }
        }
        let alert = entry.kept.alert.clone();
        book.put(entry);
        Ok(alert)
    }

    /// Records what was put off and is due; whether it could be.
    pub(super) async fn record_due(&self, book: &mut MutexGuard<'_, Book>, now: Time) -> bool {
        let mut all_well = true;
        let mut figures = Vec::new();
        for id in book.unrecorded() {
            let Some(entry) = book.get(id) else { continue };
            let Some((change, at)) = entry.unrecorded else { continue };
            if at > now {
                continue;
            }
            if change.verb == Verb::Repeated {
                figures.push(id);
                continue;
            }
            let mut entry = entry.clone();
            match self.record(&entry.kept, change).await {
                Ok(()) => {
                    entry.unrecorded = None;
                    book.put(entry);
                }
                Err(_) => all_well = false,
            }
        }
        all_well & self.record_figures(book, &figures).await
    }

    /// Counts and times alone are no event.
    async fn record_figures(&self, book: &mut MutexGuard<'_, Book>, ids: &[u64]) -> bool {
        if ids.is_empty() {
            return true;
        }
        let entries = || ids.iter().filter_map(|id| book.get(*id));
        let Ok(rows) = entries().map(|entry| stored(&entry.kept)).collect::<Result<Vec<_>, _>>()
        else {
            return false;
        };
        if let Err(error) = self.ground.store.alert_put(rows).await {
            tracing::debug!(%error, "the figures of alerts are not kept yet");
            return false;
        }
        let entries: Vec<Entry> = entries().cloned().collect();
        for mut entry in entries {
            entry.unrecorded = None;
            book.put(entry);
        }
        true
    }

    /// Before the daemon ends: everything.
    pub(super) async fn record_rest(&self) {
        let mut book = self.book.lock().await;
        if !self.record_due(&mut book, Time::from_micros(u64::MAX)).await {
            tracing::warn!("some figures of alerts were not kept");
        }
    }

    async fn record(&self, kept: &Kept, change: Change) -> Result<(), Fault> {
        let (draft, stored) = (telling(&kept.alert, change)?, stored(kept)?);
        self.ground.bus.publish_alert(SOURCE, draft, stored).await.map(|_| ())
    }
}

fn stored(kept: &Kept) -> Result<StoredAlert, Fault> {
    let alert = Json::of(kept).map_err(|error| {
        tracing::error!(%error, "an alert has no JSON form");
        Fault::internal()
    })?;
    Ok(StoredAlert { id: kept.alert.id, closed: kept.alert.closed, alert })
}

/// The event that tells how an alert is now.
fn telling(alert: &Alert, change: Change) -> Result<Draft, Fault> {
    let Change { verb, notify } = change;
    let what = &alert.message;
    let by = |by: Option<&String>| by.map_or("somebody", String::as_str).to_owned();
    let acknowledged = alert.acknowledged.as_ref().map(|it| &it.by);
    let silenced = alert.silenced.as_ref();
    let (class, message) = match verb {
        Verb::Raised => ("alert.raised", what.clone()),
        Verb::Cleared => ("alert.cleared", format!("Over: {what}")),
        Verb::Passed => ("alert.changed", format!("Passed: {what}")),
        Verb::Began => ("alert.changed", format!("Waited with: {what}")),
        Verb::Repeated => ("alert.changed", format!("Still: {what}")),
        Verb::Worsened => ("alert.changed", format!("Worse: {what}")),
        Verb::Easing => ("alert.changed", format!("It seems to be over: {what}")),
        Verb::Returned => ("alert.changed", format!("It is back: {what}")),
        Verb::Acknowledged => {
            ("alert.changed", format!("{} looks after it: {what}", by(acknowledged)))
        }
        Verb::Unacknowledged => ("alert.changed", format!("Nobody looks after it: {what}")),
        Verb::Silenced => {
            let until = silenced.map(|it| it.until.to_string()).unwrap_or_default();
            let who = by(silenced.map(|it| &it.by));
            ("alert.changed", format!("{who} silenced it until {until}: {what}"))
        }
        Verb::Unsilenced => ("alert.changed", format!("It is silent no longer: {what}")),
    };
    let declared = &own_class(class).ok_or_else(Fault::internal)?.declared;
    let mut draft = Draft::new(declared.class.clone());
    draft.subject = format!("/alerts/{}", alert.id);
    draft.priority = Some(match verb {
        Verb::Raised => alert.priority,
        Verb::Cleared => declared.priority_max,
        _ if notify => alert.priority,
        _ => Priority::clamped(1),
    });
    draft.message = message;
    draft.data = Json::from(json!({ "alert": alert, "verb": verb, "notify": notify }));
    Ok(draft)
}
