//! One dataset of a run, from the comparison to the last release.
//!
//! Each phase is on record before it begins, and each can be done again: after a crash the storage is
//! asked what is there, and the run goes on from that. Only after the target has said that it has a
//! snapshot does it become the base; only then is the base before it let go.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use snapshot::backend::{Error, ErrorKind};
use uuid::Uuid;

use crate::ends::{Halt, Look, Sending, Source, Staged, Target};
use crate::holds::{Hold, Ledger, Role, Side};
use crate::journal::{Journal, Record};
use crate::meter::{Meter, Speed};
use crate::plan::{self, Copied, Original, Outlook, Step};
use crate::run::{Phase, Run};
use crate::task::Task;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(500);
/// Without a byte for so long a step has stalled.
const STALL: Duration = Duration::from_secs(30);
/// Common snapshots that are looked at for holds of a life that nobody remembers.
const FORGOTTEN_MAX: usize = 50;

/// A run that is at work.
pub(crate) struct Live {
    run: Mutex<Run>,
    cancelled: AtomicBool,
    /// Bytes of the present step.
    moved: AtomicU64,
}

impl Live {
    pub(crate) fn new(run: Run) -> Self {
        Self { run: Mutex::new(run), cancelled: AtomicBool::new(false), moved: AtomicU64::new(0) }
    }

