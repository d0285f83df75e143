//! Who breaks the rules or dies again and again is ended, shown and given up.

use serde_json::{Value, json};

use super::scene::{BAD, Scene, assert_refused, bad, group};
use crate::harness::until;

/// What it does, how that is named, and what has to be changed in its manifest.
type Case = (&'static [&'static str], &'static str, Value);

#[tokio::test]
async fn who_never_comes_up_is_given_up_with_the_reason() {
    let cases: [Case; 7] = [
        (&["exit-before-hello", "3"], "exited with status 3", json!({})),
        (&["silent"], "did not answer initialize within 300 ms", json!({"start_ms": 300})),
        (&["refuse"], "does not want to", json!({})),
        (&["wrong-id"], "somebody-else", json!({})),
        (&["wrong-version"], "version 99", json!({})),
        (&["garbage-before-hello"], "not the protocol", json!({})),
        (&["slow-hello", "2000"], "within 300 ms", json!({"start_ms": 300})),
    ];
    for case in cases {
        is_given_up(case).await;
    }
}

#[tokio::test]
async fn who_breaks_the_protocol_is_ended_and_given_up() {
    let cases: [Case; 7] = [
        (&["garbage-after-hello"], "not the protocol", json!({})),
        (&["huge-line"], "a line of more than 65536 bytes", json!({"line_bytes": 65_536})),
        (&["endless-line"], "a line of more than 65536 bytes", json!({"line_bytes": 65_536})),
        (&["close-stdout"], "closed its standard output", json!({})),
        (&["stop-reading"], "health", json!({})),
        (&["no-health"], "health", json!({})),
        (&["grandchild"], "exited with status 0", json!({})),
    ];
    for case in cases {
        is_given_up(case).await;
    }
}

async fn is_given_up((behaviour, reason, limits): Case) {
    let mut manifest = bad(behaviour);
    manifest["restart"]["max"] = 1.into();
    if reason == "health" {
        manifest["health"] = json!({"interval_ms": 100, "timeout_ms": 300});
    }
    for (name, value) in limits.as_object().expect("members of limits") {
        manifest["limits"][name] = value.clone();
    }
    let mut scene = Scene::with(manifest).await;
    let (pid, last) = life(&mut scene).await;
    let said = last["data"]["reason"].as_str().expect("a reason");
    assert!(said.contains(reason), "{behaviour:?}: expected {reason:?} in: {said}");
    assert_eq!(last["priority"], "7 - Critical", "{last}");
    let shown = scene.shown().await;
    let expected = (&json!("quarantined"), &last["data"]["reason"], &Value::Null);
    assert_eq!((&shown["state"], &shown["reason"], &shown["pid"]), expected, "{shown:#}");
    assert_refused(&scene.call("echo", Value::Null).await, "503", "quarantined");
    if pid > 0 {
        until("its whole group has ended", async || group(pid).is_empty()).await;
    }
    scene.end().await;
}

/// Waits until it is given up: its last process, if it said hello, and the event that tells. That
/// event is critical and may overtake the others, so these are read from the log.
async fn life(scene: &mut Scene) -> (u64, Value) {
    let last = scene.until("quarantined").await;
    let filter = json!({"classes": ["plugin.state"], "subject": last["subject"]});
    let before = json!({"filter": filter, "before_seq": last["seq"], "limit": 1000});
    let history = scene.admin.call("events", "list", before).await.expect("the history");
    let changes = history["events"].as_array().expect("events");
    assert_eq!(changes[0]["data"]["to"], "starting", "{history}");
    let pid = changes.iter().filter_map(|change| change["data"]["pid"].as_u64()).next_back();
    (pid.unwrap_or(0), last)
}

#[tokio::test]
async fn who_crashes_in_a_loop_is_quarantined_until_somebody_asks() {
    let mut manifest = bad(&["crash-loop", "10"]);
    manifest["restart"]["max"] = 4.into();
    let mut scene = Scene::with(manifest).await;
    for round in [3_u64, 7] {
        let last = scene.until("quarantined").await;
        assert_eq!(last["priority"], "7 - Critical", "{last}");
        assert_eq!(last["message"].as_str().map(|text| text.contains(BAD)), Some(true), "{last}");
        let shown = scene.shown().await;
        assert_eq!(shown["restarts"], round, "{shown:#}");
        let reason = shown["reason"].as_str().expect("a reason");
        assert!(reason.contains("SIGABRT"), "{reason}");
        scene.nobody_minds().await;
        if round == 3 {
            // It may be ready for a moment, or not even that.
            drop(scene.control("start").await);
        }
    }
    scene.end().await;
}
