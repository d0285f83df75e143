//! Jobs: calls that outlive their reply.
//!
//! Everything about a job is on record before it is done, and every change of a job is recorded in
//! one step with the event that tells of it. So a daemon that dies at any moment finds out what
//! there is: what waited still waits, what ran was interrupted, nothing is done twice.

pub(crate) mod answer;
pub(crate) mod log;
pub(crate) mod making;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod record;
mod run;
pub(crate) mod state;
mod tell;
pub(crate) mod work;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::link::Progress;
use protocol::{Fault, FaultKind, Json, Time};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::Instant;
use uuid::Uuid;

use self::log::{Keep, Log, Piece};
use self::plan::{Bounds, Plan};
use self::progress::{Meter, Shown};
use self::state::{Ending, Job, State, Step};
use self::work::{Task, Work};
use super::Dispatch;
use crate::access::{Credential, Origin};
use crate::bus::Bus;
use crate::clock::{Clock, micros_of_id};
use crate::config;
use crate::host::Follower;
use crate::lifecycle::{Part, Tasks};
use crate::store::{Store, StoreError};

pub(super) use answer::{
    Aborted, AwaitEnd, List, Listed, Made, One, ReadLog, Retry, Run, Said, Waited, Whole, answer,
    check_name, may_see,
};
pub(super) use making::{Wanted, make, make_all};

/// Jobs that one event forgets, so that it stays small.
const FORGOTTEN_AT_ONCE: usize = 200;

/// All jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Jobs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    bus: Bus,
    clock: Clock,
    tasks: Tasks,
    settings: config::Jobs,
    /// Held while a job with a key is made, so that there is one of each.
    making: AsyncMutex<()>,
    book: Mutex<Book>,
    stopping: AtomicBool,
    has_had_commands: AtomicBool,
}

/// Which jobs there are.
#[derive(Debug)]
struct Book {
    plan: Plan,
    /// Those that have not ended.
    live: HashMap<Uuid, Arc<Live>>,
    /// By owner and key.
    keys: HashMap<(String, String), Uuid>,
    /// Those that have ended, the one that ended first in front.
    ended: VecDeque<Ended>,
}

#[derive(Debug)]
struct Ended {
    id: Uuid,
    at: Time,
    key: Option<(String, String)>,
}

/// A job that has not ended.
#[derive(Debug)]
pub(super) struct Live {
    id: Uuid,
    work: Work,
    origin: Origin,
    credentials: Vec<Credential>,
    /// As it is on record; whoever changes it holds it until the change is on record, too.
    job: AsyncMutex<Job>,
    log: Mutex<Log>,
    /// Where in it each command that was begun begins.
    places: Mutex<Vec<u64>>,
    meter: Mutex<Meter>,
    began: Mutex<Option<Instant>>,
    /// Set to have it end.
    end: Part,
    changed: watch::Sender<Change>,
}

/// What somebody who watches a job is woken by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Change {
    /// Grows with all that it says.
    told: u64,
    has_ended: bool,
}

impl Jobs {
    pub(super) fn new(
        (store, bus): (Arc<Store>, Bus),
        clock: Clock,
        tasks: Tasks,
        settings: config::Jobs,
    ) -> Self {
        let plan = Plan::new(Bounds {
            running: settings.running,
            running_of_one: settings.running_per_client,
            waiting: settings.waiting,
            waiting_of_one: settings.waiting_per_client,
        });
        let (live, keys, ended) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self(Arc::new(Shared {
            store,
            bus,
            clock,
            tasks,
            settings,
            making: AsyncMutex::new(()),
            book: Mutex::new(Book { plan, live, keys, ended }),
            stopping: AtomicBool::new(false),
            has_had_commands: AtomicBool::new(false),
        }))
    }

    /// Begins nothing more; what ends from now on has been cut off.
    pub(super) fn stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether the database's writer does its work.
    pub(super) async fn store_answers(&self) -> bool {
        self.0.store.answers().await.is_ok()
    }

    fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::SeqCst) || self.0.tasks.stop_signal().is_set()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        self.0.clock.now()
    }

    /// How many there may be.
    pub(super) fn settings(&self) -> &config::Jobs {
        &self.0.settings
    }

    /// What is kept of each log.
    fn keep(&self) -> Keep {
        let config::Jobs { log_first_bytes, log_last_bytes, .. } = self.0.settings;
        Keep { first: log_first_bytes, last: log_last_bytes }
    }

    /// Every job that has not ended, in the order in which they were asked for.
    pub(super) fn all_live(&self) -> Vec<Arc<Live>> {
        let mut all: Vec<_> = self.book().live.values().cloned().collect();
        // Ids are made of the time.
        all.sort_by_key(|live| micros_of_id(live.id));
        all
    }

    /// How many are before it; `None` when it does not wait.
    pub(super) fn before(&self, id: Uuid) -> Option<usize> {
        self.book().plan.before(id)
    }

    /// Waits for the end of a job, and says how it is then; `None` when there is none.
    ///
    /// # Errors
    /// `unavailable` when it cannot be read.
    pub(super) async fn end_of(&self, id: Uuid) -> Result<Option<Job>, Fault> {
        if let Some(live) = self.live(id) {
            let mut changed = live.changed.subscribe();
            drop(live);
            // An error means that it has ended between the look and the wait.
            changed.wait_for(|change| change.has_ended).await.ok();
        }
        let kept = self.0.store.job(id).await.map_err(|error| unreadable(&error))?;
        Ok(kept.and_then(|(kept, _)| record::read(&kept)).map(|(job, _)| job))
    }

    /// Whether commands were ever run, as far as is known.
    pub(super) fn has_had_commands(&self) -> bool {
        self.0.has_had_commands.load(Ordering::SeqCst)
    }

    fn live(&self, id: Uuid) -> Option<Arc<Live>> {
        self.book().live.get(&id).cloned()
    }

    /// Begins whatever may begin now.
    fn pump(&self, dispatch: &Dispatch) {
        while !self.is_stopping() {
            let live = {
                let mut book = self.book();
                let Some(id) = book.plan.begin_next() else { return };
                book.live.get(&id).cloned()
            };
            if let Some(live) = live {
                self.0.tasks.spawn(run::run(dispatch.clone(), live));
            }
        }
    }

    /// A job that ran has ended, on record.
    async fn leave(&self, dispatch: &Dispatch, live: &Live) {
        let job = live.job.lock().await.clone();
        self.note_end(live, &job);
        live.changed.send_modify(|change| change.has_ended = true);
        self.pump(dispatch);
        self.forget().await;
    }

    fn note_end(&self, live: &Live, job: &Job) {
        let mut book = self.book();
        book.plan.end(job.id);
        book.live.remove(&job.id);
        if let Some(at) = job.ended {
            let key = job.key.clone().map(|key| (live.work.owner(&job.actor), key));
            book.ended.push_back(Ended { id: job.id, at, key });
        }
    }

    /// Asks a job to end; what that means for it.
    pub(super) async fn abort(&self, dispatch: &Dispatch, id: Uuid) -> Result<Abort, Fault> {
        let Some(live) = self.live(id) else { return Ok(Abort::Refused) };
        let was_waiting = self.book().plan.leave(id);
        if was_waiting {
            tell::never_begun(self, &live).await;
            self.record_end(&live, Ending::Aborted(None), Json::default()).await;
            self.leave(dispatch, &live).await;
            return Ok(Abort::Done);
        }
        let mut job = live.job.lock().await;
        match job.state {
            // It is just about to begin, and will find that it should not.
            State::Queued => {}
            State::Running if job.abort_asked => {}
            State::Running => self.record_step(&mut job, Step::AskToEnd, &live).await?,
            _ => return Ok(Abort::Refused),
        }
        live.end.set();
        Ok(Abort::Asked)
    }

    /// Forgets what has been kept long enough.
    async fn forget(&self) {
        let now = self.0.clock.now_for_ages();
        let settings = self.settings();
        let oldest = settings.kept_age().map_or(0, |age| now.saturating_sub(micros(age)));
        loop {
            let old = {
                let mut book = self.book();
                let too_many = book.ended.len().saturating_sub(settings.kept);
                let too_old = book.ended.iter().take_while(|e| e.at.micros() < oldest).count();
                let count = too_many.max(too_old).min(FORGOTTEN_AT_ONCE);
                book.ended.drain(..count).collect::<Vec<_>>()
            };
            if old.is_empty() {
                return;
            }
            let ids = old.iter().map(|ended| ended.id).collect();
            let forgotten = self.record_forgotten(ids).await;
            let mut book = self.book();
            if forgotten.is_err() {
                // Nothing is lost by keeping them until the next time.
                old.into_iter().rev().for_each(|ended| book.ended.push_front(ended));
                return;
            }
            for (key, id) in old.into_iter().filter_map(|ended| Some((ended.key?, ended.id))) {
                if book.keys.get(&key) == Some(&id) {
                    book.keys.remove(&key);
                }
            }
        }
    }
}

/// What asking a job to end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Abort {
    /// It had ended before.
    Refused,
    /// It runs, and was told; its state will tell.
    Asked,
    /// It was waiting, and never begins.
    Done,
}

impl Live {
    fn new(job: Job, work: Work, origin: Origin, jobs: &Jobs) -> Self {
        if matches!(work.task, Task::Commands(_)) {
            jobs.0.has_had_commands.store(true, Ordering::SeqCst);
        }
        Self {
            id: job.id,
            work,
            origin,
            credentials: Vec::new(),
            job: AsyncMutex::new(job),
            log: Mutex::new(Log::new(jobs.keep())),
            places: Mutex::default(),
            meter: Mutex::default(),
            began: Mutex::new(None),
            end: jobs.0.tasks.stop_signal().part(),
            changed: watch::Sender::new(Change::default()),
        }
    }

    /// What is to be done.
    pub(super) fn work(&self) -> &Work {
        &self.work
    }

    /// How it is, on record.
    pub(super) async fn job(&self) -> Job {
        self.job.lock().await.clone()
    }

    /// More was said.
    fn say(&self, bytes: &[u8]) {
        locked(&self.log).push(bytes);
        self.changed.send_modify(|change| change.told += 1);
    }

    fn shown(&self) -> Option<Shown> {
        locked(&self.meter).newest().cloned()
    }

    fn said(&self) -> u64 {
        locked(&self.log).said()
    }

    fn read(&self, from: u64, most: usize) -> Piece {
        locked(&self.log).read(from, most)
    }
}

impl Follower for Live {
    fn progress(&self, progress: &Progress) {
        let began = *locked(&self.began);
        let at = began.map(|began| began.elapsed()).unwrap_or_default();
        locked(&self.meter).look(progress, at);
        self.changed.send_modify(|change| change.told += 1);
    }

    fn note(&self, text: &str) {
        let mut line = text.as_bytes().to_vec();
        line.push(b'\n');
        self.say(&line);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn unreadable(error: &StoreError) -> Fault {
    tracing::error!(%error, "jobs could not be read");
    Fault::new(FaultKind::Unavailable, "the jobs could not be read").with_retry_after_ms(1_000)
}
