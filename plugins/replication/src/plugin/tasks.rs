//! The methods that change tasks.

use sdk::{Context, Fault, FaultKind, Request, Value, json};
use serde::Deserialize;
use uuid::Uuid;

use super::args::{self, Nothing};
use super::{faults, native};
use crate::ends;
use crate::engine::Engine;
use crate::task::{Task, Wish};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Save {
    task: Wish,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    task: Uuid,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Enable {
    task: Uuid,
    enabled: bool,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolve {
    task: Uuid,
    dataset: String,
    choice: String,
    #[serde(default)]
    dry_run: bool,
}

/// A task that exists.
pub(super) fn known(engine: &Engine, id: Uuid) -> Result<Task, Fault> {
    engine.task(id).ok_or_else(|| {
        Fault::not_found(format!("there is no replication task {id}"))
            .with_hint("`replication/task_list` lists them")
    })
}

/// `replication/task_list`.
pub(super) fn list(engine: &Engine, request: &Request) -> Result<Value, Fault> {
    let Nothing {} = args::read(request)?;
    let runs = engine.runs();
    let view = |task: &Task| {
        let last = runs.iter().find(|run| run.task == task.id);
        let mut view = json!(task);
        if let Some(view) = view.as_object_mut() {
            view.insert("last_run".to_owned(), json!(last));
        }
        view
    };
    Ok(json!({ "tasks": engine.tasks().iter().map(view).collect::<Vec<_>>() }))
}

/// `replication/task_save`: nothing is kept that could not be planned.
pub(super) fn save(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Save = args::read(request)?;
    asked.task.check().map_err(Fault::bad_request)?;
    let mut sources: Vec<String> = Vec::new();
    for text in &asked.task.sources {
        let found = ends::known(text, asked.task.source_ssh.as_ref(), engine.store())
            .map_err(|error| faults::of(ctx, "find a dataset", &error))?;
        if !sources.contains(&found.id) {
            sources.push(found.id);
        }
    }
    let kinds: Vec<Option<&str>> = sources.iter().map(|id| id.split(':').next()).collect();
    if kinds.windows(2).any(|pair| matches!(pair, [a, b] if a != b)) {
        return Err(Fault::bad_request("the datasets of one task are of one kind of storage"));
    }
    let old = asked.task.id.and_then(|id| engine.task(id));
    if old.as_ref().is_some_and(|old| engine.running(old.id).is_some()) {
        return Err(Fault::new(FaultKind::Conflict, "the task is running")
            .with_hint("cancel the run, or wait for its end"));
    }
    let task = asked.task.settle(sources, old.as_ref());
    let (datasets, mut errors) = native::prospects(engine, ctx, &task);
    if !errors.is_empty() {
        return Err(errors.remove(0));
    }
    if !asked.dry_run {
        engine.save(task.clone()).map_err(|error| faults::of(ctx, "save a task", &error))?;
    }
    Ok(json!({ "task": task, "datasets": datasets, "dry_run": asked.dry_run }))
}

/// `replication/task_remove`: copies and snapshots stay.
pub(super) fn remove(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Remove = args::read(request)?;
    let task = known(engine, asked.task)?;
    let mut holds = engine.ledger.all();
    holds.retain(|hold| hold.task == task.id);
    if asked.dry_run {
        return Ok(
            json!({ "removed": task, "dry_run": true, "released": holds.len(), "left": [] }),
        );
    }
    let left = engine.remove(&task).map_err(|error| faults::of(ctx, "remove a task", &error))?;
    let released = holds.len() - left.len();
    Ok(json!({ "removed": task, "dry_run": false, "released": released, "left": left }))
}

/// `replication/task_enable`.
pub(super) fn enable(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Enable = args::read(request)?;
    let task = Task { enabled: asked.enabled, ..known(engine, asked.task)? };
    if !asked.dry_run {
        engine.save(task.clone()).map_err(|error| faults::of(ctx, "save a task", &error))?;
    }
    Ok(json!({ "task": task, "dry_run": asked.dry_run }))
}

/// `replication/resolve`: somebody decides; nothing that is at the target is touched.
pub(super) fn resolve(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Resolve = args::read(request)?;
    let mut task = known(engine, asked.task)?;
    if !task.sources.contains(&asked.dataset) {
        return Err(Fault::not_found(format!("{} is not a dataset of the task", asked.dataset)));
    }
    let is_tree = asked.dataset.starts_with("tree:");
    let mut standing = task.standing(&asked.dataset);
    match (asked.choice.as_str(), is_tree) {
        ("new-generation", false) => standing.generation = standing.generation.saturating_add(1),
        ("send-again", true) => standing.again = true,
        (other, _) => {
            let fitting = if is_tree { "send-again" } else { "new-generation" };
            return Err(Fault::bad_request(format!(
                "`choice` is \"{}\"; for this dataset it can be `{fitting}`",
                other.escape_debug()
            )));
        }
    }
    if engine.running(task.id).is_some() {
        return Err(Fault::new(FaultKind::Conflict, "the task is running"));
    }
    task.standing.insert(asked.dataset, standing);
    if !asked.dry_run {
        engine.save(task.clone()).map_err(|error| faults::of(ctx, "save a task", &error))?;
    }
    let (datasets, _) = native::prospects(engine, ctx, &task);
    Ok(json!({ "task": task, "datasets": datasets, "dry_run": asked.dry_run }))
}
