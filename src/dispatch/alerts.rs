//! `rpc/alerts`.

use std::time::Duration;

use protocol::{Class, Cursor, Event, Fault, Filter, Json, Priority, Time};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::shape::{read, said};
use super::{Asked, Dispatch};
use crate::alerts::{Alert, Order, Snapshot, State, Verb};
use crate::sight::Interest;
use crate::store::{PAGE_MAX, Query};

/// The longest note, in bytes.
const NOTE_BYTES_MAX: usize = 1024;
/// The class of most events about an alert; whoever hears these may look, too.
const CLASS: &str = "alert.changed";
/// Alerts in one answer.
const LISTED_MAX: usize = 5_096;

/// Arguments of `list`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    #[serde(default, rename = "action")]
    #[schemars(skip)]
    _action: Option<IgnoredAny>,
    /// Only those that stand there; absent: all that are not closed.
    #[serde(default)]
    states: Vec<State>,
    /// Only kinds that this covers, such as `system.*`.
    kind: Option<String>,
    /// Only those of this source.
    source: Option<String>,
}

/// Answer to `list`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    /// The most urgent first.
    alerts: Vec<Alert>,
    /// How many are open of those you may hear of, whatever was asked for.
    open: usize,
    /// How many of these somebody looks after.
    acknowledged: usize,
    /// How many of these nobody is told of.
    silenced: usize,
    /// Whoever subscribes to `alert.*` from here on misses no change and sees none twice.
    cursor: Cursor,
}

/// Arguments of what is done to one alert.
#[derive(Deserialize, JsonSchema)]
pub(super) struct One {
    /// Its number.
    id: u64,
}

/// Answer to everything that is about one alert.
#[derive(Serialize, JsonSchema)]
pub(super) struct Shown {
    /// How it is now.
    alert: Alert,
}

/// Arguments of `acknowledge`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Acknowledge {
    /// Its number.
    id: u64,
    /// What you have to say about it.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    note: String,
}

/// Arguments of `silence`: one of `until` and `for_s` is needed.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Silence {
    /// Its number.
    id: u64,
    /// Until when; at most 366 days from now.
    until: Option<Time>,
    /// For so many seconds.
    for_s: Option<u64>,
    /// What you have to say about it.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    note: String,
}

/// Arguments of `history`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct History {
    #[serde(default, rename = "action")]
    #[schemars(skip)]
    _action: Option<IgnoredAny>,
    /// Only of this alert.
    id: Option<u64>,
    /// Only numbers below this one.
    before_seq: Option<u64>,
    /// The most entries of one page.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1000))]
    limit: usize,
}

const fn default_limit() -> usize {
    100
}

/// Answer to `history`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Past {
    /// What has happened, the newest first.
    history: Vec<Moment>,
    /// Whether there is more.
    more: bool,
    /// With `more`: the `before_seq` of the next page.
    resume: Option<u64>,
}

/// Something that has happened to an alert.
#[derive(Serialize, JsonSchema)]
struct Moment {
    /// The number of its event.
    seq: u64,
    /// When.
    time: Time,
    /// The alert's number.
    id: u64,
    /// The alert's kind.
    kind: Class,
    /// What the alert is about.
    subject: String,
    /// What has happened.
    verb: Verb,
    /// Whether people were to be told.
    notify: bool,
    /// How urgent the alert was.
    priority: Priority,
    /// One sentence for people.
    message: String,
}

/// What an event about an alert carries.
#[derive(Deserialize)]
struct Told {
    alert: Alert,
    verb: Verb,
    notify: bool,
}

/// Answers one action.
pub(super) async fn answer(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    action: &str,
) -> Result<Json, Fault> {
    let args = &asked.request.args;
    let (id, order) = match action {
        "list" => return list(dispatch, asked, read(args)?).await,
        "history" => return history(dispatch, asked, read(args)?).await,
        "show" => {
            let One { id } = read(args)?;
            let all = seen(dispatch, asked).await.alerts;
            let alert = all.into_iter().find(|alert| alert.id == id);
            let alert = alert.ok_or_else(|| Fault::not_found(format!("there is no alert {id}")))?;
            return said(&Shown { alert });
        }
        "acknowledge" => {
            let Acknowledge { id, note } = read(args)?;
            (id, Order::Acknowledge { note: checked(note)? })
        }
        "silence" => silence(read(args)?, dispatch.0.clock.now())?,
        "unacknowledge" => (read::<One>(args)?.id, Order::Unacknowledge),
        "unsilence" => (read::<One>(args)?.id, Order::Unsilence),
        _ => (read::<One>(args)?.id, Order::Close),
    };
    let alert = dispatch.0.alerts.order(id, order, &asked.principal.name).await?;
    said(&Shown { alert })
}

