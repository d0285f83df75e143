//! Triggers: URLs that do one thing when they are called.

mod calls;
mod owners;
mod signed;

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use crate::harness::{Running, Site, until};
use crate::http::{self, Reply};

/// `rpc/triggers` with this action.
async fn triggers(
    client: &mut SysAdmClient,
    action: &str,
    mut args: Value,
) -> Result<Value, Value> {
    args["action"] = action.into();
    client.call("rpc", "triggers", args).await
}

/// Makes one; its public id and the path at which it is called.
async fn make(client: &mut SysAdmClient, args: Value) -> (String, String) {
    let made = triggers(client, "create", args).await.expect("a trigger is made");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&made["trigger"]["id"]), text(&made["url"]))
}

/// Calls a URL, as anybody can.
async fn post(running: &Running, path: &str, headers: &[String], body: &str) -> Reply {
    http::over_tls(running.tls(), &http::request("POST", path, headers, body)).await
}

async fn get(running: &Running, path: &str) -> Reply {
    http::over_tls(running.tls(), &http::request("GET", path, &[], "")).await
}

/// A daemon with the kit's plugin, and an administrator's client.
async fn kit() -> (Running, SysAdmClient) {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let admin = running.admin().await;
    (running, admin)
}

/// Events of a class, the oldest first.
async fn events(client: &mut SysAdmClient, class: &str) -> Vec<Value> {
    let args = json!({"filter": {"classes": [class]}, "limit": 1000});
    let page = client.call("events", "list", args).await.expect("a page");
    page["events"].as_array().expect("a list").clone()
}

/// Runs of a trigger, the newest first.
async fn runs(client: &mut SysAdmClient, id: &str) -> Vec<Value> {
    let answer = triggers(client, "history", json!({ "id": id })).await.expect("a history");
    answer["runs"].as_array().expect("a list").clone()
}

/// Waits until so many runs have ended.
async fn until_ended(client: &mut SysAdmClient, id: &str, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    until("the runs have ended", async || {
        found = runs(client, id).await;
        found.iter().filter(|run| run["ended"].is_string()).count() >= count
    })
    .await;
    found
}
