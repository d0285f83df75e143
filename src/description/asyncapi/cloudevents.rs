//! The websocket of the subprotocol `cloudevents.json`.

use serde_json::{Value, json};

use super::{Channel, Request, Said, cursor, data_of, gap, name, object, said, standing};
use crate::description::pieces::{asked_of_cloudevents, cloud_event};
use crate::description::{ClassDescription, Description};

pub(super) const CHANNEL: Channel = Channel {
    name: "cloudevents",
    address: "/cloudevents",
    title: "CloudEvents websocket, with the subprotocol cloudevents.json",
    hears: |_| true,
    event,
    notices,
    requests,
    binding,
};

fn event(class: &ClassDescription) -> Value {
    let number =
        |least: u8, most: u8| json!({"type": "integer", "minimum": least, "maximum": most});
    let data = json!({"message": {"type": "string"}, "subject": {"type": "string"}, "data": data_of(class)});
    let mut payload = said_by_the_daemon(name(class), &object(data, &["message"]));
    payload["properties"]["sadpriority"] = number(0, 10);
    payload["properties"]["severitynumber"] = number(9, 22);
    payload["properties"]["sequence"] = json!({"type": "string", "pattern": "^[0-9]{20}$"});
    for required in ["data", "sadpriority", "severitynumber", "cursor"] {
        if let Some(names) = payload["required"].as_array_mut() {
            names.push(required.into());
        }
    }
    payload
}

/// An event of the daemon's own: what everybody's has, and a cursor.
fn said_by_the_daemon(kind: Value, data: &Value) -> Value {
    let mut payload = cloud_event();
    payload["properties"]["type"] = kind;
    payload["properties"]["source"] = json!({"type": "string", "pattern": "^sysadmd://"});
    payload["properties"]["cursor"] = cursor();
    payload["properties"]["data"] = data.clone();
    payload
}

fn notices() -> Vec<Said> {
    let of = |kind: &str, data: Value| {
        let kind = json!({ "const": format!("cloudevents.{kind}") });
        said_by_the_daemon(kind, &json!({"type": "object", "properties": data}))
    };
    let text = || json!({"type": "string"});
    let mut begins = standing();
    if let Some(members) = begins.as_object_mut() {
        members.remove("cursor");
    }
    let accepted = json!({
        "id": text(), "source": text(), "event_id": {"type": "string", "format": "uuid"},
        "seq": {"type": "integer"}, "cursor": cursor(),
    });
    let refused = json!({"id": text(), "source": text(), "fault": {
        "type": "object",
        "properties": {"kind": text(), "message": text()}, "required": ["kind", "message"],
    }});
    vec![
        said("_subscribed", "The first: where the stream begins", of("subscribed", begins)),
        said("_heartbeat", "Nothing was missed up to this cursor", of("heartbeat", json!({}))),
        Said { name: "_gap", summary: "What was left out, and why", payload: of("gap", gap()) },
        said("_accepted", "An event that was brought is durable", of("accepted", accepted)),
        said("_refused", "An event that was brought was not recorded", of("refused", refused)),
    ]
}

fn requests(_: &Description) -> Vec<Request> {
    let bring = said("_bring", "Brings an event of your own, to be recorded", cloud_event());
    vec![Request(bring, &["_accepted", "_refused"])]
}

fn binding() -> Value {
    let members: serde_json::Map<String, Value> = asked_of_cloudevents("stream")
        .into_iter()
        .map(|(name, meaning, mut schema)| {
            schema["description"] = meaning.into();
            (name.to_owned(), schema)
        })
        .collect();
    let headers =
        json!({"Sec-WebSocket-Protocol": {"type": "string", "const": "cloudevents.json"}});
    json!({
        "query": {"type": "object", "properties": members},
        "headers": object(headers, &["Sec-WebSocket-Protocol"]),
    })
}
