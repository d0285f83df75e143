//! The one thread that writes.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use protocol::Event;
use rusqlite::{Connection, params};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::check::log_of;
use super::error::Failure;
use super::retention::{LOOK_AFTER, Retention};
use super::{Bounds, Record, StoreError, rows};
use crate::clock::Clock;

/// The most records in one transaction: enough that the cost of making it durable disappears
/// among them, few enough that the first of them does not wait noticeably for the last.
pub(super) const BATCH_RECORDS: usize = 1024;
/// The most bytes in one transaction (one record more may exceed it).
const BATCH_BYTES: usize = 4 << 20;

/// SQLite starts the write-ahead log afresh by itself, except while readers follow each other
/// without a pause; above this size (a few times the usual one) they are made to pause.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// What is called with every batch once it is durable.
pub type Committed = Box<dyn FnMut(&[Arc<Event>]) + Send>;
pub(super) type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// What the writer can be asked for.
pub(super) enum Errand {
    /// Record this.
    Append(Append),
    /// Change something else, between two batches.
    Do(Job, OwnedSemaphorePermit),
    /// End, after everything that was asked before.
    Stop,
}

/// A record that waits, and who waits for it.
pub(super) struct Append {
    pub(super) record: Record,
    pub(super) reply: oneshot::Sender<Result<Arc<Event>, StoreError>>,
    /// Its share of the queue, given back when the record leaves it.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What the writer tells everybody else.
pub(super) struct Progress {
    oldest: AtomicU64,
    head: AtomicU64,
    committed: Mutex<Option<Committed>>,
}

impl Progress {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            oldest: AtomicU64::new(bounds.oldest),
            head: AtomicU64::new(bounds.head),
            committed: Mutex::new(None),
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        // Both only grow, so reading the lower one first can never show an impossible pair.
        let oldest = self.oldest.load(Ordering::SeqCst);
        Bounds { oldest, head: self.head.load(Ordering::SeqCst) }
    }

    pub(super) fn on_commit(&self, committed: Committed) {
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner) = Some(committed);
    }

    fn forget(&self, oldest: u64) {
        self.oldest.fetch_max(oldest, Ordering::SeqCst);
    }

    fn advance(&self, head: u64, batch: &[Arc<Event>]) {
        self.head.store(head, Ordering::SeqCst);
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(committed) = committed.as_mut() {
            committed(batch);
        }
    }
}

/// The state of the thread.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) file: PathBuf,
    pub(super) clock: Clock,
    pub(super) progress: Arc<Progress>,
    pub(super) inbox: Receiver<Errand>,
    pub(super) retention: Retention,
    /// The last batch could not be recorded; the log has been told.
    pub(super) is_failing: bool,
}

impl Writer {
    /// Works until it is told to stop or everybody who could ask has gone.
    pub(super) fn run(mut self) {
        // Where files may not grow any further, an error is to be answered, not a signal died of.
        if let Err(error) = SigSet::from(Signal::SIGXFSZ).thread_block() {
            tracing::warn!(%error, "the signal for too large a file could not be held back");
        }
        let mut next = None;
        loop {
            let patience = if self.retention.is_due() { Duration::ZERO } else { LOOK_AFTER };
            match next.take().map_or_else(|| self.inbox.recv_timeout(patience), Ok) {
                Ok(Errand::Append(first)) => {
                    next = self.batch(first);
                    if self.retention.is_due() {
                        self.tidy();
                    }
                }
                Ok(Errand::Do(job, room)) => {
                    drop(room);
                    job(&mut self.db);
                }
                Err(RecvTimeoutError::Timeout) => self.tidy(),
                Ok(Errand::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    /// Records `first` and what else is waiting; returns the errand that ended the batch.
    fn batch(&mut self, first: Append) -> Option<Errand> {
        let mut bytes = first.record.weight();
        let mut batch = vec![first];
        let mut next = None;
        while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            match self.inbox.try_recv() {
                Ok(Errand::Append(append)) => {
                    bytes += append.record.weight();
                    batch.push(append);
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.retention.recorded(batch.len(), bytes);
        self.record(batch);
        next
    }

    fn record(&mut self, batch: Vec<Append>) {
        let head = self.progress.bounds().head;
        let (events, replies): (Vec<_>, Vec<_>) = (head + 1..)
            .zip(batch)
            .map(|(seq, append)| (Arc::new(self.event(seq, append.record)), append.reply))
            .unzip();
        let stored = store(&mut self.db, head + 1, &events);
        let stored = stored.map_err(|failure| self.failed(failure));
        if stored.is_ok() && std::mem::take(&mut self.is_failing) {
            tracing::info!("events are recorded again");
        }
        if matches!(stored, Err(StoreError::Full)) {
            // The write-ahead log may hold what is in the database already: give that room back.
            self.fold();
        }
        if stored.is_ok() {
            self.progress.advance(head + events.len() as u64, &events);
        }
        for (reply, event) in replies.into_iter().zip(events) {
            // A publisher that has gone needs no answer; its event is recorded all the same.
            let _gone = reply.send(stored.clone().map(|()| event));
        }
    }

    fn event(&self, seq: u64, record: Record) -> Event {
        let stamp = self.clock.stamp();
        Event {
            seq: Some(seq),
            id: stamp.id,
            time: stamp.time,
            source: record.source,
            class: record.class,
            subject: record.subject,
            priority: record.priority,
            message: record.message,
            data: record.data,
        }
    }

    /// One step of retention, and a look at the size of the write-ahead log.
    fn tidy(&mut self) {
        let now = self.clock.now().micros();
        match self.retention.step(&mut self.db, self.progress.bounds(), now) {
            Ok(step) => self.progress.forget(step.oldest),
            Err(failure) => {
                let error = failure.in_file(&self.file);
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(cause, "old events were not removed: {error}");
            }
        }
        let log = std::fs::metadata(log_of(&self.file)).map_or(0, |log| log.len());
        if log > LOG_BYTES_MAX {
            self.fold();
        }
    }

    /// Folds the write-ahead log into the database and empties it, waiting for readers a little.
    fn fold(&self) {
        let folded = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        match folded {
            Ok(0i64) => {}
            Ok(_) => tracing::warn!("readers kept the write-ahead log from being emptied"),
            Err(error) if self.is_failing => {
                tracing::debug!(%error, "the write-ahead log could not be emptied");
            }
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be emptied"),
        }
    }

    /// Tells the log once: where nothing can be written, everybody who tries would fill it.
    fn failed(&mut self, failure: Failure) -> StoreError {
        let error = failure.on(&self.db).in_file(&self.file);
        if !std::mem::replace(&mut self.is_failing, true) {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(cause, "events were not recorded: {error}");
        }
        error
    }
}

/// One transaction, durable when this returns; after an error nothing of it is there.
fn store(db: &mut Connection, first: u64, events: &[Arc<Event>]) -> Result<(), Failure> {
    let transaction = db.transaction()?;
    for (seq, event) in (first..).zip(events) {
        rows::insert(&transaction, seq, event)?;
    }
    let mut seen = HashSet::with_capacity(events.len());
    for (index, event) in events.iter().enumerate().rev() {
        let seq = first + index as u64;
        if seen.insert((event.class.as_str(), event.subject.as_str())) {
            transaction
                .prepare_cached(
                    "INSERT INTO newest (class, subject, seq) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (class, subject) DO UPDATE SET seq = excluded.seq",
                )?
                .execute(params![event.class.as_str(), event.subject, seq.cast_signed()])?;
        }
    }
    transaction.commit()?;
    Ok(())
}
