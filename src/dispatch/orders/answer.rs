//! `rpc/triggers`.

use std::num::NonZeroU64;

use protocol::{Fault, FaultKind, Json, Time};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::order::{KeptRun, Order, Run, Terms, Word};
use super::{Entry, telling, unreadable};
use crate::access::Principal;
use crate::access::redact::redact;
use crate::dispatch::jobs::work::{owner, token_of};
use crate::dispatch::shape::{read, said};
use crate::dispatch::{Asked, Dispatch};
use crate::store::OrderChange;
use crate::trigger::gate::Used;
use crate::trigger::path;
use crate::trigger::payload::Match;
use crate::trigger::signature::Scheme;

/// Runs in one answer.
const LIMIT_MAX: u32 = 1_000;

/// Answers one action.
pub(in crate::dispatch) async fn answer(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    action: &str,
) -> Result<Json, Fault> {
    let args = &asked.request.args;
    match action {
        "create" => super::create::create(dispatch, asked, read(args)?).await,
        "list" => list(dispatch).await,
        "get" => get(dispatch, args).await,
        "reveal" => reveal(dispatch, asked.principal, args).await,
        "delete" => delete(dispatch, args).await,
        "enable" => enable(dispatch, asked.principal, args).await,
        "disable" => disable(dispatch, args).await,
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
    pub(super) name: String,
    /// What it calls, as `namespace/name`: any call of a plugin, and of the daemon `events/fire`,
    /// `consul/fire`, `rpc/dispatcher`, `rpc/jobs` with `commands`, `rpc/plugins`, `rpc/alerts` and
    /// `rpc/sinks`. You need the right to make this call, today and whenever the trigger is called.
    pub(super) method: Option<String>,
    /// With what. They lie on the disk, so they must not hold secrets.
    #[serde(default)]
    pub(super) args: Value,
    /// In the place of `method`: what is done to a service of containers.
    pub(super) operation: Option<Word>,
    /// With `operation`: the service's uuid.
    pub(super) service: Option<String>,
    /// How calls must be signed; absent: whoever has the URL may call.
    pub(super) signature: Option<Scheme>,
    /// With `signature`: the secret that the sender has; absent: one is made, and shown this once.
    #[schemars(length(min = 16, max = 256))]
    pub(super) secret: Option<String>,
    /// The only networks calls may come from: `192.0.2.0/24`, an address, or `local`.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(super) allow_from: Vec<String>,
    /// Calls a minute, on average.
    #[serde(default = "default_rate")]
    #[schemars(range(min = 1, max = 6000))]
    pub(super) rate_per_min: u32,
    /// Calls at once.
    #[serde(default = "default_burst")]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) burst: u32,
    /// How often it can be called in all.
    pub(super) max_calls: Option<NonZeroU64>,
    /// Seconds between two calls that begin something.
    #[serde(default)]
    #[schemars(range(max = 604_800))]
    pub(super) min_interval_s: u64,
    /// Seconds until it is worth nothing; absent: never.
    pub(super) expires_s: Option<NonZeroU64>,
    /// Which payload is meant: JSON pointers and patterns, in which `*` stands for any characters and
    /// `?` for one. Others begin nothing.
    #[serde(default, rename = "match")]
    pub(super) matching: Match,
    /// Whether calls that come while one runs and one waits are the one that waits; absent: yes,
    /// unless it is `SCALEUP`.
    pub(super) coalesce: Option<bool>,
    /// Whether the body is handed on to new containers as `DOCKERCLOUD_TRIGGER_BODY`.
    #[serde(default = "yes")]
    pub(super) pass_body: bool,
    /// The largest number at the end of its URL.
    #[serde(default = "default_scale")]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) max_scale: u32,
}

const fn default_rate() -> u32 {
    10
}

const fn default_burst() -> u32 {
    3
}

const fn default_scale() -> u32 {
    20
}

const fn yes() -> bool {
    true
}

/// A trigger as it is shown.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Shown {
    /// Names it; no secret, and no part of its URL.
    id: Uuid,
    /// What its owner calls it.
    name: String,
    /// Who made it; it can do what they can.
    owner: String,
    /// When it was made.
    created: Time,
    /// Whether it can be called.
    enabled: bool,
    /// In Docker Cloud's word, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<Word>,
    /// The service it is done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// What it calls.
    method: String,
    /// With what; long things are cut.
    args: Value,
    /// How calls must be signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<Scheme>,
    /// The only networks calls may come from; empty: any.
    allow_from: Vec<String>,
    /// Calls a minute, on average.
    rate_per_min: u32,
    /// Calls at once.
    burst: u32,
    /// How often it can be called in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_calls: Option<u64>,
    /// Seconds between two calls that begin something.
    min_interval_s: u64,
    /// When it is worth nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Time>,
    /// Which payload is meant.
    #[serde(rename = "match")]
    matching: Match,
    /// Whether calls that come while one waits are that one.
    coalesce: bool,
    /// Whether the body is handed on.
    pass_body: bool,
    /// The largest number at the end of its URL.
    max_scale: u32,
    #[serde(flatten)]
    used: Used,
}

