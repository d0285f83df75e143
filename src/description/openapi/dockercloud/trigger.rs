//! The paths of triggers.

use serde_json::{Value, json};

/// One operation: its method, its name, what it does, what it answers, and whether a login is needed.
type Operation = (&'static str, &'static str, &'static str, &'static [u16], bool);

const LIST: Operation = (
    "get",
    "dockercloud_trigger_list",
    "Lists the triggers of a service that are yours, with their URLs",
    &[200],
    true,
);
const CREATE: Operation = (
    "post",
    "dockercloud_trigger_create",
    "Makes a trigger for a service; without a body it is a REDEPLOY",
    &[201],
    true,
);
const SHOW: Operation = ("get", "dockercloud_trigger", "One trigger of a service", &[200], true);
const DELETE: Operation = (
    "delete",
    "dockercloud_trigger_delete",
    "Deletes a trigger; its URL is worth nothing at once",
    &[200],
    true,
);
const CALL: [&str; 4] = [
    "dockercloud_trigger_call",
    "dockercloud_trigger_call_number",
    "trigger_call",
    "trigger_call_number",
];
const STATUS: [&str; 2] = ["dockercloud_trigger_status", "trigger_status"];

/// Every path, with its operations.
pub(super) fn paths() -> Vec<(String, Value)> {
    let many = "/api/app/v1/service/{uuid}/trigger/";
    let mut all = vec![
        (many.to_owned(), item(many, &[LIST, CREATE])),
        (format!("{many}{{trigger}}/"), item(&format!("{many}{{trigger}}/"), &[SHOW, DELETE])),
    ];
    for (before, [call, call_end], status) in [
        (many, [CALL[0], CALL[1]], STATUS[0]),
        ("/api/app/v1/trigger/", [CALL[2], CALL[3]], STATUS[1]),
    ] {
        let path = format!("{before}{{trigger}}/call/");
        let called: Operation =
            ("post", call, "Calls a trigger; its URL is all that is needed", &[200, 202], false);
        all.push((path.clone(), item(&path, &[called])));
        let path = format!("{path}{{end}}/");
        let called: Operation =
            ("post", call_end, "Calls a trigger with a number", &[200, 202], false);
        let asked: Operation =
            ("get", status, "Says what came of a call, to whoever has the URL", &[200], false);
        all.push((path.clone(), item(&path, &[called, asked])));
    }
    all
}

fn item(path: &str, operations: &[Operation]) -> Value {
    let operations = operations.iter().map(|it| (it.0.to_owned(), operation(path, *it)));
    Value::Object(operations.collect())
}

fn operation(path: &str, (method, id, summary, statuses, login): Operation) -> Value {
    let schema = if id.ends_with("_list") { "DockerCloudList" } else { "DockerCloudTrigger" };
    let content = |name: &str| json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}});
    let mut responses = json!({
        "default": {"description": "Refused or failed", "content": content("DockerCloudError")},
    });
    for status in statuses {
        let what = match status {
            202 => "Begun; it goes on",
            201 => "Made",
            _ => "As it is now",
        };
        responses[status.to_string()] = json!({"description": what, "content": content(schema)});
    }
    let mut operation = json!({
        "operationId": id, "summary": summary, "tags": ["dockercloud"],
        "parameters": parameters(path, (method, id)), "responses": responses,
    });
    if !login {
        operation["security"] = json!([]);
    }
    if method == "post" {
        operation["requestBody"] = json!({
            "required": false, "content": {"*/*": {"schema": {}}},
            "description": if login { "`name` and `operation`" } else { "What the sender has to say" },
        });
    }
    operation
}

fn parameters(path: &str, (method, id): (&str, &str)) -> Vec<Value> {
    let in_path = [
        ("uuid", "The service"),
        ("trigger", "The secret of the trigger"),
        ("end", if method == "get" { "What was begun" } else { "How many" }),
    ];
    let there = in_path.iter().filter(|(name, _)| path.contains(&format!("{{{name}}}")));
    let mut all: Vec<Value> = there
        .map(|(name, what)| {
            json!({
                "name": name, "in": "path", "required": true, "description": what,
                "schema": {"type": "string"},
            })
        })
        .collect();
    let query = |name: &str, what: &str, schema: Value| json!({"name": name, "in": "query", "description": what, "schema": schema});
    if id.contains("_call") || id.contains("_status") {
        let seconds = json!({"type": "integer", "minimum": 0, "maximum": 60, "default": 0});
        all.push(query("wait", "Seconds to wait for the end", seconds));
    }
    if id.contains("_call") {
        let what = "Only say what would be done";
        all.push(query("dry_run", what, json!({"type": "string"})));
    }
    all
}

/// A trigger, with what came of a call.
pub(super) fn object() -> Value {
    let text = || json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {
            "uuid": text(), "resource_uri": text(), "name": text(), "operation": text(), "url": text(),
            "result": text(), "action": {"type": "object"}, "action_uri": text(), "status_uri": text(),
            "plan": {"type": "array"},
        },
        "required": ["uuid", "resource_uri", "name", "operation", "url"],
    })
}
