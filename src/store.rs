//! The store: the durable event log, the audit trail, jobs and the credentials; the only place that
//! speaks SQL.
//!
//! It knows how events are kept: numbered without a gap, durable before anybody hears of them,
//! bounded in age and size; and how a trail is kept so that changing it shows. It must not know who
//! publishes or subscribes, nor what a class or a role means. The bus appends and reads, `access`
//! keeps its credentials here, `daemon` opens and closes it.
//!
//! SQLite blocks, so it lives on threads of its own: one writes, one serves replay and one serves
//! questions about history that may take longer. The handles here are async.

mod alerts;
pub(crate) mod audit;
mod check;
mod copy;
mod errno;
mod error;
mod history;
mod jobs;
mod keys;
mod lane;
mod migrate;
mod open;
mod orders;
mod retention;
pub(crate) mod rows;
mod sessions;
mod sinks;
mod tokens;
mod vault;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use protocol::{Class, Event, Json, Priority, Time};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use self::error::Failure;
use self::history::SCAN_MAX;
use self::lane::Lane;
use self::retention::Retention;
use self::writer::{Append, Entry, Errand, Job, Progress, Writer};
use crate::clock::Clock;
use crate::sight::Interest;

pub use self::alerts::StoredAlert;
pub use self::audit::{AuditEntry, AuditPage, AuditQuery, AuditRecord, AuditTrail, AuditVerdict};
pub use self::error::StoreError;
pub use self::history::{PAGE_MAX, Page, Query};
pub use self::jobs::{JobChange, JobLogPart, JobPage, StoredJob};
pub use self::keys::StoredKey;
pub use self::orders::{OrderChange, StoredOrder, StoredRun, StoredSeen};
pub use self::sessions::StoredSession;
pub use self::sinks::StoredSink;
pub use self::tokens::Token;
pub use self::vault::Vault;
pub use self::writer::Committed;
pub use copy::Held;

/// The room in the writer's queue, in shares of [`SHARE_BYTES`]: one batch waits while one is being
/// made durable, and 16 MiB of records at most, whatever their size.
const SHARES: usize = writer::BATCH_RECORDS;
const SHARE_BYTES: usize = 16 << 10;

/// What the time of the newest event may be ahead of the system's clock before that is worth a
/// word: more than a clock that is being corrected ever jumps.
const CLOCK_AHEAD: Duration = Duration::from_mins(1);

/// How long and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreSettings {
    /// Events older than this are removed; `None` keeps them whatever their age.
    pub max_age: Option<Duration>,
    /// The oldest events are removed when the database holds more bytes than this; `None` lets it
    /// grow. The file may be larger by a small part and by what has not been tidied yet.
    pub max_bytes: Option<u64>,
    /// Records of the audit trail older than this are removed; `None` keeps them for ever. They
    /// count towards `max_bytes`, but never give way to it.
    pub audit_max_age: Option<Duration>,
}

impl Default for StoreSettings {
    /// 90 days and 1 GiB: about three million events of the usual size; 400 days of the trail.
    fn default() -> Self {
        Self {
            max_age: Some(Duration::from_hours(90 * 24)),
            max_bytes: Some(1 << 30),
            audit_max_age: Some(Duration::from_hours(400 * 24)),
        }
    }
}

/// An event before it has its place, id and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who says it: `sysadmd`, a plugin's id, or `client`.
    pub source: String,
    /// The kind.
    pub class: Class,
    /// What it happened to; may be empty.
    pub subject: String,
    /// How urgent.
    pub priority: Priority,
    /// One English sentence for a person.
    pub message: String,
    /// Everything else.
    pub data: Json,
    /// What goes into the audit trail with it, in the same transaction: both or neither, under the
    /// same time.
    pub audit: Option<AuditEntry>,
    /// What it changes about jobs, in the same transaction: so nobody ever sees one without the
    /// other.
    pub job: Option<Box<JobChange>>,
    /// The same for an alert: how it is from then on.
    pub alert: Option<Box<StoredAlert>>,
    /// The same for an order and its runs.
    pub order: Option<Box<OrderChange>>,
}

impl Record {
    fn weight(&self) -> usize {
        size_of::<Event>()
            + self.source.len()
            + self.class.as_str().len()
            + self.subject.len()
            + self.message.len()
            + self.data.text().len()
            + self.audit.as_ref().map_or(0, AuditEntry::weight)
            + self.job.as_ref().map_or(0, |change| change.weight())
            + self.alert.as_ref().map_or(0, |alert| alert.weight())
            + self.order.as_ref().map_or(0, |change| change.weight())
    }
}

