//! Binary mode: attributes as HTTP headers, data as the body.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};
use protocol::{Fault, Json};

use super::envelope::{Attribute, CloudEvent, Data, check_version};

/// What the headers of attributes begin with.
pub const PREFIX: &str = "ce-";

/// What the HTTP binding has percent-encoded, with everything beyond ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// A message in binary mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Names in lower case, and values as they cross the wire.
    pub headers: Vec<(String, String)>,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The data.
    pub body: Vec<u8>,
}

/// The event in binary mode.
pub fn binary(event: &CloudEvent) -> Binary {
    let mut headers = Vec::new();
    let mut put = |name: &str, value: &str| {
        headers.push((format!("{PREFIX}{name}"), utf8_percent_encode(value, ENCODED).to_string()));
    };
    put("specversion", "1.0");
    put("id", &event.id);
    put("source", &event.source);
    put("type", &event.kind);
    let optional =
        [("subject", &event.subject), ("time", &event.time), ("dataschema", &event.dataschema)];
    for (name, value) in optional {
        if let Some(value) = value {
            put(name, value);
        }
    }
    for (name, value) in &event.extensions {
        put(name, &value.to_string());
    }
    let kind = event.datacontenttype.clone();
    let body = match &event.data {
        None => Vec::new(),
        Some(Data::Bytes(bytes)) => bytes.clone(),
        Some(Data::Json(json)) if is_json(kind.as_deref()) => json.text().as_bytes().to_vec(),
        // The text of another format, or JSON that says it is something else.
        Some(Data::Json(json)) => {
            json.read::<String>().unwrap_or_else(|_| json.text().to_owned()).into_bytes()
        }
    };
    let default = event.data.as_ref().map(|_| "application/json".to_owned());
    Binary { headers, content_type: kind.or(default), body }
}

/// Reads an event in binary mode from the headers that begin with [`PREFIX`] (names in lower case,
/// without it), the content type and the body.
///
/// # Errors
/// `bad-request` with the attribute at fault.
pub fn read<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<CloudEvent, Fault> {
    let mut event = CloudEvent::new(String::new(), String::new(), String::new());
    let mut seen: Vec<&str> = Vec::new();
    let mut version = None;
    for (name, value) in headers {
        if seen.contains(&name) {
            return Err(Fault::bad_request(format!("the header {PREFIX}{name} is there twice")));
        }
        seen.push(name);
        let value = decoded(name, value)?;
        match name {
            "specversion" => version = Some(value),
            "data" | "datacontenttype" => {
                return Err(Fault::bad_request(format!(
                    "there is no header {PREFIX}{name}: data is the body, and Content-Type says \
                     what it is"
                )));
            }
            _ => event.set(name, Attribute::Text(value))?,
        }
    }
    check_version(version.as_deref())?;
    if let Some(kind) = content_type {
        event.set("datacontenttype", Attribute::Text(kind.to_owned()))?;
    }
    event.data = data(content_type, body)?;
    event.complete()
}

fn data(content_type: Option<&str>, body: &[u8]) -> Result<Option<Data>, Fault> {
    if body.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(body);
    if is_json(content_type) {
        let json = text.ok().and_then(|text| Json::parse(text.trim().to_owned()).ok());
        let json = json.ok_or_else(|| Fault::bad_request("the event's data is no JSON"))?;
        return Ok(Some(Data::Json(json)));
    }
    Ok(Some(match text {
        Ok(text) if is_text(content_type) => Data::Json(Json::from(serde_json::Value::from(text))),
        _ => Data::Bytes(body.to_vec()),
    }))
}

/// The value that a header stands for: unquoted, then percent-decoded.
fn decoded(name: &str, value: &[u8]) -> Result<String, Fault> {
    let value = match value {
        [b'"', inside @ .., b'"'] => unescaped(inside),
        _ => value.to_vec(),
    };
    let text = percent_decode(&value).decode_utf8();
    text.map(std::borrow::Cow::into_owned)
        .map_err(|_| Fault::bad_request(format!("the header {PREFIX}{name} is not UTF-8")))
}

/// A quoted string's inside without its backslashes.
fn unescaped(inside: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        plain.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    plain
}

