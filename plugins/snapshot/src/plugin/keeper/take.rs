//! Taking the snapshots of a policy for one slot, each once, however often the plugin is killed.

use chrono::{DateTime, SubsecRound as _, Utc};
use sdk::{Context, Fault, FaultKind, Level};
use uuid::Uuid;

use super::{Keeper, locked};
use crate::backend::{Dataset, Mark, NewSnapshot, Snapshot, SnapshotState};
use crate::plugin::{engine, faults, told};
use crate::policy::journal::{Record, Taking};
use crate::policy::retention::is_of;
use crate::policy::select;
use crate::policy::store::Kept;

/// For which slot of which schedule.
#[derive(Debug, Clone)]
pub(in crate::plugin) struct Wanted {
    pub(in crate::plugin) label: String,
    pub(in crate::plugin) slot: DateTime<Utc>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Taken {
    /// What was looked at.
    pub(in crate::plugin) tops: Vec<Dataset>,
    /// New ones.
    pub(in crate::plugin) made: Vec<Snapshot>,
    /// Datasets that have not changed.
    pub(in crate::plugin) skipped: Vec<Dataset>,
    /// Datasets that had one for this slot already.
    pub(in crate::plugin) there: Vec<Dataset>,
    /// Datasets of which none could be taken.
    pub(in crate::plugin) failed: Vec<(Dataset, Fault)>,
}

/// What is to be done about one dataset.
enum Need {
    Take,
    There,
    Unchanged,
}

impl Wanted {
    /// For this moment, because somebody asked.
    pub(in crate::plugin) fn now(label: &str) -> Self {
        Self { label: label.to_owned(), slot: engine::now().trunc_subsecs(0) }
    }
}

impl Keeper {
    /// Takes a snapshot of every dataset of the policy that has none for the slot. A dataset of which
    /// none can be taken keeps no other from having its own.
    pub(in crate::plugin) fn take(
        &self,
        ctx: &Context,
        kept: &Kept,
        wanted: &Wanted,
    ) -> Result<Taken, Fault> {
        let (tops, all, problems) = self.tops(&kept.policy);
        if tops.is_empty() {
            let why = match problems.first() {
                Some((kind, error)) => format!("{kind} cannot be asked: {error}"),
                None => "no dataset of its selection is there".to_owned(),
            };
            let sentence = format!("The policy {} has nothing to take: {why}", kept.policy.title);
            self.remember_failure(ctx, kept, None, &sentence);
            return Err(Fault::new(FaultKind::NotFound, sentence)
                .with_hint("snapshot/datasets lists what there is"));
        }
        let mut taken = Taken { tops: tops.clone(), ..Taken::default() };
        for (top, done) in tops.iter().zip(0..) {
            ctx.progress(done, u64::try_from(tops.len()).ok(), "datasets", &top.name);
            if ctx.cancelled() {
                break;
            }
            match self.need(kept, top, &all, wanted) {
                Ok(Need::There) => taken.there.push(top.clone()),
                Ok(Need::Unchanged) => {
                    told::skipped(ctx, kept, top);
                    taken.skipped.push(top.clone());
                }
                Ok(Need::Take) => match self.take_one(ctx, kept, top, wanted) {
                    Ok(made) => taken.made.extend(made),
                    Err(fault) => taken.failed.push((top.clone(), fault)),
                },
                Err(error) => {
                    self.engine.tell_failure(ctx, top, &error);
                    let fault = faults::of(ctx, &format!("look at {}", top.name), &error);
                    taken.failed.push((top.clone(), fault));
                }
            }
        }
        self.judge(ctx, kept, &taken);
        Ok(taken)
    }

    /// One dataset: written down, taken, told, and written down as over.
    fn take_one(
        &self,
        ctx: &Context,
        kept: &Kept,
        dataset: &Dataset,
        wanted: &Wanted,
    ) -> Result<Vec<Snapshot>, Fault> {
        let failed = |error| faults::of(ctx, "write down what is begun", &error);
        let run = Uuid::new_v4();
        self.note(Record::Taking(Taking {
            run,
            policy: kept.policy.id,
            label: wanted.label.clone(),
            slot: wanted.slot,
            dataset: dataset.id.clone(),
        }))
        .map_err(failed)?;
        let new = NewSnapshot {
            label: wanted.label.clone(),
            name: None,
            comment: None,
            mark: Some(Mark { policy: kept.policy.id, slot: wanted.slot }),
            recursive: kept.policy.datasets.recursive,
            at: engine::now(),
        };
        let made = self.engine.create(ctx, dataset, &new);
        // When this cannot be written, the next start finds what there is and tells it again.
        if let Err(error) = self.note_over(run) {
            ctx.log(Level::Error, &format!("a snapshot was taken and not written down: {error}"));
        }
        made
    }

