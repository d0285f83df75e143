//! Triggers: what a request asks of them, and how they are told.

use protocol::Time;
use serde_json::{Value, json};

use super::list::Filters;
use super::{Refusal, uri};

/// Where triggers are, with `{uuid}` for a service's, `{trigger}` for the secret and `{end}` for a
/// number, or for what was begun. Each may have a namespace, more slashes than one, and none at the end.
pub const TRIGGER_PATHS: [&str; 6] = [
    "/api/app/v1/service/{uuid}/trigger/",
    "/api/app/v1/service/{uuid}/trigger/{trigger}/",
    "/api/app/v1/service/{uuid}/trigger/{trigger}/call/",
    "/api/app/v1/service/{uuid}/trigger/{trigger}/call/{end}/",
    "/api/app/v1/trigger/{trigger}/call/",
    "/api/app/v1/trigger/{trigger}/call/{end}/",
];
/// Seconds a call waits for its end at most: less than what proxies give up after.
const WAIT_S_MAX: u64 = 60;

/// What is asked of triggers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerAsked {
    /// Those of a service.
    List {
        /// Of which service.
        service: String,
        /// Which, and which page.
        filters: Filters,
    },
    /// A new one.
    Create {
        /// For which service.
        service: String,
    },
    /// One of them.
    Show {
        /// Of which service.
        service: String,
        /// Its secret.
        trigger: String,
    },
    /// That it is no more.
    Delete {
        /// Of which service.
        service: String,
        /// Its secret.
        trigger: String,
    },
    /// That it is called, by whoever has its URL.
    Call {
        /// The service in the URL, if one is there.
        service: Option<String>,
        /// Its secret.
        trigger: String,
        /// What stands at the end.
        number: Option<String>,
        /// Seconds to wait for the end.
        wait_s: u64,
        /// Whether only is said what would be done.
        dry_run: bool,
    },
    /// What came of a call.
    Status {
        /// The service in the URL, if one is there.
        service: Option<String>,
        /// Its secret.
        trigger: String,
        /// What was begun.
        run: String,
        /// Seconds to wait for the end.
        wait_s: u64,
    },
}

/// What a request asks of triggers; `None` when its path is not theirs.
pub fn read_trigger(
    method: &str,
    path: &str,
    query: Option<&str>,
) -> Option<Result<TriggerAsked, Refusal>> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let ["api", "app", "v1", ref rest @ ..] = segments[..] else { return None };
    let query = query.unwrap_or_default();
    // The resource may have a namespace before it, which is nobody's here.
    of(method, rest, query).or_else(|| of(method, rest.get(1..)?, query))
}

fn of(method: &str, rest: &[&str], query: &str) -> Option<Result<TriggerAsked, Refusal>> {
    let asked = match *rest {
        ["service", service, "trigger"] => many(method, service, query),
        ["service", service, "trigger", trigger] => one(method, service, trigger),
        ["service", service, "trigger", trigger, "call"] => {
            call(method, (Some(service), trigger), None, query)
        }
        ["service", service, "trigger", trigger, "call", end] => {
            call(method, (Some(service), trigger), Some(end), query)
        }
        ["trigger", trigger, "call"] => call(method, (None, trigger), None, query),
        ["trigger", trigger, "call", end] => call(method, (None, trigger), Some(end), query),
        _ => return None,
    };
    Some(asked)
}

fn many(method: &str, service: &str, query: &str) -> Result<TriggerAsked, Refusal> {
    let service = service.to_owned();
    match method {
        "GET" => Ok(TriggerAsked::List { service, filters: Filters::read(query)? }),
        "POST" => Ok(TriggerAsked::Create { service }),
        _ => Err(only("GET, POST, OPTIONS", method)),
    }
}

fn one(method: &str, service: &str, trigger: &str) -> Result<TriggerAsked, Refusal> {
    let (service, trigger) = (service.to_owned(), trigger.to_owned());
    match method {
        "GET" => Ok(TriggerAsked::Show { service, trigger }),
        "DELETE" => Ok(TriggerAsked::Delete { service, trigger }),
        _ => Err(only("GET, DELETE, OPTIONS", method)),
    }
}

