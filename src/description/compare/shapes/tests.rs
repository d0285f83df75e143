//! Each way to narrow and to widen, and a validator of its own opinion.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Side, differences};

fn object(members: &Value, required: &Value) -> Value {
    json!({"type": "object", "properties": members, "required": required})
}

/// `(what, narrow, wide)`: what the wide one takes and the narrow one does not.
fn pairs() -> Vec<(&'static str, Value, Value)> {
    let number = |n: Value| object(&json!({ "n": n }), &json!([]));
    let word = || json!({"type": "string"});
    vec![
        ("a type", json!({"type": "integer"}), json!({"type": ["integer", "null"]})),
        ("a number", json!({"type": "integer"}), json!({"type": "number"})),
        ("anything", word(), json!({})),
        ("a word of several", json!({"enum": ["a"]}), json!({"enum": ["a", "b"]})),
        ("any word", json!({"enum": ["a", "b"]}), word()),
        (
            "words with remarks",
            json!({"enum": ["a"]}),
            json!({"oneOf": [
            {"const": "a", "description": "first"}, {"const": "b"}]}),
        ),
        ("a minimum", json!({"type": "integer", "minimum": 1}), json!({"type": "integer"})),
        (
            "a lower minimum",
            json!({"type": "integer", "minimum": 2}),
            json!({"type": "integer", "minimum": 1}),
        ),
        (
            "a maximum",
            number(json!({"type": "integer", "maximum": 5})),
            number(json!({"type": "integer", "maximum": 6})),
        ),
        ("a length", json!({"type": "string", "maxLength": 3}), word()),
        ("a least length", json!({"type": "string", "minLength": 3}), word()),
        ("a pattern", json!({"type": "string", "pattern": "^a"}), word()),
        ("a format", json!({"type": "string", "format": "date"}), word()),
        ("a number of items", json!({"type": "array", "minItems": 1}), json!({"type": "array"})),
        ("items", json!({"type": "array", "items": word()}), json!({"type": "array"})),
        (
            "a place",
            json!({"type": "array", "prefixItems": [word()]}),
            json!({"type": "array", "prefixItems": [{"type": ["string", "null"]}]}),
        ),
        (
            "a member that must be there",
            object(&json!({"a": word()}), &json!(["a"])),
            object(&json!({"a": word()}), &json!([])),
        ),
        (
            "a member of a member",
            number(object(&json!({"b": {"const": 1}}), &json!([]))),
            number(object(&json!({"b": {"type": "integer"}}), &json!([]))),
        ),
        (
            "values of a map",
            json!({"type": "object", "additionalProperties": word()}),
            json!({"type": "object", "additionalProperties": {"type": ["string", "null"]}}),
        ),
        (
            "one of two shapes",
            object(&json!({"a": word()}), &json!([])),
            json!({"anyOf": [object(&json!({"a": word()}), &json!([])), {"type": "null"}]}),
        ),
    ]
}

#[test]
fn arguments_may_be_widened_and_results_narrowed_and_never_the_other_way() {
    for (what, narrow, wide) in pairs() {
        assert_eq!(differences(Side::Asked, &narrow, &wide), [], "{what}, asked, widened");
        assert_eq!(differences(Side::Told, &wide, &narrow), [], "{what}, told, narrowed");
        let found = differences(Side::Asked, &wide, &narrow);
        assert!(!found.is_empty(), "{what}, asked, narrowed");
        assert!(found.iter().all(|it| it.place.starts_with("args")), "{found:?}");
        let found = differences(Side::Told, &narrow, &wide);
        assert!(!found.is_empty(), "{what}, told, widened");
    }
}

#[test]
fn members_come_and_never_go() {
    let one = object(&json!({"a": {"type": "string"}}), &json!([]));
    let two = object(&json!({"a": {"type": "string"}, "b": {"type": "string"}}), &json!([]));
    for side in [Side::Asked, Side::Told] {
        assert_eq!(differences(side, &one, &two), []);
        assert_eq!(differences(side, &two, &one).len(), 1);
    }
    let needed = object(&json!({"a": {"type": "string"}, "b": {}}), &json!(["b"]));
    assert_eq!(differences(Side::Asked, &one, &needed)[0].place, "args.b");
    assert_eq!(differences(Side::Told, &one, &needed), []);
    let mut closed = one.clone();
    closed["additionalProperties"] = false.into();
    assert_eq!(differences(Side::Asked, &one, &closed).len(), 1);
    assert_eq!(differences(Side::Asked, &closed, &one), []);
    assert_eq!(differences(Side::Told, &closed, &two), []);
}

