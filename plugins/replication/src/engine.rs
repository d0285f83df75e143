//! Tasks and runs: what there is, what is at work, and what has become of it.
//!
//! Knows the state directory. Must not know methods or events: whoever asks for a run hears of it by
//! a [`Herald`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use snapshot::backend::{DatasetId, Error, ErrorKind, Result};
use uuid::Uuid;

use crate::carry::{Desk, Herald, Live};
use crate::ends::{self, Destination, Ends, Halt, Way};
use crate::holds::{Hold, Ledger, Side};
use crate::journal::{Journal, RUNS_MAX, Record};
use crate::plan::{self, Conflict, Copied, Original, Outlook};
use crate::run::{Failure, Run, State};
use crate::task::{self, Task};

/// Everything this plugin knows.
pub(crate) struct Engine {
    dir: PathBuf,
    store: PathBuf,
    tasks: Mutex<BTreeMap<Uuid, Task>>,
    journal: Mutex<Journal>,
    /// Those that ended, oldest first.
    past: Mutex<VecDeque<Run>>,
    live: Mutex<HashMap<Uuid, Arc<Live>>>,
    /// Who is at work on a dataset.
    busy: Mutex<HashMap<String, Uuid>>,
    pub(crate) ledger: Ledger,
}

/// How a run ended.
pub(crate) struct End {
    pub(crate) run: Run,
    /// With the dataset's id and name, when source and target do not fit.
    pub(crate) conflict: Option<(String, Conflict)>,
    /// Why it failed.
    pub(crate) error: Option<Error>,
}

/// What a task would do with one of its datasets.
pub(crate) struct Prospect {
    pub(crate) dataset: String,
    pub(crate) name: String,
    pub(crate) place: PathBuf,
    pub(crate) base: Option<(Original, Copied)>,
    pub(crate) outlook: Outlook,
    /// Bytes of each step, for as many as were asked.
    pub(crate) sizes: Vec<(Option<u64>, crate::run::Basis)>,
}

/// A dataset's part of a run.
type Outcome = std::result::Result<(), Halt>;

/// The longest wait for something that is in use, in seconds; they begin at one and double.
const WAIT_MAX_S: u64 = 8;
/// Steps whose size is asked for a plan: each costs a walk through what has changed.
const SIZES_MAX: usize = 8;

impl Engine {
    /// Opens the state; `store` is where the snapshot plugin keeps snapshots of directories. Also
    /// tells the runs that were cut off, and what was damaged.
    pub(crate) fn open(dir: &Path, store: &Path) -> io::Result<(Self, Vec<Run>, Vec<PathBuf>)> {
        let (tasks, damaged) = task::read_all(&dir.join("tasks"))?;
        let (mut journal, mut runs) = Journal::open(&dir.join("journal"))?;
        let mut cut = Vec::new();
        for run in runs.iter_mut().filter(|run| run.state == State::Running) {
            run.state = State::Interrupted;
            run.ended = Some(now());
            journal.write(&Record::Ended { run: run.clone() })?;
            cut.push(run.clone());
        }
        let engine = Self {
            dir: dir.to_owned(),
            store: store.to_owned(),
            tasks: Mutex::new(tasks),
            journal: Mutex::new(journal),
            past: Mutex::new(runs.into()),
            live: Mutex::default(),
            busy: Mutex::default(),
            ledger: Ledger::open(&dir.join("holds.json")),
        };
        Ok((engine, cut, damaged))
    }

    /// Where the snapshot plugin keeps snapshots of directories.
    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// All tasks.
    pub(crate) fn tasks(&self) -> Vec<Task> {
        locked(&self.tasks).values().cloned().collect()
    }

    /// One task.
    pub(crate) fn task(&self, id: Uuid) -> Option<Task> {
        locked(&self.tasks).get(&id).cloned()
    }

    /// Keeps a task, durably.
    pub(crate) fn save(&self, task: Task) -> Result<()> {
        let mut tasks = locked(&self.tasks);
        if !tasks.contains_key(&task.id) && tasks.len() >= task::TASKS_MAX {
            let full = format!("There are {} tasks already.", task::TASKS_MAX);
            return Err(Error::new(ErrorKind::BadRequest, full));
        }
        task::write(&self.dir.join("tasks"), &task)
            .map_err(|cause| kept("keep the task", cause))?;
        tasks.insert(task.id, task);
        Ok(())
    }

    /// Forgets a task, durably, and lets go of what it holds, as far as that can be reached.
    pub(crate) fn remove(&self, task: &Task) -> Result<Vec<Hold>> {
        if self.running(task.id).is_some() {
            return Err(Error::new(
                ErrorKind::Busy,
                "The task is running. Cancel the run, or wait for its end.",
            ));
        }
        let mut left = Vec::new();
        for hold in self.ledger.all().into_iter().filter(|hold| hold.task == task.id) {
            if self.let_go(&hold).is_err() {
                left.push(hold);
            }
        }
        let mut tasks = locked(&self.tasks);
        task::remove(&self.dir.join("tasks"), task.id)
            .map_err(|cause| kept("forget the task", cause))?;
        tasks.remove(&task.id);
        Ok(left)
    }

