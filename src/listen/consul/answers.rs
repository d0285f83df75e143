//! Answers as HTTP.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, VARY,
};
use hyper::{Response, StatusCode};

use crate::listen::rest::Answer;
use crate::wire::consul::{self, Reply};

use super::lists::Snapshot;

/// How a client wants JSON.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Form {
    /// Indented.
    pub(super) pretty: bool,
    /// Packed.
    pub(super) gzip: bool,
}

/// A refusal, or an answer without content.
pub(super) fn plain(reply: Reply) -> Answer {
    let Reply { status, text, allow, location, retry_after_s } = reply;
    let is_empty = text.is_empty();
    let mut answer = of(Bytes::from(text));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let headers = answer.headers_mut();
    if !is_empty {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    if let Some(allow) = allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(location) = location.and_then(|place| HeaderValue::try_from(place).ok()) {
        headers.insert(LOCATION, location);
    }
    if let Some(seconds) = retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// JSON in this form.
pub(super) fn json(body: Vec<u8>, form: Form) -> Answer {
    let body = if form.pretty { consul::pretty(&body) } else { body };
    let packed = form.gzip.then(|| packed(&body));
    as_json(packed.map_or_else(|| (Bytes::from(body), false), |packed| (packed, true)))
}

/// A list and its index; `hidden`: whether it lacks what its reader may not see.
pub(super) fn list(found: &Snapshot, form: Form, hidden: bool) -> Answer {
    let mut answer = match form {
        Form { pretty: true, .. } => json(found.body.to_vec(), form),
        // Packed once for everybody who reads it.
        Form { gzip: true, .. } => as_json((found.packed(), true)),
        _ => as_json((found.body.clone(), false)),
    };
    let headers = answer.headers_mut();
    headers.insert(HeaderName::from_static(consul::INDEX), HeaderValue::from(found.index));
    if hidden {
        let name = HeaderName::from_static(consul::FILTERED);
        headers.insert(name, HeaderValue::from_static("true"));
    }
    answer
}

fn as_json((body, is_packed): (Bytes, bool)) -> Answer {
    let mut answer = of(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if is_packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// The body with gzip. Names and base64 pack well enough at the fastest level.
pub(super) fn packed(body: &[u8]) -> Bytes {
    let mut packer = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::fast());
    // Writing into memory cannot fail.
    packer.write_all(body).ok();
    packer.finish().unwrap_or_default().into()
}

fn of(body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    let headers = answer.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    let policy = HeaderName::from_static(consul::DEFAULT_POLICY);
    headers.insert(policy, HeaderValue::from_static("deny"));
    answer
}
