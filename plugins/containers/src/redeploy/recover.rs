//! What an earlier life of the plugin has begun and not ended: goes back, or on.

use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use sdk::{Context, Fault, FaultKind, Level};

use super::journal::{Journal, Mark, Plan};
use super::swap::Swap;
use super::{Work, follow, tell};
use crate::change::busy::Turn;
use crate::change::{Ask, Rules};
use crate::story::Redeployed;
use crate::worker::Worker;

/// Between two attempts while the engine does not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// What was asked for by one that was killed may still be on its way to be done.
const ON_ITS_WAY: Duration = Duration::from_millis(500);
/// How often something is tried that the engine refuses.
const TRIES: u32 = 5;

/// Begins to clean up. Whoever wants to change one of these services waits for it: the turn ends with
/// it.
///
/// # Errors
/// When the state directory cannot be read, or there is no thread to be had.
pub(crate) fn begin(
    ctx: &Context,
    engine: &Arc<Worker>,
    rules: &Arc<Rules>,
    turn: impl FnOnce(&[Plan]) -> Turn,
) -> std::io::Result<()> {
    let left = Journal::left(ctx.state_dir(), &engine.place.engine)?;
    if left.is_empty() {
        return Ok(());
    }
    let plans: Vec<Plan> = left.iter().map(|(_, plan, _)| plan.clone()).collect();
    let turn = turn(&plans);
    let (ctx, engine, rules) = (ctx.clone(), Arc::clone(engine), Arc::clone(rules));
    let work = move || {
        for (journal, plan, marks) in left {
            recover(&ctx, &engine, &rules, (journal, &plan, &marks));
        }
        drop(turn);
    };
    Builder::new().name("recovery".to_owned()).spawn(work)?;
    Ok(())
}

fn recover(
    ctx: &Context,
    engine: &Arc<Worker>,
    rules: &Rules,
    (journal, plan, marks): (Journal, &Plan, &[Mark]),
) {
    let swap = Swap { ctx, engine, plan, gate: rules.gate };
    let is_final = marks.contains(&Mark::Commit);
    let mut tries = 0;
    loop {
        if !ctx.pause(ON_ITS_WAY) {
            return;
        }
        let done =
            if is_final { go_on(&swap, rules) } else { go_back(&swap, marks.last().copied()) };
        match done {
            Ok(()) => break,
            Err(fault) if fault.kind == FaultKind::Unavailable => {}
            Err(fault) if fault.kind == FaultKind::Cancelled => return,
            Err(fault) => {
                tries += 1;
                ctx.log(
                    Level::Warn,
                    &format!("a redeploy of {} is not settled: {fault}", plan.name),
                );
                if tries >= TRIES {
                    // It is kept, and tried again at the next start.
                    return tell(ctx, engine, plan, Redeployed::Stuck { why: &fault.message });
                }
            }
        }
        ctx.pause(AGAIN);
    }
    journal.end();
    let why = "the plugin had been ended in the middle of it";
    let what = if is_final { Redeployed::Finished } else { Redeployed::RolledBack { why } };
    tell(ctx, engine, plan, what);
}

/// Twice, because of what may still have been on its way.
fn go_back(swap: &Swap<'_>, last: Option<Mark>) -> Result<(), Fault> {
    swap.back(last)?;
    swap.ctx.pause(ON_ITS_WAY);
    swap.back(None)
}

fn go_on(swap: &Swap<'_>, rules: &Rules) -> Result<(), Fault> {
    let Swap { ctx, engine, plan, .. } = swap;
    let new = swap.finish()?;
    let mut done = std::collections::BTreeMap::from([(plan.old.clone(), new)]);
    let mut users = Vec::new();
    for id in &plan.dependants {
        // Those that were replaced already are gone.
        users.extend(swap.look(id)?);
    }
    let ask = Ask::again(plan);
    follow(&Work { ctx, engine, ask: &ask, rules }, &users, &mut done)
}
