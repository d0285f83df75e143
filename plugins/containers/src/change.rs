//! Changes: from what was asked, over what that means for each container, to the engine.
//!
//! Everything is looked at before anything is changed: what is refused for one container changes
//! none.

pub(crate) mod allow;
mod ask;
pub(crate) mod busy;
pub(crate) mod order;
pub(crate) mod target;
pub(crate) mod verb;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sdk::{Context, Fault, FaultKind, Value, json};

use self::allow::Allowed;
pub(crate) use self::ask::Ask;
use self::target::Target;
use self::verb::{Meaning, Verb};
use crate::container::Container;
use crate::engine;
use crate::gate::{self, Gate};
use crate::hand;
use crate::identity;
use crate::redeploy::examine::{Order, Pull};
use crate::worker::Worker;

/// How long the model is waited for: what was done here is then listed, too.
const SETTLE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// What holds for every change.
pub(crate) struct Rules {
    pub(crate) allowed: Allowed,
    pub(crate) gate: Gate,
    /// In which order, and from where, unless a call says so.
    pub(crate) usual: (Order, Pull),
}

/// What is done to one container.
struct Step {
    it: Container,
    /// `None`: nothing, it is so already.
    act: Option<Verb>,
    /// Whether the next ones wait until it is well.
    must_be_well: bool,
}

/// Does one thing to all containers of a target, in the order in which they need each other.
///
/// # Errors
/// What is refused, before anything was changed; or what the engine refused, with what was done by
/// then.
pub(crate) fn apply(
    ctx: &Context,
    (verb, ask): (Verb, &Ask),
    target: &Target,
    rules: &Rules,
) -> Result<Value, Fault> {
    let steps = plan(verb, ask, look(target)?, &rules.allowed)?;
    if !ask.dry_run {
        let total = steps.iter().filter(|step| step.act.is_some()).count();
        let mut done = 0;
        for step in &steps {
            let Some(act) = step.act else { continue };
            going_on(ctx, done, total)?;
            let progress = (count(done), Some(count(total)));
            ctx.progress_in(verb.doing(), progress, "containers", &step.it.name);
            act_on(ctx, &target.engine, (act, ask), &step.it)?;
            done += 1;
            if step.must_be_well && !verb.is_backwards() {
                ctx.progress_in("waiting until it is well", progress, "containers", &step.it.name);
                gate::ready(ctx, &target.engine, &step.it.id, rules.gate)
                    .map_err(|failed| failed.fault(&step.it.name))?;
            }
        }
        let progress = (count(total), Some(count(total)));
        ctx.progress_in(verb.doing(), progress, "containers", &target.name);
    }
    Ok(shown(ask, &steps))
}

/// The containers of a target as they are now.
///
/// # Errors
/// `unavailable` when the engine does not say.
pub(crate) fn look(target: &Target) -> Result<Vec<Container>, Fault> {
    let mut seen = Vec::with_capacity(target.members.len());
    for it in &target.members {
        let id = it.id.clone();
        let asked = target.engine.ask(|docker| async move { engine::inspect(&docker, &id).await });
        seen.extend(asked.map_err(|reason: String| target.engine.silent(&reason))?);
    }
    Ok(seen)
}

/// What is to be done to whom.
fn plan(verb: Verb, ask: &Ask, all: Vec<Container>, allowed: &Allowed) -> Result<Vec<Step>, Fault> {
    let must_be_well = order::must_be_well(&all);
    let mut all = order::ordered(all);
    if verb.is_backwards() {
        all.reverse();
    }
    let mut steps = Vec::with_capacity(all.len());
    for it in all {
        allowed.check(&it)?;
        if let Some(service) = it.label(crate::group::SWARM_SERVICE) {
            let sentence = format!("{} is a task of the swarm service {service}", it.name);
            return Err(Fault::new(FaultKind::Conflict, sentence)
                .with_hint("the swarm would undo it: change the service, not its containers"));
        }
        let act = match verb.meaning(&it, ask.force) {
            Meaning::Act(act) => Some(act),
            Meaning::Already => None,
            Meaning::No(why) => {
                let sentence = format!("{} is not {}: {why}", it.name, verb.done());
                let fault = Fault::new(FaultKind::Conflict, sentence);
                return Err(match verb {
                    Verb::Remove => fault.with_hint("stop it before, or use `force`"),
                    _ => fault,
                });
            }
        };
        let must_be_well = must_be_well.contains(&it.id);
        steps.push(Step { it, act, must_be_well });
    }
    Ok(steps)
}

/// Whether to go on.
///
/// # Errors
/// `cancelled`, with what was done by then.
pub(crate) fn going_on(ctx: &Context, done: usize, total: usize) -> Result<(), Fault> {
    if !ctx.cancelled() {
        return Ok(());
    }
    let sentence = format!("it was aborted; {done} of {total} containers are done");
    Err(Fault::new(FaultKind::Cancelled, sentence))
}

