//! What the plugin says about what happened. Pure: changes in, drafts and alerts out.

use sdk::{ALERT_TEXT_BYTES_MAX, Clear, Draft, Fault, Json, Priority, Raise, Value, json};
use uuid::Uuid;

use crate::container::{Container, Phase, State};
use crate::group::{Place, Service, Stack};
use crate::identity;
use crate::model::{Change, Why};

/// Where things are, as Docker Cloud's clients write it.
pub(crate) fn uri(kind: &str, uuid: Uuid) -> String {
    match kind {
        "node" | "nodecluster" => format!("/api/infra/v1/{kind}/{uuid}/"),
        _ => format!("/api/app/v1/{kind}/{uuid}/"),
    }
}

/// What a change is called in an event's class: something came, changed or went.
const fn verb(why: Why) -> &'static str {
    match why {
        Why::Created => "create",
        Why::Removed => "delete",
        _ => "update",
    }
}

/// How urgent a change is.
fn priority(change: &Change) -> u8 {
    let it = &change.container;
    match change.why {
        Why::StartFailed | Why::LeftDown | Why::Stopped { expected: true, .. } => 7,
        Why::Stopped { .. } if it.oom => 7,
        Why::Stopped { repeated: false, .. } if it.state() == State::StoppedWithErrors => 4,
        Why::Paused => 4,
        Why::Unhealthy => 5,
        _ => 1,
    }
}

fn sentence(change: &Change) -> String {
    let it = &change.container;
    let name = &it.name;
    let code = it.exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
    let unseen = if change.reconciled { ", which no event has told" } else { "" };
    let what = match change.why {
        Why::Created => format!("{name} is there, of the image {}", it.image),
        Why::NotStarted => format!("{name} was made and not started"),
        Why::Started => format!("{name} has started"),
        Why::StartFailed => format!("{name} cannot be started: {}", it.error),
        Why::Stopping => format!("{name} was asked to end"),
        Why::StillRuns => format!("{name} was asked to end and still runs"),
        Why::Stopped { .. } if it.oom => format!("{name} ended{code}: it had no more memory"),
        Why::Stopped { expected: true, .. } => format!("{name} ended{code}, and should run"),
        Why::Stopped { .. } if it.requested => format!("{name} was stopped"),
        Why::Stopped { .. } => format!("{name} ended{code}"),
        Why::LeftDown => {
            format!("{name} ran before the engine was stopped, and was not started again")
        }
        Why::Restarted => format!("{name} was started anew"),
        Why::Paused => format!("{name} was paused"),
        Why::Unpaused => format!("{name} goes on after a pause"),
        Why::Renamed => format!("{name} has a new name"),
        Why::Removed => format!("{name} was removed"),
        Why::Healthy => format!("{name} is well, says its check"),
        Why::Unhealthy => format!("{name} is not well, says its check"),
        Why::Flaps => format!("{name} ends again and again"),
        Why::Calm => format!("{name} does not end again and again any more"),
    };
    format!("{what}{unseen}")
}

/// The event about a container.
pub(crate) fn container(place: &Place, change: &Change) -> Result<Draft, Fault> {
    let it = &change.container;
    let uuid = identity::of_container(&it.id);
    let (service, service_name) = place.service_of(it);
    let stack = place.stack_of(it);
    let mut parents = vec![uri("service", service)];
    parents.extend(stack.as_ref().map(|(uuid, _)| uri("stack", *uuid)));
    parents.extend([uri("node", place.node()), uri("nodecluster", place.cluster())]);
    let mut data = json!({
        "uuid": uuid, "name": it.name, "state": it.state().as_str(), "parents": parents,
        "engine": place.engine, "id": it.id, "image": it.image, "service": service_name,
    });
    let mut put = |name: &str, value: Value| data[name] = value;
    if let Some((_, stack)) = stack {
        put("stack", stack.into());
    }
    if let Some(code) = it.exit_code {
        put("exit_code", code.into());
    }
    if let Some(health) = it.health {
        put("health", json!(health));
    }
    if it.phase == Phase::Paused {
        put("engine_state", "paused".into());
    }
    if change.reconciled {
        put("reconciled", true.into());
    }
    let class = format!("container.{}", verb(change.why));
    draft(&class, uri("container", uuid), priority(change), (sentence(change), data))
}

