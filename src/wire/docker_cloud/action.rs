//! What changes things: which call a request is, and how the job that it became looks as an action.
//!
//! An action is a job of one of the calls that change containers, whoever has asked for it and how.

use serde_json::{Value, json};
use uuid::{Builder, Uuid};

use super::route::Kind;
use super::{date, uri};

/// What can be done to containers, services and stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start what does not run.
    Start,
    /// Stop what runs.
    Stop,
    /// Replace by new ones.
    Redeploy,
    /// Have as many as was last asked for.
    Scale,
    /// Stop and remove.
    Terminate,
}

impl Verb {
    /// The verb at the end of a path.
    pub(super) fn read(word: &str) -> Option<Self> {
        Some(match word {
            "start" => Self::Start,
            "stop" => Self::Stop,
            "redeploy" => Self::Redeploy,
            "scale" => Self::Scale,
            _ => return None,
        })
    }

    /// The state of what it is done to, until it is done.
    pub const fn meanwhile(self) -> &'static str {
        match self {
            Self::Start => "Starting",
            Self::Stop => "Stopping",
            Self::Redeploy => "Redeploying",
            Self::Scale => "Scaling",
            Self::Terminate => "Terminating",
        }
    }
}

/// The call that a request asks for: the name of the plugin's method, and its arguments.
pub fn call(
    kind: Kind,
    uuid: &str,
    verb: Verb,
    reuse_volumes: Option<bool>,
) -> (&'static str, Value) {
    let mut args = json!({ kind.as_str(): uuid });
    let name = match verb {
        Verb::Start => "start",
        Verb::Stop => "stop",
        Verb::Redeploy => {
            args["reuse_volumes"] = reuse_volumes.unwrap_or(true).into();
            "redeploy"
        }
        Verb::Scale => "scale",
        Verb::Terminate => {
            args["force"] = true.into();
            // What nobody has said is to go stays.
            args["volumes"] = (reuse_volumes == Some(false)).into();
            "remove"
        }
    };
    (name, args)
}

/// What one action waits for until others are done: the paths of the object and of those it belongs
/// to, so that one for a stack waits for those of its services. `row` is what the plugin tells of it.
pub fn locks(kind: Kind, row: &Value) -> Vec<String> {
    let own = row["uuid"].as_str().map(|uuid| uri(kind.as_str(), uuid));
    let parent = |name: &str| row[name]["uuid"].as_str().map(|uuid| uri(name, uuid));
    [own, parent("service"), parent("stack")].into_iter().flatten().collect()
}

/// The uuid of a job's action. Jobs have uuids of version 8, and clients insist on version 4.
pub fn action_uuid(job: &str) -> Option<String> {
    versioned(job, 8, 4)
}

/// The job of an action, which may be named by the job's own uuid, too.
pub fn job_id(action: &str) -> Option<String> {
    versioned(action, 4, 8).or_else(|| versioned(action, 8, 8))
}

fn versioned(uuid: &str, from: usize, to: u8) -> Option<String> {
    let uuid = Uuid::try_parse(uuid).ok().filter(|uuid| uuid.get_version_num() == from)?;
    let mut bytes = *uuid.as_bytes();
    bytes[6] = bytes[6] & 0x0f | to << 4;
    Some(Builder::from_bytes(bytes).into_uuid().to_string())
}

/// What a job does: the verb and the kind of the object, and the path of that.
fn deed(job: &Value) -> Option<(String, Kind, String)> {
    let verb = match job["method"].as_str()? {
        "sysadm/containers" => job["action"].as_str()?,
        method => method.strip_prefix("containers/")?,
    };
    let known =
        ["start", "stop", "restart", "kill", "pause", "unpause", "remove", "redeploy", "scale"];
    if !known.contains(&verb) {
        return None;
    }
    let (kinds, object) = job["resource"].as_str()?.trim_start_matches('/').split_once('/')?;
    let kind = [Kind::Container, Kind::Service, Kind::Stack]
        .into_iter()
        .find(|kind| kinds.strip_suffix('s') == Some(kind.as_str()))?;
    let verb = if verb == "remove" { "terminate" } else { verb };
    Some((verb.to_owned(), kind, uri(kind.as_str(), object)))
}

/// The word for a job's state. An aborted one has failed: clients of the original wait for ever for
/// what was cancelled.
fn state(job: &Value) -> &'static str {
    match job["state"].as_str().unwrap_or_default() {
        "queued" => "Pending",
        "running" => "In progress",
        "done" => "Success",
        _ => "Failed",
    }
}

/// A job as an action; `None` when it is none.
pub fn action(job: &Value) -> Option<Value> {
    let (verb, kind, object) = deed(job)?;
    let uuid = action_uuid(job["id"].as_str()?)?;
    let (state, has_ended) = (state(job), !job["ended"].is_null());
    let title = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    let (method, path) = match verb.as_str() {
        "terminate" => ("DELETE", object.clone()),
        verb => ("POST", format!("{object}{verb}/")),
    };
    let begun = if job["started"].is_null() { &job["created"] } else { &job["started"] };
    Some(json!({
        "uuid": uuid,
        "resource_uri": uri("action", &uuid),
        "action": format!("{} {}", title(kind.as_str()), title(&verb)),
        "object": object,
        "state": state,
        "start_date": date(begun),
        "end_date": date(&job["ended"]),
        "method": method,
        "path": path,
        "user": job["actor"],
        "user_agent": "",
        "ip": "",
        "location": "",
        "body": "",
        "is_user_action": true,
        "can_be_canceled": !has_ended && job["abort_asked"] != true,
        "can_be_retried": has_ended && state == "Failed",
        "error": job["error"]["message"],
    }))
}

