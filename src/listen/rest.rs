//! REST: one HTTP request is one call.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use protocol::{Deprecated, Fault, FaultKind, Json};
use serde_json::{Value, json};

use crate::access::{Origin, Peer, Principal};
use crate::config::Limits;
use crate::description::Form;
use crate::dispatch::{By, Client, Dispatch};
use crate::wire::sysadm;

/// What the audit trail and the list of deprecations call this face.
pub(super) const FACE: &str = "rest";

/// The answer to any request.
pub(super) type Answer = Response<Full<Bytes>>;

/// Answers one request.
pub(super) async fn answer(
    dispatch: &Dispatch,
    (peer, principal): (Peer, Option<&Principal>),
    request: Request<Incoming>,
) -> Answer {
    match *request.method() {
        Method::GET | Method::POST | Method::PUT => {}
        Method::OPTIONS | Method::HEAD => return allowed(),
        _ => return refusal(&Fault::bad_request("use GET, POST or PUT")),
    }
    match call(dispatch, (peer, principal), request).await {
        Ok((args, ending)) => {
            let mut answer = said(StatusCode::OK, &args);
            if let Some(ending) = ending {
                farewell(answer.headers_mut(), &ending);
            }
            answer
        }
        Err(fault) => refusal(&fault),
    }
}

/// That what was called is on its way out: since when (RFC 9745), from when on it may be gone (RFC
/// 8594), and what comes after it (RFC 5829).
pub(super) fn farewell(headers: &mut HeaderMap, ending: &Deprecated) {
    let mut add = |name: &'static str, value: String| {
        // A sentence in place of a method may hold what a header cannot.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    add("deprecation", format!("@{}", ending.since.begins().micros() / 1_000_000));
    if let Some(until) = ending.until {
        add("sunset", until.http_date());
    }
    let is_method = |text: &&String| {
        text.contains('/')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/@-_".contains(&b))
    };
    if let Some(method) = ending.instead.as_ref().filter(is_method) {
        add("link", format!("</{method}>; rel=\"successor-version\""));
    }
}

/// Answers a request for a document.
pub(super) async fn document(
    dispatch: &Dispatch,
    (peer, principal): (Peer, Option<&Principal>),
    request: &Request<Incoming>,
    form: Form,
) -> Answer {
    if *request.method() != Method::GET {
        let mut answer = refusal(&Fault::bad_request("use GET"));
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return answer;
    }
    let client = client_of(request.headers());
    let by = By { origin: Origin { peer, face: FACE }, principal, client: &client };
    let asked = protocol::Request::new("rpc", "discover", json!({ "as": form.as_str() }));
    match dispatch.call_by(by, &asked).await {
        Ok(document) => json(StatusCode::OK, document.text().to_owned()),
        Err(fault) => refusal(&fault),
    }
}

/// What a client says of itself over HTTP: its `User-Agent`.
pub(super) fn client_of(headers: &HeaderMap) -> Client {
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    Client::named(agent.unwrap_or_default())
}

async fn call(
    dispatch: &Dispatch,
    (peer, principal): (Peer, Option<&Principal>),
    request: Request<Incoming>,
) -> Result<(Json, Option<Arc<Deprecated>>), Fault> {
    let client = client_of(request.headers());
    let (namespace, name) = method_of(request.uri().path())?;
    let args = args_of(&read_body(dispatch, principal, request).await?)?;
    let by = By { origin: Origin { peer, face: FACE }, principal, client: &client };
    let request = protocol::Request { namespace, name, args };
    let answer = dispatch.call_by(by, &request).await?;
    Ok((answer, dispatch.ending(&client, &request)))
}

/// Namespace and name: the first and the last segment of the path, as the original server reads it.
pub fn method_of(path: &str) -> Result<(String, String), Fault> {
    let unreadable = || Fault::bad_request(format!("the path {path:?} is not /NAMESPACE/NAME"));
    let mut segments = path.strip_prefix('/').ok_or_else(unreadable)?.split('/');
    let namespace = segments.next().filter(|text| !text.is_empty()).ok_or_else(unreadable)?;
    let name = segments.next_back().filter(|text| !text.is_empty()).ok_or_else(unreadable)?;
    Ok((namespace.to_owned(), name.to_owned()))
}

/// The whole body, within the bounds for whoever asks.
///
/// # Errors
/// `too-large`, `timeout`, and `bad-request` when it ended early.
pub(super) async fn read_body(
    dispatch: &Dispatch,
    principal: Option<&Principal>,
    request: Request<Incoming>,
) -> Result<Bytes, Fault> {
    let limits = &dispatch.identity().limits;
    let most = match principal {
        Some(_) => limits.message_bytes,
        None => limits.anonymous_message_bytes,
    };
    body(request, most, limits).await
}

/// The whole body of a request, of at most so many bytes.
///
/// # Errors
/// `too-large`, `timeout` when it does not come in time, `bad-request` when it ends early.
pub(super) async fn body(
    request: Request<Incoming>,
    most: usize,
    limits: &Limits,
) -> Result<Bytes, Fault> {
    let body = Limited::new(request.into_body(), most).collect();
    let body = tokio::time::timeout(limits.body(), body).await.map_err(|_| slow_body(limits))?;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let sentence = format!("a request's body has at most {most} bytes");
            return Fault::new(FaultKind::TooLarge, sentence);
        }
        Fault::bad_request("the request's body ended early")
    })?;
    Ok(body.to_bytes())
}

/// The arguments in a body: its member `args`, or else all of it; nothing is no arguments.
pub fn args_of(body: &[u8]) -> Result<Value, Fault> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let mut args: Value = serde_json::from_slice(body)
        .map_err(|error| Fault::bad_request(format!("the request's body is no JSON: {error}")))?;
    Ok(match args.get_mut("args") {
        Some(args) => args.take(),
        None => args,
    })
}

fn slow_body(limits: &Limits) -> Fault {
    let sentence = format!("the request's body took longer than {} s", limits.body_s);
    Fault::new(FaultKind::Timeout, sentence).with_hint("send it faster, or in smaller parts")
}

/// The answer to a refused request.
pub(super) fn refusal(fault: &Fault) -> Answer {
    refused(fault, body_of(&Json::from(sysadm::refusal_args(fault))))
}

/// The answer to a refused request, in the words of any protocol.
pub(super) fn refused(fault: &Fault, body: impl Into<Bytes>) -> Answer {
    let status = StatusCode::from_u16(fault.kind.status());
    let mut answer = json(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body);
    if fault.kind == FaultKind::Unauthorized {
        let scheme = HeaderValue::from_static("Basic realm=\"sysadmd\", charset=\"UTF-8\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    if let Some(wait) = fault.retry_after_ms {
        let seconds = HeaderValue::from(wait.div_ceil(1_000));
        answer.headers_mut().insert(RETRY_AFTER, seconds);
    }
    answer
}

fn allowed() -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("HEAD, GET, POST, PUT, OPTIONS"));
    answer
}

fn said(status: StatusCode, args: &Json) -> Answer {
    json(status, body_of(args))
}

fn body_of(args: &Json) -> String {
    format!("{{\"args\": {}}}\n", args.text())
}

/// An answer with a body that is JSON.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_the_original_reads_it() {
        let method = |path| method_of(path).map(|(a, b)| format!("{a}/{b}")).ok();
        assert_eq!(method("/rpc/identify").as_deref(), Some("rpc/identify"));
        assert_eq!(method("/a/b/c").as_deref(), Some("a/c"));
        for bad in ["/", "/rpc", "/rpc/", "//x", ""] {
            assert_eq!(method(bad), None, "{bad}");
        }
    }
}
