//! The `SysAdm` protocol: `docs/protocols/sysadm.md` is the normative page.
//!
//! Shapes follow what the original server's code sends, not its documentation; everything new
//! stands in members that its clients ignore.

mod events;

use std::borrow::Cow;

use protocol::{Deprecated, Fault, Json, Request};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::frame;
use super::pieces::{quote, string};

pub use events::{
    CLASSIC, Classic, OPTED_IN, Wanted, classic_class, heartbeat, standing, subscription,
};

/// A request as it came, with its arguments unread.
#[derive(Debug)]
pub struct Said<'a> {
    /// As it was sent; answers repeat it.
    pub namespace: Cow<'a, str>,
    /// As it was sent.
    pub name: Cow<'a, str>,
    /// `""` when it was no string.
    pub id: Cow<'a, str>,
    /// The arguments' JSON text: the whole request when there was no `args`.
    pub args: &'a str,
}

/// A request that cannot be answered: what to say, and the id if it could be read.
#[derive(Debug)]
pub struct Garbled {
    /// The id to answer with.
    pub id: String,
    /// What is wrong; boxed because a request that is right is the usual case.
    pub fault: Box<Fault>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    args: Option<&'a RawValue>,
}

/// A member that is there, also when it is null.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Said<'_> {
    /// The arguments.
    ///
    /// # Errors
    /// `bad-request` when they are nested too deeply to be read (128 levels).
    pub fn read_args(&self) -> Result<Value, Fault> {
        serde_json::from_str(self.args)
            .map_err(|_| Fault::bad_request("the arguments are nested more than 128 levels deep"))
    }

    /// Whether it is this one of the names that are matched in lower case only.
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace.eq_ignore_ascii_case(namespace) && self.name == name
    }
}

/// Reads one message.
///
/// # Errors
/// When it is no request.
pub fn decode(text: &str) -> Result<Said<'_>, Garbled> {
    let envelope: Envelope<'_> =
        serde_json::from_str(text).map_err(|error| garbled("", &not_an_object(&error)))?;
    let id = envelope.id.and_then(string).unwrap_or_default();
    let part = |part: Option<&'_ RawValue>, name: &str| {
        part.and_then(string).map(|text| Cow::Owned(text.into_owned())).ok_or_else(|| {
            garbled(&id, &format!("the request needs a member {name:?} that is a string"))
        })
    };
    let namespace = part(envelope.namespace, "namespace")?;
    let name = part(envelope.name, "name")?;
    let args = envelope.args.map_or(text, RawValue::get);
    Ok(Said { namespace, name, id, args })
}

fn not_an_object(error: &serde_json::Error) -> String {
    format!("the message is not one JSON object with namespace, name, id and args: {error}")
}

fn garbled(id: &str, sentence: &str) -> Garbled {
    Garbled { id: id.to_owned(), fault: Box::new(Fault::bad_request(sentence)) }
}

/// The frame of an answer.
pub fn answer(said: &Said<'_>, args: &Json) -> Vec<u8> {
    answer_to(&said.namespace, &said.name, &said.id, args)
}

/// The frame of an answer to a request whose text is gone.
pub fn answer_to(namespace: &str, name: &str, id: &str, args: &Json) -> Vec<u8> {
    let name = if id.is_empty() { name } else { "response" };
    envelope(args.text(), id, name, namespace)
}

/// The same for a client that opted in, which is told that what it asked for is on its way out.
pub fn farewell_to(request: &Request, id: &str, args: &Json, deprecated: &Deprecated) -> Vec<u8> {
    // Its members are texts, so printing cannot fail. What is inserted stands where the alphabet
    // has it: behind `args`.
    let told = serde_json::to_string(deprecated).unwrap_or_default();
    let args = format!("{},\"deprecated\":{told}", args.text());
    let name = if id.is_empty() { request.name.as_str() } else { "response" };
    envelope(&args, id, name, &request.namespace)
}

/// The frame of a refusal.
pub fn refusal(id: &str, fault: &Fault) -> Vec<u8> {
    envelope(&refusal_args(fault).to_string(), id, "error", "error")
}

/// The arguments of a refusal: the classic two, and the same for people and machines of today.
pub fn refusal_args(fault: &Fault) -> Value {
    json!({
        "code": fault.kind.status().to_string(),
        "message": fault.kind.reason(),
        "error": fault.to_string(),
        "fault": fault,
    })
}

