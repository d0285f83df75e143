//! The bounds of jobs, as `[jobs]` sets them.

use serde_json::{Value, json};

use super::{end, jobs, start, until_state};
use crate::harness::{Site, until};

const SETTINGS: &str = "[jobs]\nrunning = 3\nrunning_per_client = 2\nwaiting = 5\n\
    waiting_per_client = 3\nkept = 2\nlog_first_bytes = 1024\nlog_last_bytes = 2048\n";

#[tokio::test]
async fn they_are_what_the_configuration_says() {
    let mut site = Site::new();
    SETTINGS.clone_into(&mut site.settings);
    let running = site.start().await;
    let mut client = running.admin().await;
    let sleep = json!({"commands": [["/bin/sleep", "1000"]]});
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(start(&mut client, sleep.clone()).await);
        until_state(&mut client, ids.last().unwrap(), "running").await;
    }
    for _ in 0..3 {
        ids.push(start(&mut client, sleep.clone()).await);
    }
    let refusal = jobs(&mut client, "run", sleep.clone()).await.unwrap_err();
    assert_eq!(refusal["code"], "429", "{refusal}");
    let states = async |client: &mut kit::client::SysAdmClient| -> Vec<Value> {
        let listed = jobs(client, "list", json!({})).await.unwrap();
        listed["jobs"].as_array().unwrap().iter().map(|job| job["state"].clone()).collect()
    };
    let mut own = states(&mut client).await;
    own.sort_by_key(ToString::to_string);
    assert_eq!(own, ["queued", "queued", "queued", "running", "running"]);
    // Another client has places of its own, but for the machine's: one more runs, two wait.
    let mut other = running.remote(&running.token("admin").await).await;
    let first = start(&mut other, sleep.clone()).await;
    until_state(&mut other, &first, "running").await;
    for _ in 0..2 {
        ids.push(start(&mut other, sleep.clone()).await);
    }
    assert_eq!(jobs(&mut other, "run", sleep).await.unwrap_err()["code"], "429");
    ids.push(first);
    for id in ids.iter().rev() {
        jobs(&mut client, "abort", json!({"id": id})).await.unwrap();
        end(&mut client, id).await;
    }
    until("only the last two are kept", async || states(&mut client).await.len() == 2).await;
    let print = json!({"commands": [["/bin/sh", "-c", "head -c 10000 /dev/zero | tr '\\0' x"]]});
    let id = start(&mut client, print).await;
    assert_eq!(end(&mut client, &id).await["job"]["log_bytes"], 10_000);
    let log = jobs(&mut client, "log", json!({"id": id})).await.unwrap();
    assert_eq!((&log["text"], &log["next"]), (&json!("x".repeat(1024)), &json!(1024)));
    let rest = jobs(&mut client, "log", json!({"id": id, "from": 1024})).await.unwrap();
    assert_eq!((&rest["left_out"], &rest["from"]), (&json!(10_000 - 3072), &json!(10_000 - 2048)));
    assert_eq!(rest["text"], "x".repeat(2048));
    drop((client, other));
    running.stop().await;
}
