//! The websocket of JSON-RPC 2.0.

use serde_json::{Value, json};

use super::{
    Channel, Request, Said, arguments, cursor, event_members, gap, object, said, standing, time,
};
use crate::description::pieces::rpc_error;
use crate::description::{ClassDescription, Description, UNSUBSCRIBE, unsubscription};

pub(super) const CHANNEL: Channel = Channel {
    name: "jsonrpc",
    address: "/jsonrpc",
    title: "JSON-RPC 2.0 websocket, after events.subscribe",
    hears: |_| true,
    event,
    notices,
    requests,
    binding: || json!({}),
};

fn event(class: &ClassDescription) -> Value {
    let (mut members, mut required) = event_members(class);
    members.insert("type".to_owned(), json!({"const": "event"}));
    required.push("type".into());
    delivered("result", &json!({"type": "object", "properties": members, "required": required}))
}

/// A notification of a subscription, with `what` as its result or its error.
fn delivered(member: &str, what: &Value) -> Value {
    let id = json!({"type": "string", "description": "What events.subscribe answered"});
    let params = object(json!({"subscription": id, member: what}), &["subscription", member]);
    let members = json!({
        "jsonrpc": {"const": "2.0"},
        "method": {"const": "events.subscription"},
        "params": params,
    });
    object(members, &["jsonrpc", "method", "params"])
}

fn result(kind: &str, mut members: Value, required: &[&str]) -> Value {
    members["type"] = json!({ "const": kind });
    let required: Vec<&str> = required.iter().copied().chain(["type"]).collect();
    delivered("result", &object(members, &required))
}

#[expect(clippy::needless_pass_by_value, reason = "what is passed is made on the spot")]
fn answer(result: Value) -> Value {
    let id = json!({"type": ["string", "number", "null"]});
    let members = json!({"jsonrpc": {"const": "2.0"}, "id": id, "result": result});
    object(members, &["jsonrpc", "id", "result"])
}

fn notices() -> Vec<Said> {
    let mut missing = gap();
    missing["cursor"] = cursor();
    let beat = json!({"cursor": cursor(), "time": time()});
    let id = json!({"type": "string", "description": "The id of the subscription"});
    vec![
        said("_subscribed", "The answer to a subscription: its id", answer(id)),
        said(
            "_unsubscribed",
            "The answer to the end of a subscription",
            answer(json!({"const": true})),
        ),
        said(
            "_standing",
            "Where a subscription begins",
            result("standing", standing(), &["cursor", "oldest_seq", "head_seq"]),
        ),
        said(
            "_heartbeat",
            "Nothing was missed up to this cursor",
            result("heartbeat", beat, &["cursor", "time"]),
        ),
        said(
            "_gap",
            "What was left out, and why",
            result("gap", missing, &["cursor", "from_seq", "to_seq", "reason"]),
        ),
        said(
            "_ended",
            "Nothing more comes of a subscription, and why",
            delivered("error", &rpc_error()),
        ),
    ]
}

fn requests(description: &Description) -> Vec<Request> {
    let request = |method: &str, params: Value| {
        let id = json!({"type": ["string", "number", "null"]});
        let members = json!({
            "jsonrpc": {"const": "2.0"}, "id": id, "method": {"const": method}, "params": params,
        });
        object(members, &["jsonrpc", "method"])
    };
    vec![
        Request(
            said(
                "_subscribe",
                "Has events delivered, from now on or from the log",
                request("events.subscribe", arguments(description, "events/subscribe")),
            ),
            &["_subscribed"],
        ),
        Request(
            said(
                "_unsubscribe",
                "Ends a subscription",
                request(&UNSUBSCRIBE.replace('/', "."), unsubscription()),
            ),
            &["_unsubscribed"],
        ),
    ]
}
