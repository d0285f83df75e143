//! Scale: a service gets more containers that do the same, or fewer.

use std::collections::BTreeMap;

use sdk::{Context, Fault, FaultKind, Value, json};

use crate::change::target::{Named, Target};
use crate::change::{self, Ask, Rules, order};
use crate::container::{ACTION, Container, Phase, REPLICA_OF};
use crate::gate;
use crate::group::{PROJECT, SWARM_SERVICE};
use crate::hand::{self, Trouble};
use crate::identity;
use crate::redeploy::clone::{self, Wanted};

/// The most containers of a service.
const CONTAINERS_MAX: u32 = 100;
/// How compose numbers the containers of a service.
const NUMBER: &str = "com.docker.compose.container-number";

/// What scaling a service means. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    /// The names and numbers of those that are made.
    made: Vec<(String, u32)>,
    /// Those that are removed, the last first.
    removed: Vec<Container>,
    /// How many there are then.
    total: u32,
}

/// Brings a service to a number of containers.
///
/// # Errors
/// What is refused, before anything was changed. When a new one is not well it is removed again, and
/// those before it stay.
pub(crate) fn scale(
    ctx: &Context,
    ask: &Ask,
    target: &Target,
    rules: &Rules,
) -> Result<Value, Fault> {
    if !matches!(ask.named, Named::Service(_)) {
        return Err(Fault::bad_request("only a service can be scaled: name one with `service`"));
    }
    let all = order::ordered(change::look(target)?);
    for it in &all {
        rules.allowed.check(it)?;
        if let Some(service) = it.label(SWARM_SERVICE) {
            let sentence = format!("{service} is a service of a swarm");
            return Err(Fault::new(FaultKind::Conflict, sentence)
                .with_hint("scale it with the engine's own tools"));
        }
    }
    let plan = plan(ask, &all)?;
    let model = pattern(target, &all, plan.made.is_empty())?;
    if !ask.dry_run {
        let total = plan.made.len() + plan.removed.len();
        for (at, (name, number)) in plan.made.iter().enumerate() {
            change::going_on(ctx, at, total)?;
            let progress = (change::count(at), Some(change::count(total)));
            ctx.progress_in("making", progress, "containers", name);
            if let Some(model) = &model {
                add(ctx, (target, rules), model, (name, *number))?;
            }
        }
        for (at, it) in plan.removed.iter().enumerate() {
            change::going_on(ctx, at, total)?;
            let progress = (change::count(at), Some(change::count(total)));
            ctx.progress_in("removing", progress, "containers", &it.name);
            take_away(ctx, target, it, ask.timeout_s)?;
        }
    }
    let made = plan.made.iter().map(|(name, _)| json!({ "name": name, "step": "make" }));
    let removed = plan.removed.iter().map(|it| json!({ "name": it.name, "step": "remove" }));
    let rows: Vec<Value> = made.chain(removed).collect();
    let changed = if ask.dry_run { 0 } else { rows.len() };
    Ok(json!({
        "dry_run": ask.dry_run, "changed": changed, "before": all.len(), "total": plan.total,
        "containers": rows,
    }))
}

/// Whom to make and whom to remove.
fn plan(ask: &Ask, all: &[Container]) -> Result<Plan, Fault> {
    let now = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let total = match (ask.to, ask.by) {
        (Some(to), None) => i64::from(to),
        (None, Some(by)) if by != 0 => i64::from(now) + i64::from(by),
        _ => {
            let sentence =
                "either `to`, how many there are to be, or `by`, how many more, is needed";
            return Err(Fault::bad_request(sentence));
        }
    };
    let total = u32::try_from(total).ok().filter(|total| (1..=CONTAINERS_MAX).contains(total));
    let total = total.ok_or_else(|| {
        Fault::bad_request(format!("a service has from 1 to {CONTAINERS_MAX} containers"))
            .with_hint("stop or remove it to have none")
    })?;
    let taken: BTreeMap<u32, &Container> = all.iter().map(|it| (number(it), it)).collect();
    let stem = all.first().map(stem).unwrap_or_default();
    let free = (1..).filter(|number| !taken.contains_key(number));
    let more = usize::try_from(total.saturating_sub(now)).unwrap_or(0);
    let made = free.take(more).map(|number| (format!("{stem}{number}"), number)).collect();
    let mut removed = all.to_vec();
    removed.sort_by_key(|it| std::cmp::Reverse(number(it)));
    removed.truncate(usize::try_from(now.saturating_sub(total)).unwrap_or(0));
    Ok(Plan { made, removed, total })
}

