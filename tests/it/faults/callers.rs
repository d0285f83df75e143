//! Whoever calls a bad plugin is told so, in time and in the right words.

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use super::scene::{BAD, Scene, assert_refused, bad};

#[tokio::test]
async fn a_call_that_is_never_answered_ends_at_its_deadline() {
    let mut manifest = bad(&["hang"]);
    manifest["limits"]["call_ms"] = 300.into();
    let mut scene = Scene::with(manifest).await;
    scene.until("ready").await;
    for _ in 0..3 {
        assert_refused(&scene.call("echo", Value::Null).await, "504", "within 300 ms");
    }
    scene.nobody_minds().await;
    let shown = scene.shown().await;
    assert_eq!((&shown["calls"], &shown["calls_failed"]), (&json!(3), &json!(3)), "{shown:#}");
    assert_eq!(shown["state"], "ready", "it answers health: {shown:#}");
    scene.end().await;
}

#[tokio::test]
async fn an_answer_after_the_deadline_is_nobodys() {
    let mut manifest = bad(&["late", "100"]);
    manifest["limits"]["call_ms"] = 200.into();
    let mut scene = Scene::with(manifest).await;
    scene.until("ready").await;
    for number in 0..5 {
        assert_refused(&scene.call("echo", json!(number)).await, "504", "within 200 ms");
    }
    let shown = scene.shown().await;
    assert_eq!((&shown["state"], &shown["restarts"]), (&json!("ready"), &json!(0)), "{shown:#}");
    scene.end().await;
}

#[tokio::test]
async fn who_finds_no_place_is_sent_away_at_once() {
    let mut manifest = bad(&["hang"]);
    manifest["limits"]["calls"] = 2.into();
    manifest["limits"]["call_ms"] = 2_000.into();
    let mut scene = Scene::with(manifest).await;
    scene.until("ready").await;
    let answers = ask_at_once(&mut scene.admin, "echo", 10).await;
    let codes: Vec<&str> = answers.iter().map(code).collect();
    // Two are begun, as many wait; the others need not wait for anything.
    assert_eq!(codes.iter().filter(|code| **code == "504").count(), 4, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == "429").count(), 6, "{codes:?}");
    let refusal = answers.iter().find(|answer| code(answer) == "429").expect("a refusal");
    let refusal = refusal.as_ref().expect_err("a refusal");
    assert!(refusal["fault"]["retry_after_ms"].is_u64(), "{refusal}");
    scene.end().await;
}

#[tokio::test]
async fn whose_plugin_dies_under_them_is_told_so() {
    let mut scene = Scene::with(bad(&["good"])).await;
    scene.until("ready").await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(scene.admin.send(BAD, "hang", Value::Null).await);
    }
    let died = scene.call("crash", Value::Null).await;
    assert_refused(&died, "503", "ended before it had answered");
    for id in waiting {
        let answer = scene.admin.answer(&id).await;
        assert_refused(&answer, "503", "ended before it had answered");
    }
    let failed = scene.until("failed").await;
    assert_eq!(failed["priority"], "4 - Warning", "{failed}");
    scene.until("ready").await;
    assert_eq!(scene.call("echo", json!(1)).await, Ok(json!(1)));
    assert_eq!(scene.shown().await["restarts"], 1);
    scene.end().await;
}

#[tokio::test]
async fn a_panic_in_a_call_fails_that_call_alone() {
    let mut scene = Scene::with(bad(&["good"])).await;
    scene.until("ready").await;
    assert_refused(&scene.call("panic", Value::Null).await, "500", "");
    assert_eq!(scene.call("echo", json!(1)).await, Ok(json!(1)));
    assert_eq!(scene.shown().await["restarts"], 0);
    scene.end().await;
}

#[tokio::test]
async fn memory_beyond_the_limit_is_the_plugins_trouble_alone() {
    let mut manifest = bad(&["good"]);
    manifest["limits"]["memory_bytes"] = (192_u64 << 20).into();
    let mut scene = Scene::with(manifest).await;
    scene.until("ready").await;
    let about = scene.call("self", Value::Null).await.expect("what it knows of itself");
    assert_eq!(about["rlimit_data"], 192_u64 << 20, "{about}");
    let asked = 1_u64 << 30;
    match scene.call("eat", json!({"bytes": asked})).await {
        Ok(answer) => {
            let eaten = answer["eaten"].as_u64().expect("a number");
            assert!(eaten < 192 << 20, "{eaten} bytes");
        }
        // Something else in it needed memory at that moment.
        Err(refusal) => assert_eq!(refusal["code"], "503", "{refusal}"),
    }
    scene.end().await;
}

/// Asks so many times before the first answer is read.
async fn ask_at_once(
    client: &mut SysAdmClient,
    name: &str,
    times: usize,
) -> Vec<Result<Value, Value>> {
    let (mut waiting, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..times {
        waiting.push(client.send(BAD, name, Value::Null).await);
    }
    for id in waiting {
        answers.push(client.answer(&id).await);
    }
    answers
}

fn code(answer: &Result<Value, Value>) -> &str {
    answer.as_ref().map_or_else(|refusal| refusal["code"].as_str().unwrap_or("none"), |_| "200")
}