    /// Whether there is one for the slot already, or nothing has changed.
    fn need(
        &self,
        kept: &Kept,
        top: &Dataset,
        all: &[Dataset],
        wanted: &Wanted,
    ) -> crate::backend::Result<Need> {
        let listed = self.engine.list(top)?;
        if listed.iter().any(|one| is_for(one, kept.policy.id, wanted)) {
            return Ok(Need::There);
        }
        if !kept.policy.skip_if_unchanged {
            return Ok(Need::Take);
        }
        let mut selection = kept.policy.datasets.clone();
        selection.include = vec![top.id.to_string()];
        selection.exclude.clear();
        for dataset in select::reached(&selection, all) {
            let newest =
                self.engine.list(dataset)?.into_iter().rfind(|one| {
                    is_of(kept.policy.id, one) && one.state == SnapshotState::Complete
                });
            let Some(newest) = newest else { return Ok(Need::Take) };
            if self.engine.unchanged_since(dataset, &newest)? != Some(true) {
                return Ok(Need::Take);
            }
        }
        Ok(Need::Unchanged)
    }

    /// Remembers which datasets fail, says so again behind everything else that was said in this
    /// run, and says when none does any more.
    fn judge(&self, ctx: &Context, kept: &Kept, taken: &Taken) {
        let failing: Vec<(&Dataset, String)> =
            taken.failed.iter().map(|(dataset, fault)| (dataset, fault.message.clone())).collect();
        let was_failing = {
            let mut all = locked(&self.failing);
            let before = all.remove(&kept.policy.id);
            if !failing.is_empty() {
                let rows = failing.iter().map(|(dataset, why)| (dataset.id.clone(), why.clone()));
                all.insert(kept.policy.id, rows.collect());
            }
            before
        };
        if !failing.is_empty() {
            let row = failing.iter().map(|(d, _)| self.engine.in_a_row(&d.id)).max();
            told::failing(ctx, kept, taken.tops.len(), &failing, row.unwrap_or(1));
        } else if was_failing.is_some() {
            told::well_again(ctx, kept);
        }
    }

    fn remember_failure(&self, ctx: &Context, kept: &Kept, of: Option<&Dataset>, why: &str) {
        let id = of.map(|dataset| dataset.id.clone());
        let mut all = locked(&self.failing);
        let rows = all.entry(kept.policy.id).or_default();
        let is_new = rows.is_empty();
        if let Some(id) = id {
            rows.insert(id, why.to_owned());
        }
        drop(all);
        if is_new {
            told::nothing_to_take(ctx, kept, why);
        }
    }
}

/// Tells what the plugin had done and not told when it was killed, and forgets what it had only begun.
pub(in crate::plugin) fn recover(ctx: &Context, keeper: &Keeper) {
    let state = std::mem::take(&mut *locked(&keeper.left));
    for taking in state.taking.values() {
        let wanted = Wanted { label: taking.label.clone(), slot: taking.slot };
        let found = keeper.engine.find(taking.dataset.as_str()).and_then(|dataset| {
            let listed = keeper.engine.list(&dataset)?;
            let made = listed.into_iter().filter(|one| is_for(one, taking.policy, &wanted));
            Ok((dataset, made.collect::<Vec<_>>()))
        });
        match found {
            Ok((dataset, made)) => keeper.engine.tell_created(ctx, &dataset, &made),
            // A pool that comes later: what was taken is there, and nobody lacks it.
            Err(error) => ctx.log(
                Level::Warn,
                &format!("what became of a snapshot of {} is not known: {error}", taking.dataset),
            ),
        }
        settle(ctx, keeper, taking.run);
    }
    for pruning in state.pruning.values() {
        let is_gone = |id: &&crate::backend::SnapshotId| {
            keeper
                .engine
                .find(id.dataset.as_str())
                .and_then(|dataset| keeper.engine.list(&dataset))
                .is_ok_and(|listed| listed.iter().all(|one| one.id != **id))
        };
        let gone: Vec<_> = pruning.snapshots.iter().filter(is_gone).cloned().collect();
        let title = keeper.policy(pruning.policy).map(|kept| kept.policy.title);
        let title = title.unwrap_or_else(|_| pruning.policy.to_string());
        if !gone.is_empty() {
            told::pruned(ctx, (pruning.policy, &title), &gone, true);
        }
        settle(ctx, keeper, pruning.run);
    }
}

fn settle(ctx: &Context, keeper: &Keeper, run: Uuid) {
    if let Err(error) = keeper.note_over(run) {
        ctx.log(Level::Error, &format!("the journal of policies: {error}"));
    }
}

fn is_for(one: &Snapshot, policy: Uuid, wanted: &Wanted) -> bool {
    is_of(policy, one)
        && one.mark.is_some_and(|mark| mark.slot == wanted.slot)
        && one.label.as_deref() == Some(wanted.label.as_str())
}
