//! Everybody who writes and reads while others die.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::ledger::Ledger;
use super::reader::{Manner, Reader};
use super::writer::{self, Writer};
use crate::chance::Chance;
use crate::harness::{Door, PATIENCE};

/// What they share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) socket: PathBuf,
    ledger: Mutex<Ledger>,
    writing: AtomicBool,
    /// The number of the last event; 0 while it is not written yet.
    last: AtomicU64,
}

impl Common {
    pub(super) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::SeqCst)
    }

    pub(super) fn last(&self) -> Option<u64> {
        Some(self.last.load(Ordering::SeqCst)).filter(|last| *last > 0)
    }

    /// Notes what was acknowledged.
    pub(super) fn note(&self, note: impl FnOnce(&mut Ledger)) {
        note(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The tasks.
pub(super) struct Crew {
    common: Arc<Common>,
    chance: Chance,
    writers: JoinSet<()>,
    readers: JoinSet<Reader>,
}

impl Crew {
    /// Nobody yet, but the one who has the plugin publish.
    pub(super) fn new(socket: PathBuf, chance: &mut Chance) -> Self {
        let common = Arc::new(Common {
            socket,
            ledger: Mutex::default(),
            writing: AtomicBool::new(true),
            last: AtomicU64::new(0),
        });
        let mut chance = chance.split();
        let mut writers = JoinSet::new();
        writers.spawn(writer::prompt_plugin(Arc::clone(&common), chance.split()));
        Self { common, chance, writers, readers: JoinSet::new() }
    }

    /// So many clients that fire.
    pub(super) fn write(&mut self, count: usize) {
        for number in 0..count {
            let name = format!("writer-{number}");
            let writer = Writer::new(name, Arc::clone(&self.common), self.chance.split());
            self.writers.spawn(writer.work());
        }
    }

    /// A client that reads.
    pub(super) fn read(&mut self, manner: Manner, filter: Value) {
        let reader = Reader::new(Arc::clone(&self.common), manner, filter, self.chance.split());
        self.readers.spawn(reader.work());
    }

    /// Fails when somebody has failed.
    pub(super) fn look(&mut self) {
        if let Some(ended) = self.writers.try_join_next() {
            unwrap(ended);
            panic!("a writer has stopped");
        }
        if let Some(ended) = self.readers.try_join_next() {
            unwrap(ended);
            panic!("a reader has stopped");
        }
    }

    /// Has everybody finish and compares what each of them knows; returns the whole log.
    pub(super) async fn finish(mut self, door: &Door) -> Vec<Value> {
        self.common.writing.store(false, Ordering::SeqCst);
        while let Some(ended) = in_time("the writers end", self.writers.join_next()).await {
            unwrap(ended);
        }
        let mut admin = door.admin().await;
        let fire = json!({"class": "user.last", "message": "the end"});
        let answer = admin.call("events", "fire", fire).await.expect("the last event is recorded");
        let last = answer["seq"].as_u64().expect("a number");
        self.common.last.store(last, Ordering::SeqCst);
        let mut readers = Vec::new();
        while let Some(ended) = in_time("the readers reach the end", self.readers.join_next()).await
        {
            readers.push(unwrap(ended));
        }
        let log = whole_log(door, last).await;
        self.common.note(|ledger| ledger.compare(&log));
        for reader in &readers {
            reader.compare(&log);
        }
        log
    }
}

/// Every event up to number `last`, as history tells it.
async fn whole_log(door: &Door, last: u64) -> Vec<Value> {
    let mut admin = door.admin().await;
    let mut log: Vec<Value> = Vec::new();
    loop {
        let after = log.last().map_or(0, |event| event["seq"].as_u64().expect("a number"));
        if after >= last {
            return log;
        }
        let question = json!({"after_seq": after, "limit": 1000});
        let page = admin.call("events", "list", question).await.expect("a page of history");
        let events = page["events"].as_array().expect("a list");
        assert!(!events.is_empty(), "the log ends at {after}, not at {last}");
        let missing = last.saturating_sub(after);
        log.extend(events.iter().take(usize::try_from(missing).expect("a length")).cloned());
    }
}

async fn in_time<T>(what: &str, step: impl Future<Output = T>) -> T {
    timeout(PATIENCE, step).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

fn unwrap<T>(ended: Result<T, JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