    /// The run as it is now.
    pub(crate) fn now(&self) -> Run {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is known of it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Run)) {
        change(&mut self.run.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Has it end soon.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// Who follows a run.
pub(crate) trait Herald: Sync {
    /// How far it is.
    fn progress(&self, run: &Run);
    /// No byte was moved for a while.
    fn stalled(&self, run: &Run, seconds: u64);
    /// It moves again.
    fn resumed(&self, run: &Run);
    /// It could not go on, and is tried again after these seconds.
    fn retry(&self, run: &Run, error: &Error, seconds: u64);
    /// Whether nobody wants it any more.
    fn unwanted(&self) -> bool;
}

/// What a run works with.
pub(crate) struct Desk<'a> {
    pub(crate) task: &'a Task,
    pub(crate) dataset: &'a str,
    pub(crate) source: &'a dyn Source,
    pub(crate) target: &'a dyn Target,
    pub(crate) live: &'a Live,
    pub(crate) ledger: &'a Ledger,
    pub(crate) journal: &'a Mutex<Journal>,
    pub(crate) herald: &'a dyn Herald,
    pub(crate) clock: fn() -> DateTime<Utc>,
}

type Outcome<T> = Result<T, Halt>;

/// What both sides have.
struct Sight {
    originals: Vec<Original>,
    look: Look,
}

impl Desk<'_> {
    /// Sends what is to be sent of the dataset.
    pub(crate) fn carry(&self) -> Outcome<()> {
        self.enter(Phase::Plan, "")?;
        let sight = self.see()?;
        self.target.tidy(&sight.look)?;
        self.settle(&sight)?;
        let wanted = |original: &Original| self.task.wants(original);
        let rules = self.task.rules(self.dataset, self.target.demands());
        let steps = match plan::plan(&sight.originals, &sight.look.copies, &wanted, rules) {
            Outlook::Steps(steps) => steps,
            Outlook::Conflict(conflict) => return Err(Halt::Conflict(conflict)),
            Outlook::Current => return Ok(()),
            Outlook::Empty => {
                let warning = format!("{} has no snapshot to send", self.live.now().dataset_name);
                self.live.change(|run| run.warnings.push(warning));
                return Ok(());
            }
        };
        let count = u64::try_from(steps.len()).unwrap_or(0);
        self.live.change(|run| run.steps_total += count);
        let mut look = sight.look;
        for step in &steps {
            look = self.step(&look, step)?;
            self.live.change(|run| run.steps_done += 1);
        }
        Ok(())
    }

    /// One snapshot through all phases; returns what the target has then.
    fn step(&self, look: &Look, step: &Step) -> Outcome<Look> {
        let to = &step.to;
        self.wanted()?;
        self.live.change(|run| run.snapshot.clone_from(&to.name));
        self.enter(Phase::Protect, &to.identity)?;
        for original in step.from.iter().chain([to]) {
            self.hold((Side::Source, Role::Step), (&original.identity, &original.name), look)?;
        }
        let base = step.from.as_ref().and_then(|from| plan::copy_of(from, &look.copies));
        if let Some(copy) = base {
            self.hold((Side::Target, Role::Step), (&copy.identity, &copy.name), look)?;
        }
        self.enter(Phase::Stage, &to.identity)?;
        let staged = self.stage(look, step)?;
        self.enter(Phase::Sync, &to.identity)?;
        staged.sync()?;
        self.enter(Phase::Check, &to.identity)?;
        staged.check()?;
        self.enter(Phase::Commit, &to.identity)?;
        staged.commit()?;
        self.enter(Phase::Ack, &to.identity)?;
        let keys = HashSet::from([to.key.clone()]);
        let look = self.target.look(&keys)?;
        let Some(copy) = plan::copy_of(to, &look.copies) else {
            let lost = format!("The target does not have {} after it was written.", to.name);
            return Err(Error::new(ErrorKind::Failed, lost).into());
        };
        self.advance(to, copy, &look)?;
        Ok(look)
    }

    /// Moves a stream from one end to the other.
    fn stage(&self, look: &Look, step: &Step) -> Outcome<Box<dyn Staged>> {
        let Sending { mut stream, total, basis } = self.source.send(step)?;
        self.live.moved.store(0, Ordering::Relaxed);
        self.live.change(|run| {
            (run.step_done, run.step_total, run.basis) = (0, total, basis);
            (run.rate, run.left_s) = (0, None);
        });
        let run = self.live.now().id;
        let unwanted = || self.live.is_cancelled() || self.herald.unwanted();
        let bell = Bell::default();
        let staged = thread::scope(|scope| {
            let ticking = thread::Builder::new()
                .name("progress".to_owned())
                .spawn_scoped(scope, || self.watch(&bell));
            let moved = &self.live.moved;
            let rate = self.task.rate_bytes_per_s;
            let mut meter = Meter::new(&mut *stream, moved, rate, &unwanted);
            let staged = self.target.stage(run, (look, step), &mut meter);
            bell.ring();
            // Without the thread there is no progress, and the copy is as good.
            drop(ticking);
            staged
        });
        let moved = self.live.moved.load(Ordering::Relaxed);
        self.live.change(|run| {
            run.step_done = moved;
            run.bytes_done = run.bytes_done.saturating_add(moved);
        });
        self.wanted()?;
        let staged = staged?;
        // What the target took is a whole stream only when the sender says so, too.
        stream.finish()?;
        self.herald.progress(&self.live.now());
        Ok(staged)
    }

    /// Tells how far the step is until the bell rings.
    fn watch(&self, bell: &Bell) {
        let mut speed = Speed::default();
        let (mut before, mut since, mut stalled) = (0, Instant::now(), false);
        while !bell.rang(TICK) {
            let (now, moved) = (Instant::now(), self.live.moved.load(Ordering::Relaxed));
            let rate = speed.at(now, moved);
            self.live.change(|run| {
                (run.step_done, run.rate) = (moved, rate);
                let left = run.step_total.map(|total| total.saturating_sub(moved));
                run.left_s = left.and_then(|left| left.checked_div(rate));
            });
            let run = self.live.now();
            if moved != before {
                if stalled {
                    self.herald.resumed(&run);
                }
                (before, since, stalled) = (moved, now, false);
                self.herald.progress(&run);
            } else if !stalled && now.duration_since(since) >= STALL {
                stalled = true;
                self.herald.stalled(&run, STALL.as_secs());
            }
        }
    }

    /// Makes a snapshot that both sides have the base, and lets go of what came before it.
    fn advance(&self, to: &Original, copy: &Copied, look: &Look) -> Outcome<()> {
        self.enter(Phase::Advance, &to.identity)?;
        self.hold((Side::Source, Role::Cursor), (&to.identity, &to.name), look)?;
        self.hold((Side::Target, Role::Cursor), (&copy.identity, &copy.name), look)?;
        self.enter(Phase::Release, &to.identity)?;
        for hold in self.ledger.of(self.task.id, self.dataset) {
            let kept = match hold.side {
                Side::Source => &to.identity,
                Side::Target => &copy.identity,
            };
            if hold.role == Role::Step || hold.identity != *kept {
                self.let_go(&hold, look)?;
            }
        }
        Ok(())
    }

    /// Lets go of one hold, first in the storage, then in the ledger.
    pub(crate) fn let_go(&self, hold: &Hold, look: &Look) -> Outcome<()> {
        let tag = hold.role.tag(hold.task);
        match hold.side {
            Side::Source => self.source.release(&hold.identity, &tag)?,
            Side::Target => self.target.release(look, &hold.identity, &tag)?,
        }
        self.ledger.remove(hold).map_err(|cause| broken("note a released hold", cause))
    }

    /// Brings the holds in order that a run which was cut off has left.
    fn settle(&self, sight: &Sight) -> Outcome<()> {
        let (originals, look) = (&sight.originals, &sight.look);
        let known = self.ledger.of(self.task.id, self.dataset);
        let Some((original, copy)) = plan::base(originals, &look.copies) else {
            for hold in known.iter().filter(|hold| hold.role == Role::Step) {
                self.let_go(hold, look)?;
            }
            return Ok(());
        };
        let is_settled = |hold: &&Hold| match hold.side {
            Side::Source => hold.role == Role::Cursor && hold.identity == original.identity,
            Side::Target => hold.role == Role::Cursor && hold.identity == copy.identity,
        };
        if known.len() == 2 && known.iter().filter(is_settled).count() == 2 {
            return Ok(());
        }
        if known.is_empty() {
            self.forgive(sight, original)?;
        }
        self.advance(original, copy, look)
    }

    /// Lets go of what a life held that nobody remembers, because its state is lost.
    fn forgive(&self, sight: &Sight, base: &Original) -> Outcome<()> {
        let older = sight.originals.iter().rev().filter(|one| one.identity != base.identity);
        let common = older.filter_map(|one| Some((one, plan::copy_of(one, &sight.look.copies)?)));
        for (original, copy) in common.take(FORGOTTEN_MAX) {
            for role in [Role::Step, Role::Cursor] {
                let tag = role.tag(self.task.id);
                self.source.release(&original.identity, &tag)?;
                self.target.release(&sight.look, &copy.identity, &tag)?;
            }
        }
        Ok(())
    }

    fn hold(
        &self,
        (side, role): (Side, Role),
        (identity, name): (&str, &str),
        look: &Look,
    ) -> Outcome<()> {
        let hold = Hold {
            task: self.task.id,
            dataset: self.dataset.to_owned(),
            side,
            role,
            identity: identity.to_owned(),
            name: name.to_owned(),
            root: self.task.target.root.clone(),
            source_ssh: self.task.source_ssh.clone(),
            target_ssh: self.task.target.ssh.clone(),
            generation: self.task.standing(self.dataset).generation,
            run: self.live.now().id,
            since: (self.clock)(),
        };
        self.ledger.put(hold).map_err(|cause| broken("note a hold", cause))?;
        let tag = role.tag(self.task.id);
        match side {
            Side::Source => self.source.hold(identity, &tag)?,
            Side::Target => self.target.hold(look, identity, &tag)?,
        }
        Ok(())
    }

    fn see(&self) -> Outcome<Sight> {
        let originals = self.source.originals()?;
        let keys = originals.iter().map(|original| original.key.clone()).collect();
        let look = self.target.look(&keys)?;
        Ok(Sight { originals, look })
    }

    /// Puts on record that a phase begins.
    fn enter(&self, phase: Phase, to: &str) -> Outcome<()> {
        let mut run = Uuid::nil();
        self.live.change(|live| {
            live.phase = Some(phase);
            run = live.id;
        });
        let dataset = self.dataset.to_owned();
        let record = Record::Phase { run, at: (self.clock)(), phase, dataset, to: to.to_owned() };
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.write(&record).map_err(|cause| broken("write the journal", cause))
    }

    fn wanted(&self) -> Outcome<()> {
        if self.live.is_cancelled() || self.herald.unwanted() {
            return Err(Error::new(ErrorKind::Cancelled, "The run was cancelled.").into());
        }
        Ok(())
    }
}

/// Rings once; whoever waits for it wakes.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_all();
    }

    /// Whether it rang; waits for it no longer than this.
    fn rang(&self, time: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.heard.wait_timeout_while(rung, time, |rung| !*rung);
        let (rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *rung
    }
}

fn broken(what: &str, cause: io::Error) -> Halt {
    Error::new(ErrorKind::Failed, format!("Could not {what}: {cause}.")).because(cause).into()
}
