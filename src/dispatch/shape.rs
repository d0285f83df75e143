//! Arguments and answers of the daemon's own methods: types on this side, JSON on the other.
//!
//! A method's arguments are read as the type that its schema is made from, and its answer is
//! written from one, so that what is described and what is done cannot differ.

use std::borrow::Cow;

use protocol::{Fault, Json};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A document in a form of its own.
#[derive(JsonSchema)]
pub(super) struct Document {}

/// Makes the JSON Schema of a type.
pub type Shape = fn() -> Value;

/// No arguments, or an answer that says nothing but that it was done.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Nothing {}

/// Whatever is said.
pub(super) struct Anything;

impl JsonSchema for Anything {
    fn schema_name() -> Cow<'static, str> {
        "Anything".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::from(true)
    }
}

/// What a client may say.
pub(super) fn asked<T: JsonSchema>() -> Value {
    of::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

/// What a client may be told.
pub(super) fn answered<T: JsonSchema>() -> Value {
    of::<T>(SchemaSettings::draft2020_12().for_serialize())
}

fn of<T: JsonSchema>(settings: SchemaSettings) -> Value {
    // Every schema stands for itself: nobody has to look a reference up.
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(members) = schema.as_object_mut() {
        members.remove("title");
        members.remove("description");
    }
    tidy(&mut schema);
    schema
}

/// Takes away what says something of our types rather than of the JSON.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let is_of_rust = |format: &str| {
                ["int", "uint", "float", "double"].iter().any(|word| format.starts_with(word))
            };
            if members.get("format").and_then(Value::as_str).is_some_and(is_of_rust) {
                members.remove("format");
            }
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = text.replace('\n', " ").replace("[`", "`").replace("`]", "`");
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The arguments as a `T`. No arguments, and the text that classic clients send in their place, are
/// an empty object.
///
/// # Errors
/// `bad-request` with the member at fault.
pub(super) fn read<T: DeserializeOwned>(args: &Value) -> Result<T, Fault> {
    let args = match args {
        Value::Null | Value::String(_) => &json!({}),
        other => other,
    };
    T::deserialize(args)
        .map_err(|error| Fault::bad_request(format!("the arguments are wrong: {error}")))
}

/// An answer as JSON, its members in alphabetical order as everywhere in the `SysAdm` protocol.
///
/// # Errors
/// `internal` when it has no JSON form.
pub(super) fn said<T: Serialize>(answer: &T) -> Result<Json, Fault> {
    serde_json::to_value(answer).map(Json::from).map_err(|error| {
        tracing::error!(%error, "an answer has no JSON form");
        Fault::internal()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something to say.
    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Said {
        /// How many there are,
        /// in all.
        count: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        word: Option<String>,
    }

    #[test]
    fn a_schema_says_what_is_read_and_what_is_written() {
        let asked = asked::<Said>();
        assert_eq!(asked["properties"]["count"]["description"], "How many there are, in all.");
        assert_eq!(asked["properties"]["count"].get("format"), None);
        assert_eq!(asked["required"], json!(["count"]));
        assert_eq!(asked["additionalProperties"], false);
        assert_eq!(asked.get("title"), None);
        assert_eq!(answered::<Said>()["required"], json!(["count"]));
        assert_eq!(answered::<Anything>(), json!({}));
    }

    #[test]
    fn arguments_are_read_or_the_member_is_named() {
        assert_eq!(read::<Said>(&json!({"count": 1})), Ok(Said { count: 1, word: None }));
        let refused = read::<Said>(&json!({"count": "many"})).unwrap_err();
        assert!(refused.message.contains("many"), "{refused}");
        let refused = read::<Said>(&json!("")).unwrap_err();
        assert!(refused.message.contains("count"), "{refused}");
    }
}
