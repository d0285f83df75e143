//! Destroying what a policy no longer keeps: a plan with a reason for every snapshot, then the plan.
//!
//! A plan is named by what it would destroy. Whoever approves of one names it, and what is destroyed
//! is what they have seen, or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use sdk::{Context, Fault, FaultKind, Value, json};
use uuid::Uuid;

use super::keeper::{Keeper, Work};
use super::{engine, faults, told};
use crate::backend::{Dataset, ErrorKind, Snapshot, SnapshotId};
use crate::policy::journal::Pruning;
use crate::policy::retention::{self, Reason, Verdict, View};
use crate::policy::select;
use crate::policy::store::Kept;

/// What is to become of one snapshot.
pub(super) struct Row {
    pub(super) dataset: Dataset,
    pub(super) snapshot: Snapshot,
    pub(super) verdict: Verdict,
}

/// What is to become of all snapshots of a policy's datasets.
pub(super) struct Plan {
    /// Names what would be destroyed.
    pub(super) id: String,
    pub(super) rows: Vec<Row>,
    /// How many snapshots the policy has.
    pub(super) owned: usize,
    /// How many may go at once without approval.
    pub(super) limit: usize,
    /// Datasets whose snapshots could not all be listed, and why. With one of them nothing goes.
    pub(super) problems: Vec<(Dataset, String)>,
}

/// What came of a plan.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) gone: Vec<SnapshotId>,
    /// Still there, and why; the next run tries again.
    pub(super) left: Vec<(SnapshotId, String)>,
    /// No longer needed to go, because there is room again.
    pub(super) spared: usize,
}

impl Plan {
    /// Which snapshots would go.
    pub(super) fn condemned(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.verdict.keep)
    }

    /// Whether more would go than may without approval.
    pub(super) fn needs_approval(&self) -> bool {
        self.condemned().count() > self.limit
    }

    /// Why nothing may go, whoever asks.
    pub(super) fn obstacle(&self) -> Option<String> {
        let (dataset, why) = self.problems.first()?;
        Some(format!("the snapshots of {} cannot be listed: {why}", dataset.name))
    }
}

/// Works out what is to become of a policy's snapshots. Changes nothing.
pub(super) fn plan(keeper: &Keeper, kept: &Kept) -> Result<Plan, crate::backend::Error> {
    let policy = &kept.policy;
    let zone = policy.zone()?;
    let (_, all, _) = keeper.tops(policy);
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for dataset in select::reached(&policy.datasets, &all) {
        let listed = keeper.engine.list(dataset);
        let listed = listed.and_then(|all| Ok((all, keeper.engine.holds(dataset)?)));
        let (snapshots, holds) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                problems.push((dataset.clone(), error.to_string()));
                continue;
            }
        };
        let view = View {
            policy: policy.id,
            retention: &policy.retention,
            zone,
            now: engine::now(),
            protected: &held(&snapshots, &holds),
            short_of_space: is_short(keeper, kept, dataset),
        };
        let verdicts = retention::plan(&snapshots, &view);
        let mut by_id: BTreeMap<SnapshotId, Snapshot> =
            snapshots.into_iter().map(|one| (one.id.clone(), one)).collect();
        rows.extend(verdicts.into_iter().filter_map(|verdict| {
            let snapshot = by_id.remove(&verdict.snapshot)?;
            Some(Row { dataset: dataset.clone(), snapshot, verdict })
        }));
    }
    let owned = rows.iter().filter(|row| retention::is_of(policy.id, &row.snapshot)).count();
    let limit = retention::most_at_once(&policy.retention, owned);
    let id = name(policy.id, &rows);
    Ok(Plan { id, rows, owned, limit, problems })
}

