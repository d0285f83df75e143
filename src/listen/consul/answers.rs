//! Answers as HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, VARY};
use hyper::{Response, StatusCode};

use crate::listen::rest::Answer;
use crate::wire::consul::{self, Reply};

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

/// JSON, indented when that is wanted.
pub(super) fn json(body: &[u8], pretty: bool) -> Answer {
    let body = if pretty { consul::pretty(body) } else { body.to_vec() };
    as_json(Bytes::from(body))
}

/// A list and its index; `hidden`: whether it lacks what its reader may not see.
pub(super) fn list(body: &Bytes, pretty: bool, index: u64, hidden: bool) -> Answer {
    let body = if pretty { Bytes::from(consul::pretty(body)) } else { body.clone() };
    let mut answer = as_json(body);
    let headers = answer.headers_mut();
    headers.insert(HeaderName::from_static(consul::INDEX), HeaderValue::from(index));
    if hidden {
        let name = HeaderName::from_static(consul::FILTERED);
        headers.insert(name, HeaderValue::from_static("true"));
    }
    answer
}

fn as_json(body: Bytes) -> Answer {
    let mut answer = of(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn of(body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    let headers = answer.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    let policy = HeaderName::from_static(consul::DEFAULT_POLICY);
    headers.insert(policy, HeaderValue::from_static("deny"));
    answer
}
