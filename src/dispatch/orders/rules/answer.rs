//! `rpc/rules`.

use std::path::Path;

use protocol::{Fault, FaultKind, Json, Time};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::kept::{Act, Rule, State};
use super::{RULES_MAX, tell};
use crate::access::Principal;
use crate::access::redact::redact;
use crate::dispatch::orders::answer::is_own;
use crate::dispatch::orders::create::{call_of, check_name, owner_of};
use crate::dispatch::orders::order::{Order, Terms};
use crate::dispatch::orders::{Entry, locked, run, unreadable};
use crate::dispatch::shape::{read, said};
use crate::dispatch::{Asked, Dispatch};
use crate::store::OrderChange;
use crate::trigger::gate::{Bounds, Used};
use crate::trigger::moments::Moments;
use crate::trigger::rule::{Manner, When, covers_fired};

/// Runs in one answer.
const LIMIT_MAX: u32 = 1_000;
/// Bytes of a path.
const PATH_MAX: usize = 4_096;

/// Answers one action.
pub(in crate::dispatch) async fn answer(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    action: &str,
) -> Result<Json, Fault> {
    let args = &asked.request.args;
    match action {
        "create" => create(dispatch, asked, read(args)?).await,
        "list" => list(dispatch).await,
        "get" => get(dispatch, args).await,
        "delete" => delete(dispatch, args).await,
        "enable" => turn(dispatch, asked.principal, args, true).await,
        "disable" => turn(dispatch, asked.principal, args, false).await,
        "retry" => retry(dispatch, args).await,
        _ => history(dispatch, args).await,
    }
}

/// Arguments of `create`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dispatch) struct Create {
    #[serde(rename = "action")]
    #[schemars(skip)]
    _action: IgnoredAny,
    /// What you call it.
    #[serde(default)]
    #[schemars(length(max = 128))]
    name: String,
    /// What it waits for: of an event those that you may hear; a path only for administrators.
    when: When,
    /// What it calls, as `rpc/triggers` has it.
    method: String,
    /// With what. They lie on the disk, so they must not hold secrets.
    #[serde(default)]
    args: Value,
    /// How it acts.
    #[serde(default)]
    manner: Manner,
}

/// A rule as it is shown.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Shown {
    /// Names it.
    id: Uuid,
    /// What its owner calls it.
    name: String,
    /// Who made it; it can do what they can.
    owner: String,
    /// When it was made.
    created: Time,
    /// Whether it acts.
    enabled: bool,
    /// What it waits for.
    when: When,
    /// What it calls.
    method: String,
    /// With what; long things are cut.
    args: Value,
    /// How it acts.
    manner: Manner,
    /// Events of the log behind it, wanted or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<u64>,
    /// When something that it waits for was last found.
    last: Option<Time>,
}

fn shown(dispatch: &Dispatch, order: &Order) -> Option<Shown> {
    let Rule { when, manner, cursor, .. } = order.rule.clone()?;
    let head = dispatch.0.bus.head().seq;
    Some(Shown {
        id: order.id,
        name: order.name.clone(),
        owner: order.owner.name.clone(),
        created: order.created,
        enabled: order.enabled,
        when,
        method: order.operation.method.clone(),
        args: redact(&order.operation.args, &[]),
        manner,
        behind: cursor.map(|cursor| head.saturating_sub(cursor.seq)),
        last: order.used.last,
    })
}

/// Answer to what is about one rule.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Done {
    /// How it is now.
    rule: Shown,
}

/// Answer to `list`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Listed {
    /// Every rule, the oldest first.
    rules: Vec<Shown>,
}

/// Arguments of what is about one rule.
#[derive(Deserialize, JsonSchema)]
pub(in crate::dispatch) struct One {
    /// The rule.
    id: Uuid,
}

/// Answer to `delete`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Deleted {
    /// The rule that is no more.
    deleted: Uuid,
}

/// Arguments of `retry`.
#[derive(Deserialize, JsonSchema)]
pub(in crate::dispatch) struct Retry {
    /// What was given up.
    run: Uuid,
}

/// Answer to `retry`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Retried {
    /// It waits.
    run: Act,
}

