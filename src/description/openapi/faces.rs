//! The paths of the faces beside REST: JSON-RPC, `CloudEvents` and Consul's events.

use serde_json::{Map, Value, json};

use crate::description::pieces::asked_of_cloudevents;

const JSON: &str = "application/json";
const ONE_CLOUD_EVENT: &str = "application/cloudevents+json";
const CLOUD_EVENTS: &str = "application/cloudevents-batch+json";

/// Every path, with its operations.
pub(super) fn paths(protocol: u64) -> Vec<(String, Value)> {
    let versions = (1..=protocol).map(|version| format!("/jsonrpc/v{version}"));
    let rpc = ["/jsonrpc".to_owned()].into_iter().chain(versions);
    let rpc = rpc.map(|path| {
        let operation = rpc_post(&path);
        (path, json!({ "post": operation }))
    });
    let cloud = json!({"get": batch(), "post": bring(), "options": webhook()});
    let consul = [
        ("/v1/event/fire/{name}", json!({ "put": fire() })),
        ("/v1/event/list", json!({ "get": list() })),
        ("/v1/agent/self", json!({ "get": about() })),
    ];
    let consul = consul.map(|(path, operations)| (path.to_owned(), operations));
    rpc.chain([("/cloudevents".to_owned(), cloud)]).chain(consul).collect()
}

/// An event as Consul's clients read it.
pub(super) fn consul_event() -> Value {
    let text = || json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {
            "ID": {"type": "string", "format": "uuid"},
            "Name": text(),
            "Payload": {"type": ["string", "null"], "contentEncoding": "base64"},
            "NodeFilter": text(),
            "ServiceFilter": text(),
            "TagFilter": text(),
            "Version": {"type": "integer"},
            "LTime": {"type": "integer", "minimum": 0, "description": "0 where it was fired"},
        },
        "required": [
            "ID", "Name", "Payload", "NodeFilter", "ServiceFilter", "TagFilter", "Version", "LTime",
        ],
    })
}

/// A JSON-RPC request or notification.
pub(super) fn rpc_request() -> Value {
    json!({
        "type": "object",
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "id": {"type": ["string", "number", "null"], "description": "Absent: no answer"},
            "method": {"type": "string", "examples": ["rpc.identify"]},
            "params": {"type": ["object", "array", "null"]},
        },
        "required": ["jsonrpc", "method"],
    })
}

/// The answer to one.
pub(super) fn rpc_answer(error: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "id": {"type": ["string", "number", "null"]},
            "result": {"description": "What the method answers; see /openrpc.json"},
            "error": error,
        },
        "required": ["jsonrpc", "id"],
        "oneOf": [{"required": ["result"]}, {"required": ["error"]}],
    })
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

#[expect(clippy::needless_pass_by_value, reason = "what is passed is made on the spot")]
fn content(kind: &str, schema: Value) -> Value {
    json!({ kind: {"schema": schema} })
}

fn parameter((name, meaning, schema): (&str, &str, Value)) -> Value {
    json!({"name": name, "in": "query", "description": meaning, "schema": schema})
}

