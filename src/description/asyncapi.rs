//! `AsyncAPI` 3.0: <https://www.asyncapi.com/docs/reference/specification/v3.0.0>.
//!
//! A channel is a face that delivers events; each class is a message on each of them.

use serde_json::{Map, Value, json};

use super::{ClassDescription, Description, farewell, schema_of};

/// The version of the specification.
const ASYNCAPI: &str = "3.0.0";

/// A way to hear events.
struct Channel {
    name: &'static str,
    address: &'static str,
    title: &'static str,
    /// How one event looks there.
    payload: fn(&ClassDescription) -> Value,
}

const CHANNELS: [Channel; 1] = [Channel {
    name: "sysadm",
    address: "/",
    title: "SysAdm websocket, after events/subscribe with a `sub`",
    payload: on_sysadm,
}];

pub(super) fn document(description: &Description) -> Value {
    let Description { classes, version, protocol, .. } = description;
    let mut messages = Map::new();
    let mut schemas = Map::new();
    for class in classes {
        schemas.insert(class.class.clone(), data(class));
        for channel in &CHANNELS {
            messages.insert(key(channel, class), message(channel, class));
        }
    }
    let channels: Map<String, Value> = CHANNELS
        .iter()
        .map(|channel| (channel.name.to_owned(), describe(channel, classes)))
        .collect();
    let operations: Map<String, Value> = CHANNELS
        .iter()
        .map(|channel| {
            let said = json!({
                "action": "send",
                "title": format!("Events on the {}", channel.title),
                "channel": {"$ref": format!("#/channels/{}", channel.name)},
            });
            (format!("{}.deliver", channel.name), said)
        })
        .collect();
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
        "components": {"messages": messages, "schemas": schemas},
        "x-protocol": protocol,
    })
}

fn describe(channel: &Channel, classes: &[ClassDescription]) -> Value {
    let messages: Map<String, Value> = classes
        .iter()
        .map(|class| {
            let place = format!("#/components/messages/{}", key(channel, class));
            (class.class.clone(), json!({ "$ref": place }))
        })
        .collect();
    json!({"address": channel.address, "title": channel.title, "messages": messages})
}

fn key(channel: &Channel, class: &ClassDescription) -> String {
    format!("{}.{}", channel.name, class.class)
}

fn message(channel: &Channel, class: &ClassDescription) -> Value {
    let ClassDescription { priority_default, priority_max, retain, role, summary, .. } = class;
    let ending = class.deprecated.as_ref().map(farewell).unwrap_or_default();
    let below = if class.family { " Every class below it looks the same." } else { "" };
    json!({
        "name": class.class,
        "title": class.class,
        "summary": format!("{summary}.{below}{ending}"),
        "payload": (channel.payload)(class),
        "x-priority": {"default": priority_default, "max": priority_max},
        "x-retain": retain,
        "x-role": role,
        "x-deprecated": class.deprecated,
    })
}

/// The shape of `data`.
fn data(class: &ClassDescription) -> Value {
    schema_of(&class.schema)
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
    json!({ "$ref": format!("#/components/schemas/{}", class.class) })
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// An event as it is delivered to clients that opted in.
fn on_sysadm(class: &ClassDescription) -> Value {
    let args = json!({
        "type": "object",
        "properties": {
            "class": name(class),
            "cursor": {"type": "string", "description": "What resumes right after this event"},
            "data": data_of(class),
            "event_id": {"type": "string", "format": "uuid"},
            "message": {"type": "string", "description": "One sentence for people"},
            "priority": {"type": "string", "examples": ["7 - Critical"]},
            "priority_num": {"type": "integer", "minimum": 0, "maximum": 10},
            "seq": {"type": "integer", "minimum": 1, "description": "Absent when it is not kept"},
            "source": source(class),
            "subject": {"type": "string", "description": "What it happened to"},
            "time": time(),
        },
        "required": [
            "class", "cursor", "event_id", "message", "priority", "priority_num", "source",
            "subject", "time",
        ],
    });
    json!({
        "type": "object",
        "properties": {
            "args": args,
            "id": {"type": "string", "description": "Your name for the subscription"},
            "name": {"const": "event"},
            "namespace": {"const": "events"},
        },
        "required": ["args", "id", "name", "namespace"],
    })
}

fn source(class: &ClassDescription) -> Value {
    match &class.source {
        Some(source) => json!({ "const": source }),
        None => json!({"type": "string", "description": "The plugin's id"}),
    }
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
    }
}
