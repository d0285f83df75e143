//! Runs: those that somebody asks for and those that go on after a restart.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sdk::{Context, Draft, Fault, FaultKind, Level, Request, Value, json};
use serde::Deserialize;
use snapshot::backend::Error;
use uuid::Uuid;

use super::{args, events, faults, native, tasks};
use crate::carry::Herald;
use crate::ends;
use crate::engine::{self, End, Engine};
use crate::run::{Run, State};
use crate::task::Task;

/// Progress events of one run are told at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    task: Uuid,
    #[serde(default)]
    dry_run: bool,
}

/// `replication/run`.
pub(super) fn run(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Asked = args::read(request)?;
    let task = tasks::known(engine, asked.task)?;
    if asked.dry_run {
        let (datasets, _) = native::prospects(engine, ctx, &task);
        return Ok(json!({ "dry_run": true, "datasets": datasets, "run": null }));
    }
    if !task.enabled {
        return Err(Fault::new(FaultKind::Conflict, "the task is switched off")
            .with_hint("`replication/task_enable` switches it on"));
    }
    let run = carry_out(engine, ctx, &task, "manual")?;
    Ok(json!({ "dry_run": false, "datasets": [], "run": run }))
}

/// What is to be done at the start: say what still fails, and go on with what was cut off.
pub(super) fn begin(engine: &Arc<Engine>, ctx: &Context, cut: &[Run]) -> Result<(), Fault> {
    let (failing, _) = engine.failing();
    let alerts = failing.iter().map(events::alert).collect::<Result<Vec<_>, _>>()?;
    if let Err(fault) =
        ctx.sync_alerts(alerts.get(..sdk::SYNC_MAX.min(alerts.len())).unwrap_or_default())
    {
        ctx.log(Level::Warn, &format!("alerts could not be told: {fault}"));
    }
    let mut ids: Vec<Uuid> = cut.iter().map(|run| run.task).collect();
    ids.dedup();
    if ids.is_empty() {
        return Ok(());
    }
    let (engine, ctx) = (Arc::clone(engine), ctx.clone());
    let thread = thread::Builder::new().name("recovery".to_owned());
    let started = thread.spawn(move || {
        for task in ids.into_iter().filter_map(|id| engine.task(id)).filter(|task| task.enabled) {
            // What becomes of it is told by events.
            let _told = carry_out(&engine, &ctx, &task, "recovery");
        }
    });
    started.map(drop).map_err(|cause| {
        Fault::new(FaultKind::Unavailable, format!("no thread can be started: {cause}"))
    })
}

/// Carries a task out and tells everybody.
pub(super) fn carry_out(
    engine: &Engine,
    ctx: &Context,
    task: &Task,
    trigger: &str,
) -> Result<Run, Fault> {
    let begun = engine
        .begin(task, (trigger, ctx.actor()))
        .map_err(|error| faults::of(ctx, &task.title, &error))?;
    let names = names(engine, task);
    tell(ctx, events::started(&begun.now(), &names, engine::now()));
    let teller = Teller { ctx, told: Mutex::default() };
    let end = begun.work(task, &teller).map_err(|error| faults::of(ctx, &task.title, &error))?;
    tell_end(engine, ctx, &end, &names);
    outcome(ctx, end)
}

/// What becomes of a run, to everybody.
fn tell_end(engine: &Engine, ctx: &Context, end: &End, names: &str) {
    let trouble = end.conflict.as_ref().map(|(_, conflict)| conflict.trouble);
    if let Some(draft) = events::ended(&end.run, names, trouble, engine::now()) {
        tell(ctx, draft);
    }
    let alerts = match end.run.state {
        State::Done => events::over(&end.run)
            .and_then(|all| all.iter().try_for_each(|over| ctx.clear_unacknowledged(over))),
        State::Failed | State::Conflict => {
            events::alert(&end.run).and_then(|alert| ctx.raise_unacknowledged(&alert))
        }
        _ => Ok(()),
    };
    if let Err(fault) = alerts {
        ctx.log(Level::Error, &format!("an alert could not be told: {fault}"));
    }
    let (failing, tasks) = engine.failing();
    // The run's own failure has just been told.
    let others = failing.iter().any(|run| run.id != end.run.id);
    if let Some(draft) = events::summary(&failing, tasks).filter(|_| others) {
        tell(ctx, draft);
    }
}

fn outcome(ctx: &Context, end: End) -> Result<Run, Fault> {
    let details = json!({ "run": end.run });
    if let Some(error) = &end.error {
        let mut fault = faults::of(ctx, &end.run.title, error);
        if let (Some(all), Some(more)) = (fault.details.as_object_mut(), details.as_object()) {
            all.extend(more.clone());
        }
        return Err(fault);
    }
    if let (Some(_), Some(failure)) = (&end.conflict, &end.run.error) {
        let fault = Fault::new(FaultKind::Conflict, failure.message.clone()).with_details(details);
        return Err(fault.with_hint(failure.hint.clone().unwrap_or_default()));
    }
    Ok(end.run)
}

/// What a task copies, for people.
fn names(engine: &Engine, task: &Task) -> String {
    match task.sources.as_slice() {
        [one] if task.source_ssh.is_none() => {
            ends::find(one, engine.store()).map_or_else(|_| one.clone(), |found| found.name)
        }
        _ => task.title.clone(),
    }
}

/// Publishes what can be published: an event that cannot be told must not make work look undone.
pub(super) fn tell(ctx: &Context, draft: Result<Draft, Fault>) {
    if let Err(fault) = draft.and_then(|draft| ctx.publish(&draft)) {
        ctx.log(Level::Error, &format!("an event could not be published: {fault}"));
    }
}

/// Tells of a run while it is at work: the caller, and everybody.
struct Teller<'a> {
    ctx: &'a Context,
    told: Mutex<Option<Instant>>,
}

impl Herald for Teller<'_> {
    fn progress(&self, run: &Run) {
        let total = run.step_total.filter(|total| *total >= run.step_done);
        let message = events::moved(run);
        self.ctx.progress_in(&run.snapshot, (run.step_done, total), "bytes", &message);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| told.elapsed() < PROGRESS_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        // Whoever misses one hears the next.
        let _missed =
            events::progress(run).and_then(|draft| self.ctx.publish_unacknowledged(&draft));
    }

    fn stalled(&self, run: &Run, seconds: u64) {
        tell(self.ctx, events::stalled(run, seconds));
    }

    fn resumed(&self, run: &Run) {
        tell(self.ctx, events::resumed(run));
    }

    fn retry(&self, run: &Run, error: &Error, seconds: u64) {
        tell(self.ctx, events::retry(run, &error.to_string(), seconds));
    }

    fn unwanted(&self) -> bool {
        self.ctx.cancelled()
    }
}
