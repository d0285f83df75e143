//! The threads that look at the schedules: one finds out whose time has come and has it taken beside
//! the others, one destroys what is no longer kept. Neither waits for the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sdk::{Context, Fault, FaultKind, Level};
use uuid::Uuid;

use super::take::{Wanted, recover};
use super::{Keeper, Work, locked, salt};
use crate::plugin::{engine, prune, told};
use crate::policy::journal::Record;
use crate::policy::model::Schedule;
use crate::policy::schedule::{Due, Timetable, due};
use crate::policy::store::Kept;

/// How often the schedules are looked at: a snapshot begins at most this late.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often everything is looked through for what has become too old.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// The journal is told what the clock says when it was told longer ago than this.
const NOTE_CLOCK_AFTER: TimeDelta = TimeDelta::minutes(10);
/// Policies of which snapshots are taken at once. More would only make the disks seek.
const AT_ONCE: usize = 4;
/// How long a schedule whose slot failed waits: at first, doubled each time, and at most.
const RETRY_FIRST: Duration = Duration::from_mins(1);
const RETRY_MOST: Duration = Duration::from_mins(15);

/// When slots that failed are tried again, by policy and label.
type Retries = HashMap<(Uuid, String), (Instant, Duration)>;

/// Starts the threads. They end with the plugin.
pub(in crate::plugin) fn start(ctx: &Context, keeper: &Arc<Keeper>) -> Result<(), Fault> {
    let (pruner, context) = (Arc::clone(keeper), ctx.clone());
    spawn("prune", move || prune_on(&context, &pruner))?;
    let (scheduler, context) = (Arc::clone(keeper), ctx.clone());
    spawn("schedule", move || {
        // What an earlier life has raised nobody remembers; what is still wrong is found at once.
        if let Err(fault) = context.sync_alerts(&[]) {
            context.log(Level::Error, &format!("alerts: {fault}"));
        }
        if let Some(why) = scheduler.doubt() {
            told::doubt_from_start(&context, &why);
        }
        recover(&context, &scheduler);
        schedule_on(&context, &scheduler);
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Fault> {
    Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(|error| {
        Fault::new(FaultKind::Failed, format!("a thread could not be started: {error}"))
    })
}

fn schedule_on(ctx: &Context, keeper: &Arc<Keeper>) {
    let retries = Arc::new(Mutex::new(Retries::new()));
    loop {
        keeper.look_at_clock(ctx);
        note_clock(ctx, keeper);
        for kept in keeper.policies().into_iter().filter(|kept| kept.policy.enabled) {
            look(ctx, keeper, kept, &retries);
        }
        if !ctx.pause(LOOK_EVERY) {
            return;
        }
    }
}

/// Has taken what is due of a policy, on a thread of its own.
fn look(ctx: &Context, keeper: &Arc<Keeper>, kept: Kept, retries: &Arc<Mutex<Retries>>) {
    let id = kept.policy.id;
    let waits = |label: &str| {
        let key = (id, label.to_owned());
        locked(retries).get(&key).is_some_and(|(until, _)| *until > Instant::now())
    };
    let now = engine::now();
    let asked = due_now(keeper, &kept, now);
    let asked: Vec<(String, Due)> = asked.into_iter().filter(|(label, _)| !waits(label)).collect();
    if asked.is_empty() || locked(&keeper.taking).len() >= AT_ONCE {
        return;
    }
    // From here on, so that the next look does not find it due again.
    let Some(busy) = keeper.begin(Work::Take, id) else { return };
    let (context, worker, retries) = (ctx.clone(), Arc::clone(keeper), Arc::clone(retries));
    let work = move || {
        let _busy = busy;
        for (label, due) in asked {
            serve(&context, &worker, &kept, (label, due), &retries);
        }
        worker.want_pruned(id);
    };
    if let Err(fault) = spawn("take", work) {
        ctx.log(Level::Error, &fault.message);
    }
}

/// The schedules of a policy for which there is something to do or to write down.
fn due_now(keeper: &Keeper, kept: &Kept, now: DateTime<Utc>) -> Vec<(String, Due)> {
    let Ok(zone) = kept.policy.zone() else { return Vec::new() };
    let ask = |schedule: &Schedule| {
        let table = Timetable::read(schedule, zone).ok()?;
        let last = keeper.done_until(kept, &schedule.label);
        let due = due(&table, salt(&kept.policy), last, now);
        // A clock that was set back moves what is done back as well.
        (due.slot.is_some() || due.until != last).then(|| (schedule.label.clone(), due))
    };
    kept.policy.schedules.iter().filter_map(ask).collect()
}

/// Takes the snapshots of a slot and writes down that it is done, or when it is tried again.
fn serve(
    ctx: &Context,
    keeper: &Keeper,
    kept: &Kept,
    (label, due): (String, Due),
    retries: &Mutex<Retries>,
) {
    let key = (kept.policy.id, label.clone());
    if due.missed > 0 {
        told::missed(ctx, kept, &label, &due);
    }
    if let Some(slot) = due.slot {
        let wanted = Wanted { label: label.clone(), slot };
        let taken = keeper.take(ctx, kept, &wanted);
        if ctx.cancelled() {
            return;
        }
        if !taken.is_ok_and(|taken| taken.failed.is_empty()) {
            let mut retries = locked(retries);
            let wait = retries.get(&key).map_or(RETRY_FIRST, |(_, before)| *before * 2);
            let wait = wait.min(RETRY_MOST);
            retries.insert(key, (Instant::now() + wait, wait));
            // What was missed before has been told.
            let before = slot - TimeDelta::seconds(1);
            note(ctx, keeper, Record::Done { policy: kept.policy.id, label, until: before });
            return;
        }
    }
    locked(retries).remove(&key);
    note(ctx, keeper, Record::Done { policy: kept.policy.id, label, until: due.until });
}

/// Writes down what the clock says, while it is believed.
fn note_clock(ctx: &Context, keeper: &Keeper) {
    let now = engine::now();
    let seen = locked(&keeper.journal).state().seen;
    let is_known = seen.is_some_and(|seen| seen <= now && now - seen < NOTE_CLOCK_AFTER);
    if keeper.doubt().is_none() && !is_known {
        note(ctx, keeper, Record::Clock { seen: now });
    }
}

fn note(ctx: &Context, keeper: &Keeper, record: Record) {
    if let Err(error) = keeper.note(record) {
        ctx.log(Level::Error, &format!("the journal of policies: {error}"));
    }
}

fn prune_on(ctx: &Context, keeper: &Arc<Keeper>) {
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|looked| looked.elapsed() >= PRUNE_EVERY) {
            looked = Some(Instant::now());
            for kept in keeper.policies() {
                keeper.want_pruned(kept.policy.id);
            }
        }
        while let Some(policy) = { locked(&keeper.to_prune).pop_first() } {
            if ctx.cancelled() {
                return;
            }
            let kept = keeper.policy(policy).ok().filter(|kept| kept.policy.enabled);
            if let Some(kept) = kept {
                prune::by_itself(ctx, keeper, &kept);
            }
        }
        if !ctx.pause(LOOK_EVERY) {
            return;
        }
    }
}
