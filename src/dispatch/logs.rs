//! `rpc/logs`: the classic way to look back, over the one event log.

pub(crate) mod moment;

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{Event, Fault, Filter, Json, Time};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::moment::{Written, before, moment};
use super::shape::{read, said};
use super::{Dispatch, classic};
use crate::access::Principal;
use crate::sight::Interest;
use crate::store::{Page, Query};

/// How far back is looked when nobody says.
const LAST: Duration = Duration::from_hours(12);
/// Entries of one log in an answer, and bytes of all of them.
const ENTRIES_MAX: usize = 1_000;
const BYTES_MAX: usize = 768 * 1024;
/// Events that are read at once: some of them are large.
const AT_ONCE: usize = 100;

/// A log of the original.
struct Log {
    name: &'static str,
    /// The event classes that are in it.
    classes: &'static [&'static str],
    /// How an event looks in it.
    show: fn(&Event) -> Value,
}

static LOGS: [Log; 5] = [
    Log { name: "hostinfo", classes: &["daemon.*", "plugin.*"], show: text },
    Log {
        name: "dispatcher",
        classes: &["job.queued", "job.started", "job.abort-asked", "job.finished"],
        show: text,
    },
    Log {
        name: "events-dispatcher",
        classes: classic::DISPATCHER,
        show: |event| classic::dispatcher(event).into(),
    },
    Log {
        name: "events-lifepreserver",
        classes: classic::LIFE_PRESERVER,
        show: |event| classic::life_preserver(event).into(),
    },
    Log { name: "events-state", classes: &["system.state", "system.condition.*"], show: state },
];

/// Arguments of `read_logs`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReadLogs {
    #[serde(rename = "action")]
    #[schemars(skip)]
    _action: IgnoredAny,
    /// Which: `hostinfo`, `dispatcher`, `events-dispatcher`, `events-lifepreserver`,
    /// `events-state`. Absent: all. Others are passed over.
    #[serde(default)]
    logs: Option<OneOrMore>,
    /// How the times are written: `time_t_seconds`, `epoch_mseconds`, `relative_day`,
    /// `relative_month`, `relative_second` (ago), or a pattern such as `yyyy-MM-dd hh:mm:ss`, in
    /// UTC. Absent: RFC 3339.
    time_format: Option<String>,
    /// From when on; absent: from 12 hours before the end.
    start_time: Option<Written>,
    /// Until when; absent: until now.
    end_time: Option<Written>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "\"logs\" must be the name of a log, or an array of names")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Answer to `read_logs`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Logs {
    /// By log and time: a text, of `events-…` an object. No two entries have the same time.
    #[serde(flatten)]
    logs: BTreeMap<String, BTreeMap<String, Value>>,
    /// Logs of which only the newest entries are here; absent when all of them are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cut: Vec<String>,
}

/// What is asked for.
#[derive(Debug)]
pub struct Asked {
    /// The logs by name; `None`: all.
    pub names: Option<Vec<String>>,
    /// Entries of this time or later.
    pub since: Time,
    /// Entries of an earlier time.
    pub until: Option<Time>,
}

/// What is asked for at this time.
///
/// # Errors
/// `bad-request` with the argument at fault.
pub fn asked(args: &Value, now: Time) -> Result<Asked, Fault> {
    let ReadLogs { logs, time_format, start_time, end_time, .. } = read(args)?;
    let moment = |name: &str, written: Option<Written>| {
        let moment = written.map(|written| moment(time_format.as_deref(), &written, now));
        moment.transpose().map_err(|why| {
            Fault::bad_request(format!("the argument {name:?} is wrong: {why}"))
                .with_hint("\"time_format\" says how it is written; without it, as in RFC 3339")
        })
    };
    let until = moment("end_time", end_time)?;
    let since = moment("start_time", start_time)?;
    let since = since.unwrap_or_else(|| before(until.unwrap_or(now), LAST));
    let names = logs.map(|logs| match logs {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    });
    Ok(Asked { names, since, until })
}