fn call(
    method: &str,
    (service, trigger): (Option<&str>, &str),
    end: Option<&str>,
    query: &str,
) -> Result<TriggerAsked, Refusal> {
    let (service, trigger) = (service.map(str::to_owned), trigger.to_owned());
    let (wait_s, dry_run) = options(query)?;
    match (method, end) {
        ("POST", end) => {
            let number = end.map(str::to_owned);
            Ok(TriggerAsked::Call { service, trigger, number, wait_s, dry_run })
        }
        // To look at the URL of a call must never call: a number is just no run.
        ("GET", Some(run)) => {
            Ok(TriggerAsked::Status { service, trigger, run: run.to_owned(), wait_s })
        }
        _ => Err(only("POST, OPTIONS", method)),
    }
}

/// What the part behind the question mark asks for.
fn options(query: &str) -> Result<(u64, bool), Refusal> {
    let (mut wait_s, mut dry_run) = (0, false);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "wait" => {
                let seconds = value.parse().ok().filter(|seconds| *seconds <= WAIT_S_MAX);
                wait_s = seconds.ok_or_else(|| {
                    Refusal::new(
                        400,
                        format!("wait must be a whole number of seconds up to {WAIT_S_MAX}"),
                    )
                })?;
            }
            "dry_run" => {
                dry_run = !matches!(&*value.to_ascii_lowercase(), "" | "0" | "false" | "no");
            }
            _ => {}
        }
    }
    Ok((wait_s, dry_run))
}

fn only(allow: &'static str, method: &str) -> Refusal {
    match method {
        "OPTIONS" => Refusal { allow: Some(allow), ..Refusal::new(200, "") },
        _ => Refusal { allow: Some(allow), ..Refusal::new(405, "this cannot be done here") },
    }
}

/// What is told of a trigger.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it does.
    pub operation: &'a str,
    /// Where it is.
    pub path: &'a str,
    /// Its secret.
    pub secret: &'a str,
}

/// A trigger as its clients read it.
pub fn trigger(told: &Told<'_>) -> Value {
    let Told { name, operation, path, secret } = told;
    json!({
        "name": name, "operation": operation, "uuid": secret, "resource_uri": path,
        "url": format!("{path}call/"),
    })
}

/// What was begun because a trigger was called.
#[derive(Debug, Clone, Copy)]
pub struct Begun<'a> {
    /// Its identity.
    pub id: &'a str,
    /// `pending`, `running`, `done`, `failed` or `cancelled`.
    pub state: &'a str,
    /// When it was asked for.
    pub created: Time,
    /// When it ended.
    pub ended: Option<Time>,
    /// Why it did not work.
    pub error: Option<&'a str>,
}

/// The state of an action, in this API's word.
pub(super) fn action_state(state: &str) -> &'static str {
    match state {
        "pending" => "Pending",
        "running" => "In progress",
        "done" => "Success",
        "cancelled" => "Canceled",
        _ => "Failed",
    }
}

/// What was begun because a trigger was called, as an action.
pub(super) fn action(run: &Value) -> Value {
    let text = |name: &str| run[name].as_str().unwrap_or_default();
    let (id, trigger) = (text("id"), text("trigger"));
    let state = action_state(text("state"));
    let what = match text("operation") {
        "REDEPLOY" => "Service Redeploy",
        "SCALEUP" => "Service Scale",
        other => other,
    };
    // Its URL is a secret, so it is named by what is none.
    let object = match run["service"].as_str() {
        Some(service) => uri("service", service),
        None => format!("/api/app/v1/trigger/{trigger}/"),
    };
    json!({
        "uuid": id, "resource_uri": uri("action", id), "name": text("operation"), "action": what,
        "object": object, "state": state, "start_date": super::date(&run["created"]),
        "end_date": super::date(&run["ended"]), "ip": run["peer"], "location": Value::Null,
        "method": "POST", "path": "/trigger/call/", "user": format!("trigger:{trigger}"),
        "user_agent": run["user_agent"], "is_user_action": false, "can_be_canceled": false,
        "can_be_retried": false, "body": Value::Null, "error": run["error"]["message"],
        "job": run["job"],
    })
}

