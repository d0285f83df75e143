//! One thing that a rule does, from its turn to its end or its next try.

use protocol::manifest::Kind;
use protocol::{Fault, FaultKind, Request, Time};
use serde_json::json;

use super::kept::{Act, Cause, State};
use super::{task, tell};
use crate::access::{Origin, Peer};
use crate::dispatch::orders::order::Order;
use crate::dispatch::orders::run::{self, Doing};
use crate::dispatch::{Asked, Dispatch, events};
use crate::store::OrderChange;
use crate::trigger::rule::When;

/// What the audit trail calls the way by which a rule's call comes.
const FACE: &str = "rule";
/// How long until an end that could not be recorded is tried again.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// What has come of a try.
enum Outcome {
    Done,
    /// It is done, and on record already.
    Recorded,
    Failed(Fault),
    /// It was cut off; what it has done is not known.
    CutOff(Fault),
}

/// Carries it out; how it is then. It waits when it is to be tried again.
pub(super) async fn carry(dispatch: Dispatch, order: Order, mut act: Act) -> Act {
    let now = dispatch.0.clock.now();
    let manner = order.rule.as_ref().map(|rule| rule.manner.clone()).unwrap_or_default();
    let was_cut_off = act.state == State::Running;
    let outcome = if !was_cut_off && act.tries == 0 && manner.expires(act.created) <= now {
        let sentence = "it could not be begun in time";
        Outcome::Failed(Fault::new(FaultKind::Cancelled, sentence))
    } else if !was_cut_off && act.tries == 0 && !lasts(&dispatch, &order, &act).await {
        end(&dispatch, &order, &mut act, State::Over).await;
        return act;
    } else {
        attempt(&dispatch, &order, &mut act, was_cut_off).await
    };
    match outcome {
        Outcome::Recorded => {}
        Outcome::Done => {
            act.error = None;
            end(&dispatch, &order, &mut act, State::Done).await;
        }
        Outcome::CutOff(fault) => {
            act.error = Some(fault);
            if is_repeatable(&dispatch, &order) {
                wait(&dispatch, &mut act, Some(now)).await;
            } else {
                end(&dispatch, &order, &mut act, State::Dead).await;
            }
        }
        Outcome::Failed(fault) => {
            let next = is_passing(&fault).then(|| manner.next_try(act.tries)).flatten();
            let after = next.map(|wait| later(dispatch.0.clock.now(), wait));
            act.error = Some(fault);
            match after {
                Some(_) => wait(&dispatch, &mut act, after).await,
                None => end(&dispatch, &order, &mut act, State::Dead).await,
            }
        }
    }
    act
}

/// Tries once.
async fn attempt(dispatch: &Dispatch, order: &Order, act: &mut Act, was_cut_off: bool) -> Outcome {
    if let Some(job) = act.job.filter(|_| was_cut_off) {
        return outcome_of(run::follow(dispatch, job).await);
    }
    if was_cut_off && order.operation.method != "events/fire" {
        let is_job = is_of_plugin(dispatch, order);
        if !is_job {
            let sentence = "the daemon ended while it ran; what it has done is not known";
            return Outcome::CutOff(Fault::new(FaultKind::Unavailable, sentence));
        }
    }
    if !was_cut_off {
        act.tries += 1;
        act.job = None;
    }
    act.state = State::Running;
    note(dispatch, act).await;
    let principal = match dispatch.principal_of(order).await {
        Ok(principal) => principal,
        Err(fault) => return Outcome::Failed(fault),
    };
    let peer = Peer::Local(nix::unistd::geteuid().as_raw());
    let origin = Origin { peer, face: FACE };
    if order.operation.method == "events/fire" {
        return fire(dispatch, order, act, (&principal, origin)).await;
    }
    let doing = Doing {
        args: order.operation.args.clone(),
        key: format!("rule-{}-{}", act.id, act.tries),
        queue: None,
        origin,
    };
    match run::begin(dispatch, order, &principal, doing).await {
        Err(fault) => Outcome::Failed(fault),
        Ok(None) => Outcome::Done,
        Ok(Some(job)) => {
            act.job = Some(job);
            note(dispatch, act).await;
            outcome_of(run::follow(dispatch, job).await)
        }
    }
}

fn outcome_of(followed: Result<(), run::Ended>) -> Outcome {
    match followed {
        Ok(()) => Outcome::Done,
        Err(run::Ended { fault, cut_off: true }) => Outcome::CutOff(fault),
        Err(run::Ended { fault, .. }) => Outcome::Failed(fault),
    }
}

