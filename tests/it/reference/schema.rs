//! JSON Schema in short: what a value may be, on as few lines as it can be read on.

use serde_json::{Map, Value};

/// The longest line an object is put on.
const WIDTH: usize = 96;

/// The value a schema describes, as a fenced block.
pub(super) fn block(schema: &Value) -> String {
    format!("```ts\n{}\n```\n", short(schema, 0))
}

/// `depth`: by how many steps the lines after the first are indented.
fn short(schema: &Value, depth: usize) -> String {
    let Some(schema) = schema.as_object() else { return "any".to_owned() };
    if let Some(only) = schema.get("const") {
        return only.to_string();
    }
    let kinds = ["oneOf", "anyOf"].iter().find_map(|key| schema.get(*key)?.as_array());
    if let Some(kinds) = kinds {
        let kinds: Vec<String> = kinds.iter().map(|kind| short(kind, depth)).collect();
        return kinds.join(" | ");
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
        Some(one) => one.as_str().into_iter().collect(),
        None => return "any".to_owned(),
    };
    let types = types.into_iter().map(|name| match name {
        "object" => object(schema, depth),
        "array" => array(schema, depth),
        plain => plain.to_owned(),
    });
    types.collect::<Vec<_>>().join(" | ")
}

fn array(schema: &Map<String, Value>, depth: usize) -> String {
    if let Some(places) = schema.get("prefixItems").and_then(Value::as_array) {
        let places: Vec<String> = places.iter().map(|place| short(place, depth)).collect();
        return format!("[{}]", places.join(", "));
    }
    let items = short(schema.get("items").unwrap_or(&Value::Null), depth);
    if items.contains(" | ") && !items.ends_with('}') {
        format!("({items})[]")
    } else {
        format!("{items}[]")
    }
}

fn object(schema: &Map<String, Value>, depth: usize) -> String {
    let empty = Map::new();
    let members = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let mut lines = Vec::new();
    for (name, of) in members {
        let needed = schema.get("required").and_then(Value::as_array);
        let needed = needed.is_some_and(|names| names.iter().any(|it| it == name));
        let mark = if needed { "" } else { "?" };
        lines.push((format!("{name}{mark}: {}", short(of, depth + 1)), remark(of)));
    }
    match schema.get("additionalProperties") {
        Some(Value::Bool(_)) => {}
        None if !members.is_empty() => {}
        None => return "object".to_owned(),
        Some(of) => lines.push((format!("[name]: {}", short(of, depth + 1)), remark(of))),
    }
    let bare: Vec<&str> = lines.iter().map(|(line, _)| line.as_str()).collect();
    let inline = format!("{{ {} }}", bare.join(", "));
    let fits = inline.len() + 2 * depth <= WIDTH && !inline.contains('\n');
    if lines.is_empty() {
        "{}".to_owned()
    } else if fits && lines.iter().all(|(_, remark)| remark.is_empty()) {
        inline
    } else {
        let inner = "  ".repeat(depth + 1);
        let line = |(line, remark): &(String, String)| {
            let remark = if remark.is_empty() { String::new() } else { format!("  // {remark}") };
            format!("{inner}{line},{remark}\n")
        };
        let lines: String = lines.iter().map(line).collect();
        format!("{{\n{lines}{}}}", "  ".repeat(depth))
    }
}

/// What the type alone does not say.
fn remark(schema: &Value) -> String {
    let said = schema["description"].as_str();
    // Doc comments are sentences, remarks are not.
    let said = said.map(|said| said.strip_suffix('.').unwrap_or(said).to_owned());
    let bounds = match (&schema["minimum"], &schema["maximum"]) {
        (Value::Null, Value::Null) => None,
        (least, Value::Null) => Some(format!("{least} or more")),
        (Value::Null, most) => Some(format!("{most} at most")),
        (least, most) => Some(format!("{least} to {most}")),
    };
    // A text that must not be empty is what everybody expects.
    let length = schema["maxLength"].as_u64().map(|most| format!("at most {most} characters"));
    let pattern = schema["pattern"].as_str().map(str::to_owned);
    let format = schema["format"].as_str().map(str::to_owned);
    let items = schema["minItems"].as_u64().map(|least| format!("{least} or more"));
    let parts = [said, bounds, length, pattern, format, items];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[test]
fn a_schema_is_put_in_short() {
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "a": {"type": ["integer", "null"]},
            "b": {"type": "array", "items": {"enum": ["x", "y"]}},
            "c": {"type": "object"}
        },
        "required": ["a"]
    });
    assert_eq!(short(&schema, 0), r#"{ a: integer | null, b?: ("x" | "y")[], c?: object }"#);
    let schema = serde_json::json!({
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "description": "How many"}},
        "additionalProperties": false
    });
    assert_eq!(short(&schema, 0), "{\n  n?: integer,  // How many; 1 or more\n}");
    assert_eq!(short(&Value::Null, 0), "any");
    let schema = serde_json::json!({"anyOf": [
        {"oneOf": [{"const": "a"}, {"const": "b"}]},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
    ]});
    assert_eq!(short(&schema, 0), r#""a" | "b" | [string, integer]"#);
}