/// What every operation of a face says.
fn operation(id: &str, summary: &str, face: &str, responses: &Value) -> Map<String, Value> {
    let members = [
        ("operationId", Value::from(id)),
        ("summary", summary.into()),
        ("tags", json!([face])),
        ("responses", responses.clone()),
    ];
    members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

fn rpc_post(path: &str) -> Value {
    let or_many = |name: &str, least: u8| {
        json!({"oneOf": [
            schema(name), {"type": "array", "items": schema(name), "minItems": least},
        ]})
    };
    let answers = content(JSON, or_many("RpcAnswer", 1));
    let refused = json!({
        "description": "The message was not read; the error's `data.kind` says why",
        "content": content(JSON, schema("RpcAnswer")),
    });
    let responses = json!({
        "200": {"description": "Read, and answered or refused", "content": answers},
        "204": {"description": "Read; nothing in it is answered"},
        "default": refused,
    });
    let id = path.trim_start_matches('/').replace('/', "_");
    let mut post =
        operation(&id, "One JSON-RPC 2.0 message: see /openrpc.json", "jsonrpc", &responses);
    let body = json!({"required": true, "content": content(JSON, or_many("RpcRequest", 1))});
    post.insert("requestBody".to_owned(), body);
    // Some methods need no login.
    post.insert("security".to_owned(), json!([{}, {"token": []}, {"password": []}]));
    post.into()
}

fn batch() -> Value {
    let events = json!({"type": "array", "items": schema("CloudEvent")});
    let text = |meaning| json!({"description": meaning, "schema": {"type": "string"}});
    let responses = json!({
        "200": {
            "description": "Events in the order of the log",
            "headers": {
                "Link": text("The question to ask next, with rel=\"next\""),
                "Sysadmd-Cursor": text("The cursor in it"),
            },
            "content": content(CLOUD_EVENTS, events),
        },
        "default": {"$ref": "#/components/responses/refused"},
    });
    let mut get =
        operation("cloudevents", "A batch of events from the log", "cloudevents", &responses);
    let parameters: Vec<Value> = asked_of_cloudevents("batch").into_iter().map(parameter).collect();
    get.insert("parameters".to_owned(), parameters.into());
    get.into()
}

fn bring() -> Value {
    let text = || json!({"type": "string"});
    let recorded = json!({
        "type": "object",
        "properties": {
            "id": text(), "source": text(), "event_id": {"type": "string", "format": "uuid"},
            "seq": {"type": "integer"}, "time": {"type": "string", "format": "date-time"},
            "cursor": text(),
        },
        "required": ["id", "source", "event_id"],
    });
    let all = json!({
        "type": "object",
        "properties": {"recorded": {"type": "array", "items": recorded}},
        "required": ["recorded"],
    });
    let responses = json!({
        "200": {"description": "All of it is durable", "content": content(JSON, all)},
        "default": {"$ref": "#/components/responses/refused"},
    });
    let summary = "Brings events of your own, to be recorded";
    let mut post = operation("cloudevents_bring", summary, "cloudevents", &responses);
    let many = json!({"type": "array", "items": schema("CloudEvent")});
    let any = "The data of one event, whose attributes are headers ce-…";
    let body = json!({"required": true, "content": {
        ONE_CLOUD_EVENT: {"schema": schema("CloudEvent")},
        CLOUD_EVENTS: {"schema": many},
        "*/*": {"schema": {"description": any}},
    }});
    post.insert("requestBody".to_owned(), body);
    post.into()
}

fn webhook() -> Value {
    let text = |meaning| json!({"description": meaning, "schema": {"type": "string"}});
    let responses = json!({
        "200": {"description": "You may", "headers": {
            "WebHook-Allowed-Origin": text("The origin that asked"),
            "WebHook-Allowed-Rate": text("Events a minute: a star for as many as you like"),
        }},
        "default": {"$ref": "#/components/responses/refused"},
    });
    let summary = "Asks whether webhooks may be delivered";
    let mut options = operation("cloudevents_may", summary, "cloudevents", &responses);
    let origin = json!({
        "name": "WebHook-Request-Origin", "in": "header", "description": "Who wants to deliver",
        "schema": {"type": "string"},
    });
    options.insert("parameters".to_owned(), json!([origin]));
    options.into()
}

/// An operation of Consul's, which answers refusals in plain text.
fn consul(id: &str, summary: &str, done: &Value) -> Map<String, Value> {
    let responses = json!({
        "200": done,
        "default": {"description": "Refused", "content": content("text/plain", json!({"type": "string"}))},
    });
    let mut operation = operation(id, summary, "consul", &responses);
    // Whoever shows nothing may have a role of its own.
    let shown = json!([
        {}, {"token": []}, {"password": []}, {"consulToken": []}, {"consulQuery": []},
    ]);
    operation.insert("security".to_owned(), shown);
    operation
}

fn filters() -> Vec<(&'static str, &'static str, Value)> {
    let text = || json!({"type": "string", "maxLength": 1_024});
    vec![
        ("node", "A regular expression for the names of nodes", text()),
        ("service", "A regular expression for the ids of services", text()),
        ("tag", "A regular expression for the tags of the same service", text()),
        ("pretty", "Present: the answer is indented", json!({"type": "string"})),
    ]
}

fn fire() -> Value {
    let done = json!({
        "description": "Recorded, and durable", "content": content(JSON, schema("ConsulEvent")),
    });
    let mut put = consul("consul_event_fire", "Fires an event as Consul's clients do", &done);
    let name = json!({
        "name": "name", "in": "path", "required": true,
        "description": "What is fired; it may hold slashes",
        "schema": {"type": "string", "minLength": 1, "maxLength": 512},
    });
    let datacenter =
        ("dc", "The datacenter of the configuration, or none", json!({"type": "string"}));
    let query = filters().into_iter().chain([datacenter]).map(parameter);
    let parameters: Vec<Value> = [name].into_iter().chain(query).collect();
    put.insert("parameters".to_owned(), parameters.into());
    let body =
        json!({"content": {"*/*": {"schema": {"description": "The payload, whatever it is"}}}});
    put.insert("requestBody".to_owned(), body);
    put.into()
}

fn list() -> Value {
    let events = json!({"type": "array", "items": schema("ConsulEvent"), "maxItems": 256});
    let index = json!({"description": "Of the newest event listed; 1 when there is none",
                       "schema": {"type": "integer"}});
    let done = json!({
        "description": "The newest events, oldest first",
        "headers": {"X-Consul-Index": index},
        "content": content(JSON, events),
    });
    let mut get = consul("consul_event_list", "Lists the newest of Consul's events", &done);
    let number = || json!({"type": "integer", "minimum": 0});
    let own = [
        ("name", "Only events of this name", json!({"type": "string"})),
        ("index", "Wait while the list has this index", number()),
        ("wait", "How long, such as 10s or 1m30s; 10m at most", json!({"type": "string"})),
    ];
    let parameters: Vec<Value> = own.into_iter().chain(filters()).map(parameter).collect();
    get.insert("parameters".to_owned(), parameters.into());
    get.into()
}

fn about() -> Value {
    let config = json!({
        "type": "object",
        "properties": {"Datacenter": {"type": "string"}, "NodeName": {"type": "string"}},
        "required": ["Datacenter", "NodeName"],
    });
    let schema =
        json!({"type": "object", "properties": {"Config": config}, "required": ["Config"]});
    let done = json!({"description": "What this machine is", "content": content(JSON, schema)});
    consul("consul_agent_self", "What Consul's command line asks for first", &done).into()
}
