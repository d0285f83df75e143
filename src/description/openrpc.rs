//! `OpenRPC` 1.3: <https://spec.open-rpc.org>.

use serde_json::{Map, Value, json};

use super::{
    Description, MethodDescription, SUBSCRIBE, UNSUBSCRIBE, extensions, fault_schema, named,
    remark, schema_of, unsubscription,
};

/// The version of the specification.
const OPENRPC: &str = "1.3.2";

pub(super) fn document(description: &Description) -> Value {
    let here: Vec<MethodDescription> = description.methods.iter().map(on_jsonrpc).collect();
    let here = &Description { methods: here, ..description.clone() };
    let calls = here.calls();
    let methods: Vec<Value> = calls.iter().map(|(name, of)| method(here, name, of)).collect();
    let fault = fault_schema(description);
    let errors: Map<String, Value> = description
        .faults
        .iter()
        .map(|known| {
            let error = json!({
                "code": known.code, "message": known.reason, "data": {"kind": known.kind},
            });
            (known.kind.clone(), error)
        })
        .collect();
    json!({
        "openrpc": OPENRPC,
        "info": {
            "title": "sysadmd",
            "version": description.version,
            "description": "What you may call on this machine, as far as it is there now: JSON-RPC 2.0 at /jsonrpc of every listener.",
            "license": {"name": "BSD-2-Clause"},
        },
        "methods": methods,
        "components": {"schemas": {"Fault": fault}, "errors": errors},
        "x-protocol": description.protocol,
    })
}

/// A method as it is here: what is about a connection is not the same on every face.
fn on_jsonrpc(entry: &MethodDescription) -> MethodDescription {
    let mut here = entry.clone();
    here.params = named(&entry.params).clone();
    match entry.method.as_str() {
        SUBSCRIBE => {
            let meaning = "The id of the subscription, which every notification names";
            here.result = json!({"type": "string", "description": meaning});
        }
        UNSUBSCRIBE => (here.params, here.result) = (unsubscription(), json!({"const": true})),
        "rpc/auth_clear" => here.result = json!({"const": true}),
        _ => {}
    }
    here
}

fn method(description: &Description, name: &str, entries: &[&MethodDescription]) -> Value {
    let first = entries[0];
    let mut method = extensions(first);
    let summaries: Vec<String> = entries.iter().map(|entry| said(entry)).collect();
    let references = description.faults.iter();
    let references =
        references.map(|fault| json!({"$ref": format!("#/components/errors/{}", fault.kind)}));
    let members = [
        ("name", Value::from(name.replace('/', "."))),
        ("summary", first.summary.as_str().into()),
        ("description", summaries.join("\n").into()),
        ("tags", json!([{"name": first.plugin.as_deref().unwrap_or("sysadmd")}])),
        ("paramStructure", "by-name".into()),
        ("params", params(entries)),
        ("result", json!({"name": "result", "schema": result(entries)})),
        ("errors", references.collect()),
        ("deprecated", entries.iter().all(|entry| entry.deprecated.is_some()).into()),
    ];
    method.extend(members.map(|(name, value)| (name.to_owned(), value)));
    if first.method == SUBSCRIBE {
        // As clients of jsonrpsee and of Ethereum's nodes know it.
        let pair = json!({
            "notification": "events.subscription", "unsubscribe": UNSUBSCRIBE.replace('/', "."),
        });
        method.insert("x-subscription".to_owned(), pair);
    }
    let examples: Vec<Value> = entries.iter().flat_map(|entry| examples(entry)).collect();
    if !examples.is_empty() {
        method.insert("examples".to_owned(), examples.into());
    }
    if entries.len() > 1 {
        // One action is one entry; what differs between them stands here.
        let actions: Vec<Value> = entries.iter().map(|entry| action(entry)).collect();
        method.insert("x-actions".to_owned(), actions.into());
    }
    method.into()
}

fn said(entry: &MethodDescription) -> String {
    match &entry.action {
        Some(action) => format!("`{action}`: {}", remark(entry)),
        None => remark(entry),
    }
}

