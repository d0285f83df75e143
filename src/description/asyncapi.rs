//! `AsyncAPI` 3.0: <https://www.asyncapi.com/docs/reference/specification/v3.0.0>.
//!
//! A channel is a websocket that delivers events; each class is a message on each of them, beside
//! what is said of a subscription itself.

mod cloudevents;
mod dockercloud;
mod jsonrpc;
mod sysadm;

use serde_json::{Map, Value, json};

use super::pieces::security_schemes;
use super::{ClassDescription, Description, farewell, schema_of};

/// The version of the specification.
const ASYNCAPI: &str = "3.0.0";

/// A way to hear events.
struct Channel {
    name: &'static str,
    address: &'static str,
    title: &'static str,
    /// Whether events of a class are heard there.
    hears: fn(&ClassDescription) -> bool,
    /// How one event looks there.
    event: fn(&ClassDescription) -> Value,
    /// What the daemon says that is no event.
    notices: fn() -> Vec<Said>,
    /// What clients say, each with the notices that answer it.
    requests: fn(&Description) -> Vec<Request>,
    /// What a client needs to open it, in the words of the websocket binding.
    binding: fn() -> Value,
}

/// A message that is no event. Among the messages of a channel its name begins with an underscore,
/// which no class does.
struct Said {
    name: &'static str,
    summary: &'static str,
    payload: Value,
}

/// What a client says, and the notices that answer it.
struct Request(Said, &'static [&'static str]);

/// A message of this name.
const fn said(name: &'static str, summary: &'static str, payload: Value) -> Said {
    Said { name, summary, payload }
}

const CHANNELS: [Channel; 4] =
    [sysadm::CHANNEL, jsonrpc::CHANNEL, cloudevents::CHANNEL, dockercloud::CHANNEL];

/// The paths at which there is a channel.
#[cfg(test)]
pub(super) fn addresses() -> impl Iterator<Item = &'static str> {
    CHANNELS.iter().map(|channel| channel.address)
}

