//! The paths of Docker Cloud's API.

mod trigger;

use serde_json::{Value, json};

/// Those that can be read; `listen` serves them, and a test of its routes compares.
const PATHS: [&str; 17] = [
    "/api/app/v1/stack/",
    "/api/app/v1/stack/{uuid}/",
    "/api/app/v1/service/",
    "/api/app/v1/service/{uuid}/",
    "/api/app/v1/container/",
    "/api/app/v1/container/{uuid}/",
    "/api/infra/v1/node/",
    "/api/infra/v1/node/{uuid}/",
    "/api/infra/v1/nodecluster/",
    "/api/infra/v1/nodecluster/{uuid}/",
    "/api/infra/v1/nodetype/",
    "/api/infra/v1/provider/",
    "/api/infra/v1/region/",
    "/api/infra/v1/az/",
    "/api/audit/v1/action/",
    "/api/audit/v1/action/{uuid}/",
    "/auth/",
];
/// Those that can be posted to.
const DEEDS: [&str; 12] = [
    "/api/app/v1/stack/{uuid}/start/",
    "/api/app/v1/stack/{uuid}/stop/",
    "/api/app/v1/stack/{uuid}/redeploy/",
    "/api/app/v1/service/{uuid}/start/",
    "/api/app/v1/service/{uuid}/stop/",
    "/api/app/v1/service/{uuid}/redeploy/",
    "/api/app/v1/service/{uuid}/scale/",
    "/api/app/v1/container/{uuid}/start/",
    "/api/app/v1/container/{uuid}/stop/",
    "/api/app/v1/container/{uuid}/redeploy/",
    "/api/audit/v1/action/{uuid}/cancel/",
    "/api/audit/v1/action/{uuid}/retry/",
];
/// The most objects of a page.
const LIMIT_MAX: usize = 1_000;

/// Every path, with its operations; the stream is described elsewhere.
pub(super) fn paths() -> Vec<(String, Value)> {
    let read = PATHS.into_iter().map(|path| {
        let mut operations = json!({ "get": get(path) });
        let words: Vec<&str> = path.split('/').collect();
        if let ["", "api", "app", "v1", resource, "{uuid}", ""] = words[..] {
            operations["delete"] = deed(&format!("{resource}_terminate"));
            if resource == "service" {
                operations["patch"] = deed("service_patch");
                operations["patch"]["requestBody"] = json!({"content": {"application/json": {
                    "schema": {"type": "object", "required": ["target_num_containers"],
                        "properties": {"target_num_containers": {"type": "integer", "minimum": 1}}},
                }}});
            }
        }
        (path.to_owned(), operations)
    });
    let deeds = DEEDS.into_iter().map(|path| {
        let words: Vec<&str> = path.split('/').collect();
        let name = format!("{}_{}", words[4], words[6]);
        (path.to_owned(), json!({ "post": deed(&name) }))
    });
    read.chain(deeds).chain(trigger::paths()).collect()
}

/// What changes an object: its answer tells where the action is.
fn deed(name: &str) -> Value {
    let words = name.replace('_', ", ");
    json!({
        "operationId": format!("dockercloud_{name}"),
        "summary": format!("Changes one object ({words})"),
        "tags": ["dockercloud"],
        "parameters": parameters(true, ""),
        "responses": {
            "202": {
                "description": "It will be done",
                "headers": {"X-DockerCloud-Action-URI": {
                    "description": "Where the action is", "schema": {"type": "string"},
                }},
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/DockerCloudObject"}}},
            },
            "default": refused(),
        },
    })
}

fn refused() -> Value {
    json!({
        "description": "Refused or failed",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/DockerCloudError"}}},
    })
}

fn get(path: &str) -> Value {
    let resource = path.split('/').rfind(|part| !part.is_empty() && !part.starts_with('{'));
    let resource = resource.unwrap_or_default();
    let is_one = path.contains("{uuid}");
    let (id, summary, schema) = match (resource, is_one) {
        ("auth", _) => (
            "dockercloud_auth".to_owned(),
            "Whether the login is right".to_owned(),
            json!({
                "type": "object", "properties": {"username": {"type": "string"}}, "required": ["username"],
            }),
        ),
        (_, true) => (
            format!("dockercloud_{resource}"),
            format!("One {resource}, as Docker Cloud's clients read it"),
            json!({"$ref": "#/components/schemas/DockerCloudObject"}),
        ),
        (_, false) => (
            format!("dockercloud_{resource}_list"),
            format!("Lists of the kind {resource}, as Docker Cloud's clients read them"),
            json!({"$ref": "#/components/schemas/DockerCloudList"}),
        ),
    };
    json!({
        "operationId": id,
        "summary": summary,
        "tags": ["dockercloud"],
        "parameters": parameters(is_one, resource),
        "responses": {
            "200": {"description": "Found", "content": {"application/json": {"schema": schema}}},
            "default": refused(),
        },
    })
}

fn parameters(is_one: bool, resource: &str) -> Vec<Value> {
    if is_one {
        return vec![json!({
            "name": "uuid", "in": "path", "required": true, "schema": {"type": "string"},
            "description": "Which one",
        })];
    }
    if resource == "auth" {
        return Vec::new();
    }
    let text = || json!({"type": "string"});
    let all = [
        (
            "limit",
            "Objects of a page",
            json!({"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": 25}),
        ),
        (
            "offset",
            "Objects before this page",
            json!({"type": "integer", "minimum": 0, "default": 0}),
        ),
        ("uuid", "Only this one", text()),
        ("uuid__startswith", "Only those whose uuid begins so", text()),
        ("name", "Only those of this name", text()),
        ("state", "Only those in this state", text()),
        ("stack", "Of services: only those of this stack", text()),
        ("service", "Of containers: only those of this service", text()),
        ("node", "Of containers: only those on this node", text()),
        ("stack__name", "Of services: only those of the stack of this name", text()),
        ("service__stack__name", "Of containers: the same", text()),
    ];
    let parameter = |(name, meaning, schema): (&str, &str, Value)| json!({"name": name, "in": "query", "description": meaning, "schema": schema});
    all.map(parameter).into()
}

/// What every object has; docs/protocols/docker-cloud.md says what else each kind has.
pub(super) fn object() -> Value {
    json!({
        "type": "object",
        "properties": {
            "uuid": {"type": "string"},
            "resource_uri": {"type": "string"},
            "name": {"type": ["string", "null"]},
            "state": {"type": "string"},
        },
        "required": ["uuid", "resource_uri", "state"],
    })
}

/// A page.
pub(super) fn list() -> Value {
    let path = || json!({"type": ["string", "null"]});
    json!({
        "type": "object",
        "properties": {
            "meta": {
                "type": "object",
                "properties": {
                    "limit": {"type": "integer"}, "offset": {"type": "integer"},
                    "total_count": {"type": "integer"}, "next": path(), "previous": path(),
                },
                "required": ["limit", "offset", "total_count", "next", "previous"],
            },
            "objects": {"type": "array", "items": {"$ref": "#/components/schemas/DockerCloudObject"}},
        },
        "required": ["meta", "objects"],
    })
}

/// A trigger.
pub(super) fn trigger() -> Value {
    trigger::object()
}

/// A refusal.
pub(super) fn error() -> Value {
    json!({"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]})
}