    /// Lets go of one hold.
    pub(crate) fn let_go(&self, hold: &Hold) -> Result<()> {
        let id: DatasetId = hold.dataset.parse()?;
        let way = Way {
            from: hold.source_ssh.as_ref(),
            to: hold.target_ssh.as_ref(),
            destination: Destination { root: &hold.root, generation: hold.generation },
        };
        let Ends { source, target, .. } = ends::open(&id, way, &self.store)?;
        let tag = hold.role.tag(hold.task);
        match hold.side {
            Side::Source => source.release(&hold.identity, &tag)?,
            Side::Target => {
                let keys = source.originals()?.into_iter().map(|one| one.key).collect();
                target.release(&target.look(&keys)?, &hold.identity, &tag)?;
            }
        }
        self.ledger.remove(hold).map_err(|cause| kept("note a released hold", cause))
    }

    /// What the task would do now.
    pub(crate) fn prospects(&self, task: &Task) -> Vec<(String, Result<Prospect>)> {
        let look = |dataset: &String| (dataset.clone(), self.prospect(task, dataset));
        task.sources.iter().map(look).collect()
    }

    fn prospect(&self, task: &Task, dataset: &str) -> Result<Prospect> {
        let id: DatasetId = dataset.parse()?;
        let Ends { name, source, target } = ends::open(&id, task.way(dataset), &self.store)?;
        let originals = source.originals()?;
        let keys = originals.iter().map(|original| original.key.clone()).collect();
        let look = target.look(&keys)?;
        let rules = task.rules(dataset, target.demands());
        let outlook = plan::plan(&originals, &look.copies, &|one| task.wants(one), rules);
        let sizes = match &outlook {
            Outlook::Steps(steps) => steps.iter().take(SIZES_MAX).map(|s| source.size(s)).collect(),
            _ => Vec::new(),
        };
        let base = plan::base(&originals, &look.copies);
        let base = base.map(|(original, copy)| (original.clone(), copy.clone()));
        Ok(Prospect { dataset: dataset.to_owned(), name, place: look.place, base, outlook, sizes })
    }

    /// Runs at work, then those that ended, newest first.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = locked(&self.live).values().map(|live| live.now()).collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.began));
        runs.extend(locked(&self.past).iter().rev().cloned());
        runs
    }

    /// The run of a task that is at work.
    pub(crate) fn running(&self, task: Uuid) -> Option<Run> {
        locked(&self.live).values().map(|live| live.now()).find(|run| run.task == task)
    }

    /// Has a run end soon; whether there was one.
    pub(crate) fn cancel(&self, run: Uuid) -> bool {
        let live = locked(&self.live).get(&run).cloned();
        live.inspect(|live| live.cancel()).is_some()
    }

    /// Has all runs end soon.
    pub(crate) fn cancel_all(&self) {
        for live in locked(&self.live).values() {
            live.cancel();
        }
    }

    /// The last run of each enabled task that did not do what it should, and how many such tasks
    /// there are.
    pub(crate) fn failing(&self) -> (Vec<Run>, usize) {
        let tasks: Vec<Task> = self.tasks().into_iter().filter(|task| task.enabled).collect();
        let runs = self.runs();
        let told = [State::Done, State::Failed, State::Conflict];
        let last = |task: &Task| {
            let run = runs.iter().find(|run| run.task == task.id && told.contains(&run.state))?;
            (run.state != State::Done).then(|| run.clone())
        };
        (tasks.iter().filter_map(last).collect(), tasks.len())
    }

    /// Begins a run of a task; it is on record when this returns.
    pub(crate) fn begin(&self, task: &Task, why: (&str, &str)) -> Result<Begun<'_>> {
        let run = Run::new(task.id, &task.title, why, now());
        let mut busy = locked(&self.busy);
        if let Some(dataset) = task.sources.iter().find(|dataset| busy.contains_key(*dataset)) {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("A run is at work on {dataset}. Try again when it has ended."),
            ));
        }
        locked(&self.journal)
            .write(&Record::Began { run: run.clone() })
            .map_err(|cause| kept("write the journal", cause))?;
        busy.extend(task.sources.iter().map(|dataset| (dataset.clone(), run.id)));
        drop(busy);
        let live = Arc::new(Live::new(run.clone()));
        locked(&self.live).insert(run.id, Arc::clone(&live));
        Ok(Begun { engine: self, id: run.id, live })
    }
}

/// A run that has begun. Dropped before its end, it is none any more.
pub(crate) struct Begun<'a> {
    engine: &'a Engine,
    id: Uuid,
    live: Arc<Live>,
}

