//! Answers: results, errors, and the answers of a batch together.

use jsonrpsee_core::middleware::BatchEntryErr;
use jsonrpsee_types::{ErrorObject, ErrorObjectOwned};
use protocol::{Deprecated, Fault, FaultKind, Json};
use serde::Serialize;
use serde_json::Value;

use super::read::id_text;

/// What machines are told of a fault, beside its code and its sentence.
#[derive(Serialize)]
struct Data<'a> {
    kind: FaultKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Value::is_null")]
    details: &'a Value,
}

/// The error object of a fault, under this code (see [`super::code`]).
pub fn error_of(code: i32, fault: &Fault) -> ErrorObjectOwned {
    let Fault { kind, message, hint, retry_after_ms, details } = fault;
    let hint = hint.as_deref();
    let data = Data { kind: *kind, hint, retry_after_ms: *retry_after_ms, details };
    ErrorObject::owned(code, message, Some(data))
}

/// The answer to the request with this id, which is JSON text.
pub fn result(id: &str, value: &Json) -> Vec<u8> {
    let mut answer = begun(id, value.text().len());
    answer.extend_from_slice(b"\"result\":");
    answer.extend_from_slice(value.text().as_bytes());
    answer.push(b'}');
    answer
}

/// The same for a client that opted in, which is told that what it asked for is on its way out.
pub fn farewell(id: &str, value: &Json, deprecated: &Deprecated) -> Vec<u8> {
    let mut answer = result(id, value);
    answer.pop();
    answer.extend_from_slice(b",\"deprecated\":");
    // Writing texts into memory cannot fail.
    serde_json::to_writer(&mut answer, deprecated).ok();
    answer.push(b'}');
    answer
}

/// The refusal of the request with this id, which is JSON text.
pub fn error(id: &str, error: &ErrorObject<'_>) -> Vec<u8> {
    let mut answer = begun(id, 256);
    answer.extend_from_slice(b"\"error\":");
    // Writing numbers and strings into memory cannot fail.
    serde_json::to_writer(&mut answer, error).ok();
    answer.push(b'}');
    answer
}

/// The refusal of what is no request.
pub fn wrong(entry: BatchEntryErr<'_>) -> Vec<u8> {
    let (object, id) = entry.into_parts();
    error(&id_text(&id), &object)
}

fn begun(id: &str, more: usize) -> Vec<u8> {
    let mut answer = Vec::with_capacity(id.len() + more + 48);
    answer.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    answer.extend_from_slice(id.as_bytes());
    answer.push(b',');
    answer
}

/// The answers of a batch.
#[derive(Debug, Default)]
pub struct Answers(Vec<u8>);

impl Answers {
    /// Adds one.
    pub fn add(&mut self, answer: &[u8]) {
        self.0.push(if self.0.is_empty() { b'[' } else { b',' });
        self.0.extend_from_slice(answer);
    }

    /// Bytes up to now.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// The array; `None` when there is nothing to answer.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.push(b']');
        Some(self.0)
    }
}