/// What the stream tells of a job: the action's uuid and state, and the paths of its object and of
/// those that belongs to.
pub(super) fn told(job: &Value) -> Option<(String, &'static str, Vec<String>)> {
    let (_, _, object) = deed(job)?;
    let uuid = action_uuid(job["id"].as_str()?)?;
    let locks = job["locks"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let others = locks.filter(|lock| lock.starts_with("/api/app/v1/") && *lock != object);
    let parents = std::iter::once(object.clone()).chain(others.map(str::to_owned)).collect();
    Some((uuid, state(job), parents))
}

/// How many containers the body of a request asks for.
///
/// # Errors
/// What is wrong with it.
pub fn target(body: &[u8]) -> Result<u64, String> {
    let wanted: Value =
        serde_json::from_slice(body).map_err(|_| "the body is no JSON".to_owned())?;
    let target = &wanted["target_num_containers"];
    match target.as_u64() {
        Some(target) => Ok(target),
        None if target.is_null() => {
            Err("only target_num_containers can be changed here".to_owned())
        }
        None => Err("target_num_containers must be a whole number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOB: &str = "0193655c-1111-8abc-8def-0123456789ab";
    const ACTION: &str = "0193655c-1111-4abc-8def-0123456789ab";

    fn job(state: &str, ended: &Value) -> Value {
        json!({
            "id": JOB, "state": state, "method": "containers/redeploy", "action": null,
            "resource": "/services/s-1", "actor": "token:ci", "abort_asked": false,
            "created": "2014-10-13T11:01:43.5Z", "started": null, "ended": ended,
            "locks": ["/api/app/v1/service/s-1/", "/api/app/v1/stack/k-1/"], "error": null,
        })
    }

    #[test]
    fn a_job_is_an_action_with_every_member_that_clients_read() {
        let action = action(&job("queued", &Value::Null)).unwrap();
        for (member, wanted) in [
            ("uuid", json!(ACTION)),
            ("resource_uri", json!(format!("/api/audit/v1/action/{ACTION}/"))),
            ("action", json!("Service Redeploy")),
            ("object", json!("/api/app/v1/service/s-1/")),
            ("state", json!("Pending")),
            ("start_date", json!("Mon, 13 Oct 2014 11:01:43 +0000")),
            ("end_date", Value::Null),
            ("path", json!("/api/app/v1/service/s-1/redeploy/")),
            ("can_be_canceled", json!(true)),
        ] {
            assert_eq!(action[member], wanted, "{member}");
        }
        for member in ["ip", "location", "user", "user_agent", "method", "body", "is_user_action"] {
            assert!(!action[member].is_null(), "{member}");
        }
        let ended = json!("2014-10-13T11:02:00Z");
        for (state, word, again) in
            [("done", "Success", false), ("failed", "Failed", true), ("aborted", "Failed", true)]
        {
            let action = super::action(&job(state, &ended)).unwrap();
            assert_eq!(
                (&action["state"], &action["can_be_retried"]),
                (&json!(word), &json!(again))
            );
            assert_eq!(action["can_be_canceled"], false);
        }
        let parents = told(&job("running", &Value::Null)).unwrap().2;
        assert_eq!(parents, ["/api/app/v1/service/s-1/", "/api/app/v1/stack/k-1/"]);
        for method in ["snapshot/create", "containers/logs"] {
            let mut other = job("done", &Value::Null);
            other["method"] = method.into();
            assert_eq!(super::action(&other), None, "{method}");
        }
    }

    #[test]
    fn a_request_is_one_call() {
        let called = |verb, reuse| call(Kind::Service, "s-1", verb, reuse);
        assert_eq!(called(Verb::Stop, None), ("stop", json!({"service": "s-1"})));
        let (_, args) = called(Verb::Redeploy, None);
        assert_eq!(args["reuse_volumes"], true);
        let (name, args) = called(Verb::Terminate, None);
        assert_eq!(
            (name, &args["volumes"], &args["force"]),
            ("remove", &json!(false), &json!(true))
        );
        assert_eq!(called(Verb::Terminate, Some(false)).1["volumes"], true);
        assert_eq!(target(b"{\"target_num_containers\":3}"), Ok(3));
        for bad in
            ["", "[]", "{}", "{\"target_num_containers\":-1}", "{\"target_num_containers\":\"3\"}"]
        {
            assert!(target(bad.as_bytes()).is_err(), "{bad}");
        }
        let row = json!({"uuid": "c-1", "service": {"uuid": "s-1"}, "stack": null});
        let wanted = ["/api/app/v1/container/c-1/", "/api/app/v1/service/s-1/"];
        assert_eq!(locks(Kind::Container, &row), wanted);
    }

    proptest! {
        #[test]
        fn an_actions_uuid_leads_back_to_its_job(bits: u128) {
            let job = Builder::from_custom_bytes(bits.to_be_bytes()).into_uuid().to_string();
            let action = action_uuid(&job).unwrap();
            prop_assert_eq!(Uuid::parse_str(&action).unwrap().get_version_num(), 4);
            prop_assert_eq!(job_id(&action), Some(job));
            prop_assert_eq!(action_uuid(&action), None);
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,40}") {
            job_id(&text);
            target(text.as_bytes()).ok();
            action(&json!({"id": text, "method": text, "resource": text}));
        }
    }
}
