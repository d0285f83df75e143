//! `events/fire` and `events/list`.

use protocol::manifest::Retain;
use protocol::{Class, Cursor, Draft, Event, Fault, FaultKind, Filter, Json, Priority, Time};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Dispatch};
use crate::access::Principal;
use crate::bus::{Bus, own_class};
use crate::sight::{Interest, Sight};
use crate::store::{PAGE_MAX, Query};

/// The source of events that clients fire.
const SOURCE: &str = "client";
/// The method that records them.
const METHOD: &str = "events/fire";

#[derive(Deserialize)]
struct Fire {
    #[serde(default = "default_class")]
    class: String,
    #[serde(default)]
    subject: String,
    priority: Option<Priority>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Json,
}

fn default_class() -> String {
    "user.event".to_owned()
}

/// Records an event in the name of a client.
pub(super) async fn fire(dispatch: &Dispatch, asked: &Asked<'_>) -> Result<Json, Fault> {
    let fire = Fire::deserialize(&asked.request.args)
        .map_err(|error| Fault::bad_request(format!("the event is wrong: {error}")))?;
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
    let event = if declared.retain == Retain::Log {
        bus.publish_audited(SOURCE, draft, asked.deed(&[]).entry("done")).await?
    } else {
        let journal = dispatch.0.access.journal();
        journal.record(&asked.deed(&[]), "done").await?;
        bus.publish(SOURCE, draft, declared.retain).await?
    };
    Ok(receipt(bus, &event))
}

/// What whoever has fired an event is told of it.
pub(super) fn receipt(bus: &Bus, event: &Event) -> Json {
    let cursor = event.seq.map_or_else(|| bus.head(), |seq| Cursor::after(bus.instance(), seq));
    let mut answer = json!({"cursor": cursor, "event_id": event.id, "time": event.time});
    if let Some(seq) = event.seq {
        answer["seq"] = seq.into();
    }
    Json::from(answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    filter: Filter,
    #[serde(default)]
    since: Option<Time>,
    #[serde(default)]
    until: Option<Time>,
    #[serde(default)]
    after_seq: Option<u64>,
    #[serde(default)]
    before_seq: Option<u64>,
    #[serde(default = "default_limit")]
    limit: usize,
    #[serde(default)]
    newest_first: bool,
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
    let events: Vec<Value> = page.events.iter().map(|event| describe(event)).collect();
    Ok(Json::from(json!({
        "events": events,
        "more": page.more,
        "resume": page.resume,
        "oldest_seq": bounds.oldest,
        "head_seq": bounds.head,
    })))
}

/// What is asked of the log by somebody with this sight.
pub fn query(args: &Value, sight: Sight) -> Result<Query, Fault> {
    let asked = match args {
        Value::Null | Value::String(_) => json!({}),
        other => other.clone(),
    };
    let list = List::deserialize(asked)
        .map_err(|error| Fault::bad_request(format!("the question is wrong: {error}")))?;
    if !(1..=PAGE_MAX).contains(&list.limit) {
        return Err(Fault::bad_request(format!("\"limit\" must be from 1 to {PAGE_MAX}")));
    }
    list.filter.check().map_err(Fault::bad_request)?;
    let List { filter, since, until, after_seq, before_seq, limit, newest_first } = list;
    let interest = Interest { filter, sight };
    Ok(Query { interest, since, until, after_seq, before_seq, limit, newest_first })
}

/// An event as it also looks when it is delivered.
fn describe(event: &Event) -> Value {
    let mut value = json!({
        "seq": event.seq,
        "event_id": event.id,
        "time": event.time,
        "source": event.source,
        "class": event.class,
        "subject": event.subject,
        "priority": event.priority.to_string(),
        "priority_num": event.priority,
        "message": event.message,
    });
    if !event.data.is_null() {
        value["data"] = event.data.read().unwrap_or_default();
    }
    value
}