/// The event about a service: it came, is in another state, or went.
pub(crate) fn service(
    verb: &str,
    service: &Service,
    state: &str,
    parents: &Place,
) -> Result<Draft, Fault> {
    let of: Vec<String> = service.stack.iter().map(|(uuid, _)| uri("stack", *uuid)).collect();
    let data = json!({
        "uuid": service.uuid, "name": service.name, "state": state, "parents": of,
        "engine": parents.engine, "running": service.running, "containers": service.containers.len(),
    });
    let sentence = format!("service {} is {}", service.name, state.to_lowercase());
    draft(&format!("service.{verb}"), uri("service", service.uuid), 1, (sentence, data))
}

/// The event about a stack.
pub(crate) fn stack(verb: &str, stack: &Stack, state: &str, place: &Place) -> Result<Draft, Fault> {
    let data = json!({
        "uuid": stack.uuid, "name": stack.name, "state": state, "parents": [],
        "engine": place.engine, "services": stack.services.len(),
    });
    let sentence = format!("stack {} is {}", stack.name, state.to_lowercase());
    draft(&format!("stack.{verb}"), uri("stack", stack.uuid), 1, (sentence, data))
}

/// The event about an engine: it can be reached or not; `found` differences were found after a gap.
pub(crate) fn node(place: &Place, up: bool, found: Option<usize>) -> Result<Draft, Fault> {
    let state = if up { "Deployed" } else { "Unreachable" };
    let engine = &place.engine;
    let data = json!({
        "uuid": place.node(), "name": engine, "state": state, "engine": engine,
        "parents": [uri("nodecluster", place.cluster())], "found": found,
    });
    let (sentence, priority) = match (up, found) {
        (true, None) => (format!("the engine {engine} is heard"), 1),
        (true, Some(found)) => {
            (format!("the engine {engine} is heard again; {found} things had changed unheard"), 5)
        }
        (false, _) => (format!("the engine {engine} is not heard"), 1),
    };
    draft("node.update", uri("node", place.node()), priority, (sentence, data))
}