impl Begun<'_> {
    /// The run as it is now.
    pub(crate) fn now(&self) -> Run {
        self.live.now()
    }

    /// Does the work, and puts its end on record.
    pub(crate) fn work(self, task: &Task, herald: &dyn Herald) -> Result<End> {
        let mut end = End { run: self.now(), conflict: None, error: None };
        for dataset in &task.sources {
            match self.patiently(task, dataset, herald) {
                Ok(()) => self.engine.used(task, dataset),
                // The first reason is told.
                Err(Halt::Failed(error)) => end.error = end.error.or(Some(error)),
                Err(Halt::Conflict(conflict)) => {
                    end.conflict = end.conflict.or(Some((dataset.clone(), conflict)));
                }
            }
            // The other datasets are tried though one fails, unless nobody wants them.
            if end.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Cancelled) {
                break;
            }
        }
        self.live.change(|run| {
            run.state = match (&end.error, &end.conflict) {
                (Some(error), _) if error.kind() == ErrorKind::Cancelled => State::Cancelled,
                (Some(_), _) => State::Failed,
                (None, Some(_)) => State::Conflict,
                (None, None) => State::Done,
            };
            run.ended = Some(now());
            run.error = failure(&end);
            (run.rate, run.left_s) = (0, None);
        });
        end.run = self.live.now();
        self.engine.close(&end.run)?;
        Ok(end)
    }

    /// The same again, later and later, while something is in use.
    fn patiently(&self, task: &Task, dataset: &str, herald: &dyn Herald) -> Outcome {
        let mut wait = 1;
        loop {
            match self.dataset(task, dataset, herald) {
                Err(Halt::Failed(error)) if passes(&error, task) && wait <= WAIT_MAX_S => {
                    herald.retry(&self.now(), &error, wait);
                    let until = Instant::now() + Duration::from_secs(wait);
                    while Instant::now() < until && !herald.unwanted() && !self.live.is_cancelled()
                    {
                        thread::sleep(Duration::from_millis(50));
                    }
                    wait *= 2;
                }
                other => return other,
            }
        }
    }

    fn dataset(&self, task: &Task, dataset: &str, herald: &dyn Herald) -> Outcome {
        let engine = self.engine;
        let id: DatasetId = dataset.parse()?;
        self.live.change(|run| dataset.clone_into(&mut run.dataset));
        let Ends { name, source, target } = ends::open(&id, task.way(dataset), &engine.store)?;
        self.live.change(|run| run.dataset_name = name);
        let desk = Desk {
            task,
            dataset,
            source: &*source,
            target: &*target,
            live: &self.live,
            ledger: &engine.ledger,
            journal: &engine.journal,
            herald,
            clock: now,
        };
        desk.carry()
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        locked(&self.engine.live).remove(&self.id);
        locked(&self.engine.busy).retain(|_, run| *run != self.id);
    }
}

impl Engine {
    /// A permission to send all again is used up when it was made use of.
    fn used(&self, task: &Task, dataset: &str) {
        if !task.standing(dataset).again {
            return;
        }
        let Some(mut task) = self.task(task.id) else { return };
        if let Some(standing) = task.standing.get_mut(dataset) {
            standing.again = false;
        }
        // If it cannot be written it is still allowed, and has nothing to do.
        let _kept = self.save(task);
    }

    /// Puts the end of a run on record.
    fn close(&self, run: &Run) -> Result<()> {
        let written = locked(&self.journal).write(&Record::Ended { run: run.clone() });
        let mut past = locked(&self.past);
        past.push_back(run.clone());
        while past.len() > RUNS_MAX {
            past.pop_front();
        }
        written.map_err(|cause| kept("write the journal", cause))
    }
}

/// Whether it may be otherwise in a moment: something is in use, or a connection broke off.
fn passes(error: &Error, task: &Task) -> bool {
    let remote = task.source_ssh.is_some() || task.target.ssh.is_some();
    error.kind() == ErrorKind::Busy || remote && error.kind() == ErrorKind::Unavailable
}

fn failure(end: &End) -> Option<Failure> {
    if let Some(error) = &end.error {
        let code = if ends::is_full(error) { "target-full" } else { code(error.kind()) };
        return Some(Failure { code: code.to_owned(), message: error.to_string(), hint: None });
    }
    let (_, conflict) = end.conflict.as_ref()?;
    Some(Failure {
        code: "conflict".to_owned(),
        message: crate::plugin::words::found(conflict),
        hint: Some(
            "`replication/conflicts` lists what can be done; nothing was changed".to_owned(),
        ),
    })
}

/// The word for machines.
pub(crate) fn code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::BadRequest => "bad-request",
        ErrorKind::NotFound => "not-found",
        ErrorKind::AlreadyExists => "already-exists",
        ErrorKind::Busy => "busy",
        ErrorKind::Foreign => "foreign",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Failed => "failed",
        ErrorKind::Cancelled => "cancelled",
    }
}

/// The clock of this plugin.
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

fn kept(what: &str, cause: io::Error) -> Error {
    Error::new(ErrorKind::Failed, format!("Could not {what}: {cause}.")).because(cause)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