/// The media type without parameters, in lower case.
fn media_type(content_type: Option<&str>) -> String {
    let kind = content_type.unwrap_or("application/json");
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(content_type: Option<&str>) -> bool {
    let kind = media_type(content_type);
    kind.ends_with("/json") || kind.ends_with("+json")
}

fn is_text(content_type: Option<&str>) -> bool {
    let kind = media_type(content_type);
    kind.starts_with("text/") || kind.ends_with("/xml") || kind.ends_with("+xml")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::any_cloud_event;
    use super::*;

    fn read_again(message: &Binary) -> CloudEvent {
        let headers = message
            .headers
            .iter()
            .map(|(name, value)| (name.strip_prefix(PREFIX).unwrap(), value.as_bytes()));
        read(headers, message.content_type.as_deref(), &message.body).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_sent_in_binary_mode_is_what_was_read(event in any_cloud_event()) {
            // Bytes that say they are JSON have to be it.
            let is_json = is_json(event.datacontenttype.as_deref());
            prop_assume!(!is_json || !matches!(event.data, Some(Data::Bytes(_))));
            let message = binary(&event);
            let visible = |text: &String| text.bytes().all(|b| (0x21..=0x7E).contains(&b));
            prop_assert!(message.headers.iter().all(|(_, value)| visible(value)));
            // Headers know no types, and a body knows no layers of JSON: so the second journey is
            // the one that must change nothing.
            let read = read_again(&message);
            prop_assert_eq!((&read.id, &read.source, &read.kind), (&event.id, &event.source, &event.kind));
            prop_assert_eq!((&read.subject, &read.time), (&event.subject, &event.time));
            prop_assert_eq!(read.extensions.len(), event.extensions.len());
            prop_assert_eq!(read_again(&binary(&read)), read);
        }
    }

    #[test]
    fn headers_are_read_as_the_binding_has_them() {
        let least: [(&str, &[u8]); 4] =
            [("specversion", b"1.0"), ("id", b"1"), ("source", b"/s"), ("type", b"t")];
        let with = |name, value| {
            read(least.into_iter().chain([(name, value)]), None, b"").map(|event| event.subject)
        };
        let subject = |value| with("subject", value).unwrap().unwrap();
        assert_eq!(subject(b"Euro%20%E2%82%AC%20%F0%9F%98%80"), "Euro \u{20AC} \u{1F600}");
        assert_eq!(subject(br#""say \"hi\" 100%25""#), "say \"hi\" 100%");
        assert_eq!(subject("\u{20AC}".as_bytes()), "\u{20AC}");
        assert_eq!(subject(b"100%"), "100%");
        for (name, value) in [
            ("subject", b"%FF".as_slice()),
            ("subject", b"\xFF"),
            ("subject", b"%00"),
            ("subject", b""),
            ("time", b"yesterday"),
            ("id", b"2"),
            ("datacontenttype", b"text/plain"),
            ("data", b"1"),
            ("under_score", b"1"),
        ] {
            let fault = with(name, value).unwrap_err();
            assert!(fault.message.contains(name), "{fault}");
        }
        for left_out in 0..least.len() {
            let rest = least.into_iter().enumerate().filter(|(i, _)| *i != left_out);
            let fault = read(rest.map(|(_, header)| header), None, b"").unwrap_err();
            assert!(fault.message.contains(least[left_out].0), "{fault}");
        }
    }

    #[test]
    fn a_body_is_what_its_content_type_says() {
        let least: [(&str, &[u8]); 4] =
            [("specversion", b"1.0"), ("id", b"1"), ("source", b"/s"), ("type", b"t")];
        let data = |kind, body: &[u8]| read(least, kind, body).map(|event| event.data);
        assert_eq!(data(None, b"").unwrap(), None);
        let json = |text: &str| Some(Data::Json(Json::parse(text.to_owned()).unwrap()));
        assert_eq!(data(None, b" {\"a\":1}\n").unwrap(), json("{\"a\":1}"));
        assert_eq!(data(Some("application/geo+JSON; x=1"), b"[]").unwrap(), json("[]"));
        assert_eq!(data(Some("text/xml"), b"<a/>").unwrap(), json("\"<a/>\""));
        assert_eq!(data(Some("image/png"), b"ab").unwrap(), Some(Data::Bytes(b"ab".to_vec())));
        assert_eq!(data(Some("text/plain"), b"\xFF").unwrap(), Some(Data::Bytes(vec![0xFF])));
        assert!(data(Some("application/json"), b"{").is_err());
        assert!(data(None, b"\xFF").is_err());
    }
}