fn act_on(
    ctx: &Context,
    engine: &Arc<Worker>,
    (act, ask): (Verb, &Ask),
    it: &Container,
) -> Result<(), Fault> {
    let (id, grace_s) = (it.id.clone(), ask.timeout_s);
    let signal = ask.signal.clone().unwrap_or_else(|| "KILL".to_owned());
    let ends = match act {
        Verb::Stop | Verb::Restart => true,
        Verb::Kill => crate::signal::ends(&signal),
        Verb::Remove => ask.force && it.phase != crate::container::Phase::Exited,
        _ => false,
    };
    if ends && it.phase.is_up() {
        engine.expect_end(it);
    }
    let volumes = ask.volumes;
    let did = engine.hand(ctx, |docker| async move {
        match act {
            Verb::Start => hand::start(&docker, &id).await,
            Verb::Stop => hand::stop(&docker, &id, grace_s).await,
            Verb::Restart => hand::restart(&docker, &id, grace_s).await,
            Verb::Kill => hand::kill(&docker, &id, &signal).await,
            Verb::Pause => hand::pause(&docker, &id).await,
            Verb::Unpause => hand::unpause(&docker, &id).await,
            Verb::Remove => {
                if ends {
                    hand::stop(&docker, &id, grace_s).await?;
                }
                hand::remove(&docker, &id, volumes).await
            }
        }
    });
    let undone = format!("{} was not {}", it.name, act.done());
    did.map_err(|trouble| trouble.fault(&undone))?;
    ctx.note(&format!("{}: {}", it.name, act.done()));
    settle(engine, act, &it.id);
    Ok(())
}

/// Waits a moment until the model has heard of it: whoever looks next sees what was done.
fn settle(engine: &Worker, act: Verb, id: &str) {
    settle_until(|| act.is_done(engine.desk().model.containers().get(id)));
}

/// Waits a moment until something is so.
pub(crate) fn settle_until(so: impl Fn() -> bool) {
    let end = Instant::now() + SETTLE;
    while Instant::now() < end && !so() {
        std::thread::sleep(LOOK);
    }
}

fn shown(ask: &Ask, steps: &[Step]) -> Value {
    let row = |step: &Step| {
        json!({
            "uuid": identity::of_container(&step.it.id),
            "name": step.it.name,
            "step": step.act.map_or("none", Verb::as_str),
        })
    };
    json!({
        "dry_run": ask.dry_run,
        "changed": if ask.dry_run { 0 } else { steps.iter().filter(|it| it.act.is_some()).count() },
        "containers": steps.iter().map(row).collect::<Vec<_>>(),
    })
}

pub(crate) fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Phase;

    fn ask(args: &Value, verb: Verb) -> Result<Ask, Fault> {
        Ask::read(args, verb.takes(), (Order::default(), Pull::default()))
    }

    fn all(phases: &[Phase]) -> Vec<Container> {
        let one = |(n, phase): (usize, &Phase)| {
            let mut it = Container::new(&n.to_string(), &format!("web-{n}"), "image");
            it.phase = *phase;
            it
        };
        phases.iter().enumerate().map(one).collect()
    }

    fn steps(verb: Verb, args: &Value, phases: &[Phase]) -> Result<Value, Fault> {
        let ask = ask(args, verb)?;
        plan(verb, &ask, all(phases), &Allowed::default()).map(|steps| shown(&ask, &steps))
    }

    #[test]
    fn a_plan_says_who_is_changed_and_who_is_so_already() {
        let args = json!({"service": "web", "dry_run": true});
        let plan = steps(Verb::Stop, &args, &[Phase::Exited, Phase::Running]).unwrap();
        let rows: Vec<(&str, &str)> = plan["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["name"].as_str().unwrap(), row["step"].as_str().unwrap()))
            .collect();
        assert_eq!(rows, [("web-1", "stop"), ("web-0", "none")], "the last is stopped first");
        assert_eq!((&plan["changed"], &plan["dry_run"]), (&json!(0), &json!(true)));
    }

    #[test]
    fn what_is_refused_for_one_is_done_to_none() {
        let fault = steps(Verb::Remove, &json!({"stack": "s"}), &[Phase::Exited, Phase::Running]);
        assert_eq!(fault.unwrap_err().kind, FaultKind::Conflict);
        let forced = json!({"stack": "s", "force": true});
        assert_eq!(steps(Verb::Remove, &forced, &[Phase::Running]).unwrap()["changed"], 1);
        let mut task = all(&[Phase::Running]);
        task[0].labels.insert(crate::group::SWARM_SERVICE.to_owned(), "web".to_owned());
        let read = ask(&json!({"container": "web-0"}), Verb::Stop).unwrap();
        assert!(plan(Verb::Stop, &read, task, &Allowed::default()).is_err());
    }
}