/// What the log holds: every number from `oldest` to `head`. Empty: `oldest` is `head + 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The number of the oldest event that is still there.
    pub oldest: u64,
    /// The number of the newest event; 0 before the first.
    pub head: u64,
}

/// The opened state of this host. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    file: PathBuf,
    instance: Uuid,
    progress: Arc<Progress>,
    inbox: SyncSender<Errand>,
    room: Arc<Semaphore>,
    replay: Lane,
    history: Lane,
    threads: Mutex<Option<Threads>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("file", &self.file)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the state directory, and makes it if there is none. Blocks; meant for the start.
    ///
    /// # Errors
    /// When another daemon uses it, or its database is damaged, foreign or too new: then nothing
    /// in it is changed, and the sentence says what to do.
    pub fn open(dir: &Path, clock: Clock, settings: StoreSettings) -> Result<Self, StoreError> {
        let opened = open::open(dir)?;
        let ahead = opened.newest_micros.saturating_sub(clock.now().micros());
        if Duration::from_micros(ahead) > CLOCK_AHEAD {
            let newest = Time::from_micros(opened.newest_micros);
            tracing::warn!(%newest, "the newest event is later than the system's clock says it is; \
                events keep that time until the clock has caught up");
        }
        clock.advance_to(opened.newest_micros);
        let file = opened.file;
        let progress = Arc::new(Progress::new(opened.bounds, opened.audit_head));
        // One place more than shares, for the word that stops it: so sending never blocks.
        let (inbox, errands) = sync_channel(SHARES + 1);
        let spawning = |cause| StoreError::Io {
            doing: "start a thread for the database".to_owned(),
            cause: Arc::new(cause),
        };
        let lane = |name| Lane::start(name, open::reader(&file)?, &file).map_err(spawning);
        let (replay, replay_thread) = lane("store-replay")?;
        let (history, history_thread) = lane("store-history")?;
        let writer = Writer {
            db: opened.db,
            file: file.clone(),
            clock,
            progress: Arc::clone(&progress),
            inbox: errands,
            retention: Retention::new(settings),
            is_failing: false,
        };
        let lock = opened.lock;
        let writer_thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                writer.run();
                drop(lock);
            })
            .map_err(spawning)?;
        Ok(Self {
            shared: Arc::new(Shared {
                file,
                instance: opened.instance,
                progress,
                inbox,
                room: Arc::new(Semaphore::new(SHARES)),
                replay,
                history,
                threads: Mutex::new(Some(Threads {
                    readers: [replay_thread, history_thread],
                    writer: writer_thread,
                })),
            }),
        })
    }

    /// Names this database, once and for all.
    pub fn instance(&self) -> Uuid {
        self.shared.instance
    }

    /// The event log.
    pub fn log(&self) -> EventLog {
        EventLog { shared: Arc::clone(&self.shared) }
    }

    /// Looks at every page and every event of the database in `dir`, for as long as that takes;
    /// blocks. Without a database there is nothing to find.
    ///
    /// # Errors
    /// What is wrong with it; also when a daemon is using it.
    pub fn check_all(dir: &Path) -> Result<(), StoreError> {
        open::check_all(dir)
    }

    /// Waits until the writer's thread has done a turn.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn answers(&self) -> Result<(), StoreError> {
        self.change(|_| Ok(())).await
    }

    /// Changes something on the writer's thread, between two batches.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let room = Arc::clone(&self.shared.room);
        let room = room.acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            let result = work(db).map_err(|failure| failure.on(db));
            // The asker may have gone; then nobody wants the value.
            let _gone = reply.send(result);
        });
        self.shared.inbox.send(Errand::Do(job, room)).map_err(|_| StoreError::Stopped)?;
        let result = answer.await.map_err(|_| StoreError::Stopped)?;
        result.map_err(|failure| failure.in_file(&self.shared.file))
    }

    /// Records what is still waiting, folds the write-ahead log into the database and ends the
    /// threads. Blocks. Whatever is asked of any handle afterwards answers
    /// [`StoreError::Stopped`]. Closing twice does nothing.
    pub fn close(&self) {
        let threads = self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { readers, writer }) = threads else { return };
        // Readers first: only the last connection to leave can fold everything in, and only the
        // writer may.
        self.shared.replay.stop();
        self.shared.history.stop();
        readers.into_iter().for_each(join);
        // An error means that it has ended already.
        let _ended = self.shared.inbox.send(Errand::Stop);
        join(writer);
    }
}