/// Arguments of `history`.
#[derive(Deserialize, JsonSchema)]
pub(in crate::dispatch) struct Past {
    /// The rule; absent: all of them.
    id: Option<Uuid>,
    /// Only what is so far; `dead` is what was given up.
    state: Option<State>,
    /// The most of the answer.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

const fn default_limit() -> u32 {
    100
}

/// Answer to `history`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Acts {
    /// What rules have done and are to do, the newest first.
    runs: Vec<Act>,
}

async fn create(dispatch: &Dispatch, asked: &Asked<'_>, wanted: Create) -> Result<Json, Fault> {
    check(asked.principal, &wanted)?;
    let orders = &dispatch.0.orders;
    if orders.rules().await.len() >= RULES_MAX {
        let sentence = format!("there are {RULES_MAX} rules already");
        return Err(Fault::new(FaultKind::TooMany, sentence).with_hint("delete some"));
    }
    let owner = owner_of(dispatch, asked.principal).await?;
    let operation = call_of(dispatch, asked, (&wanted.method, &wanted.args)).await?;
    if let When::Event(filter) = &wanted.when
        && covers_fired(filter, &operation.method, &operation.args)
    {
        let sentence = "the rule would hear the event that it fires, and never end";
        return Err(Fault::bad_request(sentence).with_hint("fire one of another class"));
    }
    let order = Order {
        id: run::new_id()?,
        name: wanted.name,
        created: dispatch.0.clock.now(),
        enabled: true,
        owner,
        operation,
        bounds: Bounds::default(),
        used: Used::default(),
        terms: Terms::default(),
        rule: Some(Rule {
            when: wanted.when,
            manner: wanted.manner,
            cursor: Some(dispatch.0.bus.head()),
            last: None,
            print: None,
        }),
    };
    let message = format!("Rule {} was made by {}", order.title(), order.owner.name);
    let stored = order.stored(None, None)?;
    let change = OrderChange { order: Some(stored.clone()), ..OrderChange::default() };
    let what = (json!({ "what": "created" }), change);
    tell::record(dispatch, &order, ("rule.changed", &message), what).await?;
    let entry = orders.entry_of(stored).ok_or_else(Fault::internal)?;
    let entry = orders.insert(entry);
    if let Some(rule) = &order.rule {
        orders.begin_rule(dispatch, &entry, (&rule.when, Vec::new()));
    }
    done(dispatch, &order)
}

fn check(principal: &Principal, wanted: &Create) -> Result<(), Fault> {
    check_name(&wanted.name)?;
    wanted.manner.check().map_err(Fault::bad_request)?;
    match &wanted.when {
        When::Event(filter) => filter.check().map_err(Fault::bad_request),
        When::Schedule(schedule) => Moments::read(schedule).map(drop).map_err(Fault::bad_request),
        When::Path(path) => {
            if !principal.rights.is_full() {
                let sentence = "only an administrator whose rights are not confined may have a \
                                path watched";
                return Err(Fault::new(FaultKind::Forbidden, sentence));
            }
            let fits =
                Path::new(path).is_absolute() && path.len() <= PATH_MAX && !path.contains('\0');
            if fits { Ok(()) } else { Err(Fault::bad_request("\"path\" must be absolute")) }
        }
    }
}

fn done(dispatch: &Dispatch, order: &Order) -> Result<Json, Fault> {
    said(&Done { rule: shown(dispatch, order).ok_or_else(Fault::internal)? })
}

async fn list(dispatch: &Dispatch) -> Result<Json, Fault> {
    let mut rules = Vec::new();
    for entry in dispatch.0.orders.rules().await {
        rules.extend(shown(dispatch, &*entry.order.lock().await));
    }
    rules.sort_by_key(|rule| (rule.created, rule.id));
    said(&Listed { rules })
}

async fn get(dispatch: &Dispatch, args: &Value) -> Result<Json, Fault> {
    let One { id } = read(args)?;
    let entry = dispatch.0.orders.rule(id).await?;
    let order = entry.order.lock().await;
    done(dispatch, &order)
}