/// Which of its service a container is.
fn number(it: &Container) -> u32 {
    let is_first = it.label(PROJECT).is_none() && it.label(REPLICA_OF).is_none();
    let told = it.label(NUMBER).and_then(|text| text.parse().ok());
    let (_, named, _) = order::natural(&it.name);
    told.unwrap_or_else(|| if is_first { 1 } else { u32::try_from(named).unwrap_or(u32::MAX) })
}

/// What the names of a service's containers begin with.
fn stem(it: &Container) -> String {
    let (before, _, _) = order::natural(&it.name);
    let ends_so = it.name[before.len()..] == number(it).to_string();
    match it.label(REPLICA_OF) {
        Some(first) => format!("{first}-"),
        None if it.label(PROJECT).is_some() && ends_so => before.to_owned(),
        None => format!("{}-", it.name),
    }
}

/// The container that new ones are made after, when any are.
fn pattern(target: &Target, all: &[Container], is_none_made: bool) -> Result<Option<Model>, Fault> {
    if is_none_made {
        return Ok(None);
    }
    let first = all.iter().find(|it| it.phase.is_up()).or(all.first());
    let it =
        first.ok_or_else(|| Fault::not_found("there is no container to make another after"))?;
    let (name, id) = (it.name.clone(), it.id.clone());
    let asked = target.engine.ask(|docker| async move {
        let seen = hand::inspect(&docker, &id).await?;
        let image = seen.image.clone().unwrap_or_default();
        let (_, settings) = hand::image(&docker, &image).await?;
        Ok((seen, settings))
    });
    let (seen, settings) =
        asked.map_err(|trouble: Trouble| trouble.fault(&format!("{name} cannot be looked at")))?;
    if let Some(why) = clone::alone_for_good(&seen) {
        let sentence = format!("{name} cannot have another beside it: {why}");
        return Err(Fault::new(FaultKind::Conflict, sentence));
    }
    Ok(Some(Model { it: it.clone(), seen: Box::new(seen), settings }))
}

struct Model {
    it: Container,
    seen: Box<bollard::models::ContainerInspectResponse>,
    settings: bollard::models::ImageConfig,
}

/// Makes one and waits until it is well.
fn add(
    ctx: &Context,
    (target, rules): (&Target, &Rules),
    model: &Model,
    (name, number): (&str, u32),
) -> Result<(), Fault> {
    let engine = &target.engine;
    let random = identity::random().map_err(|_| Fault::internal())?;
    let of = match model.it.label(PROJECT) {
        Some(_) => (NUMBER.to_owned(), number.to_string()),
        None => (REPLICA_OF.to_owned(), target.name.clone()),
    };
    let wanted = Wanted {
        action: random.to_string(),
        image: model.it.image.clone(),
        is_replica: true,
        labels: BTreeMap::from([of]),
        ..Wanted::default()
    };
    let made_of = clone::of(&model.seen, &model.settings, &wanted);
    let (named, is_up) = (name.to_owned(), model.it.phase.is_up());
    let made = engine.hand(ctx, |docker| async move {
        let id = hand::create(&docker, &named, made_of.body).await?;
        for (network, endpoint) in made_of.networks {
            hand::connect(&docker, &network, &id, endpoint).await?;
        }
        if is_up {
            hand::start(&docker, &id).await?;
        }
        Ok(id)
    });
    let made = made.map_err(|trouble| trouble.fault(&format!("{name} cannot be made")));
    let well = made.and_then(|id| {
        let gate = || gate::ready(ctx, engine, &id, rules.gate).map_err(|why| why.fault(name));
        if is_up { gate().map(|()| id.clone()) } else { Ok(id.clone()) }
    });
    match well {
        Ok(id) => {
            ctx.note(&format!("{name}: made"));
            change::settle_until(|| engine.desk().model.containers().contains_key(&id));
            Ok(())
        }
        Err(fault) => {
            let label = format!("{ACTION}={random}");
            let removed = engine.ask(|docker| async move {
                for id in hand::labelled(&docker, &label).await? {
                    hand::discard(&docker, &id).await?;
                }
                Ok(())
            });
            removed.map_err(|trouble: Trouble| {
                trouble.fault(&format!("{name} is not well, and cannot be removed"))
            })?;
            Err(fault)
        }
    }
}

