//! The event stream: what is asked for, and how a record looks in it.

use protocol::{Cursor, Event, Filter, Gap, Time};
use serde::Deserialize;
use serde_json::json;

use super::action::told;
use super::route::uuid_of;
use super::{Refusal, uri};
use crate::bus::Wording;
use crate::wire::frame;

/// The kinds of things that events are about.
const TYPES: [&str; 5] = ["stack", "service", "container", "node", "action"];
/// The most parents that are asked for.
const PARENTS_MAX: usize = 64;

/// What of the stream is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Which events.
    pub filter: Filter,
    /// What a filter of events cannot say: the uuid of the object, a semicolon, and the uuids of which
    /// one must be among the parents, joined by commas.
    pub tag: String,
    /// From where on.
    pub since: Since,
}

/// From where on events are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// From now on.
    Now,
    /// From the oldest one on that is kept.
    Oldest,
    /// Behind this one.
    Cursor(Cursor),
    /// From this moment on.
    Time(Time),
}

impl Wish {
    /// Reads the part of a URL behind the question mark.
    ///
    /// # Errors
    /// 400 when a type is none, or a moment.
    pub(super) fn read(query: &str) -> Result<Self, Refusal> {
        let (mut types, mut object, mut parents) = (Vec::new(), None, Vec::new());
        let mut since = Since::Now;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
            match &*name {
                "type" => {
                    let kinds = parts.map(kind).collect::<Result<Vec<_>, _>>()?;
                    types.extend(kinds.into_iter().flatten());
                }
                "object" if !value.is_empty() => object = Some(uuid_of(&value).to_owned()),
                "parent" | "parents" => parents.extend(parts.map(|it| uuid_of(it).to_owned())),
                "since" => since = self::since(&value)?,
                _ => {}
            }
        }
        if parents.len() > PARENTS_MAX {
            let sentence = format!("at most {PARENTS_MAX} parents can be asked for");
            return Err(Refusal::new(400, sentence));
        }
        if !parents.iter().chain(&object).all(|uuid| is_plain(uuid)) {
            return Err(Refusal::new(400, "object and parents must be paths of resources"));
        }
        if types.is_empty() {
            types = TYPES.map(classes).into_iter().flatten().collect();
        }
        let filter = Filter::classes(types);
        filter.check().map_err(|sentence| Refusal::new(400, sentence))?;
        let tag = format!("{};{}", object.unwrap_or_default(), parents.join(","));
        Ok(Self { filter, tag, since })
    }
}

/// Whether it can be a uuid: it is looked for in texts.
fn is_plain(uuid: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=64).contains(&uuid.len()) && uuid.bytes().all(is_legal)
}

fn kind(word: &str) -> Result<Vec<String>, Refusal> {
    let known = TYPES.contains(&word) || word == "nodecluster";
    known
        .then(|| classes(word))
        .ok_or_else(|| Refusal::new(400, format!("type must be of {}", TYPES.join(", "))))
}

/// The classes of the events about a kind of thing. Actions are jobs.
fn classes(kind: &str) -> Vec<String> {
    match kind {
        "action" => JOBS.map(str::to_owned).to_vec(),
        kind => vec![format!("{kind}.*")],
    }
}

/// What is told of a job that is an action.
const JOBS: [&str; 3] = ["job.queued", "job.started", "job.finished"];

fn since(text: &str) -> Result<Since, Refusal> {
    if text.is_empty() {
        return Ok(Since::Now);
    }
    if text == "oldest" {
        return Ok(Since::Oldest);
    }
    if let Ok(cursor) = text.parse() {
        return Ok(Since::Cursor(cursor));
    }
    let sentence = "since must be a cursor, oldest, or a moment such as 2016-02-01T16:47:28Z";
    text.parse().map(Since::Time).map_err(|_| Refusal::new(400, sentence))
}

/// How records look in this stream; the tag is [`Wish::tag`].
pub static STREAM: Wording = Wording { name: "dockercloud", event, gap };

/// What of an event's data counts here.
#[derive(Deserialize)]
struct Told {
    uuid: String,
    state: String,
    #[serde(default)]
    parents: Vec<String>,
}

/// Nothing is appended for what is not wanted, or is no event of these.
fn event(event: &Event, cursor: &Cursor, tag: &str, frames: &mut Vec<u8>) {
    let (kind, action) = event.class.as_str().split_once('.').unwrap_or_default();
    let (told, kind, action, subject) = if kind == "job" {
        let Some(told) = of_job(event) else { return };
        let action = if action == "queued" { "create" } else { "update" };
        let subject = uri("action", &told.uuid);
        (told, "action", action, subject)
    } else {
        let Ok(told) = event.data.read::<Told>() else { return };
        (told, kind, action, event.subject.clone())
    };
    if !is_wanted(&told, tag) {
        return;
    }
    let text = json!({
        "type": kind,
        "action": action,
        "parents": told.parents,
        "resource_uri": subject,
        "state": told.state,
        "uuid": told.uuid,
        // To the second, as the original had it; the cursor is exact.
        "datetime": format!("{}Z", event.time.to_string().get(..19).unwrap_or_default()),
        "cursor": cursor.to_string(),
        "message": event.message,
        "priority": event.priority.to_string(),
    });
    frame::text(frames, |out| out.extend_from_slice(text.to_string().as_bytes()));
}

/// What an event about a job says of the action that it is.
fn of_job(event: &Event) -> Option<Told> {
    let data = event.data.read::<serde_json::Value>().ok()?;
    let (uuid, state, parents) = told(&data["job"])?;
    Some(Told { uuid, state: state.to_owned(), parents })
}

