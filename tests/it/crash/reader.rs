//! Those who read: by their cursor, over every kind of break.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kit::client::{Came, SysAdmClient};
use protocol::{Cursor, Event, Filter};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::crew::Common;
use super::writer::connect;
use crate::chance::Chance;
use crate::harness::PATIENCE;

/// How a reader behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Reads as long as the daemon lives.
    Steady,
    /// Dies all the time, with much unread, and is back at once.
    Nervous,
    /// Dies, and stays away so long that what is urgent overtakes when it is back.
    Sleepy,
}

/// A client that reads.
#[derive(Debug)]
pub(super) struct Reader {
    common: Arc<Common>,
    manner: Manner,
    filter: Value,
    chance: Chance,
    cursor: Option<Cursor>,
    /// The id of every event it got, by number.
    got: BTreeMap<u64, String>,
    /// How many of them came before an earlier one.
    overtook: usize,
}

impl Reader {
    pub(super) fn new(common: Arc<Common>, manner: Manner, filter: Value, chance: Chance) -> Self {
        let (cursor, got) = (None, BTreeMap::new());
        Self { common, manner, filter, chance, cursor, got, overtook: 0 }
    }

    /// Reads until it has everything, on one connection after the other.
    pub(super) async fn work(mut self) -> Self {
        while !self.has_everything() {
            if let Some(client) = connect(&self.common).await {
                self.read(client).await;
            }
            let nap = match self.manner {
                Manner::Steady | Manner::Nervous => self.chance.millis(10),
                Manner::Sleepy => Duration::from_millis(300) + self.chance.millis(300),
            };
            if !self.has_everything() {
                sleep(nap).await;
            }
        }
        self
    }

    /// Reads until the connection ends or it dies; what it has not read then is lost to it.
    async fn read(&mut self, mut client: SysAdmClient) {
        let from = self.cursor.as_ref().map_or("oldest".to_owned(), Cursor::to_string);
        let wanted = json!({"sub": "r", "filter": self.filter, "from": from, "heartbeat_s": 1});
        if client.try_send("events", "subscribe", wanted).await.is_none() {
            return;
        }
        let mut patience = match self.manner {
            Manner::Steady => u64::MAX,
            Manner::Nervous => self.chance.below(300),
            Manner::Sleepy => 200 + self.chance.below(3_000),
        };
        while !self.has_everything() && patience > 0 {
            match client.came_within(PATIENCE).await {
                Some(Came::Message(message)) => self.take(&message),
                Some(Came::Closed(..)) => return,
                None => panic!("not even a heartbeat in {PATIENCE:?}"),
            }
            patience -= 1;
        }
    }

    fn take(&mut self, message: &Value) {
        let args = &message["args"];
        let cursor = || -> Cursor {
            let text = args["cursor"].as_str().unwrap_or_else(|| panic!("no cursor: {message}"));
            text.parse().expect("a cursor")
        };
        match message["name"].as_str() {
            Some("response") => {
                assert_eq!(args["gap"], Value::Null, "{message}");
                assert!(self.cursor.is_none() || self.cursor == Some(cursor()), "{message}");
                self.cursor = Some(cursor());
            }
            Some("heartbeat") => self.advance(cursor()),
            Some("event") => {
                let seq = args["seq"].as_u64().expect("a number");
                let covered = self.cursor.as_ref().is_some_and(|before| before.covers(seq));
                assert!(!covered, "{:?} covers it, and it came: {message}", self.cursor);
                let cursor = cursor();
                assert!(cursor.covers(seq), "its own cursor does not cover it: {message}");
                self.overtook += usize::from(!cursor.ahead.is_empty());
                self.advance(cursor);
                let id = args["event_id"].as_str().expect("an id").to_owned();
                let before = self.got.insert(seq, id);
                assert_eq!(before, None, "it came before: {message}");
            }
            _ => panic!("unexpected: {message}"),
        }
    }

    /// Whatever was covered before is covered still.
    fn advance(&mut self, cursor: Cursor) {
        if let Some(before) = &self.cursor {
            let lost = before.ahead.iter().find(|seq| !cursor.covers(**seq));
            assert!(
                cursor.seq >= before.seq && lost.is_none(),
                "the cursor went back from {before} to {cursor}"
            );
        }
        self.cursor = Some(cursor);
    }

    fn has_everything(&self) -> bool {
        let reached = self.cursor.as_ref().map_or(0, |cursor| cursor.seq);
        self.common.last().is_some_and(|last| reached >= last)
    }

    /// Fails unless it got each event of the log that it wanted, once.
    pub(super) fn compare(&self, log: &[Value]) {
        println!("{:?}: {} events, {} overtook", self.manner, self.got.len(), self.overtook);
        let filter: Filter = serde_json::from_value(self.filter.clone()).expect("a filter");
        let wanted = log.iter().filter(|event| filter.matches(&read(event)));
        let wanted: BTreeMap<u64, String> = wanted
            .map(|event| {
                let id = event["event_id"].as_str().expect("an id");
                (event["seq"].as_u64().expect("a number"), id.to_owned())
            })
            .collect();
        assert!(!wanted.is_empty(), "nothing was to be read");
        let missing: Vec<_> = wanted.keys().filter(|seq| !self.got.contains_key(seq)).collect();
        assert!(missing.is_empty(), "{:?} {} missed {missing:?}", self.manner, self.filter);
        let last = self.common.last().unwrap_or(u64::MAX);
        let got: BTreeMap<u64, String> = self.got.range(..=last).map(own).collect();
        assert_eq!(got, wanted, "{:?} {}", self.manner, self.filter);
    }
}

fn own((seq, id): (&u64, &String)) -> (u64, String) {
    (*seq, id.clone())
}

/// An event of history as the filter sees it.
fn read(event: &Value) -> Event {
    let text = |member: &str| event[member].as_str().unwrap_or_default().to_owned();
    Event {
        seq: event["seq"].as_u64(),
        id: text("event_id").parse().expect("an id"),
        time: protocol::Time::default(),
        source: text("source"),
        class: protocol::Class::parse(&text("class")).expect("a class"),
        subject: text("subject"),
        priority: serde_json::from_value(event["priority_num"].clone()).expect("a priority"),
        message: text("message"),
        data: protocol::Json::default(),
    }
}
