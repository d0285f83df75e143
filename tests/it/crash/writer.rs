//! Those who fire: clients of their own, and one that has the plugin publish.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kit::client::{Came, SysAdmClient, Target};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::crew::Common;
use crate::chance::Chance;
use crate::harness::PATIENCE;

/// From one attempt to reach the daemon to the next.
const PAUSE: Duration = Duration::from_millis(5);

/// A client that fires.
pub(super) struct Writer {
    name: String,
    common: Arc<Common>,
    chance: Chance,
    /// The number of its next event. One that was sent is never sent again, whatever became of it.
    next: u64,
}

impl Writer {
    pub(super) fn new(name: String, common: Arc<Common>, chance: Chance) -> Self {
        Self { name, common, chance, next: 0 }
    }

    /// Fires until nobody writes any more, on one connection after the other.
    pub(super) async fn work(mut self) {
        while self.common.is_writing() {
            match connect(&self.common).await {
                Some(client) => self.fire(client).await,
                None => sleep(PAUSE).await,
            }
        }
    }

    /// Fires until the connection ends, a few at a time.
    async fn fire(&mut self, mut client: SysAdmClient) {
        while self.common.is_writing() {
            let mut waiting = HashMap::new();
            for _ in 0..=self.chance.below(8) {
                let (number, event) = (self.next, self.event());
                self.next += 1;
                let Some(id) = client.try_send("events", "fire", event).await else { return };
                waiting.insert(id, number);
            }
            while !waiting.is_empty() {
                let Some(message) = next(&mut client).await else { return };
                let id = message["id"].as_str().unwrap_or_default();
                let number = waiting.remove(id).unwrap_or_else(|| panic!("asked for {message}"));
                assert_eq!(message["name"], "response", "a fire was refused: {message}");
                self.common.note(|ledger| ledger.fired(&message["args"], &self.name, number));
            }
            sleep(self.chance.millis(4)).await;
        }
    }

    fn event(&mut self) -> Value {
        json!({
            "class": "user.crash",
            "subject": format!("/writers/{}", self.name),
            "priority": if self.chance.one_in(20) { 6 + self.chance.below(5) } else { 1 },
            "message": "x".repeat(usize::try_from(self.chance.below(300)).expect("a length")),
            "data": {"who": self.name, "n": self.next},
        })
    }
}

/// Has the plugin publish until nobody writes any more.
pub(super) async fn prompt_plugin(common: Arc<Common>, mut chance: Chance) {
    let mut calls = 0_u64;
    while common.is_writing() {
        let Some(mut client) = connect(&common).await else {
            sleep(PAUSE).await;
            continue;
        };
        while common.is_writing() {
            calls += 1;
            let who = format!("plugin-{calls}");
            let draft = json!({"class": "kit.event", "priority": chance.below(9),
                               "data": {"who": who}});
            let (count, batch) = (1 + chance.below(40), 1 + chance.below(8));
            let args = json!({"draft": draft, "n": count, "batch": batch});
            if client.try_send("kit", "publish", args).await.is_none() {
                break;
            }
            let Some(message) = next(&mut client).await else { break };
            if message["name"] == "response" {
                assert_eq!(message["args"]["published"], count, "{message}");
                common.note(|ledger| ledger.published(&who, count));
            } else {
                // The plugin is not there yet, or was killed.
                assert_eq!(message["args"]["code"], "503", "{message}");
                sleep(PAUSE).await;
            }
        }
    }
}

/// A connection, if the daemon is there.
pub(super) async fn connect(common: &Common) -> Option<SysAdmClient> {
    SysAdmClient::connect(Target::Unix(common.socket.clone())).await.ok()
}

/// The next message; `None` when the daemon is gone.
async fn next(client: &mut SysAdmClient) -> Option<Value> {
    match client.came_within(PATIENCE).await {
        Some(Came::Message(message)) => Some(message),
        Some(Came::Closed(..)) => None,
        None => panic!("no answer in {PATIENCE:?}"),
    }
}
