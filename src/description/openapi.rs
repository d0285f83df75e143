//! `OpenAPI` 3.1: <https://spec.openapis.org/oas/v3.1.1>.

mod dockercloud;
mod faces;

use serde_json::{Map, Value, json};

use super::pieces::{cloud_event, rpc_error, security_schemes};
use super::{Description, Form, MethodDescription, extensions, fault_schema, remark, schema_of};

/// The version of the specification.
const OPENAPI: &str = "3.1.1";

pub(super) fn document(description: &Description) -> Value {
    let calls = description.calls();
    // A conversation has no request that it could be.
    let calls = calls.iter().filter(|(_, entries)| !entries[0].of_connection);
    let mut paths: Map<String, Value> =
        calls.map(|(name, entries)| (format!("/{name}"), path(name, entries))).collect();
    paths.extend(others(description.protocol));
    json!({
        "openapi": OPENAPI,
        "info": {
            "title": "sysadmd",
            "version": description.version,
            "description": "What you may ask of this machine over HTTP, as far as it is there now. GET and PUT with a body call a method as POST does.",
            "license": {"name": "BSD-2-Clause", "identifier": "BSD-2-Clause"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"password": []}],
        "paths": paths,
        "components": {
            "securitySchemes": schemes(),
            "schemas": {
                "Fault": fault_schema(description),
                "Refusal": refusal(),
                "CloudEvent": cloud_event(),
                "ConsulEvent": faces::consul_event(),
                "DockerCloudObject": dockercloud::object(),
                "DockerCloudList": dockercloud::list(),
                "DockerCloudError": dockercloud::error(),
                "DockerCloudTrigger": dockercloud::trigger(),
                "RpcRequest": faces::rpc_request(),
                "RpcAnswer": faces::rpc_answer(&rpc_error()),
            },
            "responses": {"refused": {
                "description": "Refused or failed; `fault.kind` says how",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
            }},
        },
        "x-protocol": description.protocol,
    })
}

/// The paths that are no method's, for every version of the protocol up to this.
pub(super) fn others(protocol: u64) -> Map<String, Value> {
    let documents = Form::ALL.map(|form| (format!("/{}.json", form.as_str()), about(form)));
    let dockercloud = dockercloud::paths();
    faces::paths(protocol).into_iter().chain(dockercloud).chain(documents).collect()
}

/// Ways to say who one is: two for every face, and two of Consul's clients.
fn schemes() -> Value {
    let mut schemes = security_schemes();
    let meaning = "A token, as Consul's clients show theirs";
    schemes["consulToken"] = json!({
        "type": "apiKey", "in": "header", "name": "X-Consul-Token", "description": meaning,
    });
    schemes["consulQuery"] =
        json!({"type": "apiKey", "in": "query", "name": "token", "description": meaning});
    schemes
}

fn path(name: &str, entries: &[&MethodDescription]) -> Value {
    let first = entries[0];
    let mut operation = if entries.len() == 1 { extensions(first) } else { Map::new() };
    let said: Vec<String> = entries.iter().map(|entry| remark(entry)).collect();
    let examples = entries.iter().flat_map(|entry| &entry.examples).enumerate();
    let examples: Map<String, Value> = examples
        .map(|(number, example)| ((number + 1).to_string(), json!({"value": example.args})))
        .collect();
    let mut body = json!({"schema": one_of(entries, |entry| &entry.params)});
    if !examples.is_empty() {
        body["examples"] = examples.into();
    }
    let needed = entries.iter().any(|entry| entry.params.get("required").is_some());
    let answer = json!({
        "type": "object",
        "properties": {"args": one_of(entries, |entry| &entry.result)},
        "required": ["args"],
    });
    let members = [
        ("operationId", Value::from(name.replace(['/', '@', '-'], "_"))),
        ("summary", first.summary.as_str().into()),
        ("description", said.join("\n\n").into()),
        ("tags", json!([first.plugin.as_deref().unwrap_or("sysadmd")])),
        ("deprecated", entries.iter().all(|entry| entry.deprecated.is_some()).into()),
        ("requestBody", json!({"required": needed, "content": {"application/json": body}})),
        (
            "responses",
            json!({
                "200": {"description": "Done", "content": {"application/json": {"schema": answer}}},
                "default": {"$ref": "#/components/responses/refused"},
            }),
        ),
    ];
    operation.extend(members.map(|(name, value)| (name.to_owned(), value)));
    if entries.iter().all(|entry| entry.needs == "anybody") {
        operation.insert("security".to_owned(), json!([]));
    }
    json!({ "post": operation })
}

/// What one of the actions takes or gives.
fn one_of(entries: &[&MethodDescription], part: fn(&MethodDescription) -> &Value) -> Value {
    let mut kinds: Vec<Value> = Vec::new();
    for entry in entries {
        let schema = schema_of(part(entry));
        if !kinds.contains(&schema) {
            kinds.push(schema);
        }
    }
    if kinds.len() == 1 { kinds.remove(0) } else { json!({ "anyOf": kinds }) }
}

/// The path of a document.
fn about(form: Form) -> Value {
    json!({"get": {
        "operationId": form.as_str(),
        "summary": format!("This machine's {} document, as far as you may use it", form.as_str()),
        "tags": ["sysadmd"],
        "responses": {
            "200": {
                "description": "The document",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            "default": {"$ref": "#/components/responses/refused"},
        },
    }})
}

/// The body of a refusal.
fn refusal() -> Value {
    json!({
        "type": "object",
        "properties": {"args": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "description": "The HTTP status, as a text"},
                "message": {"type": "string", "description": "The classic words"},
                "error": {"type": "string", "description": "One sentence for people"},
                "fault": {"$ref": "#/components/schemas/Fault"},
            },
            "required": ["code", "message", "error", "fault"],
        }},
        "required": ["args"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_a_path_with_an_operation_of_its_own() {
        let document = document(&crate::description::tests::small());
        let thing = &document["paths"]["/kit/thing"]["post"];
        let kinds = &thing["requestBody"]["content"]["application/json"]["schema"]["anyOf"];
        assert_eq!(kinds[1]["properties"]["action"]["const"], "touch");
        assert_eq!(thing["operationId"], "kit_thing");
        assert_eq!(document["paths"]["/kit/echo"]["post"]["deprecated"], true);
        assert_eq!(document["paths"]["/kit@2/echo"]["post"]["operationId"], "kit_2_echo");
        assert!(document["paths"]["/openrpc.json"]["get"].is_object());
    }
}
