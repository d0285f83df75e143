//! The one thread that writes.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use protocol::{Event, Time};
use rusqlite::{Connection, params};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::alerts::{self, StoredAlert};
use super::audit::{AuditEntry, AuditRecord, Link, extend};
use super::check::log_of;
use super::error::Failure;
use super::jobs::{self, JobChange};
use super::orders::{self, OrderChange};
use super::retention::{LOOK_AFTER, Retention};
use super::{Bounds, Record, StoreError, rows};
use crate::clock::{Clock, Stamp};

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
#[expect(clippy::large_enum_variant, reason = "nearly all are appends, and a box for each costs")]
pub(super) enum Errand {
    /// Record this.
    Append(Append),
    /// Change something else, between two batches.
    Do(Job, OwnedSemaphorePermit),
    /// End, after everything that was asked before.
    Stop,
}

/// What waits to be recorded.
pub(super) struct Append {
    pub(super) entry: Entry,
    pub(super) weight: usize,
    /// Its share of the queue, given back when it leaves it.
    pub(super) _room: OwnedSemaphorePermit,
}

/// An event or a record of the audit trail, and who waits for it.
pub(super) enum Entry {
    Event(Record, Waiting<Arc<Event>>),
    Audit(AuditEntry, Waiting<u64>),
}

type Waiting<T> = oneshot::Sender<Result<T, StoreError>>;

/// What goes into one transaction.
struct Lot {
    /// The newest event before it.
    before: u64,
    events: Vec<Arc<Event>>,
    /// The newest record of the audit trail, with this lot.
    head: Link,
    audit: Vec<AuditRecord>,
    /// In the order in which they were asked for.
    jobs: Vec<JobChange>,
    /// In the order in which they were asked for.
    alerts: Vec<StoredAlert>,
    /// In the order in which they were asked for.
    orders: Vec<OrderChange>,
}

/// Who is answered when it is durable.
enum Reply {
    Event(Waiting<Arc<Event>>, Arc<Event>),
    Audit(Waiting<u64>, u64),
}

impl Reply {
    /// A publisher that has gone needs no answer; what it gave is recorded all the same.
    fn send(self, stored: &Result<(), StoreError>) {
        match self {
            Self::Event(waiting, event) => drop(waiting.send(stored.clone().map(|()| event))),
            Self::Audit(waiting, seq) => drop(waiting.send(stored.clone().map(|()| seq))),
        }
    }
}

/// What the writer tells everybody else.
pub(super) struct Progress {
    oldest: AtomicU64,
    head: AtomicU64,
    audit: Mutex<Link>,
    committed: Mutex<Option<Committed>>,
}

impl Progress {
    pub(super) fn new(bounds: Bounds, audit: Link) -> Self {
        Self {
            oldest: AtomicU64::new(bounds.oldest),
            head: AtomicU64::new(bounds.head),
            audit: Mutex::new(audit),
            committed: Mutex::new(None),
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        // Both only grow, so reading the lower one first can never show an impossible pair.
        let oldest = self.oldest.load(Ordering::SeqCst);
        Bounds { oldest, head: self.head.load(Ordering::SeqCst) }
    }

    pub(super) fn audit_head(&self) -> Link {
        *self.audit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn on_commit(&self, committed: Committed) {
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner) = Some(committed);
    }

    fn forget(&self, oldest: u64) {
        self.oldest.fetch_max(oldest, Ordering::SeqCst);
    }

    fn advance(&self, lot: &Lot) {
        *self.audit.lock().unwrap_or_else(PoisonError::into_inner) = lot.head;
        if lot.events.is_empty() {
            return;
        }
        self.head.store(lot.before + lot.events.len() as u64, Ordering::SeqCst);
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(committed) = committed.as_mut() {
            committed(&lot.events);
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
        let mut bytes = first.weight;
        let mut batch = vec![first];
        let mut next = None;
        while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            match self.inbox.try_recv() {
                Ok(Errand::Append(append)) => {
                    bytes += append.weight;
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
        let (before, head) = (self.progress.bounds().head, self.progress.audit_head());
        let mut lot = Lot {
            before,
            events: Vec::new(),
            head,
            audit: Vec::new(),
            jobs: Vec::new(),
            alerts: Vec::new(),
            orders: Vec::new(),
        };
        let replies: Vec<_> =
            batch.into_iter().map(|append| self.place(append.entry, &mut lot)).collect();
        let stored = store(&mut self.db, &lot).map_err(|failure| self.failed(failure));
        if stored.is_ok() && std::mem::take(&mut self.is_failing) {
            tracing::info!("events are recorded again");
        }
        if matches!(stored, Err(StoreError::Full)) {
            // The write-ahead log may hold what is in the database already: give that room back.
            self.fold();
        }
        if stored.is_ok() {
            self.progress.advance(&lot);
        }
        for reply in replies {
            reply.send(&stored);
        }
    }

    /// Gives an entry its number and time.
    fn place(&self, entry: Entry, lot: &mut Lot) -> Reply {
        let stamp = self.clock.stamp();
        match entry {
            Entry::Event(mut record, waiting) => {
                if let Some(entry) = record.audit.take() {
                    lot.audit(stamp.time, entry);
                }
                lot.jobs.extend(record.job.take().map(|change| *change));
                lot.alerts.extend(record.alert.take().map(|alert| *alert));
                lot.orders.extend(record.order.take().map(|change| *change));
                let seq = lot.before + lot.events.len() as u64 + 1;
                let event = Arc::new(event(seq, stamp, record));
                lot.events.push(Arc::clone(&event));
                Reply::Event(waiting, event)
            }
            Entry::Audit(entry, waiting) => Reply::Audit(waiting, lot.audit(stamp.time, entry)),
        }
    }

    /// One step of retention, and a look at the size of the write-ahead log.
    fn tidy(&mut self) {
        let now = self.clock.now_for_ages();
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

impl Lot {
    fn audit(&mut self, time: Time, entry: AuditEntry) -> u64 {
        let record = self.head.next(time, entry);
        self.head = record.link();
        self.audit.push(record);
        self.head.seq
    }
}

fn event(seq: u64, stamp: Stamp, record: Record) -> Event {
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

/// One transaction, durable when this returns; after an error nothing of it is there.
fn store(db: &mut Connection, lot: &Lot) -> Result<(), Failure> {
    let transaction = db.transaction()?;
    for (seq, event) in (lot.before + 1..).zip(&lot.events) {
        rows::insert(&transaction, seq, event)?;
    }
    let mut seen = HashSet::with_capacity(lot.events.len());
    for (index, event) in lot.events.iter().enumerate().rev() {
        let seq = lot.before + 1 + index as u64;
        if seen.insert((event.class.as_str(), event.subject.as_str())) {
            transaction
                .prepare_cached(
                    "INSERT INTO newest (class, subject, seq) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (class, subject) DO UPDATE SET seq = excluded.seq",
                )?
                .execute(params![event.class.as_str(), event.subject, seq.cast_signed()])?;
        }
    }
    extend(&transaction, &lot.audit)?;
    for change in &lot.jobs {
        jobs::change(&transaction, change)?;
    }
    for alert in &lot.alerts {
        alerts::put(&transaction, alert)?;
    }
    for change in &lot.orders {
        orders::change(&transaction, change)?;
    }
    transaction.commit()?;
    Ok(())
}
