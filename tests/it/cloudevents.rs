//! `CloudEvents` as its clients see it: streams over a websocket, batches over HTTP, and events that
//! are brought in every mode.

mod batch;
mod bring;
pub(crate) mod client;
mod page;
mod rights;
mod stream;

use std::path::Path;

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use crate::http::{self, Reply};

/// Fires an event and returns its number.
async fn fire(client: &mut SysAdmClient, args: Value) -> u64 {
    let fired = client.call("events", "fire", args).await.expect("it is fired");
    fired["seq"].as_u64().expect("it is recorded")
}

/// Fires `user.tick` events with these numbers in their data.
async fn ticks(client: &mut SysAdmClient, numbers: std::ops::Range<u64>) {
    for number in numbers {
        fire(client, json!({"class": "user.tick", "data": {"n": number}})).await;
    }
}

/// The number of a tick.
fn tick(event: &Value) -> u64 {
    event["data"]["data"]["n"].as_u64().unwrap_or_else(|| panic!("no tick: {event}"))
}

/// An event that a client brings.
fn brought(id: &str, kind: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/ci", "type": kind})
}

async fn get(socket: &Path, query: &str) -> Reply {
    let request = http::request("GET", &format!("/cloudevents{query}"), &[], "");
    http::over_unix(socket, &request).await
}

/// Brings a body of this content type.
async fn post(socket: &Path, kind: &str, body: &str) -> Reply {
    let headers = [format!("Content-Type: {kind}")];
    http::over_unix(socket, &http::request("POST", "/cloudevents", &headers, body)).await
}

/// The sentence of a refusal.
fn refusal(reply: &Reply) -> String {
    reply.json()["args"]["error"].as_str().expect("a refusal").to_owned()
}
