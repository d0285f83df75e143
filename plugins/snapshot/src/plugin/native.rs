//! The methods `snapshot/*`.

use std::path::Path;

use sdk::{Context, Fault, Request, Value, json};
use serde::{Deserialize, Serialize};

use super::engine::{self, Engine, Problem};
use super::faults;
use crate::backend::{Dataset, Kind, NewSnapshot, Snapshot, SnapshotId};

/// Snapshots in one answer unless asked otherwise, and at most: some 500 bytes each, so that the
/// answer stays below the link's limit of a line.
const PAGE: usize = 1000;
/// The label of a snapshot somebody took by hand.
const MANUAL: &str = "manual";

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Nothing {}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Datasets {
    backend: Option<Kind>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct List {
    dataset: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    dataset: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    recursive: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Destroy {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    path: String,
}

/// A snapshot with its dataset's name, for people.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    dataset_name: &'a str,
    backend: Kind,
}

/// `snapshot/backends`.
pub(super) fn backends(engine: &Engine, request: &Request) -> Result<Value, Fault> {
    let Nothing {} = args(request)?;
    let backends: Vec<Value> = engine
        .all()
        .into_iter()
        .map(|backend| {
            let mut told = json!(backend.capabilities());
            if let Some(told) = told.as_object_mut() {
                told.insert("backend".to_owned(), json!(backend.kind()));
            }
            told
        })
        .collect();
    Ok(json!({ "backends": backends }))
}

/// `snapshot/datasets`.
pub(super) fn datasets(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Datasets = args(request)?;
    let (mut datasets, problems) = engine.datasets();
    datasets.retain(|dataset| asked.backend.is_none_or(|kind| dataset.kind == kind));
    Ok(json!({ "datasets": datasets, "problems": told(ctx, problems) }))
}

/// `snapshot/list`.
pub(super) fn list(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: List = args(request)?;
    let limit = asked.limit.unwrap_or(PAGE);
    if limit == 0 || limit > PAGE {
        return Err(Fault::bad_request(format!("`limit` is {limit}; expected 1 to {PAGE}")));
    }
    let after: Option<SnapshotId> = asked
        .after
        .map(|text| text.parse())
        .transpose()
        .map_err(|error| faults::of(ctx, "list snapshots", &error))?;
    let (datasets, mut problems) = match &asked.dataset {
        Some(text) => {
            let found = engine.find(text).map_err(|error| faults::of(ctx, "list", &error))?;
            (vec![found], Vec::new())
        }
        None => engine.datasets(),
    };
    let mut rows: Vec<(Dataset, Snapshot)> = Vec::new();
    for dataset in datasets {
        match engine.list(&dataset) {
            Ok(found) => rows.extend(found.into_iter().map(|one| (dataset.clone(), one))),
            Err(error) if asked.dataset.is_some() => {
                return Err(faults::of(ctx, "list snapshots", &error));
            }
            Err(error) => problems.push((dataset.kind, error)),
        }
    }
    // A stable order to page through: by identity of the dataset, then the storage's own order.
    rows.sort_by(|(a, x), (b, y)| (&a.id, x.order, &x.id).cmp(&(&b.id, y.order, &y.id)));
    let start = match &after {
        None => 0,
        Some(id) => {
            rows.iter().position(|(_, one)| one.id == *id).map(|at| at + 1).ok_or_else(|| {
                Fault::not_found(format!("`after`: there is no snapshot {id} (any more)"))
            })?
        }
    };
    let page: Vec<Listed<'_>> = rows.iter().skip(start).take(limit).map(listed).collect();
    let more = rows.len() > start + page.len();
    let next = page.last().filter(|_| more).map(|last| last.snapshot.id.to_string());
    Ok(json!({ "snapshots": page, "next": next, "problems": told(ctx, problems) }))
}

/// `snapshot/create`.
pub(super) fn create(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Create = args(request)?;
    let dataset = engine
        .find_or_register(&asked.dataset)
        .map_err(|error| faults::of(ctx, "find the dataset", &error))?;
    let new = NewSnapshot {
        label: asked.label.unwrap_or_else(|| MANUAL.to_owned()),
        name: asked.name,
        comment: asked.comment.filter(|comment| !comment.is_empty()),
        mark: None,
        recursive: asked.recursive,
        at: engine::now(),
    };
    let made = engine.create(ctx, &dataset, &new)?;
    let consistency = made.first().map(|first| first.consistency);
    Ok(json!({ "dataset": dataset, "snapshots": made, "consistency": consistency }))
}

/// `snapshot/destroy`.
pub(super) fn destroy(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Destroy = args(request)?;
    let id = asked.id.parse().map_err(|error| faults::of(ctx, "destroy", &error))?;
    let gone = engine.destroy(ctx, &id)?;
    Ok(json!({ "destroyed": gone }))
}

/// `snapshot/register`.
pub(super) fn register(engine: &Engine, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Register = args(request)?;
    let dataset = engine
        .register(Path::new(&asked.path))
        .map_err(|error| faults::of(ctx, "register a directory", &error))?;
    Ok(json!({ "dataset": dataset }))
}

/// The arguments of a call, and nothing else.
pub(super) fn args<T: for<'a> Deserialize<'a>>(request: &Request) -> Result<T, Fault> {
    // No arguments at all are as good as none.
    let given = if request.args.is_null() { json!({}) } else { request.args.clone() };
    serde_json::from_value(given).map_err(|error| {
        Fault::bad_request(format!("{}: {error}", request.method()))
            .with_hint("the plugin's manifest describes the arguments")
    })
}

fn listed((dataset, snapshot): &(Dataset, Snapshot)) -> Listed<'_> {
    Listed { snapshot, dataset_name: &dataset.name, backend: dataset.kind }
}

fn told(ctx: &Context, problems: Vec<Problem>) -> Vec<Value> {
    problems
        .into_iter()
        .map(|(kind, error)| {
            let fault = faults::of(ctx, kind.as_str(), &error);
            json!({ "backend": kind, "message": fault.message })
        })
        .collect()
}
