//! Policies at work: which there are, what is going on, and what the journal says of it.

mod scheduler;
mod take;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustix::time::{ClockId, clock_gettime};
use sdk::{Context, Level};
use uuid::Uuid;

use super::engine::{self, Engine};
use super::told;
use crate::backend::{Dataset, DatasetId, Error, ErrorKind, Result};
use crate::policy::Policy;
use crate::policy::clock::{Change, Watch};
use crate::policy::journal::{Journal, Pruning, Record, State};
use crate::policy::schedule::Timetable;
use crate::policy::store::{Broken, Kept, POLICIES_MAX, Store};

pub(super) use scheduler::start;
pub(super) use take::{Taken, Wanted};

/// The policies and the back ends they work on.
pub(super) struct Keeper {
    pub(super) engine: Engine,
    store: Store,
    policies: Mutex<Vec<Kept>>,
    broken: Mutex<Vec<Broken>>,
    journal: Mutex<Journal>,
    /// What was going on when the plugin was ended, until somebody has looked after it.
    left: Mutex<State>,
    watch: Mutex<Watch>,
    /// Policies of which snapshots are being taken, and being destroyed. Each at most once at a time.
    taking: Mutex<BTreeSet<Uuid>>,
    pruning: Mutex<BTreeSet<Uuid>>,
    /// Policies to be pruned as soon as the thread for it has time.
    to_prune: Mutex<BTreeSet<Uuid>>,
    /// What fails at present, by policy and dataset. Bounded by the datasets there are.
    failing: Mutex<HashMap<Uuid, BTreeMap<DatasetId, String>>>,
    /// The plan each policy waits for approval of, or the reason for which nothing of it is
    /// destroyed, so that it is told once.
    told: Mutex<HashMap<Uuid, String>>,
}

/// What is done to a policy at most once at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Taking snapshots.
    Take,
    /// Destroying snapshots.
    Prune,
}

/// That it is being done; over when this is let go.
pub(super) struct Busy {
    keeper: Arc<Keeper>,
    work: Work,
    policy: Uuid,
}