fn envelope(args: &str, id: &str, name: &str, namespace: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(args.len() + id.len() + name.len() + namespace.len() + 64);
    frame::text(&mut bytes, |out| {
        out.extend_from_slice(b"{\"args\":");
        out.extend_from_slice(args.as_bytes());
        out.extend_from_slice(b",\"id\":");
        quote(id, out);
        out.extend_from_slice(b",\"name\":");
        quote(name, out);
        out.extend_from_slice(b",\"namespace\":");
        quote(namespace, out);
        out.push(b'}');
    });
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_request_is_read_as_it_was_sent(
            namespace in ".{1,20}", name in ".{1,20}", id in ".{1,20}", args in any::<(String, i64)>(),
        ) {
            let sent = json!({"namespace": namespace, "name": name, "id": id, "args": args});
            let text = sent.to_string();
            let said = decode(&text).unwrap();
            let read = json!({
                "namespace": said.namespace, "name": said.name, "id": said.id,
                "args": said.read_args().unwrap(),
            });
            prop_assert_eq!(read, sent);
        }

        #[test]
        fn an_answer_and_a_refusal_are_read_as_they_were_said(
            parts in (".{1,20}", ".{1,20}", ".{0,20}"),
            args in any::<(String, Option<i64>, Vec<bool>)>(),
            sentence in ".*",
            hint in proptest::option::of(".*"),
            retry_after_ms in any::<Option<u64>>(),
        ) {
            let (namespace, name, id) = parts;
            let args = json!({ "of": args });
            let sent = json!({"namespace": namespace, "name": name, "id": id}).to_string();
            let said = decode(&sent).unwrap();
            let frame = answer(&said, &Json::from(args.clone()));
            let read: Value = serde_json::from_str(&text(&frame)).unwrap();
            let called = if id.is_empty() { name.as_str() } else { "response" };
            let expected = json!({"args": args, "id": id, "name": called, "namespace": namespace});
            prop_assert_eq!(read, expected);
            let fault = Fault { hint, retry_after_ms, ..Fault::bad_request(sentence) };
            let read: Value = serde_json::from_str(&text(&refusal(&id, &fault))).unwrap();
            prop_assert_eq!(&read["id"], &json!(id));
            let again: Fault = serde_json::from_value(read["args"]["fault"].clone()).unwrap();
            prop_assert_eq!(again, fault);
        }
    }

    fn text(frame: &[u8]) -> String {
        let header = if frame[1] < 126 { 2 } else { 4 };
        String::from_utf8(frame[header..].to_vec()).unwrap()
    }

    #[test]
    fn a_request_is_read_in_every_shape_clients_send() {
        let said = decode(
            " {\n \"namespace\": \"rpc\", \"name\":\"a\", \"id\":\"x\\ny\", \"args\": [1] }\n",
        )
        .unwrap();
        assert_eq!((&*said.namespace, &*said.id, said.args), ("rpc", "x\ny", "[1]"));
        let whole = decode(r#"{"namespace":"rpc","name":"a","id":7,"action":"list"}"#).unwrap();
        assert_eq!(whole.id, "");
        assert_eq!(whole.read_args().unwrap()["action"], "list");
        let null = decode(r#"{"namespace":"rpc","name":"a","id":"7","args":null}"#).unwrap();
        assert_eq!(null.args, "null", "null is there");
    }

    #[test]
    fn what_is_no_request_is_told_with_the_id_that_could_be_read() {
        for bad in ["", "not json", "[]", "null", "{", "{}{}", r#"{"namespace":"a"}"#] {
            assert_eq!(decode(bad).unwrap_err().fault.kind.status(), 400, "{bad}");
        }
        assert_eq!(decode(r#"{"id":"q","namespace":1,"name":"x"}"#).unwrap_err().id, "q");
    }

    #[test]
    fn ten_thousand_levels_are_refused_without_recursion() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let text = format!(r#"{{"namespace":"a","name":"b","id":"1","args":{deep}}}"#);
        assert_eq!(decode(&text).unwrap().read_args().unwrap_err().kind.status(), 400);
    }

    #[test]
    fn answers_are_compact_and_alphabetical() {
        let said = decode(r#"{"namespace":"RPC","name":"identify","id":"1"}"#).unwrap();
        let args = Json::of(&json!({"type":"server"})).unwrap();
        let expected = r#"{"args":{"type":"server"},"id":"1","name":"response","namespace":"RPC"}"#;
        assert_eq!(text(&answer(&said, &args)), expected);
        let request = Request::new("kit", "echo", Value::Null);
        let deprecated = serde_json::from_value(json!({"since": "2026-01-02"})).unwrap();
        let expected = r#"{"args":{"type":"server"},"deprecated":{"since":"2026-01-02"},"id":"1","name":"response","namespace":"kit"}"#;
        assert_eq!(text(&farewell_to(&request, "1", &args, &deprecated)), expected);
        let fault = text(&refusal("9", &Fault::bad_request("no")));
        let value: Value = serde_json::from_str(&fault).unwrap();
        assert_eq!(value["args"]["code"], "400");
        assert_eq!(value["args"]["message"], "Bad Request");
        assert_eq!(value["name"], "error");
        assert_eq!(value["namespace"], "error");
    }
}
