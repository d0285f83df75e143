//! Arguments of calls.

use sdk::{Fault, Request, json};
use serde::Deserialize;

/// The arguments as the type says; what does not fit is named.
pub(super) fn read<T: for<'a> Deserialize<'a>>(request: &Request) -> Result<T, Fault> {
    // No arguments at all are as good as none.
    let given = if request.args.is_null() { json!({}) } else { request.args.clone() };
    serde_json::from_value(given).map_err(|error| {
        Fault::bad_request(format!("{}: {error}", request.method()))
            .with_hint("the plugin's manifest describes the arguments")
    })
}

/// No arguments.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}
