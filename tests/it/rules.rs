//! Rules: a call is made when something happens.

mod events;
mod life;

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use crate::harness::until;

/// `rpc/rules` with this action.
async fn rules(client: &mut SysAdmClient, action: &str, mut args: Value) -> Result<Value, Value> {
    args["action"] = action.into();
    client.call("rpc", "rules", args).await
}

/// Makes one; its id.
async fn make(client: &mut SysAdmClient, args: Value) -> String {
    let made = rules(client, "create", args).await.expect("a rule is made");
    made["rule"]["id"].as_str().expect("an id").to_owned()
}

async fn fire(client: &mut SysAdmClient, class: &str, subject: &str, priority: u8) {
    let args = json!({"class": class, "subject": subject, "priority": priority, "message": "m"});
    client.call("events", "fire", args).await.expect("it is fired");
}

/// Events of a class, the oldest first.
async fn events_of(client: &mut SysAdmClient, class: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut after = 0;
    loop {
        let args = json!({"filter": {"classes": [class]}, "limit": 1000, "after_seq": after});
        let page = client.call("events", "list", args).await.expect("a page");
        found.extend(page["events"].as_array().expect("a list").iter().cloned());
        match page["resume"].as_u64() {
            Some(resume) => after = resume,
            None => return found,
        }
    }
}

/// What a rule did and is to do, the newest first.
async fn runs(client: &mut SysAdmClient, id: &str) -> Vec<Value> {
    let answer = rules(client, "history", json!({"id": id, "limit": 1000})).await;
    answer.expect("a history")["runs"].as_array().expect("a list").clone()
}

/// Waits until so many runs are so.
async fn until_runs(client: &mut SysAdmClient, id: &str, state: &str, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    until(&format!("{count} runs are {state}"), async || {
        found = runs(client, id).await;
        found.iter().filter(|run| run["state"] == state).count() >= count
    })
    .await;
    found
}
