//! The methods that look, and those that change a run or a hold.

use std::collections::HashSet;

use sdk::{Context, Fault, FaultKind, Request, Value, json};
use serde::Deserialize;
use snapshot::backend::{DatasetId, Kind};
use uuid::Uuid;

use super::args::{self, Nothing};
use super::{faults, tasks, words};
use crate::engine::{Engine, Prospect};
use crate::holds::{Hold, Role, Side};
use crate::plan::Outlook;
use crate::run::Basis;
use crate::task::Task;

/// Steps that are listed of a longer plan.
const STEPS_MAX: usize = 200;
/// Runs in one answer unless asked otherwise, and at most.
const RUNS_PAGE: usize = 50;
const RUNS_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTask {
    task: Uuid,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfRun {
    run: Uuid,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    run: Uuid,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Runs {
    #[serde(default)]
    task: Option<Uuid>,
    #[serde(default)]
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    task: Uuid,
    dataset: String,
    side: Side,
    role: Role,
    identity: String,
    #[serde(default)]
    give_up_base: bool,
    #[serde(default)]
    dry_run: bool,
}

/// `replication/plan`.
pub(super) fn plan(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: OfTask = args::read(request)?;
    let task = tasks::known(engine, asked.task)?;
    let (datasets, _) = prospects(engine, ctx, &task);
    Ok(json!({ "task": task.id, "title": task.title, "datasets": datasets }))
}

/// What a task would do with each of its datasets, and what stands in its way.
pub(super) fn prospects(engine: &Engine, ctx: &Context, task: &Task) -> (Vec<Value>, Vec<Fault>) {
    let (mut views, mut errors) = (Vec::new(), Vec::new());
    for (dataset, prospect) in engine.prospects(task) {
        match prospect {
            Ok(prospect) => views.push(view(&prospect)),
            Err(error) => {
                let fault = faults::of(ctx, &dataset, &error);
                views.push(json!({
                    "dataset": dataset, "name": dataset, "state": "error", "steps": [],
                    "steps_total": 0, "error": fault.message,
                }));
                errors.push(fault);
            }
        }
    }
    (views, errors)
}

fn view(prospect: &Prospect) -> Value {
    let state = match prospect.outlook {
        Outlook::Current => "current",
        Outlook::Empty => "empty",
        Outlook::Steps(_) => "steps",
        Outlook::Conflict(_) => "conflict",
    };
    let steps = match &prospect.outlook {
        Outlook::Steps(steps) => steps.as_slice(),
        _ => &[],
    };
    let sizes = prospect.sizes.iter().copied().chain(std::iter::repeat((None, Basis::Unknown)));
    let step = |(step, (bytes, basis)): (&crate::plan::Step, (Option<u64>, Basis))| {
        json!({
            "kind": if step.from.is_some() { "incremental" } else { "full" },
            "from": step.from.as_ref().map(|from| &from.name),
            "to": step.to.name,
            "bytes": bytes,
            "basis": basis,
        })
    };
    let listed: Vec<Value> = steps.iter().zip(sizes).take(STEPS_MAX).map(step).collect();
    let conflict = match &prospect.outlook {
        Outlook::Conflict(conflict) => json!({
            "trouble": conflict.trouble,
            "found": words::found(conflict),
            "snapshots": conflict.snapshots,
            "solutions": words::solutions(kind(&prospect.dataset), conflict.trouble),
        }),
        _ => Value::Null,
    };
    json!({
        "dataset": prospect.dataset,
        "name": prospect.name,
        "place": prospect.place.to_string_lossy(),
        "state": state,
        "base": prospect.base.as_ref().map(|(original, _)| &original.name),
        "steps": listed,
        "steps_total": steps.len(),
        "conflict": conflict,
    })
}

fn kind(dataset: &str) -> Kind {
    dataset.parse::<DatasetId>().map_or(Kind::Tree, |id| id.kind())
}

/// `replication/cancel`.
pub(super) fn cancel(engine: &Engine, request: &Request) -> Result<Value, Fault> {
    let asked: Cancel = args::read(request)?;
    let running = engine.runs().into_iter().any(|run| run.id == asked.run && run.ended.is_none());
    if !running || !asked.dry_run && !engine.cancel(asked.run) {
        return Err(Fault::not_found(format!("no run {} is at work", asked.run)));
    }
    Ok(json!({ "run": asked.run, "dry_run": asked.dry_run }))
}

/// `replication/runs`.
pub(super) fn runs(engine: &Engine, request: &Request) -> Result<Value, Fault> {
    let asked: Runs = args::read(request)?;
    let limit = asked.limit.unwrap_or(RUNS_PAGE);
    if limit == 0 || limit > RUNS_MAX {
        return Err(Fault::bad_request(format!("`limit` is {limit}; expected 1 to {RUNS_MAX}")));
    }
    let mut runs = engine.runs();
    runs.retain(|run| asked.task.is_none_or(|task| run.task == task));
    runs.truncate(limit);
    Ok(json!({ "runs": runs }))
}

/// `replication/run_get`.
pub(super) fn run_get(engine: &Engine, request: &Request) -> Result<Value, Fault> {
    let asked: OfRun = args::read(request)?;
    let run = engine.runs().into_iter().find(|run| run.id == asked.run);
    let run = run.ok_or_else(|| Fault::not_found(format!("there is no run {}", asked.run)))?;
    Ok(json!({ "run": run }))
}

/// `replication/conflicts`: what is so now, of tasks whose last run found that it does not fit.
pub(super) fn conflicts(engine: &Engine, request: &Request) -> Result<Value, Fault> {
    let Nothing {} = args::read(request)?;
    let (failing, _) = engine.failing();
    let ids: HashSet<Uuid> = failing.iter().map(|run| run.task).collect();
    let mut found = Vec::new();
    for task in engine.tasks().iter().filter(|task| ids.contains(&task.id)) {
        for (dataset, prospect) in engine.prospects(task) {
            let Ok(prospect) = prospect else { continue };
            let mut seen = view(&prospect);
            // Files changed at the target show only when something is sent there.
            if seen["conflict"].is_null() {
                let last = failing.iter().find(|run| run.task == task.id && run.dataset == dataset);
                let Some(error) = last.and_then(|run| run.error.as_ref()) else { continue };
                if error.code != "conflict" {
                    continue;
                }
                let trouble = crate::plan::Trouble::TargetModified;
                seen["conflict"] = json!({
                    "trouble": trouble,
                    "found": error.message,
                    "snapshots": [],
                    "solutions": words::solutions(kind(&dataset), trouble),
                });
            }
            found.push(json!({
                "task": task.id, "title": task.title, "dataset": dataset,
                "name": prospect.name, "place": prospect.place.to_string_lossy(),
                "conflict": seen["conflict"],
            }));
        }
    }
    Ok(json!({ "conflicts": found }))
}

/// `replication/holds`.
pub(super) fn holds(engine: &Engine, request: &Request) -> Result<Value, Fault> {
    let Nothing {} = args::read(request)?;
    let tasks = engine.tasks();
    let view = |hold: &Hold| {
        let task = tasks.iter().find(|task| task.id == hold.task);
        let mut view = json!(hold);
        if let Some(view) = view.as_object_mut() {
            view.insert("title".to_owned(), json!(task.map(|task| &task.title)));
            view.insert("stale".to_owned(), json!(is_stale(engine, hold)));
        }
        view
    };
    Ok(json!({ "holds": engine.ledger.all().iter().map(view).collect::<Vec<_>>() }))
}

/// Whether nobody needs it: its task is gone, or its run is over.
fn is_stale(engine: &Engine, hold: &Hold) -> bool {
    let at_work = || engine.running(hold.task).is_some_and(|run| run.id == hold.run);
    engine.task(hold.task).is_none() || hold.role == Role::Step && !at_work()
}

/// `replication/release`.
pub(super) fn release(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Release = args::read(request)?;
    let meant = |hold: &Hold| {
        hold.task == asked.task
            && hold.dataset == asked.dataset
            && hold.side == asked.side
            && hold.role == asked.role
            && hold.identity == asked.identity
    };
    let hold = engine.ledger.all().into_iter().find(meant);
    let hold = hold.ok_or_else(|| Fault::not_found("there is no such hold of ours"))?;
    if engine.running(hold.task).is_some() {
        return Err(Fault::new(FaultKind::Conflict, "the task is running"));
    }
    if !is_stale(engine, &hold) && !asked.give_up_base {
        return Err(Fault::new(
            FaultKind::Conflict,
            "the snapshot is the base of the task's next step; without it all may have to be sent again",
        )
        .with_hint("with `give_up_base` it is released all the same"));
    }
    if !asked.dry_run {
        engine.let_go(&hold).map_err(|error| faults::of(ctx, "release a snapshot", &error))?;
    }
    Ok(json!({ "released": hold, "dry_run": asked.dry_run }))
}