fn take_away(
    ctx: &Context,
    target: &Target,
    it: &Container,
    grace_s: Option<u32>,
) -> Result<(), Fault> {
    let (engine, id) = (&target.engine, it.id.clone());
    if it.phase.is_up() {
        engine.expect_end(it);
    }
    let is_up = it.phase.is_up() || it.phase == Phase::Restarting;
    let removed = engine.hand(ctx, |docker| async move {
        if is_up {
            hand::stop(&docker, &id, grace_s).await?;
        }
        hand::remove(&docker, &id, true).await
    });
    removed.map_err(|trouble| trouble.fault(&format!("{} was not removed", it.name)))?;
    ctx.note(&format!("{}: removed", it.name));
    change::settle_until(|| !engine.desk().model.containers().contains_key(&it.id));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::redeploy::examine::{Order, Pull};

    fn member(name: &str, labels: &[(&str, &str)]) -> Container {
        let mut it = Container::new(name, name, "image");
        for (label, text) in labels {
            it.labels.insert((*label).to_owned(), (*text).to_owned());
        }
        it
    }

    fn compose(number: u32) -> Container {
        let text = number.to_string();
        member(&format!("shop_web_{number}"), &[(PROJECT, "shop"), (NUMBER, &text)])
    }

    fn planned(args: &Value, all: &[Container]) -> Result<Plan, Fault> {
        let ask = Ask::read(args, &["to", "by"], (Order::Auto, Pull::Try)).unwrap();
        plan(&ask, all)
    }

    fn made(args: &Value, all: &[Container]) -> Vec<String> {
        planned(args, all).unwrap().made.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn names_and_numbers_go_on_and_gaps_are_filled() {
        let to = |to: u32| json!({"service": "web", "to": to});
        assert_eq!(made(&to(4), &[compose(1), compose(3)]), ["shop_web_2", "shop_web_4"]);
        let lone = member("web", &[]);
        assert_eq!(made(&to(3), std::slice::from_ref(&lone)), ["web-2", "web-3"]);
        let second = member("web-2", &[(REPLICA_OF, "web")]);
        assert_eq!(
            made(&json!({"service": "web", "by": 1}), &[lone.clone(), second.clone()]),
            ["web-3"]
        );
        let removed = planned(&to(1), &[lone, second]).unwrap().removed;
        assert_eq!(removed.len(), 1, "the first one stays");
        assert_eq!(removed[0].name, "web-2");
        let odd = member("node7", &[]);
        assert_eq!(made(&to(2), &[odd]), ["node7-2"]);
    }

    #[test]
    fn a_number_that_makes_no_sense_is_refused() {
        for args in [
            json!({"service": "web"}),
            json!({"service": "web", "to": 1, "by": 1}),
            json!({"service": "web", "by": 0}),
            json!({"service": "web", "to": 0}),
            json!({"service": "web", "to": 101}),
            json!({"service": "web", "by": -1}),
            json!({"service": "web", "by": i32::MAX}),
        ] {
            assert!(planned(&args, &[compose(1)]).is_err(), "{args}");
        }
    }

    proptest! {
        /// Whatever numbers there are: afterwards there are as many as wanted, each with its own.
        #[test]
        fn numbers_are_never_given_twice(numbers in prop::collection::btree_set(1_u32..12, 1..8), to in 1_u32..12) {
            let all: Vec<Container> = numbers.iter().map(|number| compose(*number)).collect();
            let plan = planned(&json!({"service": "web", "to": to}), &all).unwrap();
            let removed: Vec<u32> = plan.removed.iter().map(number).collect();
            let mut left: Vec<u32> =
                numbers.iter().filter(|it| !removed.contains(it)).copied().collect();
            left.extend(plan.made.iter().map(|(_, number)| *number));
            let count = left.len();
            left.sort_unstable();
            left.dedup();
            prop_assert_eq!((left.len(), left.len()), (count, to as usize));
        }
    }
}