/// What was begun, as it is told to whoever has the URL.
pub fn begun(object: &mut Value, path: &str, begun: &Begun<'_>) {
    let Begun { id, state, created, ended, error } = begun;
    object["action"] = json!({
        "uuid": id, "state": action_state(state), "start_date": super::date(&created.to_string().into()),
        "end_date": ended.map_or(Value::Null, |ended| super::date(&ended.to_string().into())),
        "error": error,
    });
    object["action_uri"] = uri("action", id).into();
    object["status_uri"] = format!("{path}call/{id}/").into();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(method: &str, path: &str) -> Result<TriggerAsked, Refusal> {
        read_trigger(method, path, None).expect("a path of triggers")
    }

    #[test]
    fn slashes_and_namespaces_make_no_difference() {
        for path in [
            "/api/app/v1/service/U/trigger/T/call/",
            "/api/app/v1/service/U//trigger/T/call",
            "//api/app/v1/me/service/U/trigger/T//call//",
        ] {
            let Ok(TriggerAsked::Call { service, trigger, number, .. }) = asked("POST", path)
            else {
                panic!("{path}")
            };
            assert_eq!((service.as_deref(), trigger.as_str(), number), (Some("U"), "T", None));
        }
        let Ok(TriggerAsked::Call { number, service, .. }) =
            asked("POST", "/api/app/v1/trigger/T/call/-7/")
        else {
            panic!("a call")
        };
        assert_eq!((number.as_deref(), service), (Some("-7"), None));
        for other in [
            "/api/app/v1/service/U/",
            "/api/app/v1/trigger/",
            "/api/app/v1/a/b/trigger/T/call",
            "/v1",
        ] {
            assert!(read_trigger("GET", other, None).is_none(), "{other}");
        }
    }

    #[test]
    fn to_look_never_calls() {
        let run = "8e19bc92-173a-4c3a-a321-45f69bf3ca1f";
        for path in TRIGGER_PATHS {
            let path = path.replace("{end}", run);
            for method in ["GET", "HEAD", "PUT", "PATCH", "OPTIONS"] {
                let asked = asked(method, &path);
                assert!(!matches!(asked, Ok(TriggerAsked::Call { .. })), "{method} {path}");
            }
        }
        assert_eq!(asked("GET", "/api/app/v1/service/U/trigger/T/call/").unwrap_err().status, 405);
        assert!(matches!(
            asked("GET", &format!("/api/app/v1/service/U/trigger/T/call/{run}/")),
            Ok(TriggerAsked::Status { .. })
        ));
    }

    #[test]
    fn what_stands_behind_the_question_mark_is_read_or_refused() {
        let of = |query| match read_trigger("POST", "/api/app/v1/trigger/T/call/", Some(query))
            .unwrap()
        {
            Ok(TriggerAsked::Call { wait_s, dry_run, .. }) => Some((wait_s, dry_run)),
            _ => None,
        };
        assert_eq!(of("wait=60&dry_run=1&other=x"), Some((60, true)));
        assert_eq!(of("dry_run=False"), Some((0, false)));
        assert_eq!(of("wait=61"), None);
        assert_eq!(of("wait=-1"), None);
    }

    #[test]
    fn what_was_begun_is_an_action_with_every_member_that_clients_read() {
        let run = json!({
            "id": "8e19bc92-173a-4c3a-a321-45f69bf3ca1f", "trigger": "T", "state": "failed",
            "operation": "REDEPLOY", "service": "S", "created": "2014-10-13T11:01:43Z",
            "peer": "192.0.2.1", "error": {"message": "why"},
        });
        let action = action(&run);
        assert_eq!(action["object"], "/api/app/v1/service/S/");
        assert_eq!(action["start_date"], "Mon, 13 Oct 2014 11:01:43 +0000");
        assert_eq!((&action["state"], &action["error"]), (&json!("Failed"), &json!("why")));
        for member in ["end_date", "ip", "location", "user_agent", "body", "method", "path", "user"]
        {
            assert!(action.get(member).is_some(), "{member}");
        }
        assert_eq!(action_state("cancelled"), "Canceled");
    }

    proptest! {
        #[test]
        fn any_path_is_read_or_not(
            method in "(GET|POST|DELETE|PUT)",
            path in "(/|api|app|v1|service|trigger|call|[a-z0-9]{1,3}){0,14}", query in ".{0,40}",
        ) {
            if let Some(Err(refusal)) = read_trigger(&method, &path, Some(&query)) {
                prop_assert!((400..500).contains(&refusal.status));
            }
        }
    }
}