/// Each argument by its name. One that an action does not take may be absent.
fn params(entries: &[&MethodDescription]) -> Value {
    let mut names: Vec<&str> = Vec::new();
    for entry in entries {
        let members = entry.params.get("properties").and_then(Value::as_object);
        for name in members.into_iter().flat_map(Map::keys) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let describe = |name: &&str| {
        let of = |entry: &&MethodDescription| entry.params["properties"].get(*name).cloned();
        let schema = union(entries.iter().filter_map(of).collect());
        let needed = entries.iter().all(|entry| is_required(&entry.params, name));
        json!({"name": name, "required": needed, "schema": schema})
    };
    let mut params: Vec<Value> = names.iter().map(describe).collect();
    // Those that must be there come first, as the specification wants it.
    params.sort_by_key(|param| param["required"] != true);
    params.into()
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name))
}

fn result(entries: &[&MethodDescription]) -> Value {
    union(entries.iter().map(|entry| schema_of(&entry.result)).collect())
}

/// The schema of whatever fits one of these.
fn union(schemas: Vec<Value>) -> Value {
    let mut kinds: Vec<Value> = Vec::new();
    for schema in schemas {
        if !kinds.contains(&schema) {
            kinds.push(schema);
        }
    }
    let words: Option<Vec<&Value>> = kinds.iter().map(|kind| kind.get("const")).collect();
    match (kinds.len(), words) {
        (1, _) => kinds.remove(0),
        (_, Some(words)) if !words.is_empty() => json!({ "enum": words }),
        _ => json!({ "anyOf": kinds }),
    }
}

fn examples(entry: &MethodDescription) -> Vec<Value> {
    let shown = entry.examples.iter().enumerate().map(|(number, example)| {
        let args = example.args.as_object();
        let params = args.into_iter().flatten();
        let params: Vec<Value> =
            params.map(|(name, value)| json!({"name": name, "value": value})).collect();
        let action = entry.action.as_ref().map(|action| format!("{action} ")).unwrap_or_default();
        let mut shown = json!({"name": format!("{action}{}", number + 1), "params": params});
        if let Some(result) = &example.result {
            shown["result"] = json!({"name": "result", "value": result});
        }
        shown
    });
    shown.collect()
}

fn action(entry: &MethodDescription) -> Value {
    let mut action = extensions(entry);
    let members = [
        ("action", json!(entry.action)),
        ("summary", entry.summary.as_str().into()),
        ("params", schema_of(&entry.params)),
        ("result", schema_of(&entry.result)),
    ];
    action.extend(members.map(|(name, value)| (name.to_owned(), value)));
    action.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_name_of_its_own_and_named_arguments() {
        let document = document(&crate::description::tests::small());
        let methods = document["methods"].as_array().unwrap();
        let names: Vec<&Value> = methods.iter().map(|method| &method["name"]).collect();
        assert_eq!(names, ["kit.echo", "kit@2.echo", "kit.thing"]);
        assert_eq!(methods[0]["deprecated"], true);
        assert_eq!(methods[1]["deprecated"], false);
        let thing = &methods[2];
        assert_eq!(thing["params"][0]["schema"], json!({"enum": ["look", "touch"]}));
        assert_eq!(thing["params"][0]["required"], true);
        assert_eq!(thing["x-actions"].as_array().unwrap().len(), 2);
        assert_eq!(thing["errors"][0]["$ref"], "#/components/errors/not-found");
        assert_eq!(document["components"]["errors"]["not-found"]["code"], -32_004);
    }

    #[test]
    fn a_subscription_is_what_it_is_here() {
        let mut small = crate::description::tests::small();
        let mut entry = small.methods[0].clone();
        entry.method = SUBSCRIBE.to_owned();
        entry.of_connection = true;
        let object = json!({"type": "object", "properties": {"sub": {"type": "string"}}});
        entry.params = json!({"anyOf": [{"type": "string"}, object]});
        small.methods = vec![entry];
        let document = document(&small);
        let method = &document["methods"][0];
        assert_eq!(method["params"][0]["name"], "sub");
        assert_eq!(method["result"]["schema"]["type"], "string");
        assert_eq!(method["x-websocket"], true);
        assert_eq!(method["x-subscription"]["unsubscribe"], "events.unsubscribe");
    }
}