fn silence(args: Silence, now: Time) -> Result<(u64, Order), Fault> {
    let Silence { id, until, for_s, note } = args;
    let until = match (until, for_s) {
        (Some(until), None) => until,
        (None, Some(seconds)) => {
            let span = Duration::from_secs(seconds).as_micros();
            let micros = u64::try_from(span).unwrap_or(u64::MAX);
            Time::from_micros(now.micros().saturating_add(micros))
        }
        _ => return Err(Fault::bad_request("one of \"until\" and \"for_s\" is needed")),
    };
    Ok((id, Order::Silence { until, note: checked(note)? }))
}

fn checked(note: String) -> Result<String, Fault> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(Fault::bad_request(format!("a note has at most {NOTE_BYTES_MAX} bytes")));
    }
    Ok(note)
}

/// The alerts whose events they may hear.
async fn seen(dispatch: &Dispatch, asked: &Asked<'_>) -> Snapshot {
    let sight = dispatch.sight(asked.principal);
    let mut snapshot = dispatch.0.alerts.all().await;
    snapshot.alerts.retain(|alert| sight.shows_class(CLASS, &format!("/alerts/{}", alert.id)));
    snapshot
}

async fn list(dispatch: &Dispatch, asked: &Asked<'_>, wanted: List) -> Result<Json, Fault> {
    let List { states, kind, source, .. } = wanted;
    let snapshot = seen(dispatch, asked).await;
    let is_open = |alert: &&Alert| matches!(alert.state, State::Open | State::Clearing);
    let count =
        |which: fn(&&Alert) -> bool| snapshot.alerts.iter().filter(is_open).filter(which).count();
    let open = count(|_| true);
    let acknowledged = count(|alert| alert.acknowledged.is_some());
    let silenced = count(|alert| alert.silenced.is_some());
    let wants = |alert: &Alert| {
        let stands = match states.as_slice() {
            [] => alert.state != State::Closed,
            states => states.contains(&alert.state),
        };
        let covers = |kind: &String| protocol::class::covers(kind, alert.kind.as_str());
        stands
            && kind.as_ref().is_none_or(covers)
            && source.as_ref().is_none_or(|source| *source == alert.source)
    };
    let mut alerts: Vec<Alert> = snapshot.alerts.into_iter().filter(wants).collect();
    alerts.sort_by_key(|alert| (alert.state, std::cmp::Reverse(alert.priority), alert.id));
    // What is open comes before what only begins or is over.
    alerts.sort_by_key(|alert| !matches!(alert.state, State::Open | State::Clearing));
    alerts.truncate(LISTED_MAX);
    said(&Listed { alerts, open, acknowledged, silenced, cursor: snapshot.cursor })
}

async fn history(dispatch: &Dispatch, asked: &Asked<'_>, wanted: History) -> Result<Json, Fault> {
    let History { id, before_seq, limit, .. } = wanted;
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Fault::bad_request(format!("\"limit\" must be from 1 to {PAGE_MAX}")));
    }
    let filter =
        Filter { subject: id.map(|id| format!("/alerts/{id}")), ..Filter::classes(["alert.*"]) };
    let query = Query {
        interest: Interest { filter, sight: dispatch.sight(asked.principal) },
        before_seq,
        limit,
        newest_first: true,
        ..Query::default()
    };
    let page = dispatch.0.bus.log().page(query).await;
    let page = page.map_err(|error| crate::bus::unreadable(&error))?;
    let history = page.events.iter().filter_map(|event| moment(event)).collect();
    said(&Past { history, more: page.more, resume: page.resume })
}

/// One that cannot be read is passed over: a later daemon may say more.
fn moment(event: &Event) -> Option<Moment> {
    let Told { alert, verb, notify } = event.data.read().ok()?;
    Some(Moment {
        seq: event.seq?,
        time: event.time,
        id: alert.id,
        kind: alert.kind,
        subject: alert.subject,
        verb,
        notify,
        priority: alert.priority,
        message: event.message.clone(),
    })
}
