//! The classic `SysAdm` classes, in the shapes in which the original server's code answers them.

pub(crate) mod devices;
pub(crate) mod filesystem;
pub(crate) mod manager;
pub(crate) mod network;
pub(crate) mod processes;
pub(crate) mod services;
pub(crate) mod sysctl;
pub(crate) mod users;

use sdk::{Fault, Request, Value, json};

/// The object under the action's name, or the sentence that stands there instead.
type Outcome = Result<Value, String>;

/// `{"ACTION": OBJECT}` or `{"ACTION": {"error": SENTENCE}}`.
fn under(action: &str, outcome: Outcome) -> Value {
    match outcome {
        Ok(object) => json!({ action: object }),
        Err(error) => json!({ action: { "error": error } }),
    }
}

/// The action, which the original takes in any case of letters.
fn action(request: &Request) -> String {
    request.args["action"].as_str().unwrap_or_default().to_ascii_lowercase()
}

fn unknown_action(request: &Request, known: &[&str]) -> Fault {
    Fault::bad_request(format!("{} has no such action", request.method()))
        .with_hint(format!("`action` is one of {}", known.join(", ")))
}

/// A member's text; numbers are taken as their text, as clients of today send them.
fn text(args: &Value, name: &str) -> Option<String> {
    match args.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A member that is a text or a list of texts; `None` when it is neither.
fn texts(args: &Value, name: &str) -> Option<Vec<String>> {
    match args.get(name)? {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// The original's words for a yes and a no.
fn flag(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}