/// An event is recorded in one step with the end of what fires it: so it is fired once, whenever the
/// daemon dies.
async fn fire(
    dispatch: &Dispatch,
    order: &Order,
    act: &mut Act,
    (principal, origin): (&crate::access::Principal, Origin),
) -> Outcome {
    let request = Request::new("events", "fire", order.operation.args.clone());
    let asked = Asked { origin, principal, method: "events/fire", version: 1, request: &request };
    let permitted = dispatch.find(&asked).and_then(|found| dispatch.permit(&asked, &found));
    if let Err(fault) = permitted {
        return Outcome::Failed(fault);
    }
    let mut done = act.clone();
    (done.state, done.error) = (State::Done, None);
    done.ended = Some(dispatch.0.clock.now());
    let Ok(stored) = done.stored() else { return Outcome::Failed(Fault::internal()) };
    let change = OrderChange { runs: vec![stored], ..OrderChange::default() };
    if let Err(fault) = events::fire_with(dispatch, &asked, Some(change)).await {
        return Outcome::Failed(fault);
    }
    *act = done;
    Outcome::Recorded
}

/// Whether what began has lasted as long as the rule wants.
async fn lasts(dispatch: &Dispatch, order: &Order, act: &Act) -> bool {
    let Some(rule) = &order.rule else { return true };
    let (When::Event(filter), Cause::Event { seq, class, subject, .. }) = (&rule.when, &act.cause)
    else {
        return true;
    };
    if rule.manner.for_s == 0 {
        return true;
    }
    let lasted = task::has_lasted(dispatch, filter, (*seq, class.as_str(), subject)).await;
    // When that cannot be found out, to act is what the rule is for.
    lasted.unwrap_or(true)
}

fn is_of_plugin(dispatch: &Dispatch, order: &Order) -> bool {
    let operation = &order.operation;
    dispatch.0.host.method(&operation.method, operation.action(), 1).is_some()
}

/// Whether it does no harm to do it again when nobody knows how far it came.
fn is_repeatable(dispatch: &Dispatch, order: &Order) -> bool {
    let operation = &order.operation;
    let known = dispatch.0.host.method(&operation.method, operation.action(), 1);
    known.is_some_and(|known| known.kind == Kind::Query || known.resumable)
}

/// Whether it may go away by itself.
fn is_passing(fault: &Fault) -> bool {
    matches!(
        fault.kind,
        FaultKind::Failed
            | FaultKind::Unavailable
            | FaultKind::Timeout
            | FaultKind::TooMany
            | FaultKind::Conflict
            | FaultKind::Internal
    )
}

/// It waits for its next try.
async fn wait(dispatch: &Dispatch, act: &mut Act, due: Option<Time>) {
    act.state = State::Waiting;
    act.due = due.unwrap_or(act.due);
    note(dispatch, act).await;
}

async fn note(dispatch: &Dispatch, act: &Act) {
    let Ok(stored) = act.stored() else { return };
    let change = OrderChange { runs: vec![stored], ..OrderChange::default() };
    if let Err(error) = dispatch.0.orders.0.store.order_change(change).await {
        tracing::warn!(run = %act.id, %error, "how far a rule is could not be kept");
    }
}

/// Records an end with the event that tells of it. It has happened, so this goes on trying.
async fn end(dispatch: &Dispatch, order: &Order, act: &mut Act, state: State) {
    act.state = state;
    act.ended = Some(dispatch.0.clock.now());
    let title = order.title();
    let (class, message) = match (&act.error, state) {
        (Some(fault), State::Dead) => {
            ("rule.dead", format!("Rule {title} gave up: {}", fault.message))
        }
        _ => ("rule.ended", format!("Rule {title} is {}", state.as_str())),
    };
    let data = json!({
        "run": act.id, "state": state, "cause": act.cause, "tries": act.tries, "job": act.job,
        "error": act.error.as_ref().map(|fault| fault.message.as_str()),
    });
    let stop = dispatch.0.orders.0.tasks.stop_signal();
    while !stop.is_set() {
        let Ok(stored) = act.stored() else { return };
        let change = OrderChange { runs: vec![stored], ..OrderChange::default() };
        match tell::record(dispatch, order, (class, &message), (data.clone(), change)).await {
            Ok(()) => return,
            Err(fault) => tracing::warn!(run = %act.id, %fault, "an end is not recorded yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn later(time: Time, span: std::time::Duration) -> Time {
    crate::dispatch::orders::knock::later(time, span)
}