#[test]
fn what_is_absent_means_the_same_as_before() {
    let with = |n: u64| json!({"type": "integer", "default": n});
    assert_eq!(differences(Side::Asked, &with(1), &with(2)).len(), 1);
    assert_eq!(differences(Side::Told, &with(1), &with(2)), []);
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": ["string", "null"]})),
        Just(json!({"enum": ["a", "bb", 1]})),
        Just(json!({"oneOf": [{"const": "a"}, {"const": null}]})),
        (0u8..3, 0u8..3).prop_map(|(least, more)| {
            json!({"type": "integer", "minimum": least, "maximum": least + more})
        }),
        (0u8..3).prop_map(|most| json!({"type": "string", "maxLength": most})),
        (0u8..3).prop_map(|least| json!({"type": "string", "minLength": least})),
        Just(json!({"type": "number", "minimum": 1})),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        let members = proptest::collection::btree_map("[abc]", inner.clone(), 0..3);
        prop_oneof![
            (members, any::<bool>(), any::<bool>()).prop_map(|(members, needed, closed)| {
                let first: Vec<&String> = members.keys().take(usize::from(needed)).collect();
                let mut schema = object(&json!(members), &json!(first));
                if closed {
                    schema["additionalProperties"] = false.into();
                }
                schema
            }),
            (inner.clone(), 0u8..2).prop_map(|(items, least)| {
                json!({"type": "array", "items": items, "minItems": least})
            }),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"anyOf": [a, b]})),
        ]
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0i64..6).prop_map(Value::from),
        Just(json!(1.5)),
        "[ab]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[abc]", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

/// The same with every object closed, or open, to members it does not name.
fn with_others(schema: &Value, others: Option<bool>) -> Value {
    let mut schema = schema.clone();
    if let Some(members) = schema.as_object_mut() {
        if members.contains_key("properties") {
            match others {
                Some(others) => {
                    drop(members.insert("additionalProperties".to_owned(), others.into()));
                }
                None => drop(members.remove("additionalProperties")),
            }
        }
        for value in members.values_mut() {
            *value = match value.take() {
                Value::Object(map) => {
                    let inner = Value::Object(map);
                    // A map from names to schemas, or a schema.
                    with_others(&inner, others)
                }
                Value::Array(items) => items.iter().map(|item| with_others(item, others)).collect(),
                other => other,
            };
        }
    }
    schema
}

fn valid(schema: &Value, value: &Value) -> bool {
    jsonschema::draft202012::new(schema).unwrap().is_valid(value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_passes_breaks_nobody(
        old in schema(), new in schema(), values in proptest::collection::vec(value(), 24),
    ) {
        if differences(Side::Asked, &old, &new).is_empty() {
            // A client sends what the old description names, and nothing beside it.
            let sent = with_others(&old, Some(false));
            for value in values.iter().filter(|value| valid(&sent, value)) {
                prop_assert!(valid(&new, value), "{value} was accepted: {old} to {new}");
            }
        }
        if differences(Side::Told, &old, &new).is_empty() {
            // A client ignores the members that it does not know.
            let understood = with_others(&old, None);
            for value in values.iter().filter(|value| valid(&new, value)) {
                prop_assert!(valid(&understood, value), "{value} may come: {old} to {new}");
            }
        }
    }

    #[test]
    fn nothing_breaks_where_nothing_changes(old in schema()) {
        prop_assert_eq!(differences(Side::Asked, &old, &old), []);
        prop_assert_eq!(differences(Side::Told, &old, &old), []);
    }

    #[test]
    fn another_kind_is_always_accepted_and_never_told(old in schema(), more in leaf()) {
        let wide = json!({"anyOf": [old, more]});
        prop_assert_eq!(differences(Side::Asked, &old, &wide), []);
        prop_assert_eq!(differences(Side::Told, &wide, &old), []);
    }
}
