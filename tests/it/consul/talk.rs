//! What the tests of this face ask with.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Running, Site};
use crate::http::{self, Reply};

/// A place with these settings.
pub(super) fn site(settings: &str) -> Site {
    let mut site = Site::new();
    settings.clone_into(&mut site.settings);
    site
}

/// One request as an administrator on the unix socket.
pub(super) async fn ask(running: &Running, method: &str, path: &str, body: &str) -> Reply {
    ask_at(&running.socket, method, path, body).await
}

/// The same on a socket.
pub(super) async fn ask_at(socket: &Path, method: &str, path: &str, body: &str) -> Reply {
    http::over_unix(socket, &http::request(method, path, &[], body)).await
}

/// One request over TLS with these headers.
pub(super) async fn remote(
    running: &Running,
    (method, path): (&str, &str),
    headers: &[&str],
) -> Reply {
    let headers: Vec<String> = headers.iter().map(|line| (*line).to_owned()).collect();
    http::over_tls(running.tls(), &http::request(method, path, &headers, "")).await
}

/// Fires an event; what is answered.
pub(super) async fn fire(running: &Running, path: &str, body: &str) -> Value {
    let reply = ask(running, "PUT", &format!("/v1/event/fire/{path}"), body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// A list and its index.
pub(super) async fn list(running: &Running, query: &str) -> (Vec<Value>, u64) {
    let reply = ask(running, "GET", &format!("/v1/event/list?{query}"), "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    listed(&reply)
}

/// What is in a reply that is a list.
pub(super) fn listed(reply: &Reply) -> (Vec<Value>, u64) {
    let index = reply.header("x-consul-index").and_then(|text| text.parse().ok());
    let events = reply.json().as_array().expect("a list").clone();
    (events, index.unwrap_or_else(|| panic!("no index: {reply:?}")))
}

/// The names in a list.
pub(super) fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["Name"].as_str().expect("a name")).collect()
}

/// Both halves of an id, exclusive-ored: what clients make of it.
pub(super) fn index_of(event: &Value) -> u64 {
    let id: uuid::Uuid = event["ID"].as_str().and_then(|text| text.parse().ok()).expect("an id");
    let (high, low) = id.as_u64_pair();
    high ^ low
}

/// Long enough to see that something does not happen.
pub(super) const NOTHING: Duration = Duration::from_millis(200);
