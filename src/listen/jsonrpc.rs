//! JSON-RPC 2.0 at `/jsonrpc`: which version a path names, POST, and the way to the websocket.

mod service;

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use protocol::{Deprecated, Fault, FaultKind};
use serde_json::json;

use super::conversation::Tongue;
use super::http::{Connection, is_upgrade};
use super::rest::{self, Answer};
use crate::access::{Origin, Principal};
use crate::dispatch::{PROTOCOL, PROTOCOLS};
use crate::wire::jsonrpc;

pub(super) use service::{Service, is_of_connection};

/// Where the newest version is served; `/vN` behind it asks for version N.
const PATH: &str = "/jsonrpc";

/// Answers one request.
pub(super) async fn answer(connection: &Connection, request: Request<Incoming>) -> Answer {
    if let Err(fault) = check_version(request.uri().path()) {
        return refusal(&fault);
    }
    let principal = match connection.authenticate(request.headers()).await {
        Ok(principal) => principal,
        Err(fault) => return refusal(&fault),
    };
    if is_upgrade(request.headers()) {
        let upgraded = connection.upgrade(request, principal, Tongue::JsonRpc);
        return upgraded.unwrap_or_else(|fault| refusal(&fault));
    }
    if request.method() != Method::POST {
        return not_allowed(request.method());
    }
    if let Err(fault) = check_kind(request.headers()) {
        let mut answer = refusal(&fault);
        *answer.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return answer;
    }
    match post(connection, principal, request).await {
        Ok((body, ending)) => {
            let mut answer = match body {
                Some(body) => rest::json(StatusCode::OK, body),
                None => empty(StatusCode::NO_CONTENT),
            };
            if let Some(ending) = ending {
                rest::farewell(answer.headers_mut(), &ending);
            }
            answer
        }
        Err(fault) => refusal(&fault),
    }
}

/// The answer to what could not even be read as JSON-RPC: the HTTP status says it too.
pub(super) fn refusal(fault: &Fault) -> Answer {
    let error = jsonrpc::error_of(jsonrpc::code(fault.kind, false), fault);
    rest::refused(fault, jsonrpc::error("null", &error))
}

async fn post(
    connection: &Connection,
    principal: Option<Principal>,
    request: Request<Incoming>,
) -> Result<(Option<Vec<u8>>, Option<Arc<Deprecated>>), Fault> {
    let Connection { dispatch, peer, .. } = connection;
    let client = Arc::new(rest::client_of(request.headers()));
    let body = rest::read_body(dispatch, principal.as_ref(), request).await?;
    let Ok(text) = std::str::from_utf8(&body) else {
        let fault = Fault::bad_request("the request's body is not UTF-8");
        let error = jsonrpc::error_of(jsonrpc::PARSE_ERROR, &fault);
        return Ok((Some(jsonrpc::error("null", &error)), None));
    };
    let origin = Origin { peer: *peer, face: "jsonrpc" };
    let service = Service::new(dispatch.clone(), origin, principal, client, None);
    let answer = service.answer(text).await;
    Ok((answer, service.ending()))
}

/// The newest version, or the one that the path names.
fn check_version(path: &str) -> Result<(), Fault> {
    let rest = path.strip_prefix(PATH).unwrap_or(path);
    let newest = rest.is_empty() || rest == "/";
    let named = rest.strip_prefix("/v").and_then(|number| number.parse().ok());
    if newest || named.is_some_and(|version| PROTOCOLS.contains(&version)) {
        return Ok(());
    }
    let sentence = format!("{path} is no version of this protocol that is spoken here");
    Err(Fault::not_found(sentence)
        .with_hint(format!("use {PATH} for the newest, or {PATH}/v{PROTOCOL}"))
        .with_details(json!({ "protocols": PROTOCOLS })))
}

/// JSON that nobody has packed. Pages of other sites cannot send it without asking first.
fn check_kind(headers: &HeaderMap) -> Result<(), Fault> {
    let value = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let kind = value(CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let known = ["application/json", "application/json-rpc", "application/jsonrequest"];
    if !known.iter().any(|name| name.eq_ignore_ascii_case(kind)) {
        let sentence = format!("the content type is {kind:?}: it must be application/json");
        return Err(Fault::bad_request(sentence));
    }
    match value(CONTENT_ENCODING) {
        Some(packed) if !packed.eq_ignore_ascii_case("identity") => {
            Err(Fault::bad_request(format!("the body is packed with {packed:?}: send it as it is")))
        }
        _ => Ok(()),
    }
}

fn not_allowed(method: &Method) -> Answer {
    let mut answer = if method == Method::OPTIONS {
        empty(StatusCode::NO_CONTENT)
    } else {
        let fault = Fault::new(FaultKind::BadRequest, "JSON-RPC comes by POST or on a websocket");
        refusal(&fault)
    };
    if method != Method::OPTIONS {
        *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    }
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_the_newest_version_or_one_that_is_spoken() {
        for path in ["/jsonrpc", "/jsonrpc/", "/jsonrpc/v1"] {
            assert_eq!(check_version(path), Ok(()), "{path}");
        }
        for path in ["/jsonrpc/v2", "/jsonrpc/1", "/jsonrpc/v", "/jsonrpc/v1/x", "/jsonrpc//"] {
            assert_eq!(check_version(path).unwrap_err().kind, FaultKind::NotFound, "{path}");
        }
    }

    #[test]
    fn only_plain_json_is_taken() {
        let headers = |kind: &'static str| {
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))])
        };
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/json-rpc"]
        {
            assert_eq!(check_kind(&headers(kind)), Ok(()), "{kind}");
        }
        for kind in ["text/plain", "", "application/x-www-form-urlencoded"] {
            assert!(check_kind(&headers(kind)).is_err(), "{kind}");
        }
        assert!(check_kind(&HeaderMap::new()).is_err());
        let mut packed = headers("application/json");
        packed.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(check_kind(&packed).is_err());
    }
}
