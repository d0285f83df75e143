//! `events/fire` and `events/list`.

use protocol::manifest::Retain;
use protocol::{Class, Cursor, Draft, Event, Fault, FaultKind, Filter, Json, Priority, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::shape::{read, said};
use super::{Asked, Dispatch};
use crate::access::Principal;
use crate::bus::{Bus, own_class};
use crate::sight::{Interest, Sight};
use crate::store::{OrderChange, PAGE_MAX, Query};

/// The source of events that clients fire.
const SOURCE: &str = "client";
/// The method that records them.
const METHOD: &str = "events/fire";

/// Arguments of `events/fire`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Fire {
    /// One that begins with `user.`.
    #[serde(default = "default_class")]
    class: String,
    /// What it happened to.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    subject: String,
    /// How urgent it is.
    priority: Option<Priority>,
    /// One sentence for people.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    message: String,
    /// Whatever else there is to say.
    #[serde(default)]
    data: Json,
}

/// Answer to `events/fire`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Fired {
    /// What resumes right after it.
    cursor: Cursor,
    /// Its id.
    event_id: Uuid,
    /// When it was recorded.
    time: Time,
    /// Its number; absent when its class is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

fn default_class() -> String {
    "user.event".to_owned()
}

/// Records an event in the name of a client.
pub(super) async fn fire(dispatch: &Dispatch, asked: &Asked<'_>) -> Result<Json, Fault> {
    fire_with(dispatch, asked, None).await
}

/// The same in one step with a change of an order, both or neither.
pub(super) async fn fire_with(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    change: Option<OrderChange>,
) -> Result<Json, Fault> {
    let fire: Fire = read(&asked.request.args)?;
    let class = Class::parse(&fire.class).map_err(|error| Fault::bad_request(error.to_string()))?;
    let Some(own) = own_class(class.as_str()).filter(|own| own.source == SOURCE && own.family)
    else {
        let sentence = format!("clients may fire classes that begin with user., not {class}");
        return Err(Fault::new(FaultKind::Forbidden, sentence));
    };
    if !asked.principal.rights.may_fire(METHOD, class.as_str(), &fire.subject) {
        let sentence = format!("your rights do not reach as far as firing {class}");
        let fault = Fault::new(FaultKind::Forbidden, sentence);
        dispatch.refuse(asked, &[], &fault).await;
        return Err(fault);
    }
    let declared = &own.declared;
    let Fire { subject, priority, message, data, .. } = fire;
    let priority = Some(priority.unwrap_or(declared.priority_default).min(declared.priority_max));
    let draft = Draft { class, subject, priority, message, data };
    let bus = &dispatch.0.bus;
    let event = if let (Retain::Log, Some(change)) = (declared.retain, change.clone()) {
        let entry = Some(asked.deed(&[]).entry("done"));
        bus.publish_order(SOURCE, draft, (entry, change)).await?
    } else if declared.retain == Retain::Log {
        bus.publish_audited(SOURCE, draft, asked.deed(&[]).entry("done")).await?
    } else {
        // What is not kept is recorded with nothing: before it is fired that it was.
        if let Some(change) = change {
            dispatch.0.orders.keep(change).await?;
        }
        let journal = dispatch.0.access.journal();
        journal.record(&asked.deed(&[]), "done").await?;
        bus.publish(SOURCE, draft, declared.retain).await?
    };
    receipt(bus, &event)
}

/// What whoever has fired an event is told of it.
pub(super) fn receipt(bus: &Bus, event: &Event) -> Result<Json, Fault> {
    let cursor = event.seq.map_or_else(|| bus.head(), |seq| Cursor::after(bus.instance(), seq));
    said(&Fired { cursor, event_id: event.id, time: event.time, seq: event.seq })
}

/// Arguments of `events/list`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// Which events.
    #[serde(default)]
    filter: Filter,
    /// Recorded at this time or later.
    #[serde(default)]
    since: Option<Time>,
    /// Recorded before this time.
    #[serde(default)]
    until: Option<Time>,
    /// Only numbers above this one.
    #[serde(default)]
    after_seq: Option<u64>,
    /// Only numbers below this one.
    #[serde(default)]
    before_seq: Option<u64>,
    /// The most events of one page.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: usize,
    /// Begin at the end of the log.
    #[serde(default)]
    newest_first: bool,
}

/// Answer to `events/list`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    /// What was found, in the order asked for.
    events: Vec<Shown>,
    /// Whether the end was not reached.
    more: bool,
    /// With `more`: the `after_seq`, or with `newest_first` the `before_seq`, of the next page.
    resume: Option<u64>,
    /// The oldest event the log holds.
    oldest_seq: u64,
    /// The newest event the log holds.
    head_seq: u64,
}

/// An event as it also looks when it is delivered.
#[derive(Serialize, JsonSchema)]
struct Shown {
    /// Its number.
    seq: Option<u64>,
    /// Its id.
    event_id: Uuid,
    /// When it was recorded.
    time: Time,
    /// Who said it: `sysadmd`, a plugin's id or `client`.
    source: String,
    /// The kind.
    class: Class,
    /// What it happened to.
    subject: String,
    /// As classic clients parse it, such as `7 - Critical`.
    priority: String,
    /// How urgent it is.
    priority_num: Priority,
    /// One sentence for people.
    message: String,
    /// Everything else, in the shape its class declares.
    #[serde(skip_serializing_if = "Json::is_null")]
    data: Json,
}

const fn default_limit() -> usize {
    100
}

/// One page of history.
pub(super) async fn list(
    dispatch: &Dispatch,
    principal: &Principal,
    args: &Value,
) -> Result<Json, Fault> {
    let query = query(args, dispatch.sight(principal))?;
    let log = dispatch.0.bus.log();
    let page = log.page(query).await.map_err(|error| crate::bus::unreadable(&error))?;
    let bounds = log.bounds();
    said(&Listed {
        events: page.events.iter().map(|event| show(event)).collect(),
        more: page.more,
        resume: page.resume,
        oldest_seq: bounds.oldest,
        head_seq: bounds.head,
    })
}

/// What is asked of the log by somebody with this sight.
pub fn query(args: &Value, sight: Sight) -> Result<Query, Fault> {
    let list: List = read(args)?;
    if !(1..=PAGE_MAX).contains(&list.limit) {
        return Err(Fault::bad_request(format!("\"limit\" must be from 1 to {PAGE_MAX}")));
    }
    list.filter.check().map_err(Fault::bad_request)?;
    let List { filter, since, until, after_seq, before_seq, limit, newest_first } = list;
    let interest = Interest { filter, sight };
    Ok(Query { interest, since, until, after_seq, before_seq, limit, newest_first })
}

fn show(event: &Event) -> Shown {
    let Event { seq, id, time, source, class, subject, priority, message, data } = event.clone();
    let words = priority.to_string();
    Shown {
        seq,
        event_id: id,
        time,
        source,
        class,
        subject,
        priority: words,
        priority_num: priority,
        message,
        data,
    }
}