pub(super) fn document(description: &Description) -> Value {
    let Description { classes, version, protocol, .. } = description;
    let mut messages = Map::new();
    let mut channels = Map::new();
    let mut operations = Map::new();
    for channel in &CHANNELS {
        let all = said_on(channel, description);
        let place = |name: &str| format!("{}.{name}", channel.name);
        let of_channel: Map<String, Value> = all
            .iter()
            .map(|(name, _)| (name.clone(), at("components/messages", &place(name))))
            .collect();
        channels.insert(channel.name.to_owned(), describe(channel, &of_channel));
        messages.extend(all.into_iter().map(|(name, message)| (place(&name), message)));
        operations.extend(operations_of(channel, description));
    }
    let schemas: Map<String, Value> =
        classes.iter().map(|class| (class.class.clone(), schema_of(&class.schema))).collect();
    json!({
        "asyncapi": ASYNCAPI,
        "info": {
            "title": "sysadmd",
            "version": version,
            "description": "The events you may hear on this machine, as far as they are declared now.",
            "license": {"name": "BSD-2-Clause"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": security_schemes(),
        },
        "x-protocol": protocol,
    })
}

/// Every message of a channel, by its name there.
fn said_on(channel: &Channel, description: &Description) -> Vec<(String, Value)> {
    let heard = description.classes.iter().filter(|class| (channel.hears)(class));
    let events = heard.map(|class| {
        let payload = (channel.event)(class);
        (class.class.clone(), message(class, &payload))
    });
    let requests = (channel.requests)(description).into_iter().map(|Request(said, _)| said);
    let others = (channel.notices)().into_iter().chain(requests).map(|said| {
        let Said { name, summary, payload } = said;
        let title = name.trim_start_matches('_').replace('-', " ");
        (
            name.to_owned(),
            json!({"name": name, "title": title, "summary": summary, "payload": payload}),
        )
    });
    events.chain(others).collect()
}

fn describe(channel: &Channel, messages: &Map<String, Value>) -> Value {
    let mut binding = (channel.binding)();
    binding["method"] = "GET".into();
    binding["bindingVersion"] = "0.1.0".into();
    json!({
        "address": channel.address,
        "title": channel.title,
        "messages": messages,
        "bindings": {"ws": binding},
    })
}

/// What the daemon sends, and what it takes.
fn operations_of(channel: &Channel, description: &Description) -> Vec<(String, Value)> {
    let name = channel.name;
    let of_channel = at("channels", name);
    let message = |of: &str| at(&format!("channels/{name}/messages"), of);
    let heard = description.classes.iter().filter(|class| (channel.hears)(class));
    let events = heard.map(|class| class.class.as_str());
    let notices = (channel.notices)();
    let sent: Vec<Value> =
        events.chain(notices.iter().map(|said| said.name)).map(message).collect();
    let security: Vec<Value> =
        ["token", "password"].map(|scheme| at("components/securitySchemes", scheme)).into();
    let mut operations = vec![(
        format!("{name}.deliver"),
        json!({
            "action": "send", "title": format!("Events on the {}", channel.title),
            "channel": of_channel, "messages": sent, "security": security,
        }),
    )];
    for Request(said, answers) in (channel.requests)(description) {
        let word = said.name.trim_start_matches('_');
        let answers: Vec<Value> = answers.iter().map(|answer| message(answer)).collect();
        let operation = json!({
            "action": "receive", "title": said.summary,
            "channel": of_channel, "messages": [message(said.name)], "security": security,
            "reply": {"channel": of_channel, "messages": answers},
        });
        operations.push((format!("{name}.{word}"), operation));
    }
    operations
}

/// A reference.
fn at(place: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/{place}/{name}") })
}

fn message(class: &ClassDescription, payload: &Value) -> Value {
    let ClassDescription { priority_default, priority_max, retain, role, summary, .. } = class;
    let ending = class.deprecated.as_ref().map(farewell).unwrap_or_default();
    let below = if class.family { " Every class below it looks the same." } else { "" };
    json!({
        "name": class.class,
        "title": class.class,
        "summary": format!("{summary}.{below}{ending}"),
        "payload": payload,
        "x-priority": {"default": priority_default, "max": priority_max},
        "x-retain": retain,
        "x-role": role,
        "x-deprecated": class.deprecated,
    })
}

/// What the name of the class may be.
fn name(class: &ClassDescription) -> Value {
    if class.family {
        json!({"type": "string", "pattern": format!("^{}(\\..*)?$", class.class.replace('.', "\\."))})
    } else {
        json!({ "const": class.class })
    }
}

/// A reference to the shape of `data`.
fn data_of(class: &ClassDescription) -> Value {
    at("components/schemas", &class.class)
}

/// The members of an event, as most channels have them, and those that are always there.
fn event_members(class: &ClassDescription) -> (Map<String, Value>, Vec<Value>) {
    let source = match &class.source {
        Some(source) => json!({ "const": source }),
        None => json!({"type": "string", "description": "The plugin's id"}),
    };
    let members = json!({
        "class": name(class),
        "cursor": cursor(),
        "data": data_of(class),
        "event_id": {"type": "string", "format": "uuid"},
        "message": {"type": "string", "description": "One sentence for people"},
        "priority": {"type": "string", "examples": ["7 - Critical"]},
        "priority_num": {"type": "integer", "minimum": 0, "maximum": 10},
        "seq": {"type": "integer", "minimum": 1, "description": "Absent when it is not kept"},
        "source": source,
        "subject": {"type": "string", "description": "What it happened to"},
        "time": time(),
    });
    let Value::Object(members) = members else { return (Map::new(), Vec::new()) };
    let optional = ["data", "seq"];
    let names = members.keys().filter(|name| !optional.contains(&name.as_str()));
    let required = names.map(|name| Value::from(name.as_str())).collect();
    (members, required)
}

/// What the method takes on a channel where its arguments are an object.
fn arguments(description: &Description, method: &str) -> Value {
    let entry = description.methods.iter().find(|entry| entry.method == method);
    entry.map_or_else(|| json!({"type": "object"}), |entry| super::named(&entry.params).clone())
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn cursor() -> Value {
    json!({"type": "string", "description": "What resumes right after this"})
}

/// The members of a stretch that is left out.
fn gap() -> Value {
    json!({
        "from_seq": {"type": "integer", "minimum": 0},
        "to_seq": {"type": "integer", "minimum": 0},
        "missed": {"type": "integer", "minimum": 0, "description": "Absent when nobody can know"},
        "reason": {"type": "string", "examples": ["slow", "coalesced", "expired", "other-instance", "ahead-of-log"]},
        "resume_from": {"type": "string", "description": "Where to resume for what was left out"},
    })
}

/// The members that say where a subscription begins.
fn standing() -> Value {
    json!({
        "cursor": cursor(),
        "oldest_seq": {"type": "integer", "minimum": 0},
        "head_seq": {"type": "integer", "minimum": 0},
        "replay": {"anyOf": [
            {"type": "null"},
            {
                "type": "object",
                "properties": {"from_seq": {"type": "integer"}, "to_seq": {"type": "integer"}},
                "required": ["from_seq", "to_seq"],
            },
        ]},
        "gap": {"anyOf": [{"type": "null"}, object(gap(), &["from_seq", "to_seq", "reason"])]},
    })
}

/// The schema of an object with these members.
#[expect(clippy::needless_pass_by_value, reason = "what is passed is made on the spot")]
fn object(members: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": members, "required": required})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_a_message_on_every_channel() {
        let document = document(&crate::description::tests::small());
        let place = &document["channels"]["sysadm"]["messages"]["kit.event"]["$ref"];
        assert_eq!(place, "#/components/messages/sysadm.kit.event");
        let message = &document["components"]["messages"]["sysadm.kit.event"];
        let args = &message["payload"]["properties"]["args"]["properties"];
        assert_eq!(args["class"]["const"], "kit.event");
        assert_eq!(args["data"]["$ref"], "#/components/schemas/kit.event");
        let user = &document["components"]["messages"]["sysadm.user"]["payload"];
        let pattern = &user["properties"]["args"]["properties"]["class"]["pattern"];
        assert_eq!(pattern, "^user(\\..*)?$");
        for channel in ["jsonrpc", "cloudevents"] {
            let message = &document["components"]["messages"][format!("{channel}.kit.event")];
            assert!(message["payload"]["properties"].is_object(), "{channel}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&crate::description::tests::small());
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50, "only {} references", found.len());
        for place in found {
            let pointer = place.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{place}");
        }
    }

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                let place = members.get("$ref").and_then(Value::as_str);
                found.extend(place.map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
}
