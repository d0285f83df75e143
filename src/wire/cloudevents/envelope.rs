//! One `CloudEvent` as JSON, in and out: the JSON event format 1.0.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::event::TEXT_BYTES_MAX;
use protocol::{Fault, Json, Time};
use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::quote;

/// The longest name of an attribute; the specification recommends 20.
const NAME_BYTES_MAX: usize = 64;
/// Extension attributes of one event.
const EXTENSIONS_MAX: usize = 64;

/// A `CloudEvent` whose attributes are legal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEvent {
    /// Names it among those of its source.
    pub id: String,
    /// Where it happened: a URI-reference.
    pub source: String,
    /// What kind it is of: the attribute `type`.
    pub kind: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened, RFC 3339 as it was written.
    pub time: Option<String>,
    /// What `data` is; JSON when absent.
    pub datacontenttype: Option<String>,
    /// Where the shape of `data` is described.
    pub dataschema: Option<String>,
    /// Everything else that is said of it.
    pub extensions: BTreeMap<String, Attribute>,
    /// What it carries.
    pub data: Option<Data>,
}

/// The value of an extension attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// True or false.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Anything else: texts, URIs, moments, bytes in base64.
    Text(String),
}

/// What an event carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// The member `data`: any JSON, or the text of another format.
    Json(Json),
    /// The member `data_base64`.
    Bytes(Vec<u8>),
}

impl CloudEvent {
    /// An event with the attributes that each has.
    pub fn new(id: String, source: String, kind: String) -> Self {
        Self {
            id,
            source,
            kind,
            subject: None,
            time: None,
            datacontenttype: None,
            dataschema: None,
            extensions: BTreeMap::new(),
            data: None,
        }
    }

    /// Takes an attribute.
    ///
    /// # Errors
    /// `bad-request` with the attribute and what is wrong with it.
    pub fn set(&mut self, name: &str, value: Attribute) -> Result<(), Fault> {
        match name {
            "id" => self.id = needed(name, value)?,
            "source" => self.source = reference(name, needed(name, value)?)?,
            "type" => self.kind = needed(name, value)?,
            "subject" => self.subject = Some(needed(name, value)?),
            "datacontenttype" => self.datacontenttype = Some(needed(name, value)?),
            "dataschema" => self.dataschema = Some(reference(name, needed(name, value)?)?),
            "time" => {
                let time = needed(name, value)?;
                time.parse::<Time>().map_err(|error| wrong(name, &error.to_string()))?;
                self.time = Some(time);
            }
            _ => {
                check_name(name)?;
                if let Attribute::Text(text) = &value {
                    check_text(name, text)?;
                }
                self.extensions.insert(name.to_owned(), value);
                if self.extensions.len() > EXTENSIONS_MAX {
                    let most = format!("an event has at most {EXTENSIONS_MAX} extensions");
                    return Err(Fault::bad_request(most));
                }
            }
        }
        Ok(())
    }

    /// Whether what each event must have is there.
    ///
    /// # Errors
    /// `bad-request` with the attribute that is missing.
    pub fn complete(self) -> Result<Self, Fault> {
        let must = [("id", &self.id), ("source", &self.source), ("type", &self.kind)];
        match must.iter().find(|(_, value)| value.is_empty()) {
            Some((name, _)) => Err(missing(name)),
            None => Ok(self),
        }
    }

    /// Appends it as JSON: required attributes, optional ones, extensions by name, data.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"specversion\":\"1.0\"");
        put(out, "id", &self.id);
        put(out, "source", &self.source);
        put(out, "type", &self.kind);
        let optional = [
            ("subject", &self.subject),
            ("time", &self.time),
            ("datacontenttype", &self.datacontenttype),
            ("dataschema", &self.dataschema),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                put(out, name, value);
            }
        }
        for (name, value) in &self.extensions {
            match value {
                Attribute::Text(value) => put(out, name, value),
                Attribute::Boolean(_) | Attribute::Integer(_) => {
                    out.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
                }
            }
        }
        match &self.data {
            None => {}
            Some(Data::Json(json)) => {
                out.extend_from_slice(b",\"data\":");
                out.extend_from_slice(json.text().as_bytes());
            }
            Some(Data::Bytes(bytes)) => {
                out.extend_from_slice(b",\"data_base64\":\"");
                out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
                out.push(b'"');
            }
        }
        out.push(b'}');
    }

    /// The same as a text.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

/// Appends a member that is a text.
fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    quote(value, out);
}

