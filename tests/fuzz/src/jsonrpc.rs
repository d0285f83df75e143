//! What clients send in JSON-RPC.

use jsonrpsee_core::middleware::BatchEntry;
use protocol::Json;
use serde_json::Value;
use sysadmd::wire::jsonrpc::{self, Entry, Heard};

use crate::utf8;

/// Requests of a batch: few, so that the bound is met.
const MOST: usize = 4;

/// A message: a request, a notification, a batch of them, or what it is told it is not.
pub fn jsonrpc(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    let message = serde_json::from_str::<Value>(text);
    match jsonrpc::read(text, MOST) {
        Heard::One(entry) => match message {
            Ok(Value::Array(elements)) => {
                let code = code_of(entry.expect_err("an array was taken for a request"));
                let too_many = elements.len() > MOST;
                assert!(code == -32_013 && too_many || code == -32_600 && elements.is_empty());
            }
            Ok(message) => check(entry, &message),
            // It may be nested too deeply for us; then it is JSON nevertheless.
            Err(_) => drop(entry.map_err(code_of)),
        },
        Heard::Batch(batch) => {
            assert!((1..=MOST).contains(&batch.len()));
            let Ok(Value::Array(elements)) = message else { return };
            assert_eq!(batch.len(), elements.len());
            batch.into_iter().zip(&elements).for_each(|(entry, element)| check(entry, element));
        }
    }
}

/// What was read of a message says what the message says.
fn check(entry: Entry<'_>, message: &Value) {
    let entry = match entry {
        Ok(entry) => jsonrpc::owned(entry),
        Err(wrong) => return assert_eq!(code_of(wrong), -32_600, "{message}"),
    };
    assert_eq!(message["jsonrpc"], "2.0");
    assert_eq!(message["method"], entry.method_name());
    match &entry {
        BatchEntry::Notification(_) => assert_eq!(message.get("id"), None),
        BatchEntry::Call(request) => {
            let answer = jsonrpc::result(&jsonrpc::id(request), &Json::default());
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            let id = &message["id"];
            assert!(id.is_null() || id.is_string() || id.is_number(), "{message}");
            assert_eq!(&answer["id"], id);
        }
    }
    let params = entry.params().map(AsRef::as_ref);
    match jsonrpc::request(entry.method_name(), params) {
        Ok(request) => {
            let method = format!("{}.{}", request.namespace, request.name);
            assert_eq!(method, entry.method_name());
        }
        Err(fault) => assert!([400, 404].contains(&fault.kind.status()), "{fault}"),
    }
}

/// The code of a refusal, which is JSON with an id.
fn code_of(wrong: jsonrpsee_core::middleware::BatchEntryErr<'_>) -> i64 {
    let said: Value = serde_json::from_slice(&jsonrpc::wrong(wrong)).unwrap();
    assert!(said.get("id").is_some() && said["jsonrpc"] == "2.0", "{said}");
    said["error"]["code"].as_i64().unwrap()
}