async fn delete(dispatch: &Dispatch, args: &Value) -> Result<Json, Fault> {
    let One { id } = read(args)?;
    let orders = &dispatch.0.orders;
    let entry = orders.rule(id).await?;
    orders.ends(&entry);
    entry.changed.notify_one();
    dispatch.0.access.end_trigger(id);
    let order = entry.order.lock().await;
    let message = format!("Rule {} was deleted", order.title());
    let change = OrderChange { gone: Some(id), ..OrderChange::default() };
    let what = (json!({ "what": "deleted" }), change);
    tell::record(dispatch, &order, ("rule.changed", &message), what).await?;
    said(&Deleted { deleted: id })
}

/// What acts with somebody's rights is given back by them, or by who may do everything.
async fn turn(
    dispatch: &Dispatch,
    principal: &Principal,
    args: &Value,
    enabled: bool,
) -> Result<Json, Fault> {
    let One { id } = read(args)?;
    let entry = dispatch.0.orders.rule(id).await?;
    let mut order = entry.order.lock().await;
    if enabled && !is_own(principal, &order) && !principal.rights.is_full() {
        let sentence = "you may enable your own rules, and this is somebody else's";
        return Err(Fault::new(FaultKind::Forbidden, sentence));
    }
    let next = Order { enabled, ..order.clone() };
    let what = if enabled { "enabled" } else { "disabled" };
    let message = format!("Rule {} was {what}", order.title());
    let change = OrderChange { order: Some(entry.stored(&next)?), ..OrderChange::default() };
    let told = (json!({ "what": what }), change);
    tell::record(dispatch, &order, ("rule.changed", &message), told).await?;
    *order = next;
    entry.changed.notify_one();
    done(dispatch, &order)
}

/// Has something that was given up done after all.
async fn retry(dispatch: &Dispatch, args: &Value) -> Result<Json, Fault> {
    let Retry { run } = read(args)?;
    let orders = &dispatch.0.orders;
    let kept = orders.0.store.run(run).await.map_err(|error| unreadable(&error))?;
    let act = kept.as_ref().and_then(Act::read);
    let mut act =
        act.ok_or_else(|| Fault::not_found(format!("there is no run {run} of a rule")))?;
    let entry = orders.rule(act.rule).await?;
    let order = entry.order.lock().await;
    if act.state != State::Dead {
        let sentence = format!("the run {run} was not given up: it is {}", act.state.as_str());
        return Err(Fault::new(FaultKind::Conflict, sentence));
    }
    // A try of its own, under another key than the last one; it may be late.
    (act.state, act.ended, act.job) = (State::Waiting, None, None);
    act.due = dispatch.0.clock.now();
    act.tries = act.tries.max(1);
    let message = format!("What rule {} had given up is tried again", order.title());
    let change = OrderChange { runs: vec![act.stored()?], ..OrderChange::default() };
    let what = (json!({ "what": "retried", "run": run }), change);
    tell::record(dispatch, &order, ("rule.changed", &message), what).await?;
    locked(&entry.retried).push(run);
    entry.changed.notify_one();
    said(&Retried { run: act })
}

async fn history(dispatch: &Dispatch, args: &Value) -> Result<Json, Fault> {
    let Past { id, state, limit } = read(args)?;
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Fault::bad_request(format!("\"limit\" must be from 1 to {LIMIT_MAX}")));
    }
    // Those of triggers are among them, and of one state not all.
    let kept = dispatch.0.orders.0.store.run_list(id, u32::MAX).await;
    let kept = kept.map_err(|error| unreadable(&error))?;
    let acts = kept.iter().filter_map(Act::read);
    let wanted = acts.filter(|act| state.is_none_or(|state| act.state == state));
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    said(&Acts { runs: wanted.take(most).collect() })
}

impl crate::dispatch::orders::Orders {
    async fn rules(&self) -> Vec<std::sync::Arc<Entry>> {
        let mut rules = Vec::new();
        for entry in self.entries() {
            if entry.order.lock().await.rule.is_some() {
                rules.push(entry);
            }
        }
        rules
    }

    async fn rule(&self, id: Uuid) -> Result<std::sync::Arc<Entry>, Fault> {
        let nothing = || {
            Fault::not_found(format!("there is no rule {id}"))
                .with_hint("rpc/rules with the action list shows them")
        };
        let entry = self.book().by_id.get(&id).cloned().ok_or_else(nothing)?;
        let is_rule = entry.order.lock().await.rule.is_some();
        if is_rule { Ok(entry) } else { Err(nothing()) }
    }
}
