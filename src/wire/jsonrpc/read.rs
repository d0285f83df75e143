//! Reads requests, notifications and batches of them, strictly as the specification has them.

use std::borrow::Cow;
use std::fmt;

use jsonrpsee_core::middleware::{Batch, BatchEntry, BatchEntryErr, Notification, Request};
use jsonrpsee_types::{Extensions, Id, TwoPointZero};
use protocol::Fault;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::pieces::{quote, string};
use super::answer::error_of;
use super::code::{INVALID_REQUEST, PARSE_ERROR, code};

/// A request or notification, or why it is neither.
pub type Entry<'a> = Result<BatchEntry<'a>, BatchEntryErr<'a>>;

/// One message.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A request or notification alone; also everything that cannot be read.
    One(Entry<'a>),
    /// Several together.
    Batch(Batch<'a>),
}

/// The id as it was sent, where [`Id`] cannot hold it: a number that is negative, broken or too
/// large. [`Id::Null`] stands in its place.
#[derive(Debug, Clone)]
struct SentNumber(Box<str>);

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
}

/// Tells `null` from nothing: a request whose id is null is no notification.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Whether a message holds a batch, or nothing.
pub fn is_batch(text: &str) -> bool {
    text.trim_ascii_start().starts_with('[')
}

/// Reads one message with at most so many requests in a batch.
pub fn read(text: &str, most: usize) -> Heard<'_> {
    if is_batch(text) { batch(text, most) } else { Heard::One(one(text)) }
}

fn batch(text: &str, most: usize) -> Heard<'_> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let elements = Elements(most).deserialize(&mut reader);
    let elements = elements.and_then(|elements| reader.end().map(|()| elements));
    match elements {
        Err(error) => Heard::One(Err(no_json(&error))),
        Ok((_, 0)) => Heard::One(Err(invalid(Id::Null, "a batch holds at least one request"))),
        Ok((_, count)) if count > most => Heard::One(Err(too_many(count, most))),
        Ok((elements, _)) => {
            Heard::Batch(Batch::from(elements.into_iter().map(|it| one(it.get())).collect()))
        }
    }
}

/// The elements of an array, and how many there are: no more than so many are kept.
struct Elements(usize);

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = (Vec<&'de RawValue>, usize);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.0
            && let Some(element) = seq.next_element()?
        {
            kept.push(element);
        }
        let mut count = kept.len();
        while count >= self.0 && seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((kept, count))
    }
}

/// Reads one message that is no batch, or one element of a batch.
pub fn one(text: &str) -> Entry<'_> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => invalid(Id::Null, "a request is an object"),
            Err(error) => no_json(&error),
        });
    }
    let envelope: Envelope<'_> = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) if error.is_data() => return Err(invalid(Id::Null, &error.to_string())),
        Err(error) => return Err(no_json(&error)),
    };
    let mut extensions = Extensions::new();
    let id = match envelope.id {
        None => None,
        Some(raw) => Some(
            id_in(raw, &mut extensions)
                .ok_or_else(|| invalid(Id::Null, "\"id\" must be a string, a number or null"))?,
        ),
    };
    // What the id is, an answer can say even when the rest is wrong.
    let wrong = |sentence| Err(invalid(id.clone().unwrap_or(Id::Null), sentence));
    if envelope.jsonrpc.and_then(string).as_deref() != Some("2.0") {
        return wrong("\"jsonrpc\" must be \"2.0\"");
    }
    let Some(method) = envelope.method.and_then(string) else {
        return wrong("\"method\" must be a string");
    };
    let params = envelope.params.filter(|raw| raw.get() != "null").map(Cow::Borrowed);
    let jsonrpc = TwoPointZero;
    Ok(match id {
        Some(id) => BatchEntry::Call(Request { jsonrpc, id, method, params, extensions }),
        None => BatchEntry::Notification(Notification { jsonrpc, method, params, extensions }),
    })
}

fn id_in<'a>(raw: &'a RawValue, extensions: &mut Extensions) -> Option<Id<'a>> {
    match raw.get().as_bytes().first()? {
        b'n' => Some(Id::Null),
        b'"' => string(raw).map(Id::Str),
        b'-' | b'0'..=b'9' => Some(raw.get().parse().map_or_else(
            |_| {
                extensions.insert(SentNumber(raw.get().into()));
                Id::Null
            },
            Id::Number,
        )),
        _ => None,
    }
}