fn is_wanted(told: &Told, tag: &str) -> bool {
    let (object, parents) = tag.split_once(';').unwrap_or((tag, ""));
    let is_parent = |wanted: &str| told.parents.iter().any(|parent| uuid_of(parent) == wanted);
    (object.is_empty() || told.uuid == object)
        && (parents.is_empty() || parents.split(',').any(is_parent))
}

/// There is no word for it in this protocol: whoever must know resumes with `since`.
fn gap(_: &Gap, _: &Cursor, _: &str, _: &mut Vec<u8>) {}

#[cfg(test)]
mod tests {
    use protocol::{Class, Json, Priority};
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    fn record() -> Event {
        Event {
            seq: Some(7),
            id: Uuid::from_u128(1),
            time: Time::from_micros(1_454_345_248_999_999),
            source: "containers".to_owned(),
            class: Class::parse("container.update").unwrap(),
            subject: "/api/app/v1/container/c-1/".to_owned(),
            priority: Priority::clamped(1),
            message: "web has started".to_owned(),
            data: Json::from(json!({"uuid": "c-1", "state": "Running", "name": "web",
                "parents": ["/api/app/v1/service/s-1/", "/api/infra/v1/node/n-1/"]})),
        }
    }

    fn said(tag: &str, event: &Event) -> Option<Value> {
        let mut frames = Vec::new();
        (STREAM.event)(event, &Cursor::after(Uuid::from_u128(2), 7), tag, &mut frames);
        let start = frames.iter().position(|byte| *byte == b'{')?;
        serde_json::from_slice(&frames[start..]).ok()
    }

    #[test]
    fn a_record_has_every_member_that_clients_decode() {
        let event = said(";", &record()).unwrap();
        for (member, value) in [
            ("type", json!("container")),
            ("action", json!("update")),
            ("state", json!("Running")),
            ("uuid", json!("c-1")),
            ("resource_uri", json!("/api/app/v1/container/c-1/")),
            ("datetime", json!("2016-02-01T16:47:28Z")),
            ("parents", json!(["/api/app/v1/service/s-1/", "/api/infra/v1/node/n-1/"])),
        ] {
            assert_eq!(event[member], value, "{member}");
        }
        assert_eq!(said(";", &Event { data: Json::default(), ..record() }), None);
    }

    #[test]
    fn a_job_that_changes_containers_is_an_action() {
        let mut event = record();
        event.class = Class::parse("job.finished").unwrap();
        let job = json!({
            "id": "0193655c-1111-8abc-8def-0123456789ab", "state": "done",
            "method": "containers/stop", "resource": "/services/s-1",
            "locks": ["/api/app/v1/service/s-1/", "/api/app/v1/stack/k-1/"],
        });
        event.data = Json::from(json!({ "job": job }));
        let action = said(";", &event).unwrap();
        let uuid = "0193655c-1111-4abc-8def-0123456789ab";
        for (member, value) in [
            ("type", json!("action")),
            ("action", json!("update")),
            ("state", json!("Success")),
            ("uuid", json!(uuid)),
            ("resource_uri", json!(format!("/api/audit/v1/action/{uuid}/"))),
            ("parents", json!(["/api/app/v1/service/s-1/", "/api/app/v1/stack/k-1/"])),
        ] {
            assert_eq!(action[member], value, "{member}");
        }
        assert!(said(";k-1", &event).is_some() && said(";k-2", &event).is_none());
        let other = json!({ "job": {"method": "snapshot/create", "state": "done"} });
        event.data = Json::from(other);
        assert_eq!(said(";", &event), None);
    }

    #[test]
    fn object_and_parents_leave_out_the_others() {
        let wish = |query: &str| Wish::read(query).unwrap();
        for (query, wanted) in [
            ("", true),
            ("object=/api/app/v1/container/c-1/", true),
            ("object=c-2", false),
            ("parents=/api/app/v1/service/s-1/,/api/app/v1/service/s-9/", true),
            ("parent=%2Fapi%2Fapp%2Fv1%2Fservice%2Fs-1%2F", true),
            ("parent=s-9", false),
            ("object=c-1&parent=s-9", false),
            ("object=c-1&parent=n-1", true),
        ] {
            assert_eq!(said(&wish(query).tag, &record()).is_some(), wanted, "{query}");
        }
    }

    #[test]
    fn types_are_classes_and_since_is_a_place() {
        let wish = Wish::read("type=container,action&type=node").unwrap();
        let jobs = ["container.*", "job.queued", "job.started", "job.finished", "node.*"];
        assert_eq!(wish.filter.classes, jobs);
        assert_eq!(Wish::read("").unwrap().filter.classes.len(), TYPES.len() - 1 + JOBS.len());
        assert_eq!(Wish::read("since=oldest").unwrap().since, Since::Oldest);
        let cursor = Cursor::after(Uuid::from_u128(2), 7);
        let query = format!("since={cursor}");
        assert_eq!(Wish::read(&query).unwrap().since, Since::Cursor(cursor));
        let moment = "2016-02-01T16:47:28Z".parse().unwrap();
        let query = "since=2016-02-01T16%3A47%3A28Z";
        assert_eq!(Wish::read(query).unwrap().since, Since::Time(moment));
        for bad in ["type=banana", "since=yesterday", "object=a%20b", "parents=a%0ab"] {
            assert_eq!(Wish::read(bad).unwrap_err().status, 400, "{bad}");
        }
    }
}
