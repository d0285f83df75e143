//! The event stream of Docker Cloud's clients.

use serde_json::{Value, json};

use super::{Channel, cursor, object};
use crate::description::ClassDescription;

pub(super) const CHANNEL: Channel = Channel {
    name: "dockercloud",
    address: "/api/audit/v1/events/",
    title: "Docker Cloud event stream",
    hears,
    event,
    notices: Vec::new,
    requests: |_| Vec::new(),
    binding,
};

/// The kinds of things that its events are about.
const TYPES: [&str; 5] = ["stack", "service", "container", "node", "action"];

fn hears(class: &ClassDescription) -> bool {
    let kind = class.class.split('.').next().unwrap_or_default();
    TYPES.contains(&kind)
}

fn event(class: &ClassDescription) -> Value {
    let text = || json!({"type": "string"});
    let (kind, action) = class.class.split_once('.').unwrap_or((&class.class, ""));
    let members = json!({
        "type": {"const": kind},
        "action": {"const": action},
        "parents": {"type": "array", "items": text(), "description": "Paths of what it belongs to"},
        "resource_uri": text(),
        "state": text(),
        "uuid": {"type": "string", "format": "uuid"},
        "datetime": {"type": "string", "format": "date-time"},
        "cursor": cursor(),
        "message": {"type": "string", "description": "One sentence for people"},
        "priority": {"type": "string", "examples": ["7 - Critical"]},
    });
    let required = [
        "type",
        "action",
        "parents",
        "resource_uri",
        "state",
        "uuid",
        "datetime",
        "cursor",
        "message",
        "priority",
    ];
    object(members, &required)
}

fn binding() -> Value {
    let text = |meaning: &str| json!({"type": "string", "description": meaning});
    let properties = json!({
        "type": text("Kinds of things, joined by commas"),
        "object": text("Only events about this: its path or its uuid"),
        "parents": text("Only events about what belongs to one of these: paths, joined by commas"),
        "parent": text("The same"),
        "since": text("A cursor, oldest, or a moment: from there on"),
    });
    json!({"query": {"type": "object", "properties": properties}})
}
