//! What somebody can do to a plugin, and what everybody sees of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::scene::{BAD, Scene, assert_refused, bad, group};
use crate::harness::until;

#[tokio::test]
async fn every_verb_does_what_it_says_and_every_change_is_told() {
    let mut scene = Scene::with(bad(&["good"])).await;
    scene.until("ready").await;
    let first = scene.shown().await["pid"].clone();
    let restarted = scene.control("restart").await.expect("it restarts");
    assert_eq!(restarted["state"], "ready", "{restarted}");
    assert_ne!(restarted["pid"], first, "another process");
    assert_eq!(changes(&mut scene, 3).await, ["stopping", "starting", "ready"]);

    let stopped = scene.control("stop").await.expect("it stops");
    assert_eq!((&stopped["state"], &stopped["pid"]), (&json!("inactive"), &Value::Null));
    assert_eq!(changes(&mut scene, 2).await, ["stopping", "inactive"]);
    assert_refused(&scene.call("echo", Value::Null).await, "503", "inactive");
    assert_eq!(scene.control("stop").await.expect("it is stopped")["state"], "inactive");

    let started = scene.control("start").await.expect("it starts");
    assert_eq!(started["state"], "ready", "{started}");
    assert_eq!(changes(&mut scene, 2).await, ["starting", "ready"]);
    assert_eq!(scene.call("echo", json!(1)).await, Ok(json!(1)));
    assert_eq!(scene.control("start").await.expect("it is started")["pid"], started["pid"]);

    let reloaded = scene.control("reload").await.expect("it reloads");
    assert_eq!(reloaded["state"], "ready", "{reloaded}");
    assert_ne!(reloaded["pid"], started["pid"], "another process");

    let unknown = json!({"action": "start", "id": "nobody"});
    assert_refused(&scene.admin.call("rpc", "plugins", unknown).await, "404", "nobody");
    let nothing = json!({"action": "explode", "id": BAD});
    assert_refused(&scene.admin.call("rpc", "plugins", nothing).await, "400", "action");
    scene.end().await;
}

#[tokio::test]
async fn who_ignores_every_request_to_end_is_killed() {
    let mut manifest = bad(&["ignore-shutdown"]);
    manifest["limits"]["stop_ms"] = 100.into();
    let mut scene = Scene::with(manifest).await;
    let ready = scene.until("ready").await;
    let pid = ready["data"]["pid"].as_u64().expect("a process");
    let stopping = scene.admin.send("rpc", "plugins", json!({"action": "stop", "id": BAD})).await;
    scene.until("stopping").await;
    scene.nobody_minds().await;
    let stopped = scene.admin.answer(&stopping).await.expect("it stops");
    assert_eq!(stopped["plugin"]["state"], "inactive", "{stopped}");
    assert_eq!(group(pid), Vec::<String>::new());
    scene.end().await;
}

#[tokio::test]
async fn a_reload_under_calls_loses_none_of_them() {
    let mut scene = Scene::with(bad(&["good"])).await;
    scene.until("ready").await;
    let (calls, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = JoinSet::new();
    for caller in 0..6 {
        let mut client = scene.running.admin().await;
        let (calls, over) = (Arc::clone(&calls), Arc::clone(&over));
        callers.spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let number = calls.fetch_add(1, Ordering::SeqCst);
                let (name, args) = match caller % 2 {
                    0 => ("echo", json!({"n": number})),
                    _ => ("sleep", json!({"ms": number % 50})),
                };
                let answer = client.call(BAD, name, args.clone()).await;
                let answer = answer.unwrap_or_else(|refusal| panic!("call {number}: {refusal:#}"));
                assert!(name == "sleep" || answer == args, "{answer}");
            }
        });
    }
    for _ in 0..15 {
        let before = calls.load(Ordering::SeqCst);
        let reloaded = scene.control("reload").await.expect("it reloads");
        assert_eq!(reloaded["state"], "ready", "{reloaded}");
        until("calls go on", async || calls.load(Ordering::SeqCst) > before + 10).await;
    }
    over.store(true, Ordering::SeqCst);
    while let Some(ended) = callers.join_next().await {
        ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }
    let shown = scene.shown().await;
    assert_eq!((&shown["restarts"], &shown["calls_failed"]), (&json!(15), &json!(0)), "{shown:#}");
    scene.end().await;
}

#[tokio::test]
async fn a_reload_that_fails_leaves_the_old_process_at_work() {
    let mut scene = Scene::with(bad(&["good"])).await;
    scene.until("ready").await;
    let before = scene.shown().await["pid"].clone();
    // Written beside and moved into its place, so that the watcher of the directory sees it whole.
    let dir = scene.running.site.plugins().join(BAD);
    std::fs::write(dir.join(".new"), "{ not a manifest").expect("a file");
    std::fs::rename(dir.join(".new"), dir.join("manifest.json")).expect("its manifest is broken");
    assert_refused(&scene.control("reload").await, "500", "manifest.json");
    // When another one has been found, the whole directory has been looked at.
    let other = kit::plugins::manifest("other", &["good"]);
    kit::plugins::install(&scene.running.site.plugins(), other).expect("another plugin");
    scene.running.ready("other").await;
    assert_eq!(scene.shown().await["pid"], before);
    assert_eq!(scene.call("echo", json!(1)).await, Ok(json!(1)));
    scene.end().await;
}

/// The next so many states of the bad plugin.
async fn changes(scene: &mut Scene, count: usize) -> Vec<String> {
    let mut states = Vec::new();
    for _ in 0..count {
        let change = scene.change().await;
        states.push(change["data"]["to"].as_str().expect("a state").to_owned());
    }
    states
}