impl Shown {
    pub(super) fn of(order: &Order) -> Self {
        let Order { id, name, created, enabled, owner, operation, bounds, used, terms, .. } =
            order.clone();
        let Terms {
            signature,
            allow_from,
            rate_per_min,
            burst,
            matching,
            coalesce,
            pass_body,
            max_scale,
        } = terms;
        Self {
            id,
            name,
            owner: owner.name,
            created,
            enabled,
            operation: operation.word,
            service: operation.service,
            method: operation.method,
            args: redact(&operation.args, &[]),
            signature,
            allow_from,
            rate_per_min,
            burst,
            max_calls: bounds.max_calls,
            min_interval_s: bounds.min_interval_s,
            expires: bounds.expires,
            matching,
            coalesce,
            pass_body,
            max_scale,
            used,
        }
    }
}

/// Answer to `create`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Made {
    /// The trigger.
    pub(super) trigger: Shown,
    /// The path at which it is called by `POST`. Whoever has it may call: keep it like a password.
    pub(super) url: String,
    /// With what calls must be signed; it is not shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<String>,
}

/// Answer to `list`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Listed {
    /// Every trigger, the oldest first.
    triggers: Vec<Shown>,
}

/// Arguments of what is about one trigger.
#[derive(Deserialize, JsonSchema)]
pub(in crate::dispatch) struct One {
    /// The trigger.
    id: Uuid,
}

/// Answer to what is about one trigger.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Done {
    /// How it is now.
    trigger: Shown,
}

/// Answer to `delete`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Deleted {
    /// The trigger that is no more.
    deleted: Uuid,
}

/// Arguments of `reveal`: one of them.
#[derive(Deserialize, JsonSchema)]
pub(in crate::dispatch) struct Reveal {
    /// The trigger.
    id: Option<Uuid>,
    /// Those of this service.
    service: Option<String>,
}

/// Answer to `reveal`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Revealed {
    /// Those that are yours; an administrator's whose rights are not confined: all.
    triggers: Vec<WithUrl>,
}

#[derive(Serialize, JsonSchema)]
struct WithUrl {
    /// Names it; no secret.
    id: Uuid,
    /// What its owner calls it.
    name: String,
    /// What it does.
    operation: String,
    /// The secret part of its URL.
    secret: Uuid,
    /// The path at which it is called.
    url: String,
}

/// Arguments of `history`.
#[derive(Deserialize, JsonSchema)]
pub(in crate::dispatch) struct Past {
    /// The trigger; absent: all of them.
    id: Option<Uuid>,
    /// The most runs of the answer.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u32,
}

const fn default_limit() -> u32 {
    100
}

/// Answer to `history`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Runs {
    /// What was begun, the newest first; also of triggers that are no more. What was refused, events
    /// of the class `trigger.refused` tell.
    runs: Vec<Run>,
}

async fn list(dispatch: &Dispatch) -> Result<Json, Fault> {
    let mut triggers = Vec::new();
    for entry in dispatch.0.orders.triggers() {
        triggers.push(Shown::of(&*entry.order.lock().await));
    }
    triggers.sort_by_key(|shown| (shown.created, shown.id));
    said(&Listed { triggers })
}

async fn get(dispatch: &Dispatch, args: &Value) -> Result<Json, Fault> {
    let One { id } = read(args)?;
    let entry = dispatch.0.orders.entry(id)?;
    let order = entry.order.lock().await;
    said(&Done { trigger: Shown::of(&order) })
}

