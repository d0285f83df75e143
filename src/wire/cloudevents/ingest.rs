//! What a client brings as an event to be fired.

use protocol::event::TEXT_BYTES_MAX;
use protocol::{Class, Fault, Priority};
use serde_json::{Value, json};

use super::envelope::{Attribute, CloudEvent, Data};
use super::record::priority_of_severity;

/// The family of classes that clients may fire.
const FAMILY: &str = "user";
/// The class of what has a `type` that can be no class.
const UNNAMED: &str = "user.cloudevent";

/// The arguments of `events/fire` for this event; the whole of it becomes their `data`.
///
/// # Errors
/// `bad-request` when its data is nested too deeply or its priority is none.
pub fn fire_args(event: &CloudEvent) -> Result<Value, Fault> {
    let data: Value = serde_json::from_str(&event.text())
        .map_err(|_| Fault::bad_request("the event's \"data\" is nested too deeply"))?;
    let mut args = json!({
        "class": class(&event.kind),
        "subject": event.subject.as_deref().unwrap_or_default(),
        "message": message(event),
        "data": data,
    });
    if let Some(priority) = priority(event)? {
        args["priority"] = priority.number().into();
    }
    Ok(args)
}

/// A fault that names the element of a batch it is about.
pub fn at(place: usize, fault: &Fault) -> Fault {
    Fault { message: format!("element {place}: {}", fault.message), ..fault.clone() }
        .with_details(json!({ "element": place }))
}

/// The class of a `type`: itself when clients may fire it, else itself below `user`.
fn class(kind: &str) -> String {
    let lower = kind.to_lowercase();
    let own = lower == FAMILY || lower.starts_with("user.");
    let below = if own { lower } else { format!("{FAMILY}.{lower}") };
    Class::parse(&below).map_or_else(|_| UNNAMED.to_owned(), |class| class.as_str().to_owned())
}

/// What people are told: what the data says to them, or what came from where.
fn message(event: &CloudEvent) -> String {
    let said = match &event.data {
        Some(Data::Json(data)) if data.text().starts_with('{') => data.read::<Value>().ok(),
        _ => None,
    };
    let said = said.as_ref().and_then(|data| data["message"].as_str());
    if let Some(said) = said.filter(|said| said.len() <= TEXT_BYTES_MAX) {
        return said.to_owned();
    }
    let mut sentence = format!("{} from {}", event.kind, event.source);
    sentence.truncate(sentence.floor_char_boundary(TEXT_BYTES_MAX));
    sentence
}

fn priority(event: &CloudEvent) -> Result<Option<Priority>, Fault> {
    let number = |name: &str| match event.extensions.get(name) {
        None => Ok(None),
        Some(Attribute::Integer(number)) => Ok(Some(*number)),
        // In binary mode every value is a text.
        Some(Attribute::Text(text)) => text.parse().map(Some).map_err(|_| not_a_number(name)),
        Some(Attribute::Boolean(_)) => Err(not_a_number(name)),
    };
    if let Some(number) = number("sadpriority")? {
        let priority = u8::try_from(number).ok().and_then(Priority::new);
        let from_0_to_10 =
            || Fault::bad_request("the event's \"sadpriority\" must be from 0 to 10");
        return priority.map(Some).ok_or_else(from_0_to_10);
    }
    Ok(number("severitynumber")?.map(priority_of_severity))
}

fn not_a_number(name: &str) -> Fault {
    Fault::bad_request(format!("the event's {name:?} must be a whole number"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parse;
    use super::super::tests::any_cloud_event;
    use super::*;

    fn fired(members: &Value) -> Value {
        let mut event = json!({"specversion": "1.0", "id": "1", "source": "/ci", "type": "Done"});
        event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let args = fire_args(&parse(&event.to_string()).unwrap()).unwrap();
        assert_eq!(args["data"], event, "all of it is kept");
        args
    }

    #[test]
    fn a_type_becomes_a_class_that_clients_may_fire() {
        let long = "a".repeat(60);
        for (kind, class) in [
            ("user.deploy.done", "user.deploy.done"),
            ("User.Deploy", "user.deploy"),
            ("com.github.push", "user.com.github.push"),
            ("daemon.started", "user.daemon.started"),
            ("user", "user"),
            ("users.x", "user.users.x"),
            ("a type", "user.cloudevent"),
            ("9lives", "user.cloudevent"),
            (&long, "user.cloudevent"),
        ] {
            assert_eq!(super::class(kind), class);
        }
    }

    #[test]
    fn priority_subject_and_message_are_found_where_others_put_them() {
        let args = fired(&json!({"subject": "/x", "sadpriority": 7, "severitynumber": 1,
            "data": {"message": "Built", "n": 1}, "other": true}));
        assert_eq!((&args["subject"], &args["priority"]), (&json!("/x"), &json!(7)));
        assert_eq!((&args["message"], &args["class"]), (&json!("Built"), &json!("user.done")));
        let args = fired(&json!({"severitynumber": 21, "data": [1]}));
        assert_eq!((&args["priority"], &args["message"]), (&json!(9), &json!("Done from /ci")));
        assert_eq!(fired(&json!({"data": "x"})).get("priority"), None);
        for bad in [
            json!({"sadpriority": 11}),
            json!({"sadpriority": -1}),
            json!({"sadpriority": "x"}),
            json!({"severitynumber": true}),
        ] {
            let mut event = json!({"specversion": "1.0", "id": "1", "source": "/", "type": "t"});
            event.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
            assert!(fire_args(&parse(&event.to_string()).unwrap()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_legal_can_be_fired(event in any_cloud_event()) {
            let Ok(args) = fire_args(&event) else { return Ok(()) };
            prop_assert!(Class::parse(args["class"].as_str().unwrap()).is_ok());
            prop_assert!(args["message"].as_str().unwrap().len() <= TEXT_BYTES_MAX);
            prop_assert_eq!(parse(&args["data"].to_string()).unwrap().extensions, event.extensions);
        }
    }
}
