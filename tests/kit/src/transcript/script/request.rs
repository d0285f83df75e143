//! What a client says, compared with what is written: paths, headers, bodies, and ids, which every
//! client chooses itself.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::{Body, Names, Request, Response};

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Ids as the script has them and as the client chose them.
type Ids = Vec<(Value, Value)>;

impl Asked {
    /// What differs.
    pub(super) fn compare(
        &self,
        expected: &Request,
        names: &mut Names,
        ids: &mut Ids,
    ) -> Result<(), String> {
        if self.method != expected.method {
            return Err(format!("/method: expected {}, got {}", expected.method, self.method));
        }
        compare_path(names, &expected.path, &self.path)?;
        for (name, value) in &expected.headers {
            self.compare_header(names, name, value)?;
        }
        if let Some((user, password)) = &expected.basic {
            let pair = STANDARD.encode(names.fill(&format!("{user}:{password}")));
            self.compare_header(names, "authorization", &format!("Basic {pair}"))?;
        }
        let text = String::from_utf8_lossy(&self.body);
        let differs = match &expected.body {
            Body::Nothing if self.body.is_empty() => None,
            Body::Nothing => Some(format!("/body: expected nothing, got {text:?}")),
            // Here a text is JSON too, and not what is written byte for byte.
            Body::Json(json @ Value::String(_)) => match serde_json::from_str(&text) {
                Ok(came) => names.compare_exactly(json, &came).map(|it| format!("/json{it}")),
                Err(error) => Some(format!("/json: {error} in {text:?}")),
            },
            Body::Json(json) => {
                compare_message(json, &text, names, ids).map(|it| format!("/json{it}"))
            }
            Body::Text(expected) => {
                names.compare_text(expected, &text).map(|it| format!("/text: {it}"))
            }
            Body::Base64(expected) => {
                let came = STANDARD.encode(&self.body);
                (came != *expected).then(|| format!("/base64: expected {expected}, got {came}"))
            }
        };
        differs.map_or(Ok(()), Err)
    }

    fn compare_header(&self, names: &mut Names, name: &str, value: &str) -> Result<(), String> {
        let mut same = self.headers.iter().filter(|(has, _)| has.eq_ignore_ascii_case(name));
        let Some((_, has)) = same.next() else {
            return Err(format!("/headers/{name} is missing"));
        };
        let differs = names.compare_text(value, has);
        differs.map_or(Ok(()), |differs| Err(format!("/headers/{name}: {differs}")))
    }
}

impl Answer {
    /// The recorded answer, with its placeholders filled.
    pub(super) fn of(response: &Response, names: &mut Names) -> Self {
        let mut headers = BTreeMap::new();
        for (name, value) in &response.headers {
            match names.say(value) {
                Value::Null => {}
                Value::String(text) => drop(headers.insert(name.clone(), text)),
                other => drop(headers.insert(name.clone(), other.to_string())),
            }
        }
        let body = match &response.body {
            Body::Nothing => Vec::new(),
            Body::Json(json) => names.say(json).to_string().into_bytes(),
            Body::Text(text) => names.fill(text).replace("$*", "").into_bytes(),
            Body::Base64(text) => STANDARD.decode(text).unwrap_or_default(),
        };
        Self { status: response.status, headers, body }
    }

    /// Puts the client's own ids into a JSON body.
    pub(super) fn map_ids(&mut self, ids: &Ids) {
        if !ids.is_empty()
            && let Ok(mut said) = serde_json::from_slice(&self.body)
        {
            map_ids(&mut said, ids);
            self.body = said.to_string().into_bytes();
        }
    }
}

/// Compares path and query; the query's parameters may come in any order, and everything may be
/// percent-encoded or not.
pub(super) fn compare_path(names: &mut Names, expected: &str, came: &str) -> Result<(), String> {
    let (path, query) = expected.split_once('?').unwrap_or((expected, ""));
    let (came_path, came_query) = came.split_once('?').unwrap_or((came, ""));
    if let Some(differs) = names.compare_text(&decoded(path), &decoded(came_path)) {
        return Err(format!("/path: {differs}"));
    }
    let sorted = |query: &str| {
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|it| !it.is_empty())
            .map(|it| decoded(&it.replace('+', " ")))
            .collect();
        pairs.sort();
        pairs
    };
    let (query, came_query) = (sorted(&names.fill(query)), sorted(came_query));
    let same = query.len() == came_query.len()
        && query.iter().zip(&came_query).all(|(a, b)| names.compare_text(a, b).is_none());
    if same {
        Ok(())
    } else {
        Err(format!("/path: expected ?{}, got ?{}", query.join("&"), came_query.join("&")))
    }
}

/// What differs between a message and the one that is written. A written text is compared as JSON too,
/// if it is some: another client puts its members in another order.
pub(super) fn compare_message(
    expected: &Value,
    text: &str,
    names: &mut Names,
    ids: &mut Ids,
) -> Option<String> {
    let written = expected.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut expected = match (written, expected) {
        (Some(written), _) if written.is_object() || written.is_array() => written,
        (_, Value::String(expected)) => return names.compare_text(expected, text),
        (_, other) => other.clone(),
    };
    let Ok(mut came) = serde_json::from_str(text) else {
        return Some(format!("/: expected {expected}, got {text:?}"));
    };
    let mut chosen = Ids::new();
    match_ids(&mut expected, &mut came, &mut chosen);
    let differs = names.compare_exactly(&expected, &came);
    if differs.is_none() {
        ids.extend(chosen);
    }
    differs
}

/// Takes the ids out of both, where both have one.
fn match_ids(expected: &mut Value, came: &mut Value, ids: &mut Ids) {
    match (expected, came) {
        (Value::Array(expected), Value::Array(came)) => {
            expected.iter_mut().zip(came).for_each(|(a, b)| match_ids(a, b, ids));
        }
        (Value::Object(expected), Value::Object(came)) => {
            let both = expected.contains_key("id") && came.contains_key("id");
            if let (true, Some(a), Some(b)) = (both, expected.remove("id"), came.remove("id")) {
                ids.push((a, b));
            }
        }
        _ => {}
    }
}

/// Puts the client's own ids into an answer, or into each of a batch. An event's id is no answer's.
pub(super) fn map_ids(said: &mut Value, ids: &Ids) {
    match said {
        Value::Array(batch) => batch.iter_mut().for_each(|said| map_ids(said, ids)),
        Value::Object(members) => {
            let is_event = members.get("namespace").is_some_and(|it| it == "events")
                && members.get("name").is_some_and(|it| it != "response");
            if let (false, Some(id)) = (is_event, members.get_mut("id"))
                && let Some((_, chosen)) = ids.iter().rev().find(|(written, _)| written == id)
            {
                *id = chosen.clone();
            }
        }
        _ => {}
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let pair = behind.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(coded) if *byte == b'%' => {
                bytes.push(coded);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
