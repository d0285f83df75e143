//! Redeploy: a container is replaced by one that is made of the same, of the image as it is now.
//!
//! The new one has taken over only when it is well; until then everything can go back, and does when
//! something fails, when the call is aborted and when the plugin was killed.

pub(crate) mod clone;
pub(crate) mod examine;
pub(crate) mod journal;
pub(crate) mod recover;
mod swap;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sdk::{Context, Fault, FaultKind, Value, json};

use self::clone::Wanted;
use self::examine::{Examined, examine};
use self::journal::{Journal, Mark, Plan};
use self::swap::Swap;
use crate::change::target::Target;
use crate::change::{self, Ask, Rules, order};
use crate::container::Container;
use crate::group::SWARM_SERVICE;
use crate::identity;
use crate::story;
use crate::worker::Worker;

/// Replaces all containers of a target, one after the other, each behind what it needs.
///
/// # Errors
/// What is refused, before anything was changed. When one cannot be replaced it is as it was, and
/// those before it are new.
pub(crate) fn redeploy(
    ctx: &Context,
    ask: &Ask,
    target: &Target,
    rules: &Rules,
) -> Result<Value, Fault> {
    let engine = &target.engine;
    let mut all = Vec::new();
    for it in order::ordered(change::look(target)?) {
        check(&it, rules)?;
        for other in users(engine, &it, ask) {
            check(&other, rules)?;
        }
        all.push(it);
    }
    let mut rows = Vec::with_capacity(all.len());
    let mut pulled = BTreeSet::new();
    let mut examined = Vec::with_capacity(all.len());
    for it in all {
        let found = examine(ctx, engine, (&it, ask), &mut pulled)?;
        examined.push((it, found));
    }
    let (mut done, total) = (BTreeMap::new(), examined.len());
    for (at, (it, found)) in examined.into_iter().enumerate() {
        let is_same = ask.if_changed && !found.has_newer();
        rows.push(shown(engine, &it, (&found, ask), is_same));
        // It was replaced already, because it uses the network of one before it.
        if ask.dry_run || is_same || done.contains_key(&it.id) {
            continue;
        }
        change::going_on(ctx, at, total)?;
        let found = if at == 0 { found } else { examine(ctx, engine, (&it, ask), &mut pulled)? };
        replace(&Work { ctx, engine, ask, rules }, &it, &found, &mut done)?;
    }
    let changed =
        if ask.dry_run { 0 } else { rows.iter().filter(|row| row["step"] != "none").count() };
    Ok(json!({ "dry_run": ask.dry_run, "changed": changed, "containers": rows }))
}

/// What a redeploy is made with.
struct Work<'a> {
    ctx: &'a Context,
    engine: &'a Arc<Worker>,
    ask: &'a Ask,
    rules: &'a Rules,
}

fn check(it: &Container, rules: &Rules) -> Result<(), Fault> {
    rules.allowed.check(it)?;
    match it.label(SWARM_SERVICE) {
        Some(service) => {
            let sentence = format!("{} is a task of the swarm service {service}", it.name);
            Err(Fault::new(FaultKind::Conflict, sentence).with_hint("redeploy the service"))
        }
        None => Ok(()),
    }
}

/// Those that have to be replaced with a container, because they use what goes with it.
pub(crate) fn dependants(engine: &Worker, it: &Container, ask: &Ask) -> Vec<Container> {
    let desk = engine.desk();
    let all = desk.model.containers().values();
    let users = all.filter(|other| order::uses(other, it, !ask.reuse_volumes));
    order::ordered(users.cloned().collect())
}

/// The same, and those that in turn use what goes with them.
pub(crate) fn users(engine: &Worker, it: &Container, ask: &Ask) -> Vec<Container> {
    let mut all: Vec<Container> = Vec::new();
    let mut next = dependants(engine, it, ask);
    while let Some(user) = next.pop() {
        if user.id != it.id && all.iter().all(|known| known.id != user.id) {
            next.extend(dependants(engine, &user, ask));
            all.push(user);
        }
    }
    all
}

