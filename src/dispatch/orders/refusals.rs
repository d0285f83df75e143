//! Refused calls: the first of a minute is told at once, the others together at its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::Priority;
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::Orders;
use crate::bus::own_class;
use crate::dispatch::jobs::record::draft;

/// So long refusals are gathered.
const GATHERED: Duration = Duration::from_mins(1);
/// How often is looked whether a minute is over.
const LOOK: Duration = Duration::from_secs(5);
/// From so many in a minute on somebody should look.
const MANY: u64 = 10;
/// Their priority.
const MANY_PRIORITY: u8 = 6;
/// Sources that are named.
const PEERS_MAX: usize = 8;

/// What was refused in this minute, by trigger; `None`: no trigger was meant.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<Option<Uuid>, Gathered>>);

#[derive(Debug)]
struct Gathered {
    since: Instant,
    count: u64,
    reasons: BTreeMap<&'static str, u64>,
    peers: Vec<String>,
}

impl Gathered {
    fn new() -> Self {
        Self { since: Instant::now(), count: 0, reasons: BTreeMap::new(), peers: Vec::new() }
    }
}

impl Refusals {
    /// Counts one; whether it is the first of its minute.
    pub(super) fn count(&self, trigger: Option<Uuid>, why: &'static str, peer: &str) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = !all.contains_key(&trigger);
        let gathered = all.entry(trigger).or_insert_with(Gathered::new);
        if is_first {
            return true;
        }
        gathered.count += 1;
        *gathered.reasons.entry(why).or_default() += 1;
        if gathered.peers.len() < PEERS_MAX && !gathered.peers.iter().any(|it| it == peer) {
            gathered.peers.push(peer.to_owned());
        }
        false
    }

    /// Those whose minute is over; all of them when the daemon stops.
    fn take(&self, all_of_them: bool) -> Vec<(Option<Uuid>, Gathered)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = all.extract_if(|_, it| all_of_them || it.since.elapsed() >= GATHERED);
        over.filter(|(_, gathered)| gathered.count > 0).collect()
    }
}

impl Orders {
    /// Tells what was refused, minute for minute, until the daemon stops.
    pub(super) async fn tell_refusals(self) {
        let stop = self.0.tasks.stop_signal();
        loop {
            let is_stopping = tokio::select! {
                () = stop.wait() => true,
                () = sleep(LOOK) => false,
            };
            for (trigger, gathered) in self.0.refusals.take(is_stopping) {
                let Gathered { count, reasons, peers, .. } = gathered;
                self.tell_refused(trigger, count, &reasons, &peers).await;
            }
            if is_stopping {
                return;
            }
        }
    }

    /// One event for so many refusals.
    pub(super) async fn tell_refused(
        &self,
        trigger: Option<Uuid>,
        count: u64,
        reasons: &BTreeMap<&'static str, u64>,
        peers: &[String],
    ) {
        let Some(own) = own_class("trigger.refused") else { return };
        let subject =
            trigger.map_or_else(|| "/triggers".to_owned(), |id| format!("/triggers/{id}"));
        let words = reasons.keys().copied().collect::<Vec<_>>().join(", ");
        let what = if trigger.is_some() { "of a trigger" } else { "of triggers that are none" };
        let calls = if count == 1 { "A call".to_owned() } else { format!("{count} calls") };
        let message = format!("{calls} {what} refused: {words}");
        let data = json!({
            "trigger": trigger, "count": count, "reasons": reasons, "peers": peers,
        });
        let Ok(mut draft) = draft("trigger.refused", subject, &message, data) else { return };
        if count >= MANY {
            draft.priority = Some(Priority::clamped(MANY_PRIORITY));
        }
        let told = self.0.bus.publish(&own.source, draft, own.declared.retain).await;
        if let Err(fault) = told {
            tracing::error!(%fault, "refused calls of triggers could not be recorded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_minute_is_told_and_the_others_are_counted() {
        let refusals = Refusals::default();
        let one = Some(Uuid::from_u128(1));
        assert!(refusals.count(one, "signature", "192.0.2.1"));
        assert!(refusals.count(None, "unknown", "192.0.2.1"));
        for number in 0..20 {
            assert!(!refusals.count(one, "late", &format!("192.0.2.{number}")));
        }
        assert!(refusals.take(false).is_empty(), "the minute is not over");
        let told = refusals.take(true);
        assert_eq!(told.len(), 1, "what was told at once is not told again");
        let (trigger, gathered) = &told[0];
        assert_eq!((*trigger, gathered.count, gathered.peers.len()), (one, 20, PEERS_MAX));
        assert_eq!(gathered.reasons["late"], 20);
        assert!(refusals.count(one, "late", "192.0.2.1"), "a new minute begins");
    }
}