/// What keeps each of these snapshots for somebody else.
fn held(
    snapshots: &[Snapshot],
    holds: &BTreeMap<String, Vec<String>>,
) -> BTreeMap<SnapshotId, Vec<Reason>> {
    let reasons = |one: &Snapshot| {
        let tags = holds.get(&one.id.identity)?;
        let reasons = tags.iter().map(|tag| Reason::Held { by: tag.clone() }).collect();
        Some((one.id.clone(), reasons))
    };
    snapshots.iter().filter_map(reasons).collect()
}

/// What a plan is called: the same as long as it would destroy the same.
fn name(policy: Uuid, rows: &[Row]) -> String {
    let condemned = rows.iter().filter(|row| !row.verdict.keep);
    let mut ids: Vec<String> = condemned.map(|row| row.verdict.snapshot.to_string()).collect();
    ids.sort();
    let mut hasher = blake3::Hasher::new();
    hasher.update(policy.as_bytes());
    for id in &ids {
        hasher.update(id.as_bytes()).update(b"\n");
    }
    let hash = hasher.finalize().to_hex();
    format!("{}-{}", ids.len(), hash.get(..16).unwrap_or_default())
}

/// Whether less of the dataset's pool is free than the policy wants.
fn is_short(keeper: &Keeper, kept: &Kept, dataset: &Dataset) -> bool {
    let Some(wanted) = kept.policy.retention.min_free_percent else { return false };
    let (pools, _) = keeper.engine.pools();
    let pool = pools.iter().find(|pool| pool.kind == dataset.kind && pool.name == dataset.pool);
    pool.is_some_and(|pool| {
        u128::from(pool.free) * 100 < u128::from(pool.size) * u128::from(wanted)
    })
}

/// What the schedule does: the plan when nothing speaks against it, else word of why not.
pub(super) fn by_itself(ctx: &Context, keeper: &Arc<Keeper>, kept: &Kept) {
    let id = kept.policy.id;
    let Some(_busy) = keeper.begin(Work::Prune, id) else { return };
    let plan = match plan(keeper, kept) {
        Ok(plan) => plan,
        Err(error) => return refuse(ctx, keeper, kept, &error.to_string()),
    };
    if let Some(why) = plan.obstacle() {
        return refuse(ctx, keeper, kept, &why);
    }
    let destroy = plan.condemned().count();
    if destroy == 0 {
        if keeper.no_news(id) {
            told::approved(ctx, id);
        }
        return;
    }
    // Now, and not when it was looked at last: it may have jumped before the plan was made.
    keeper.look_at_clock(ctx);
    if let Some(why) = keeper.doubt() {
        return refuse(ctx, keeper, kept, &why);
    }
    if plan.needs_approval() {
        if keeper.is_news(id, &plan.id) {
            told::needs_approval(ctx, kept, &plan.id, [destroy, plan.owned, plan.limit]);
        }
        return;
    }
    told::approved(ctx, id);
    match carry_out(ctx, keeper, kept, &plan) {
        Ok(outcome) => {
            // The same trouble is told once, not every hour.
            let why = outcome.left.first().map(|(_, why)| why.as_str());
            if let Some(why) = why.filter(|why| keeper.is_news(id, why)) {
                told::blocked(ctx, kept, why, &outcome.left);
            }
        }
        Err(error) => refuse(ctx, keeper, kept, &error.to_string()),
    }
}

/// Says once that nothing is destroyed, and why.
fn refuse(ctx: &Context, keeper: &Keeper, kept: &Kept, why: &str) {
    if keeper.is_news(kept.policy.id, why) {
        told::blocked(ctx, kept, why, &[]);
    }
}

/// What somebody asks for: this plan, which they have seen.
pub(super) fn by_name(
    ctx: &Context,
    keeper: &Arc<Keeper>,
    kept: &Kept,
    wanted: &str,
    is_approved: bool,
) -> Result<Outcome, Fault> {
    let Some(_busy) = keeper.begin(Work::Prune, kept.policy.id) else {
        return Err(Fault::new(FaultKind::Conflict, "The policy is being pruned already.")
            .with_details(json!({ "reason": "busy" }))
            .with_retry_after_ms(2000));
    };
    let plan = plan(keeper, kept).map_err(|error| faults::of(ctx, "plan", &error))?;
    keeper.look_at_clock(ctx);
    check(keeper, &plan, wanted, is_approved)?;
    let outcome = carry_out(ctx, keeper, kept, &plan)
        .map_err(|error| faults::of(ctx, "write down what is begun", &error))?;
    keeper.no_news(kept.policy.id);
    told::approved(ctx, kept.policy.id);
    Ok(outcome)
}

