//! Shapes that more than one document has.

use serde_json::{Value, json};

/// How somebody says who they are, as `OpenAPI` and `AsyncAPI` both word it.
pub(super) fn security_schemes() -> Value {
    json!({
        "token": {
            "type": "http", "scheme": "bearer",
            "description": "A token: sysadmctl tokens create",
        },
        "password": {
            "type": "http", "scheme": "basic",
            "description": "A user of the machine, or any name with a token as the password",
        },
    })
}

/// A `CloudEvent` in JSON, whoever it is from.
pub(super) fn cloud_event() -> Value {
    let text = || json!({"type": "string", "minLength": 1});
    json!({
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text(),
            "source": text(),
            "type": text(),
            "subject": text(),
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": text(),
            "dataschema": {"type": "string", "format": "uri"},
            "data": {"description": "What happened, in JSON or text"},
            "data_base64": {"type": "string", "contentEncoding": "base64"},
        },
        "required": ["specversion", "id", "source", "type"],
    })
}

/// The error of a JSON-RPC answer.
pub(super) fn rpc_error() -> Value {
    json!({
        "type": "object",
        "properties": {
            "code": {"type": "integer"},
            "message": {"type": "string", "description": "One sentence for people"},
            "data": {
                "type": "object",
                "properties": {
                    "kind": {"type": "string", "description": "The stable code of the fault"},
                    "hint": {"type": "string", "description": "What to do next"},
                    "retry_after_ms": {"type": "integer", "minimum": 0},
                },
            },
        },
        "required": ["code", "message"],
    })
}

/// The parameters of `/cloudevents` for a `stream` or a `batch`: name, meaning and schema.
pub(super) fn asked_of_cloudevents(form: &str) -> Vec<(&'static str, &'static str, Value)> {
    let text = || json!({"type": "string"});
    let number =
        |least: u16, most: u16| json!({"type": "integer", "minimum": least, "maximum": most});
    let mut all = vec![
        ("classes", "Class patterns, with commas between them", text()),
        ("min_priority", "The least priority", number(0, 10)),
        ("subject", "Exact, or the beginning with a star at the end", text()),
        ("source", "Who said it", text()),
        ("text", "A part of the message, in any case", text()),
    ];
    if form == "stream" {
        let policies = ["lossless", "latest", "drop", "disconnect"];
        all.extend([
            ("from", "now, oldest, snapshot or a cursor; now when absent", text()),
            ("overflow", "What happens when the client is slow", json!({"enum": policies})),
            ("heartbeat", "Seconds between heartbeats; 30 when absent", number(1, 300)),
        ]);
    } else {
        all.extend([
            ("after", "now, oldest or a cursor; oldest when absent", text()),
            ("limit", "The most events; 100 when absent", number(1, 1_000)),
            ("wait", "Seconds to wait for the first event; 0 when absent", number(0, 300)),
        ]);
    }
    all
}
