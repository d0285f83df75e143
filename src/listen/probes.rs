//! What monitoring asks over HTTP: whether the daemon lives, whether it is ready, and what there is to
//! measure.
//!
//! The first two need no login and say one word. What they cost is bounded: however many ask, the
//! loops are asked once a second.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use protocol::{Fault, Json};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::rest::{self, Answer};
use crate::access::{Origin, Peer, Principal};
use crate::dispatch::{By, Dispatch};
use crate::wire::metrics;

/// How long an answer is good for others, too.
const FRESH: Duration = Duration::from_secs(1);
/// How long the loops may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// When it was last found out whether the daemon is ready, and what came out.
#[derive(Debug, Clone, Default)]
pub(super) struct Ready(Arc<Mutex<Option<(Instant, bool)>>>);

impl Ready {
    async fn is(&self, dispatch: &Dispatch) -> bool {
        // Whoever asks meanwhile waits here and gets the same answer.
        let mut last = self.0.lock().await;
        if let Some((at, ready)) = *last
            && at.elapsed() < FRESH
        {
            return ready;
        }
        let ready = timeout(PATIENCE, dispatch.answers()).await == Ok(true);
        *last = Some((Instant::now(), ready));
        ready
    }
}

/// `/healthz`: whoever gets an answer has found a daemon that lives.
pub(super) fn health(request: &Request<Incoming>) -> Answer {
    only_get(request).unwrap_or_else(|| plain(StatusCode::OK, "ok\n"))
}

/// `/readyz`: whether what is recorded is recorded and delivered.
pub(super) async fn ready(
    dispatch: &Dispatch,
    ready: &Ready,
    request: &Request<Incoming>,
) -> Answer {
    if let Some(refusal) = only_get(request) {
        return refusal;
    }
    if ready.is(dispatch).await {
        plain(StatusCode::OK, "ready\n")
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// `/metrics`: `rpc/metrics` in the words of Prometheus, for whoever may call it.
pub(super) async fn measure(
    dispatch: &Dispatch,
    (peer, principal): (Peer, Option<&Principal>),
    request: &Request<Incoming>,
) -> Answer {
    if let Some(refusal) = only_get(request) {
        return refusal;
    }
    let client = rest::client_of(request.headers());
    let by = By { origin: Origin { peer, face: rest::FACE }, principal, client: &client };
    let asked = protocol::Request::new("rpc", "metrics", json!({}));
    match dispatch.call_by(by, &asked).await {
        Ok(answer) => measured(&answer),
        Err(fault) => rest::refusal(&fault),
    }
}

fn measured(answer: &Json) -> Answer {
    let text = metrics::text(&serde_json::from_str(answer.text()).unwrap_or_default());
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    answer
}

fn only_get(request: &Request<Incoming>) -> Option<Answer> {
    (*request.method() != Method::GET).then(|| {
        let mut answer = rest::refusal(&Fault::bad_request("use GET"));
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        answer
    })
}

fn plain(status: StatusCode, word: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(word.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}