/// Refuses a plan that is not the one that was seen, or that may not be carried out.
pub(super) fn check(
    keeper: &Keeper,
    plan: &Plan,
    wanted: &str,
    is_approved: bool,
) -> Result<(), Fault> {
    let refuse = |sentence: String, reason: &str, hint: &str| {
        Err(Fault::new(FaultKind::Conflict, sentence)
            .with_details(json!({ "reason": reason, "plan": plan.id }))
            .with_hint(hint))
    };
    if let Some(why) = plan.obstacle() {
        return refuse(format!("Nothing is destroyed: {why}"), "incomplete", "mend that first");
    }
    if plan.id != wanted {
        let sentence = "What would be destroyed is no longer what that plan says.".to_owned();
        return refuse(sentence, "changed", "ask snapshot/prune_plan again and look at it");
    }
    if let Some(why) = keeper.doubt() {
        let hint = "set the clock, or say \"trust_clock\": true when it is right";
        return refuse(format!("Nothing is destroyed: {why}"), "clock", hint);
    }
    if plan.needs_approval() && !is_approved {
        let sentence = format!(
            "The plan destroys {} of {} snapshots, more than the {} that may go at once.",
            plan.condemned().count(),
            plan.owned,
            plan.limit
        );
        return refuse(sentence, "needs-approval", "say \"approve\": true when that is right");
    }
    Ok(())
}

/// Destroys what the plan says, one after the other, each only as what it was when it was planned.
fn carry_out(
    ctx: &Context,
    keeper: &Keeper,
    kept: &Kept,
    plan: &Plan,
) -> Result<Outcome, crate::backend::Error> {
    let condemned: Vec<&Row> = plan.condemned().collect();
    let mut outcome = Outcome::default();
    if condemned.is_empty() {
        return Ok(outcome);
    }
    let run = Uuid::new_v4();
    let snapshots = condemned.iter().map(|row| row.snapshot.id.clone()).collect();
    keeper.note_pruning(Pruning { run, policy: kept.policy.id, snapshots })?;
    for (row, done) in condemned.iter().zip(0..) {
        if ctx.cancelled() {
            break;
        }
        let id = &row.snapshot.id;
        ctx.progress(done, u64::try_from(condemned.len()).ok(), "snapshots", &row.snapshot.name);
        if row.verdict.reasons.contains(&Reason::Space) && !is_short(keeper, kept, &row.dataset) {
            outcome.spared += 1;
            continue;
        }
        match keeper.engine.remove(ctx, id) {
            Ok(_) => outcome.gone.push(id.clone()),
            // Somebody was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => outcome.left.push((id.clone(), error.to_string())),
        }
    }
    if !outcome.gone.is_empty() {
        told::pruned(ctx, (kept.policy.id, &kept.policy.title), &outcome.gone, false);
    }
    keeper.note_over(run)?;
    Ok(outcome)
}

/// A row as it is answered.
pub(super) fn shown(row: &Row) -> Value {
    let why: Vec<String> = row.verdict.reasons.iter().map(ToString::to_string).collect();
    json!({
        "snapshot": row.snapshot.id,
        "dataset": row.dataset.id,
        "dataset_name": row.dataset.name,
        "name": row.snapshot.name,
        "label": row.snapshot.label,
        "created": row.snapshot.created,
        "keep": row.verdict.keep,
        "reasons": row.verdict.reasons,
        "why": why.join("; "),
    })
}
