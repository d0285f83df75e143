//! What the daemon says of itself, and whether it keeps to it.

mod deprecations;
mod documents;
mod faces;
mod own;
mod released;
mod versions;

use jsonschema::Validator;
use serde_json::Value;

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap_or_else(|error| panic!("{error}: {schema}"))
}
