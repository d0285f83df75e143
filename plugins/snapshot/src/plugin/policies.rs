//! The methods `snapshot/policy_*` and `snapshot/prune*`.

use std::sync::Arc;

use sdk::{Context, Fault, FaultKind, Request, Value, json};
use serde::Deserialize;
use uuid::Uuid;

use super::keeper::{Keeper, Taken, Wanted, Work};
use super::native::args;
use super::prune::{self, Outcome, Plan};
use super::{faults, told};
use crate::backend::{Dataset, SnapshotId};
use crate::policy::Policy;
use crate::policy::select;
use crate::policy::store::Kept;

/// Datasets named in one answer; the others are counted.
const NAMED_MAX: usize = 200;
/// Rows of a plan in one answer: some 500 bytes each, below the link's limit of a line.
const PAGE: usize = 1000;
/// The label of a snapshot that somebody has a policy take without naming a schedule.
const MANUAL: &str = "manual";

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct List {
    id: Option<Uuid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Save {
    policy: Policy,
    #[serde(default)]
    revision: Option<u64>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    id: Uuid,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Take {
    id: Uuid,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrunePlan {
    id: Uuid,
    #[serde(default)]
    only: Option<Only>,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    after: Option<SnapshotId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Only {
    Destroy,
    Keep,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prune {
    id: Uuid,
    plan: String,
    #[serde(default)]
    approve: bool,
    #[serde(default)]
    trust_clock: bool,
    #[serde(default)]
    dry_run: bool,
}

/// `snapshot/policy_list`.
pub(super) fn list(keeper: &Arc<Keeper>, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let List { id } = args(request)?;
    let kept = match id {
        Some(id) => vec![find(keeper, ctx, id)?],
        None => keeper.policies(),
    };
    let (all, _) = keeper.engine.datasets();
    let policies: Vec<Value> = kept.iter().map(|kept| shown(keeper, kept, &all)).collect();
    let broken: Vec<Value> = keeper
        .broken()
        .iter()
        .map(|broken| {
            let file = broken.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            json!({ "file": file, "message": broken.why })
        })
        .collect();
    Ok(json!({ "policies": policies, "broken": broken, "clock_doubt": keeper.doubt() }))
}

/// `snapshot/policy_save`.
pub(super) fn save(keeper: &Arc<Keeper>, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Save = args(request)?;
    let failed = |error| faults::of(ctx, "save the policy", &error);
    let (kept, old) = keeper.save(asked.policy, asked.revision, asked.dry_run).map_err(failed)?;
    let is_changed = old.as_ref() != Some(&kept);
    if is_changed && !asked.dry_run {
        told::changed(ctx, &kept, "saved");
        keeper.want_pruned(kept.policy.id);
    }
    let (all, _) = keeper.engine.datasets();
    let plan = prune::plan(keeper, &kept).map_err(|error| faults::of(ctx, "plan", &error))?;
    Ok(json!({
        "policy": shown(keeper, &kept, &all),
        "new": old.is_none(),
        "changed": is_changed,
        "dry_run": asked.dry_run,
        "warnings": warnings(keeper, &kept, &all),
        "prune": counts(&plan),
    }))
}

/// `snapshot/policy_remove`.
pub(super) fn remove(
    keeper: &Arc<Keeper>,
    ctx: &Context,
    request: &Request,
) -> Result<Value, Fault> {
    let Remove { id, dry_run } = args(request)?;
    let kept = find(keeper, ctx, id)?;
    let plan = prune::plan(keeper, &kept).map_err(|error| faults::of(ctx, "plan", &error))?;
    if !dry_run {
        let failed = |error| faults::of(ctx, "remove the policy", &error);
        let gone = keeper.remove(id).map_err(failed)?;
        told::changed(ctx, &gone, "removed");
    }
    Ok(json!({ "removed": kept, "snapshots_left": plan.owned, "dry_run": dry_run }))
}

/// `snapshot/policy_run`.
pub(super) fn run(keeper: &Arc<Keeper>, ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let asked: Take = args(request)?;
    let kept = find(keeper, ctx, asked.id)?;
    let label = asked.label.as_deref().unwrap_or(MANUAL);
    crate::backend::name::check_label(label)
        .map_err(|error| faults::of(ctx, "run the policy", &error))?;
    let wanted = Wanted::now(label);
    if asked.dry_run {
        let (tops, _, _) = keeper.tops(&kept.policy);
        return Ok(json!({
            "dry_run": true,
            "slot": wanted.slot,
            "datasets": named(tops.iter()),
            "snapshots": [],
            "skipped": [],
            "failed": [],
        }));
    }
    let Some(_busy) = keeper.begin(Work::Take, asked.id) else {
        return Err(Fault::new(FaultKind::Conflict, "The policy takes snapshots already.")
            .with_details(json!({ "reason": "busy" }))
            .with_retry_after_ms(2000));
    };
    let taken = keeper.take(ctx, &kept, &wanted)?;
    if kept.policy.enabled {
        keeper.want_pruned(asked.id);
    }
    all_failed(&taken)?;
    let failed: Vec<Value> = taken
        .failed
        .iter()
        .map(|(dataset, fault)| {
            json!({
                "dataset": dataset.id, "dataset_name": dataset.name, "message": fault.message,
            })
        })
        .collect();
    Ok(json!({
        "dry_run": false,
        "slot": wanted.slot,
        "datasets": named(taken.tops.iter()),
        "snapshots": taken.made.iter().take(PAGE).collect::<Vec<_>>(),
        "skipped": named(taken.skipped.iter().chain(&taken.there)),
        "failed": failed,
    }))
}

/// When nothing at all could be done, that is what is answered.
fn all_failed(taken: &Taken) -> Result<(), Fault> {
    let is_nothing = taken.made.is_empty() && taken.skipped.is_empty() && taken.there.is_empty();
    match taken.failed.first() {
        Some((_, fault)) if is_nothing => Err(fault.clone()),
        _ => Ok(()),
    }
}

/// `snapshot/prune_plan`.
pub(super) fn prune_plan(
    keeper: &Arc<Keeper>,
    ctx: &Context,
    request: &Request,
) -> Result<Value, Fault> {
    let asked: PrunePlan = args(request)?;
    let limit = asked.limit.unwrap_or(PAGE);
    if limit == 0 || limit > PAGE {
        return Err(Fault::bad_request(format!("`limit` is {limit}; expected 1 to {PAGE}")));
    }
    let kept = find(keeper, ctx, asked.id)?;
    let plan = prune::plan(keeper, &kept).map_err(|error| faults::of(ctx, "plan", &error))?;
    let is_wanted = |row: &&prune::Row| match asked.only {
        None => true,
        Some(only) => row.verdict.keep == (only == Only::Keep),
    };
    let rows: Vec<&prune::Row> = plan.rows.iter().filter(is_wanted).collect();
    let start = match &asked.after {
        None => 0,
        Some(id) => {
            rows.iter().position(|row| row.snapshot.id == *id).map(|at| at + 1).ok_or_else(
                || Fault::not_found(format!("`after`: there is no snapshot {id} (any more)")),
            )?
        }
    };
    let page: Vec<Value> =
        rows.iter().skip(start).take(limit).map(|row| prune::shown(row)).collect();
    let last =
        rows.get(start + page.len().saturating_sub(1)).filter(|_| rows.len() > start + limit);
    let mut answer = counts(&plan);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("policy".to_owned(), json!(kept.policy.id));
        answer.insert("title".to_owned(), json!(kept.policy.title));
        answer.insert("clock_doubt".to_owned(), json!(keeper.doubt()));
        answer.insert("snapshots".to_owned(), json!(page));
        answer.insert("next".to_owned(), json!(last.map(|row| &row.snapshot.id)));
    }
    Ok(answer)
}

/// `snapshot/prune`.
pub(super) fn prune(
    keeper: &Arc<Keeper>,
    ctx: &Context,
    request: &Request,
) -> Result<Value, Fault> {
    let asked: Prune = args(request)?;
    let kept = find(keeper, ctx, asked.id)?;
    if asked.trust_clock && !asked.dry_run {
        keeper.trust_clock(ctx);
    }
    if asked.dry_run {
        let plan = prune::plan(keeper, &kept).map_err(|error| faults::of(ctx, "plan", &error))?;
        prune::check(keeper, &plan, &asked.plan, asked.approve)?;
        let ids: Vec<SnapshotId> = plan.condemned().map(|row| row.snapshot.id.clone()).collect();
        return Ok(done(true, &Outcome { gone: ids, ..Outcome::default() }));
    }
    let outcome = prune::by_name(ctx, keeper, &kept, &asked.plan, asked.approve)?;
    Ok(done(false, &outcome))
}

fn done(is_rehearsal: bool, outcome: &Outcome) -> Value {
    let left: Vec<Value> = outcome
        .left
        .iter()
        .take(PAGE)
        .map(|(id, why)| json!({ "snapshot": id, "message": why }))
        .collect();
    json!({
        "dry_run": is_rehearsal,
        "destroyed": outcome.gone.len(),
        "snapshots": outcome.gone.iter().take(PAGE).collect::<Vec<_>>(),
        "left": left,
        "spared": outcome.spared,
    })
}

fn find(keeper: &Keeper, ctx: &Context, id: Uuid) -> Result<Kept, Fault> {
    keeper.policy(id).map_err(|error| faults::of(ctx, "find the policy", &error))
}

/// A policy as it is answered: itself, what it is about at present, and what comes next.
fn shown(keeper: &Keeper, kept: &Kept, all: &[Dataset]) -> Value {
    let tops = select::tops(&kept.policy.datasets, all);
    let next: Vec<Value> = keeper
        .next(kept)
        .into_iter()
        .map(|(label, at)| json!({ "label": label, "at": at }))
        .collect();
    let failing: Vec<Value> = keeper
        .failing(kept.policy.id)
        .into_iter()
        .take(NAMED_MAX)
        .map(|(dataset, why)| json!({ "dataset": dataset, "message": why }))
        .collect();
    json!({
        "policy": kept.policy,
        "revision": kept.revision,
        "saved": kept.saved,
        "datasets_count": tops.len(),
        "datasets": named(tops.iter().copied()),
        "next": next,
        "failing": failing,
    })
}

fn named<'a, I: Iterator<Item = &'a Dataset>>(datasets: I) -> Vec<Value> {
    datasets.take(NAMED_MAX).map(|it| json!({ "id": it.id, "name": it.name })).collect()
}

fn counts(plan: &Plan) -> Value {
    let destroy = plan.condemned().count();
    let problems: Vec<Value> = plan
        .problems
        .iter()
        .take(NAMED_MAX)
        .map(|(dataset, why)| json!({ "dataset": dataset.id, "message": why }))
        .collect();
    json!({
        "plan": plan.id,
        "destroy": destroy,
        "keep": plan.rows.len() - destroy,
        "owned": plan.owned,
        "limit": plan.limit,
        "needs_approval": plan.needs_approval(),
        "problems": problems,
    })
}

/// What is legal and probably not meant.
fn warnings(keeper: &Keeper, kept: &Kept, all: &[Dataset]) -> Vec<String> {
    let policy = &kept.policy;
    let tops = select::tops(&policy.datasets, all);
    let mut said = Vec::new();
    if tops.is_empty() {
        said.push("No dataset matches the selection at present.".to_owned());
    }
    if policy.schedules.is_empty() {
        said.push("Without schedules it takes snapshots only when it is run.".to_owned());
    }
    if !policy.retention.has_rules() {
        said.push("Without retention nothing is ever destroyed.".to_owned());
    }
    if policy.skip_if_unchanged {
        let blind: Vec<&str> = keeper
            .engine
            .all()
            .into_iter()
            .filter(|backend| tops.iter().any(|top| top.kind == backend.kind()))
            .filter(|backend| !backend.tells_changes())
            .map(|backend| backend.kind().as_str())
            .collect();
        if !blind.is_empty() {
            let blind = blind.join(" and ");
            said.push(format!("Here {blind} cannot tell whether anything has changed."));
        }
    }
    said
}