/// Puts something to be recorded into the writer's queue, waiting for room for its bytes there.
async fn enqueue(shared: &Shared, weight: usize, entry: Entry) -> Result<(), StoreError> {
    let permits = weight.div_ceil(SHARE_BYTES).min(SHARES);
    let room = Arc::clone(&shared.room)
        .acquire_many_owned(u32::try_from(permits).unwrap_or(u32::MAX))
        .await
        .map_err(|_| StoreError::Stopped)?;
    let append = Append { entry, weight, _room: room };
    shared.inbox.send(Errand::Append(append)).map_err(|_| StoreError::Stopped)
}

struct Threads {
    readers: [JoinHandle<()>; 2],
    writer: JoinHandle<()>,
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the database has died");
    }
}

/// A record in the writer's queue. Dropping this does not take it back.
#[derive(Debug)]
#[must_use = "only the answer says whether it was recorded"]
pub struct Submitted(oneshot::Receiver<Result<Arc<Event>, StoreError>>);

impl Submitted {
    /// Waits until it is durable; see [`EventLog::append`].
    pub async fn recorded(self) -> Result<Arc<Event>, StoreError> {
        self.0.await.map_err(|_| StoreError::Stopped)?
    }
}

/// The durable, ordered list of events. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct EventLog {
    shared: Arc<Shared>,
}

impl EventLog {
    /// Records an event; when this returns it has its number and survives a crash and, as far as
    /// the disk keeps its word, a power cut. Appends asked for one after the other keep that order.
    ///
    /// Whoever stops waiting half-way may find it recorded all the same.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room: nothing was recorded and no number used up.
    pub async fn append(&self, record: Record) -> Result<Arc<Event>, StoreError> {
        self.submit(record).await?.recorded().await
    }

    /// Puts a record into the queue, waiting for room there, and does not wait until it is
    /// durable: so one publisher can have many on the way and keep their order.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when the store was closed.
    pub async fn submit(&self, record: Record) -> Result<Submitted, StoreError> {
        let (reply, answer) = oneshot::channel();
        enqueue(&self.shared, record.weight(), Entry::Event(record, reply)).await?;
        Ok(Submitted(answer))
    }

    /// Sets what is called with every batch, in the order of the log: on the writer's thread, when
    /// the batch is durable and [`EventLog::bounds`] shows it, before its appenders are answered.
    /// It must not block. Set once, before the first append.
    pub fn on_commit(&self, committed: Committed) {
        self.shared.progress.on_commit(committed);
    }

    /// What the log holds now. Costs two loads.
    pub fn bounds(&self) -> Bounds {
        self.shared.progress.bounds()
    }

    /// The events after number `after`, in order: as many as there are, `max_events` at most, and
    /// of [`Event::weight`] `max_bytes` at most, but at least one. Numbers that retention has
    /// removed are skipped; compare with [`EventLog::bounds`].
    pub async fn read(
        &self,
        after: u64,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let head = self.bounds().head;
        if after >= head || max_events == 0 {
            return Ok(Vec::new());
        }
        let limits = rows::Limits { after, upto: head, max_events, max_bytes };
        self.shared.replay.run(move |db| rows::read(db, &limits)).await
    }

    /// A page of history. One call looks at 100,000 rows at most, so that nobody's question keeps
    /// the others waiting; then it answers with what it has, and where to go on.
    pub async fn page(&self, query: Query) -> Result<Page, StoreError> {
        self.shared.history.run(move |db| history::page(db, &query, SCAN_MAX)).await
    }

    /// The newest event that matches. A filter for classes or for priority 6 and above finds it by
    /// an index; any other may have to walk the whole log, in pieces between other questions.
    pub async fn newest(&self, interest: Interest) -> Result<Option<Arc<Event>>, StoreError> {
        let mut query = Query { interest, limit: 1, newest_first: true, ..Query::default() };
        loop {
            let mut page = self.page(query.clone()).await?;
            if page.resume.is_none() || !page.events.is_empty() {
                return Ok(page.events.pop());
            }
            query.before_seq = page.resume;
        }
    }

    /// Of every class and subject the newest event, where that event matches: the state of things
    /// as the log knows it. In order; the `limit` newest of them, 10,000 at most.
    pub async fn newest_each(
        &self,
        interest: Interest,
        limit: usize,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        self.shared.history.run(move |db| history::newest_each(db, &interest, limit)).await
    }
}

#[cfg(test)]
mod tests;