/// Replaces one container, and then those that use what went with it. `done`: the ids of those that
/// were replaced, and of those that they are now.
fn replace(
    work: &Work<'_>,
    it: &Container,
    found: &Examined,
    done: &mut BTreeMap<String, String>,
) -> Result<(), Fault> {
    let Work { ctx, engine, ask, rules } = *work;
    let users = dependants(engine, it, ask);
    let plan = Plan {
        action: identity::random().map_err(|error| swap::unwritten(ctx, &error))?,
        engine: engine.place.engine.clone(),
        service: engine.place.service_of(it).0,
        old: it.id.clone(),
        name: it.name.clone(),
        runs: it.phase.is_up(),
        start_first: found.start_first,
        drops_volumes: !ask.reuse_volumes,
        grace_s: ask.timeout_s,
        dependants: users.iter().map(|it| it.id.clone()).collect(),
    };
    let wanted = Wanted {
        action: plan.action.to_string(),
        image: found.image.clone(),
        keeps_volumes: !plan.drops_volumes,
        swapped: done.clone(),
        ..Wanted::default()
    };
    let made_of = clone::of(&found.seen, &found.settings, &wanted);
    let mut journal =
        Journal::begin(ctx.state_dir(), &plan).map_err(|error| swap::unwritten(ctx, &error))?;
    let swap = Swap { ctx, engine, plan: &plan, gate: rules.gate };
    if let Err(fault) = swap.forward(&mut journal, made_of) {
        return Err(undo(&swap, journal, fault));
    }
    // What cannot be noted any more is found out by looking.
    journal.mark(Mark::RemoveOld).ok();
    let new = swap.finish().inspect_err(|fault| tell_stuck(ctx, engine, &plan, fault))?;
    done.insert(plan.old.clone(), new.clone());
    journal.mark(Mark::Dependants).ok();
    let followed = follow(work, &users, done);
    journal.end();
    tell(
        ctx,
        engine,
        &plan,
        story::Redeployed::Done { from: &found.old_image, to: &found.new_image },
    );
    settle(engine, &plan.old, &new);
    followed
}

/// Replaces those that use what went with one that was replaced.
fn follow(
    work: &Work<'_>,
    users: &[Container],
    done: &mut BTreeMap<String, String>,
) -> Result<(), Fault> {
    for user in users {
        if done.contains_key(&user.id) {
            continue;
        }
        let found = examine(work.ctx, work.engine, (user, work.ask), &mut BTreeSet::new())?;
        replace(work, user, &found, done).map_err(|fault| {
            let why = format!("what it needs was replaced, and it was not: {}", fault.message);
            Fault { message: format!("{}: {why}", user.name), ..fault }
        })?;
    }
    Ok(())
}

/// Goes back, and says so.
fn undo(swap: &Swap<'_>, journal: Journal, fault: Fault) -> Fault {
    let Swap { ctx, engine, plan, .. } = swap;
    let name = &plan.name;
    ctx.note(&format!("{name}: {}; going back", fault.message));
    match swap.back(journal.last()) {
        Ok(()) => {
            journal.end();
            tell(ctx, engine, plan, story::Redeployed::RolledBack { why: &fault.message });
            let sentence =
                format!("{name} was not redeployed, and is as it was: {}", fault.message);
            Fault { message: sentence, ..fault }
        }
        Err(worse) => {
            tell_stuck(ctx, engine, plan, &worse);
            let sentence = format!(
                "{name} was not redeployed ({}), and cannot be put back: {}",
                fault.message, worse.message
            );
            Fault::new(FaultKind::Failed, sentence).with_hint(
                "look at it with the engine's own tools; it is tried again when the plugin starts",
            )
        }
    }
}

fn tell_stuck(ctx: &Context, engine: &Worker, plan: &Plan, fault: &Fault) {
    tell(ctx, engine, plan, story::Redeployed::Stuck { why: &fault.message });
}

/// The event about it. That it cannot be told changes nothing.
pub(crate) fn tell(ctx: &Context, engine: &Worker, plan: &Plan, what: story::Redeployed<'_>) {
    let draft = story::redeployed(&engine.place, (&plan.name, plan.service), what);
    if let Err(fault) = draft.and_then(|draft| ctx.publish_unacknowledged(&draft)) {
        ctx.log(sdk::Level::Warn, &format!("an event was not published: {fault}"));
    }
}

/// Waits a moment until the model has heard of it.
fn settle(engine: &Worker, old: &str, new: &str) {
    change::settle_until(|| {
        let desk = engine.desk();
        let all = desk.model.containers();
        !all.contains_key(old) && all.get(new).is_some_and(|it| !it.name.contains(".new-"))
    });
}

fn shown(engine: &Worker, it: &Container, (found, ask): (&Examined, &Ask), is_same: bool) -> Value {
    let users = dependants(engine, it, ask);
    json!({
        "uuid": identity::of_container(&it.id),
        "name": it.name,
        "step": if is_same { "none" } else { "redeploy" },
        "order": if found.start_first { "start-first" } else { "stop-first" },
        "why": found.why,
        "image": { "name": found.image, "from": found.old_image, "to": found.new_image },
        "pull_failed": found.pull_failed,
        "dependants": users.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(),
    })
}