impl fmt::Display for Attribute {
    /// As an HTTP header has it, unescaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// Reads one event in JSON.
///
/// # Errors
/// `bad-request` with the member at fault and what was expected.
pub fn parse(text: &str) -> Result<CloudEvent, Fault> {
    let members: Members<'_> = serde_json::from_str(text)
        .map_err(|error| Fault::bad_request(format!("the event is no JSON object: {error}")))?;
    let mut event = CloudEvent::new(String::new(), String::new(), String::new());
    let mut version = None;
    for (name, value) in members.0 {
        match &*name {
            // Absent, as the format has it.
            _ if value.get() == "null" && name != "data" => {}
            "specversion" => version = Some(needed(&name, attribute(&name, value)?)?),
            "data" => set_data(&mut event, Data::Json(carried(value)?))?,
            "data_base64" => set_data(&mut event, Data::Bytes(bytes(&name, value)?))?,
            _ => event.set(&name, attribute(&name, value)?)?,
        }
    }
    check_version(version.as_deref())?;
    event.complete()
}

/// Reads a batch: a JSON array of events.
///
/// # Errors
/// `bad-request`; with `details.element` when one of the events is wrong.
pub fn parse_batch(text: &str) -> Result<Vec<CloudEvent>, Fault> {
    let elements: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|error| Fault::bad_request(format!("the batch is no JSON array: {error}")))?;
    let events = elements.iter().enumerate().map(|(place, element)| {
        parse(element.get()).map_err(|fault| super::ingest::at(place, &fault))
    });
    events.collect()
}

/// What is said of the version.
///
/// # Errors
/// `bad-request` when it is missing or another one.
pub(super) fn check_version(version: Option<&str>) -> Result<(), Fault> {
    match version {
        None => Err(missing("specversion")),
        Some("1.0") => Ok(()),
        Some(other) => {
            let other: String = other.chars().take(16).collect();
            Err(wrong("specversion", &format!("{other:?} is not spoken here, only \"1.0\"")))
        }
    }
}

fn set_data(event: &mut CloudEvent, data: Data) -> Result<(), Fault> {
    match event.data.replace(data) {
        None => Ok(()),
        Some(_) => Err(Fault::bad_request("an event has data or data_base64, not both")),
    }
}

fn bytes(name: &str, value: &RawValue) -> Result<Vec<u8>, Fault> {
    let Attribute::Text(text) = attribute(name, value)? else {
        return Err(wrong(name, "it must be a text"));
    };
    STANDARD.decode(text).map_err(|error| wrong(name, &format!("it is no base64: {error}")))
}

fn carried(value: &RawValue) -> Result<Json, Fault> {
    Json::parse(value.get().to_owned()).map_err(|error| wrong("data", &error.to_string()))
}

fn attribute(name: &str, value: &RawValue) -> Result<Attribute, Fault> {
    let text = value.get();
    let read = match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).map(Attribute::Text),
        Some(b't' | b'f') => serde_json::from_str(text).map(Attribute::Boolean),
        _ => serde_json::from_str(text).map(Attribute::Integer),
    };
    read.map_err(|_| wrong(name, "it must be a text, a boolean or a whole number of 32 bits"))
}

fn needed(name: &str, value: Attribute) -> Result<String, Fault> {
    let Attribute::Text(text) = value else { return Err(wrong(name, "it must be a text")) };
    if text.is_empty() {
        return Err(wrong(name, "it must not be empty"));
    }
    check_text(name, &text)?;
    Ok(text)
}

fn check_name(name: &str) -> Result<(), Fault> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(legal) {
        return Ok(());
    }
    let shown: String = name.chars().take(32).collect();
    Err(Fault::bad_request(format!(
        "{shown:?} is no name of an attribute: expected lower-case letters and digits"
    )))
}

fn check_text(name: &str, text: &str) -> Result<(), Fault> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(wrong(name, &format!("it has more than {TEXT_BYTES_MAX} bytes")));
    }
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(c) => Err(wrong(name, &format!("U+{:04X} is not allowed in it", u32::from(c)))),
        None => Ok(()),
    }
}

/// Whether an attribute may hold it: no control characters, and nothing that is no character.
pub(super) fn is_allowed(c: char) -> bool {
    let code = u32::from(c);
    let is_none = (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE;
    !c.is_control() && !is_none
}

/// A URI-reference, as far as can be told without knowing its scheme: RFC 3986 excludes these.
fn reference(name: &str, text: String) -> Result<String, Fault> {
    let excluded = |c: char| c.is_whitespace() || "\"<>\\^`{|}".contains(c);
    match text.chars().find(|c| excluded(*c)) {
        Some(c) => Err(wrong(name, &format!("{c:?} is not allowed in a URI-reference"))),
        None => Ok(text),
    }
}

fn missing(name: &str) -> Fault {
    Fault::bad_request(format!("the event needs an attribute {name:?}"))
}

fn wrong(name: &str, why: &str) -> Fault {
    let name: String = name.chars().take(32).collect();
    Fault::bad_request(format!("the event's {name:?} is wrong: {why}"))
}

/// The members of an object in their order, each once.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(String, &RawValue)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if members.iter().any(|(other, _)| *other == name) {
                let name: String = name.chars().take(32).collect();
                return Err(A::Error::custom(format!("{name:?} is there twice")));
            }
            // Known members, extensions, and one more to be refused.
            if members.len() > EXTENSIONS_MAX + 16 {
                return Err(A::Error::custom("it has too many members"));
            }
            members.push((name, value));
        }
        Ok(Members(members))
    }
}
