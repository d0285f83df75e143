//! Floor 1: what can be called and what can happen, as documents that programs read.
//!
//! It knows how a [`Description`] looks as `OpenRPC`, as `AsyncAPI` and as `OpenAPI`, and which
//! differences between two of them break a client. It must not know who asks or where a description
//! comes from: `dispatch` gathers it from its table and the manifests, for whoever asks. Pure, and
//! made on demand: nothing of it is kept.

mod asyncapi;
pub mod compare;
mod openapi;
mod openrpc;
mod pieces;

use protocol::manifest::{Example, Kind, Retain};
use protocol::{Deprecated, FaultKind, Priority};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Everything that somebody may use and hear.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The daemon's version.
    pub version: String,
    /// The number of the protocol that `rpc/hello` offers.
    pub protocol: u64,
    /// What can be called, ordered by name, action and version.
    pub methods: Vec<MethodDescription>,
    /// What can happen.
    pub classes: Vec<ClassDescription>,
    /// What can go wrong.
    pub faults: Vec<FaultDescription>,
}

/// One entry of a method: for one action, from one version on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodDescription {
    /// `namespace/name`.
    pub method: String,
    /// The value of `args.action` it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// From which version of its namespace on it holds.
    pub since: u32,
    /// The plugin that answers; absent: the daemon itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// One sentence for people.
    pub summary: String,
    /// Whether it changes anything.
    pub kind: Kind,
    /// Who may call it: `anybody`, `any` login, or the least role.
    pub needs: String,
    /// What it is done to, with arguments in braces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Whether it is about the connection it comes on, and so needs a websocket.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_connection: bool,
    /// JSON Schema of the arguments, `action` included.
    pub params: Value,
    /// JSON Schema of the result.
    pub result: Value,
    /// Calls that work on any machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
    /// That it is on its way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated>,
}

/// One class of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassDescription {
    /// Its name.
    pub class: String,
    /// Whether it stands for every class below it as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub family: bool,
    /// Who says it; absent: the plugin whose doing it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// One sentence for people.
    pub summary: String,
    /// The least role that hears it.
    pub role: String,
    /// How urgent it is when nothing is said.
    pub priority_default: Priority,
    /// The most urgent it may be.
    pub priority_max: Priority,
    /// How long it is kept.
    pub retain: Retain,
    /// JSON Schema of `data`.
    pub schema: Value,
    /// That it is on its way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated>,
}

/// One kind of fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultDescription {
    /// The stable code, for example `bad-request`.
    pub kind: String,
    /// The status over HTTP and in classic errors.
    pub status: u16,
    /// The classic words.
    pub reason: String,
    /// The code over JSON-RPC.
    pub code: i32,
}

/// In which form a description is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Calls over JSON-RPC: <https://spec.open-rpc.org>, version 1.3.
    OpenRpc,
    /// Events on every face: <https://www.asyncapi.com>, version 3.0.
    AsyncApi,
    /// Calls over HTTP: <https://spec.openapis.org>, version 3.1.
    OpenApi,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OpenRpc, Self::AsyncApi, Self::OpenApi];

    /// The word, for example `openrpc`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenRpc => "openrpc",
            Self::AsyncApi => "asyncapi",
            Self::OpenApi => "openapi",
        }
    }
}

impl Description {
    /// The document.
    pub fn document(&self, form: Form) -> Value {
        match form {
            Form::OpenRpc => openrpc::document(self),
            Form::AsyncApi => asyncapi::document(self),
            Form::OpenApi => openapi::document(self),
        }
    }

    /// The entries of each method under the name it is called by, so that actions stand together.
    fn calls(&self) -> Vec<(String, Vec<&MethodDescription>)> {
        let mut calls: Vec<(String, Vec<&MethodDescription>)> = Vec::new();
        for entry in &self.methods {
            let name = entry.called();
            match calls.iter_mut().find(|(known, _)| *known == name) {
                Some((_, entries)) => entries.push(entry),
                None => calls.push((name, vec![entry])),
            }
        }
        calls
    }
}

/// The paths that are described beside the calls over REST, and those of the streams.
#[cfg(test)]
pub(crate) fn served(protocol: u64) -> (Vec<String>, Vec<&'static str>) {
    let asked = openapi::others(protocol).into_iter().map(|(path, _)| path).collect();
    (asked, asyncapi::addresses().collect())
}

impl MethodDescription {
    /// The name that calls this entry whatever the client has said of versions: `kit/echo`, or
    /// `kit@2/echo` for what holds from version 2 on.
    pub fn called(&self) -> String {
        match (self.since, self.method.split_once('/')) {
            (1, _) | (_, None) => self.method.clone(),
            (since, Some((namespace, name))) => format!("{namespace}@{since}/{name}"),
        }
    }
}

impl FaultDescription {
    /// What is known of a kind.
    pub fn of(kind: FaultKind) -> Self {
        let (word, status, reason) = (kind.as_str(), kind.status(), kind.reason());
        Self { kind: word.to_owned(), status, reason: reason.to_owned(), code: kind.json_rpc() }
    }
}

/// The schema of arguments that also say which action is meant.
pub fn with_action(mut schema: Value, action: Option<&str>) -> Value {
    let (Some(action), Some(members)) = (action, schema.as_object_mut()) else { return schema };
    let properties = members.entry("properties").or_insert_with(|| json!({}));
    properties["action"] = json!({ "const": action });
    let required = members.entry("required").or_insert_with(|| json!([]));
    if let Some(names) = required.as_array_mut().filter(|names| !names.contains(&"action".into())) {
        names.insert(0, "action".into());
    }
    schema
}

/// The schema, or that of anything where there is none.
fn schema_of(schema: &Value) -> Value {
    if schema.is_null() { json!({}) } else { schema.clone() }
}