/// What a redeploy of a container has come to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Redeployed<'a> {
    /// It is new; the ids of its image before and now.
    Done { from: &'a str, to: &'a str },
    /// It was cut off when the new one had taken over already, and was finished later.
    Finished,
    /// It did not work, and the old one is as it was.
    RolledBack { why: &'a str },
    /// It did not work, and cannot be put back or finished.
    Stuck { why: &'a str },
}

/// The event about a redeploy.
pub(crate) fn redeployed(
    place: &Place,
    (name, service): (&str, Uuid),
    what: Redeployed<'_>,
) -> Result<Draft, Fault> {
    let mut data = json!({
        "name": name, "engine": place.engine, "parents": [uri("service", service)],
    });
    let (class, priority, sentence) = match what {
        Redeployed::Done { from, to } => {
            data["image"] = json!({ "from": from, "to": to });
            ("redeploy.done", 1, format!("{name} was redeployed"))
        }
        Redeployed::Finished => (
            "redeploy.done",
            1,
            format!("{name} was redeployed; the plugin had been ended meanwhile"),
        ),
        Redeployed::RolledBack { why } => (
            "redeploy.rolled-back",
            4,
            format!("{name} was not redeployed and is as it was: {why}"),
        ),
        Redeployed::Stuck { why } => (
            "redeploy.failed",
            9,
            format!("{name} was not redeployed, and somebody has to look: {why}"),
        ),
    };
    draft(class, uri("service", service), priority, (sentence, data))
}

fn draft(
    class: &str,
    subject: String,
    priority: u8,
    (message, data): (String, Value),
) -> Result<Draft, Fault> {
    let mut draft = Draft::new(sdk::class(class)?);
    (draft.subject, draft.message) = (subject, within(&message));
    draft.priority = Some(Priority::clamped(priority));
    draft.data = data.into();
    Ok(draft)
}

/// What is wrong with a container, if it has begun or ended with this change: the kind, and whether
/// it has begun.
pub(crate) fn alerts(change: &Change) -> Vec<(&'static str, bool)> {
    match change.why {
        Why::Flaps => vec![(FLAPPING, true)],
        Why::Calm => vec![(FLAPPING, false)],
        Why::Unhealthy => vec![(UNHEALTHY, true)],
        Why::Healthy | Why::Started | Why::Restarted | Why::Stopped { .. } => {
            vec![(UNHEALTHY, false)]
        }
        Why::Removed => vec![(UNHEALTHY, false), (FLAPPING, false)],
        _ => Vec::new(),
    }
}

pub(crate) const FLAPPING: &str = "containers.flapping";
pub(crate) const UNHEALTHY: &str = "containers.unhealthy";
pub(crate) const SERVICE_DOWN: &str = "containers.service-down";
pub(crate) const UNREACHABLE: &str = "containers.engine-unreachable";

/// Something is wrong with a container.
pub(crate) fn raise(kind: &str, it: &Container) -> Result<Raise, Fault> {
    let message = match kind {
        FLAPPING => format!("{} ends again and again", it.name),
        _ => format!("{} is not well, says its check", it.name),
    };
    raised(kind, uri("container", identity::of_container(&it.id)), &message)
}

/// Something is wrong.
pub(crate) fn raised(kind: &str, subject: String, message: &str) -> Result<Raise, Fault> {
    let message = within(message);
    let (priority, advice, value, data) = (None, String::new(), None, Json::default());
    Ok(Raise { kind: sdk::class(kind)?, subject, priority, message, advice, value, data })
}

/// It is over.
pub(crate) fn over(kind: &str, subject: String) -> Result<Clear, Fault> {
    Ok(Clear { kind: sdk::class(kind)?, subject })
}

/// As much of a text as an alert may hold; what an engine says of an error has no bound.
fn within(text: &str) -> String {
    let most = text.len().min(ALERT_TEXT_BYTES_MAX);
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(why: Why, code: Option<i64>) -> Change {
        let mut container = Container::new(&"ab".repeat(32), "web", "image");
        (container.phase, container.exit_code) = (Phase::Exited, code);
        Change { container, why, reconciled: false }
    }

    #[test]
    fn the_first_end_with_errors_is_a_warning_and_the_next_ones_are_not() {
        let stopped = |repeated, expected| Why::Stopped { repeated, expected };
        assert_eq!(priority(&change(stopped(false, false), Some(5))), 4);
        assert_eq!(priority(&change(stopped(true, false), Some(5))), 1);
        assert_eq!(priority(&change(stopped(false, false), Some(0))), 1);
        assert_eq!(priority(&change(stopped(false, true), Some(0))), 7);
        assert_eq!(priority(&change(Why::StartFailed, None)), 7);
        assert_eq!(priority(&change(Why::Started, None)), 1);
        let mut oom = change(stopped(false, false), Some(137));
        oom.container.oom = true;
        assert_eq!(priority(&oom), 7);
    }

    #[test]
    fn an_event_holds_what_docker_clouds_clients_need() {
        let place = Place { installation: "i".to_owned(), engine: "docker".to_owned() };
        let mut change = change(Why::Removed, None);
        change.container.phase = Phase::Gone;
        change.reconciled = true;
        let draft = container(&place, &change).unwrap();
        assert_eq!(draft.class.as_str(), "container.delete");
        let data: Value = draft.data.read().unwrap();
        assert_eq!((&data["state"], &data["reconciled"]), (&json!("Terminated"), &json!(true)));
        assert_eq!(data["parents"].as_array().unwrap().len(), 3);
        let uuid = data["uuid"].as_str().unwrap();
        assert_eq!(draft.subject, format!("/api/app/v1/container/{uuid}/"));
    }
}
