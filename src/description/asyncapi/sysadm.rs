//! The websocket of `SysAdm` clients: classic and opted in.

use serde_json::{Value, json};

use super::{
    Channel, Request, Said, arguments, cursor, event_members, gap, object, said, standing, time,
};
use crate::description::{ClassDescription, Description};

pub(super) const CHANNEL: Channel = Channel {
    name: "sysadm",
    address: "/",
    title: "SysAdm websocket, after events/subscribe with a `sub`",
    hears: |_| true,
    event,
    notices,
    requests,
    binding: || json!({}),
};

/// An event as it is delivered to clients that opted in.
fn event(class: &ClassDescription) -> Value {
    let (members, required) = event_members(class);
    let args = json!({"type": "object", "properties": members, "required": required});
    envelope(args, "event", "events", "Your name for the subscription")
}

#[expect(clippy::needless_pass_by_value, reason = "what is passed is made on the spot")]
fn envelope(args: Value, name: &str, namespace: &str, id: &str) -> Value {
    let members = json!({
        "args": args,
        "id": {"type": "string", "description": id},
        "name": {"const": name},
        "namespace": {"const": namespace},
    });
    object(members, &["args", "id", "name", "namespace"])
}

fn notices() -> Vec<Said> {
    let yours = "Your name for the subscription";
    let mut subscribed = standing();
    subscribed["sub"] = json!({"type": "string"});
    let mut missing = gap();
    missing["cursor"] = cursor();
    let mut all = classic();
    all.extend([
        said(
            "_subscribed",
            "The answer to a subscription: where it begins",
            envelope(
                object(subscribed, &["sub", "cursor", "oldest_seq", "head_seq"]),
                "response",
                "events",
                "The id of the request",
            ),
        ),
        said(
            "_unsubscribed",
            "The answer to the end of a subscription",
            envelope(
                object(json!({"sub": {"type": "string"}}), &[]),
                "response",
                "events",
                "The id of the request",
            ),
        ),
        said(
            "_heartbeat",
            "Nothing was missed up to this cursor",
            envelope(
                object(json!({"cursor": cursor(), "time": time()}), &["cursor", "time"]),
                "heartbeat",
                "events",
                yours,
            ),
        ),
        said(
            "_gap",
            "What was left out, and why",
            envelope(
                object(missing, &["cursor", "from_seq", "to_seq", "reason"]),
                "gap",
                "events",
                yours,
            ),
        ),
    ]);
    all
}

/// What clients hear that have not opted in.
fn classic() -> Vec<Said> {
    let classic = |name| {
        let args = object(json!({"event_id": {"type": "string"}, "time": time()}), &[]);
        envelope(args, name, "events", "Empty")
    };
    vec![
        said(
            "_classic-life-preserver",
            "Snapshots and replication, as classic clients hear them",
            classic("life-preserver"),
        ),
        said(
            "_classic-dispatcher",
            "Commands, as classic clients hear them",
            classic("dispatcher"),
        ),
        said(
            "_classic-system-state",
            "The machine's state, as classic clients hear it",
            classic("system-state"),
        ),
    ]
}

fn requests(description: &Description) -> Vec<Request> {
    let request = |name, args| envelope(args, name, "events", "Your name for the request");
    let sub = json!({"sub": {"type": "string", "minLength": 1, "maxLength": 64}});
    vec![
        Request(
            said(
                "_subscribe",
                "Has events delivered, from now on or from the log",
                request("subscribe", arguments(description, "events/subscribe")),
            ),
            &["_subscribed"],
        ),
        Request(
            said(
                "_unsubscribe",
                "Ends a subscription",
                request("unsubscribe", object(sub, &["sub"])),
            ),
            &["_unsubscribed"],
        ),
    ]
}
