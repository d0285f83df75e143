//! Jobs: calls that outlive their reply, and the classic dispatcher, with real processes.

mod bounds;
mod calls;
mod dispatcher;
mod follow;
mod inherited;
mod rights;
mod snapshots;

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use crate::harness::{Running, Site};

/// `rpc/jobs` with this action.
async fn jobs(client: &mut SysAdmClient, action: &str, mut args: Value) -> Result<Value, Value> {
    args["action"] = action.into();
    client.call("rpc", "jobs", args).await
}

/// Has something done as a job; its id.
async fn start(client: &mut SysAdmClient, args: Value) -> String {
    let made = jobs(client, "run", args).await.expect("the job is made");
    made["job"]["id"].as_str().expect("an id").to_owned()
}

/// Waits for the end of a job; the whole answer of `wait`.
async fn end(client: &mut SysAdmClient, id: &str) -> Value {
    loop {
        let answer = jobs(client, "wait", json!({ "id": id, "wait_s": 5 })).await;
        let answer = answer.expect("the job is waited for");
        if answer["ended"] == true {
            return answer;
        }
    }
}

/// Waits until a job is in this state.
async fn until_state(client: &mut SysAdmClient, id: &str, state: &str) -> Value {
    let mut job = Value::Null;
    crate::harness::until(&format!("the job is {state}"), async || {
        let shown = jobs(client, "show", json!({ "id": id })).await.expect("the job is shown");
        job = shown["job"].clone();
        job["state"] == state
    })
    .await;
    job
}

/// A daemon with the kit's plugin, and an administrator's client.
async fn kit() -> (Running, SysAdmClient) {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let client = running.admin().await;
    (running, client)
}