/// Answers with what this principal may hear.
pub(super) async fn answer(
    dispatch: &Dispatch,
    principal: &Principal,
    args: &Value,
) -> Result<Json, Fault> {
    let asked = asked(args, dispatch.0.clock.now())?;
    let is_wanted = |log: &&Log| {
        asked.names.as_ref().is_none_or(|names| names.iter().any(|name| name == log.name))
    };
    let mut found = Logs { logs: BTreeMap::new(), cut: Vec::new() };
    let mut room = BYTES_MAX;
    for log in LOGS.iter().filter(is_wanted) {
        let filter = Filter::classes(log.classes.iter().copied());
        let query = Query {
            interest: Interest { filter, sight: dispatch.sight(principal) },
            since: Some(asked.since),
            until: asked.until,
            limit: AT_ONCE,
            newest_first: true,
            ..Query::default()
        };
        let (entries, is_cut) = newest(dispatch, log, query, &mut room).await?;
        found.cut.extend(is_cut.then(|| log.name.to_owned()));
        found.logs.insert(log.name.to_owned(), entries);
    }
    said(&found)
}

/// The newest entries of a log for which there is room, and whether there are others.
async fn newest(
    dispatch: &Dispatch,
    log: &Log,
    mut query: Query,
    room: &mut usize,
) -> Result<(BTreeMap<String, Value>, bool), Fault> {
    let mut entries = BTreeMap::new();
    for _ in 0..ENTRIES_MAX / AT_ONCE {
        let page = dispatch.0.bus.log().page(query.clone()).await;
        let Page { events, more, resume } = page.map_err(|error| crate::bus::unreadable(&error))?;
        for event in &events {
            let (time, entry) = (event.time.to_string(), (log.show)(event));
            let bytes = time.len() + entry.to_string().len();
            let Some(left) = room.checked_sub(bytes) else { return Ok((entries, true)) };
            *room = left;
            entries.insert(time, entry);
        }
        if !more {
            return Ok((entries, false));
        }
        query.before_seq = resume;
    }
    Ok((entries, true))
}

fn text(event: &Event) -> Value {
    event.message.as_str().into()
}

/// How the machine is, or what is wrong with it: what its event says, with its kind.
fn state(event: &Event) -> Value {
    let mut shown: Map<String, Value> = event.data.read().unwrap_or_default();
    shown.insert("class".to_owned(), event.class.as_str().into());
    shown.insert("message".to_owned(), event.message.as_str().into());
    shown.insert("priority".to_owned(), event.priority.to_string().into());
    shown.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-26T12:00:00Z";

    fn asked_now(args: &Value) -> Result<Asked, Fault> {
        asked(args, NOW.parse().unwrap())
    }

    #[test]
    fn without_times_the_last_twelve_hours_before_the_end_are_meant() {
        let all = asked_now(&json!({"action": "read_logs"})).unwrap();
        assert_eq!((all.names, all.until), (None, None));
        assert_eq!(all.since.to_string(), "2026-11-26T00:00:00.000000Z");
        let args = json!({"action": "read_logs", "logs": "hostinfo", "time_format": "relative_day", "end_time": "1"});
        let one = asked_now(&args).unwrap();
        assert_eq!(one.names.unwrap(), ["hostinfo"]);
        assert_eq!(one.since.to_string(), "2026-11-25T00:00:00.000000Z");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (member, value) in [
            ("start_time", json!("yesterday")),
            ("end_time", json!("2026-13-01T00:00:00Z")),
            ("start_time", json!(["2026"])),
            ("logs", json!({"hostinfo": true})),
            ("logs", json!([5])),
            ("time_format", json!(7)),
        ] {
            let mut args = json!({"action": "read_logs"});
            args[member] = value;
            let fault = asked_now(&args).unwrap_err();
            assert_eq!(fault.kind.status(), 400, "{args}");
        }
    }
}