/// The id of a request as JSON text, equal to what was sent.
pub fn id<'a>(request: &'a Request<'_>) -> Cow<'a, str> {
    if let Some(SentNumber(text)) = request.extensions.get() {
        return Cow::Borrowed(text);
    }
    id_text(&request.id)
}

/// An id as JSON text.
pub(super) fn id_text<'a>(id: &Id<'_>) -> Cow<'a, str> {
    match id {
        Id::Null => Cow::Borrowed("null"),
        Id::Number(number) => Cow::Owned(number.to_string()),
        Id::Str(text) => {
            let mut quoted = Vec::with_capacity(text.len() + 2);
            quote(text, &mut quoted);
            Cow::Owned(String::from_utf8_lossy(&quoted).into_owned())
        }
    }
}

/// The same, with nothing borrowed from the message.
pub fn owned(entry: BatchEntry<'_>) -> BatchEntry<'static> {
    let params = |params: Option<Cow<'_, RawValue>>| params.map(|it| Cow::Owned(it.into_owned()));
    let text = |method: Cow<'_, str>| Cow::Owned(method.into_owned());
    match entry {
        BatchEntry::Call(it) => BatchEntry::Call(Request {
            jsonrpc: it.jsonrpc,
            id: it.id.into_owned(),
            method: text(it.method),
            params: params(it.params),
            extensions: it.extensions,
        }),
        BatchEntry::Notification(it) => BatchEntry::Notification(Notification {
            jsonrpc: it.jsonrpc,
            method: text(it.method),
            params: params(it.params),
            extensions: it.extensions,
        }),
    }
}

/// What is called: `namespace.name` with its arguments.
///
/// # Errors
/// `not-found` for a name that no method can have, `bad-request` as [`args`].
pub fn request(method: &str, params: Option<&RawValue>) -> Result<protocol::Request, Fault> {
    let parts = method.split_once('.').filter(|(_, name)| !name.contains(['.', '/']));
    let Some((namespace, name)) = parts else {
        return Err(Fault::not_found(format!("there is no method {method:?}"))
            .with_hint("methods are called namespace.name, for example rpc.query"));
    };
    Ok(protocol::Request::new(namespace, name, args(params)?))
}

/// The arguments in `params`: an object, or an array of the one value that they are.
///
/// # Errors
/// `bad-request` for anything else.
pub fn args(params: Option<&RawValue>) -> Result<Value, Fault> {
    let Some(params) = params else { return Ok(json!({})) };
    let value = serde_json::from_str(params.get())
        .map_err(|_| Fault::bad_request("the params are nested more than 128 levels deep"))?;
    match value {
        Value::Object(_) => Ok(value),
        Value::Array(mut values) if values.len() <= 1 => Ok(values.pop().unwrap_or(json!({}))),
        Value::Array(values) => {
            let count = values.len();
            let sentence = format!("the params are an array of {count} values: it may hold one");
            Err(Fault::bad_request(sentence).with_hint("send one object with named arguments"))
        }
        _ => Err(Fault::bad_request("the params must be an object or an array")),
    }
}

/// The subscription that `events.unsubscribe` names: alone, or as `sub`.
///
/// # Errors
/// `bad-request` when it names none.
pub fn unsubscription(args: &Value) -> Result<String, Fault> {
    let named = args.as_str().or_else(|| args.get("sub").and_then(Value::as_str));
    named.map(str::to_owned).ok_or_else(|| {
        Fault::bad_request("the params must be [ID] or {\"sub\": ID}, the id being a string")
    })
}

fn no_json(error: &serde_json::Error) -> BatchEntryErr<'static> {
    let fault = Fault::bad_request(format!("the message is no JSON: {error}"));
    BatchEntryErr::new(Id::Null, error_of(PARSE_ERROR, &fault))
}

fn invalid<'a>(id: Id<'a>, sentence: &str) -> BatchEntryErr<'a> {
    let fault = Fault::bad_request(format!("this is no JSON-RPC 2.0 request: {sentence}"));
    BatchEntryErr::new(id, error_of(INVALID_REQUEST, &fault))
}

fn too_many(count: usize, most: usize) -> BatchEntryErr<'static> {
    use protocol::FaultKind;
    let sentence = format!("the batch holds {count} requests: it may hold {most}");
    let fault = Fault::new(FaultKind::TooLarge, sentence)
        .with_hint("none of them was run; send them in several batches");
    BatchEntryErr::new(Id::Null, error_of(code(FaultKind::TooLarge, false), &fault))
}