impl Drop for Busy {
    fn drop(&mut self) {
        locked(self.keeper.busy(self.work)).remove(&self.policy);
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Reads the policies and what was going on when the plugin ended.
    pub(super) fn open(ctx: &Context, engine: Engine) -> Result<Self> {
        let store = Store::open(ctx.state_dir().join("policies"))?;
        let (policies, broken) = store.all()?;
        for Broken { path, why } in &broken {
            ctx.log(Level::Error, &format!("{} is no policy: {why}", path.display()));
        }
        let journal = open_journal(ctx, ctx.state_dir())?;
        let watch = Watch::new(engine::now(), up(), journal.state().seen);
        let left = journal.state().clone();
        Ok(Self {
            engine,
            store,
            policies: Mutex::new(policies),
            broken: Mutex::new(broken),
            journal: Mutex::new(journal),
            left: Mutex::new(left),
            watch: Mutex::new(watch),
            taking: Mutex::default(),
            pruning: Mutex::default(),
            to_prune: Mutex::default(),
            failing: Mutex::default(),
            told: Mutex::default(),
        })
    }

    /// All policies by title.
    pub(super) fn policies(&self) -> Vec<Kept> {
        locked(&self.policies).clone()
    }

    /// Files that are no policies.
    pub(super) fn broken(&self) -> Vec<Broken> {
        locked(&self.broken).clone()
    }

    /// One policy.
    pub(super) fn policy(&self, id: Uuid) -> Result<Kept> {
        let found = locked(&self.policies).iter().find(|kept| kept.policy.id == id).cloned();
        found.ok_or_else(|| not_there(id))
    }

    /// Keeps a policy, a new one or in the place of the old one; `revision` must be the old one's
    /// when it is given. With `is_rehearsal` only says what would be kept.
    pub(super) fn save(
        &self,
        policy: Policy,
        revision: Option<u64>,
        is_rehearsal: bool,
    ) -> Result<(Kept, Option<Kept>)> {
        policy.check()?;
        let mut policies = locked(&self.policies);
        let old = policies.iter().find(|kept| kept.policy.id == policy.id).cloned();
        let known = old.as_ref().map_or(0, |kept| kept.revision);
        if revision.is_some_and(|revision| revision != known) {
            return Err(Error::exists(format!(
                "The policy is at revision {known} by now. Read it again, then change it."
            )));
        }
        if old.is_none() && policies.len() >= POLICIES_MAX {
            return Err(Error::exists(format!("There are {POLICIES_MAX} policies already.")));
        }
        let same = old.as_ref().filter(|old| old.policy == policy);
        let kept = match same {
            Some(same) => same.clone(),
            None => Kept { revision: known + 1, saved: engine::now(), policy },
        };
        if is_rehearsal || same.is_some() {
            return Ok((kept, old));
        }
        self.begin_anew(&kept, old.as_ref())?;
        self.store.put(&kept)?;
        policies.retain(|other| other.policy.id != kept.policy.id);
        policies.push(kept.clone());
        policies
            .sort_by(|a, b| (&a.policy.title, a.policy.id).cmp(&(&b.policy.title, b.policy.id)));
        Ok((kept, old))
    }

    /// Schedules that are new or count again begin now: what was due before nobody wanted.
    fn begin_anew(&self, kept: &Kept, old: Option<&Kept>) -> Result<()> {
        let before = old.filter(|old| old.policy.enabled).map(|old| &old.policy);
        for schedule in &kept.policy.schedules {
            let was = before
                .and_then(|old| old.schedules.iter().find(|other| other.label == schedule.label));
            let goes_on = was == Some(schedule)
                && before.is_some_and(|old| old.timezone == kept.policy.timezone);
            if !goes_on {
                self.note(Record::Done {
                    policy: kept.policy.id,
                    label: schedule.label.clone(),
                    until: kept.saved,
                })?;
            }
        }
        Ok(())
    }

    /// Removes a policy. Its snapshots stay.
    pub(super) fn remove(&self, id: Uuid) -> Result<Kept> {
        let mut policies = locked(&self.policies);
        let at = policies.iter().position(|kept| kept.policy.id == id);
        let at = at.ok_or_else(|| not_there(id))?;
        self.store.remove(id)?;
        let gone = policies.remove(at);
        self.note(Record::Removed { policy: id })?;
        locked(&self.failing).remove(&id);
        locked(&self.told).remove(&id);
        Ok(gone)
    }

    /// Writes a line into the journal; it is on disk when this returns.
    fn note(&self, record: Record) -> Result<()> {
        locked(&self.journal).add(record)
    }

    /// Up to when a schedule is done.
    pub(super) fn done_until(&self, kept: &Kept, label: &str) -> DateTime<Utc> {
        let journal = locked(&self.journal);
        let done = journal.state().done.get(&(kept.policy.id, label.to_owned())).copied();
        done.unwrap_or(kept.saved)
    }

    /// When each schedule takes its next snapshot.
    pub(super) fn next(&self, kept: &Kept) -> Vec<(String, Option<DateTime<Utc>>)> {
        let Ok(zone) = kept.policy.zone() else { return Vec::new() };
        let now = engine::now();
        let mut next = Vec::new();
        for schedule in &kept.policy.schedules {
            let table = Timetable::read(schedule, zone).ok();
            let moment = table.filter(|_| kept.policy.enabled).and_then(|table| {
                let from = self.done_until(kept, &schedule.label).min(now);
                let due = crate::policy::schedule::due(&table, salt(&kept.policy), from, now);
                due.slot.map(|_| now).or(due.next)
            });
            next.push((schedule.label.clone(), moment));
        }
        next
    }

    /// That this is being done to the policy; nothing when it is already.
    pub(super) fn begin(self: &Arc<Self>, work: Work, policy: Uuid) -> Option<Busy> {
        let is_new = locked(self.busy(work)).insert(policy);
        is_new.then(|| Busy { keeper: Arc::clone(self), work, policy })
    }

    fn busy(&self, work: Work) -> &Mutex<BTreeSet<Uuid>> {
        match work {
            Work::Take => &self.taking,
            Work::Prune => &self.pruning,
        }
    }

    /// Has the policy pruned soon.
    pub(super) fn want_pruned(&self, policy: Uuid) {
        locked(&self.to_prune).insert(policy);
    }

    /// What fails of a policy.
    pub(super) fn failing(&self, policy: Uuid) -> BTreeMap<DatasetId, String> {
        locked(&self.failing).get(&policy).cloned().unwrap_or_default()
    }

    /// Looks at the clock, and tells when it is no longer, or again, believed.
    pub(super) fn look_at_clock(&self, ctx: &Context) {
        let now = engine::now();
        let (change, doubt) = {
            let mut watch = locked(&self.watch);
            (watch.look(now, up()), watch.doubt().cloned())
        };
        match (change, doubt) {
            (Some(Change::Doubted), Some(doubt)) => told::doubt(ctx, now, &doubt),
            (Some(Change::Believed), _) => told::belief(ctx, now),
            _ => {}
        }
    }

    /// Why nothing may be destroyed by age now, in a sentence; nothing when the clock is believed.
    pub(super) fn doubt(&self) -> Option<String> {
        let watch = locked(&self.watch);
        watch.doubt().map(|doubt| {
            format!(
                "The clock jumped from {} to {}, so ages are not to be trusted.",
                doubt.expected.format("%F %T"),
                doubt.said.format("%F %T UTC")
            )
        })
    }

    /// Somebody says that the clock is right.
    pub(super) fn trust_clock(&self, ctx: &Context) {
        let was_doubted = {
            let mut watch = locked(&self.watch);
            let was_doubted = watch.doubt().is_some();
            watch.believe(engine::now());
            was_doubted
        };
        if was_doubted {
            told::belief(ctx, engine::now());
        }
    }

    /// Whether this is news about the policy, to be told once.
    pub(super) fn is_news(&self, policy: Uuid, what: &str) -> bool {
        locked(&self.told).insert(policy, what.to_owned()).as_deref() != Some(what)
    }

    /// There is no news of that kind any more.
    pub(super) fn no_news(&self, policy: Uuid) -> bool {
        locked(&self.told).remove(&policy).is_some()
    }

    /// The run with this number is going to destroy these, and then has.
    pub(super) fn note_pruning(&self, pruning: Pruning) -> Result<()> {
        self.note(Record::Pruning(pruning))
    }

    /// A run is over.
    pub(super) fn note_over(&self, run: Uuid) -> Result<()> {
        self.note(Record::Over { run })
    }

    /// The datasets of a policy, at present.
    pub(super) fn tops(
        &self,
        policy: &Policy,
    ) -> (Vec<Dataset>, Vec<Dataset>, Vec<engine::Problem>) {
        let (all, problems) = self.engine.datasets();
        let tops = crate::policy::select::tops(&policy.datasets, &all);
        let tops: Vec<Dataset> = tops.into_iter().cloned().collect();
        (tops, all, problems)
    }
}

/// What makes the jitter of a policy its own.
pub(super) fn salt(policy: &Policy) -> &[u8] {
    policy.id.as_bytes()
}

/// The time since the start of the machine, also while it slept.
fn up() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn not_there(id: Uuid) -> Error {
    Error::new(ErrorKind::NotFound, format!("There is no policy {id}."))
}

/// The journal; one that cannot be read is told of and begun anew by nobody but people.
fn open_journal(ctx: &Context, dir: &Path) -> Result<Journal> {
    Journal::open(dir).inspect_err(|error| {
        ctx.log(Level::Error, &format!("the journal of policies: {error}"));
    })
}