/// Shows URLs: to whoever has made them, and to those who may do everything anyway.
async fn reveal(dispatch: &Dispatch, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let Reveal { id, service } = read(args)?;
    let wanted = match (id, &service) {
        (Some(id), None) => vec![dispatch.0.orders.entry(id)?],
        (None, Some(_)) => dispatch.0.orders.triggers(),
        _ => return Err(Fault::bad_request("either \"id\" or \"service\" is needed")),
    };
    let mut triggers = Vec::new();
    for entry in wanted {
        let order = entry.order.lock().await;
        let is_meant = service.is_none() || order.operation.service == service;
        if !is_meant {
            continue;
        }
        if !is_own(principal, &order) && !principal.rights.is_full() {
            if id.is_some() {
                return Err(not_yours("reveal"));
            }
            continue;
        }
        let Some(secrets) = dispatch.0.orders.open(entry.id, entry.sealed.as_deref()) else {
            continue;
        };
        triggers.push((
            order.created,
            WithUrl {
                id: entry.id,
                name: order.name.clone(),
                operation: order.operation.title(),
                secret: secrets.url,
                url: format!("{}call/", path(order.operation.service.as_deref(), secrets.url)),
            },
        ));
    }
    triggers.sort_by_key(|(created, shown)| (*created, shown.id));
    said(&Revealed { triggers: triggers.into_iter().map(|(_, shown)| shown).collect() })
}

async fn delete(dispatch: &Dispatch, args: &Value) -> Result<Json, Fault> {
    let One { id } = read(args)?;
    let orders = &dispatch.0.orders;
    let entry = orders.entry(id)?;
    // Worth nothing from here on, whether or not the disk takes it.
    orders.ends(&entry);
    dispatch.0.access.end_trigger(id);
    let order = entry.order.lock().await;
    let message = format!("Trigger {} was deleted", order.title());
    let draft = telling("trigger.changed", &order, &message, json!({ "what": "deleted" }))?;
    let change = OrderChange { gone: Some(id), ..OrderChange::default() };
    orders.record(draft, change).await?;
    said(&Deleted { deleted: id })
}

/// What acts with somebody's rights is given back by them, or by who may do everything.
async fn enable(dispatch: &Dispatch, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let One { id } = read(args)?;
    let entry = dispatch.0.orders.entry(id)?;
    if !is_own(principal, &*entry.order.lock().await) && !principal.rights.is_full() {
        return Err(not_yours("enable"));
    }
    turn(dispatch, &entry, true).await
}

async fn disable(dispatch: &Dispatch, args: &Value) -> Result<Json, Fault> {
    let One { id } = read(args)?;
    let entry = dispatch.0.orders.entry(id)?;
    turn(dispatch, &entry, false).await
}

async fn turn(dispatch: &Dispatch, entry: &Entry, enabled: bool) -> Result<Json, Fault> {
    let mut order = entry.order.lock().await;
    let next = Order { enabled, ..order.clone() };
    let what = if enabled { "enabled" } else { "disabled" };
    let message = format!("Trigger {} was {what}", order.title());
    let draft = telling("trigger.changed", &order, &message, json!({ "what": what }))?;
    let change = OrderChange { order: Some(entry.stored(&next)?), ..OrderChange::default() };
    dispatch.0.orders.record(draft, change).await?;
    *order = next;
    said(&Done { trigger: Shown::of(&order) })
}

async fn history(dispatch: &Dispatch, args: &Value) -> Result<Json, Fault> {
    let Past { id, limit } = read(args)?;
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Fault::bad_request(format!("\"limit\" must be from 1 to {LIMIT_MAX}")));
    }
    let runs = dispatch.0.orders.0.store.run_list(id, limit).await;
    let runs = runs.map_err(|error| unreadable(&error))?;
    said(&Runs { runs: runs.iter().filter_map(KeptRun::read).map(|kept| kept.run).collect() })
}

pub(super) fn is_own(principal: &Principal, order: &Order) -> bool {
    let token = order.owner.token.as_ref().map(|(id, _)| *id);
    owner(&principal.name, token_of(principal).map(|(id, _)| id)) == owner(&order.owner.name, token)
}

fn not_yours(verb: &str) -> Fault {
    let sentence = format!("you may {verb} your own triggers, and this is somebody else's");
    Fault::new(FaultKind::Forbidden, sentence)
}