/// Has events delivered.
const SUBSCRIBE: &str = "events/subscribe";
/// Ends that.
const UNSUBSCRIBE: &str = "events/unsubscribe";

/// Where arguments may be of several kinds, the kind that is an object: its members have names.
fn named(params: &Value) -> &Value {
    let kinds = params.get("anyOf").and_then(Value::as_array);
    let object = kinds.into_iter().flatten().find(|kind| kind.get("properties").is_some());
    object.unwrap_or(params)
}

/// What ends a subscription over JSON-RPC.
fn unsubscription() -> Value {
    json!({
        "type": "object",
        "properties": {"sub": {"type": "string", "description": "The id of the subscription"}},
        "required": ["sub"],
    })
}

/// The members that all documents say of a method beyond their own vocabulary.
fn extensions(entry: &MethodDescription) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("x-kind".to_owned(), json!(entry.kind));
    members.insert("x-role".to_owned(), entry.needs.as_str().into());
    if let Some(resource) = &entry.resource {
        members.insert("x-resource".to_owned(), resource.as_str().into());
    }
    if let Some(deprecated) = &entry.deprecated {
        members.insert("x-deprecated".to_owned(), json!(deprecated));
    }
    if entry.of_connection {
        members.insert("x-websocket".to_owned(), true.into());
    }
    members
}

/// The sentence for people, with what has to be known beside it.
fn remark(entry: &MethodDescription) -> String {
    let who = match entry.needs.as_str() {
        "anybody" => "Needs no login.".to_owned(),
        "any" => "Needs a login.".to_owned(),
        role => format!("Needs the role {role}."),
    };
    let place = if entry.of_connection { " Needs a websocket." } else { "" };
    let ending = entry.deprecated.as_ref().map(farewell).unwrap_or_default();
    format!("{}. {who}{place}{ending}", entry.summary)
}

/// That something is on its way out, for people.
fn farewell(deprecated: &Deprecated) -> String {
    let Deprecated { since, instead, until } = deprecated;
    let instead = instead.as_ref().map(|it| format!("; use {it}")).unwrap_or_default();
    let until = until.map(|day| format!("; it may be gone from {day} on")).unwrap_or_default();
    format!(" Deprecated since {since}{instead}{until}.")
}

/// The schema of a fault, as every face carries it.
fn fault_schema(description: &Description) -> Value {
    let kinds: Vec<&str> = description.faults.iter().map(|fault| fault.kind.as_str()).collect();
    json!({
        "type": "object",
        "description": "What went wrong. A reader must survive kinds it does not know.",
        "properties": {
            "kind": {"type": "string", "examples": kinds, "description": "The stable code"},
            "message": {"type": "string", "description": "One sentence for people"},
            "hint": {"type": "string", "description": "What to do next"},
            "retry_after_ms": {
                "type": "integer", "minimum": 0,
                "description": "When it makes sense to try again, in milliseconds",
            },
            "details": {"description": "More for machines"},
        },
        "required": ["kind", "message"],
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two actions, two versions, one class and a family.
    pub(crate) fn small() -> Description {
        let method = |method: &str, action: Option<&str>, since| MethodDescription {
            method: method.to_owned(),
            action: action.map(str::to_owned),
            since,
            plugin: Some("kit".to_owned()),
            summary: "Does something".to_owned(),
            kind: Kind::Query,
            needs: "viewer".to_owned(),
            resource: None,
            of_connection: false,
            params: with_action(
                json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
                action,
            ),
            result: json!({"type": "object"}),
            examples: vec![Example { args: json!({"n": 1}), result: Some(json!({})) }],
            deprecated: None,
        };
        let mut old = method("kit/echo", None, 1);
        old.deprecated = serde_json::from_value(json!({
            "since": "2026-01-01", "instead": "kit@2/echo", "until": "2027-01-01",
        }))
        .unwrap();
        let class = |class: &str, family, schema| ClassDescription {
            class: class.to_owned(),
            family,
            source: Some("kit".to_owned()),
            summary: "Something happened".to_owned(),
            role: "viewer".to_owned(),
            priority_default: Priority::clamped(1),
            priority_max: Priority::clamped(7),
            retain: Retain::Log,
            schema,
            deprecated: None,
        };
        Description {
            version: "1.2.3".to_owned(),
            protocol: 1,
            methods: vec![
                old,
                method("kit/echo", None, 2),
                method("kit/thing", Some("look"), 1),
                method("kit/thing", Some("touch"), 1),
            ],
            classes: vec![
                class("kit.event", false, json!({"type": "object"})),
                class("user", true, Value::Null),
            ],
            faults: vec![FaultDescription::of(FaultKind::NotFound)],
        }
    }

    #[test]
    fn an_action_is_an_argument_that_must_be_there() {
        let schema = with_action(json!({"type": "object", "required": ["a"]}), Some("list"));
        assert_eq!(schema["properties"]["action"]["const"], "list");
        assert_eq!(schema["required"], json!(["action", "a"]));
        assert_eq!(with_action(schema.clone(), Some("list")), schema, "once is enough");
        assert_eq!(with_action(json!({}), None), json!({}));
    }

    #[test]
    fn actions_of_one_method_are_one_call_and_versions_are_two() {
        let small = small();
        let calls = small.calls();
        let names: Vec<&str> = calls.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["kit/echo", "kit@2/echo", "kit/thing"]);
        assert_eq!(calls[2].1.len(), 2);
    }

    #[test]
    fn a_description_reads_back_as_written() {
        let text = serde_json::to_string(&small()).unwrap();
        assert_eq!(serde_json::from_str::<Description>(&text).unwrap(), small());
    }
}
