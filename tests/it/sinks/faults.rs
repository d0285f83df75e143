//! Receivers that fail in every way, and a daemon that is killed in between.

use kit::receiver::{Act, Receiver};
use serde_json::{Value, json};

use super::{numbers, said, site, status, ticks, until_taken};
use crate::harness::until;

#[tokio::test]
async fn whatever_fails_is_tried_again_and_nothing_is_lost_or_reordered() {
    let receiver = Receiver::start(None);
    receiver.plan([
        Act::Answer(500, ""),
        Act::Cut,
        Act::Hang,
        Act::Answer(302, "Location: http://127.0.0.1:1/\r\n"),
        Act::Answer(429, "Retry-After: 1\r\n"),
        Act::Answer(401, ""),
        Act::Answer(503, ""),
    ]);
    let running = site(&receiver, "timeout_s = 1").start().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 0..5).await;
    until("it is failing", async || status(&mut admin).await["state"] == "failing").await;
    assert!(status(&mut admin).await["trouble"].is_string());
    until_taken(&receiver, 4).await;
    assert_eq!(numbers(&receiver.taken()), [0, 1, 2, 3, 4]);
    assert_eq!(receiver.received().len(), 12, "only what was not acknowledged came again");
    until("both are said once", async || {
        said(&mut admin).await == ["sink.failing", "sink.recovered"]
    })
    .await;
    let shown = status(&mut admin).await;
    assert_eq!((&shown["state"], &shown["trouble"]), (&json!("running"), &Value::Null));
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn an_event_that_is_never_taken_is_given_up_alone() {
    let receiver = Receiver::start(None);
    receiver.judge(|it| it.body.contains("tick 7").then_some(Act::Answer(422, "")));
    let settings = "mode = \"batch\"\nattempts = 2\nfrom = \"oldest\"";
    let mut site = site(&receiver, settings);
    // Also what is said of sinks is wanted: not of itself, or it would never end.
    site.settings = site.settings.replace("[\"user.*\"]", "[\"user.*\", \"sink.*\"]");
    let running = site.start().await;
    let mut admin = running.admin().await;
    admin.call("rpc", "sinks", json!({"action": "pause", "name": "out"})).await.unwrap();
    ticks(&mut admin, 0..20).await;
    admin.call("rpc", "sinks", json!({"action": "resume", "name": "out"})).await.unwrap();
    until_taken(&receiver, 19).await;
    let expected: Vec<u64> = (0..20).filter(|number| *number != 7).collect();
    assert_eq!(numbers(&receiver.taken()), expected);
    assert_eq!(said(&mut admin).await, ["sink.dead_letter"]);
    let args = json!({"filter": {"classes": ["sink.*"]}});
    let page = admin.call("events", "list", args).await.unwrap();
    let told = &page["events"][0];
    assert_eq!((&told["subject"], &told["data"]["tries"]), (&json!("/sinks/out"), &json!(2)));
    assert_eq!(told["data"]["class"], "user.tick");
    assert!(receiver.taken().iter().all(|body| !body.contains("sink.dead_letter")));
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn a_sink_that_hangs_hurts_nobody() {
    let (hanging, other) = (Receiver::start(None), Receiver::start(None));
    hanging.judge(|_| Some(Act::Hang));
    let mut site = site(&hanging, "timeout_s = 300");
    let second =
        format!("[sinks.second]\nurl = \"http://{}/\"\nclasses = [\"user.*\"]\n", other.addr);
    site.settings.push_str(&second);
    let running = site.start().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 0..200).await;
    until_taken(&other, 199).await;
    assert_eq!(hanging.received().len(), 1);
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_repeats_only_what_was_not_acknowledged() {
    let receiver = Receiver::start(None);
    let mut site = site(&receiver, "mode = \"batch\"\nbatch = 3\ntimeout_s = 1");
    let (mut fired, rounds) = (0, 3);
    for _ in 0..rounds {
        let program = site.spawn().await;
        let mut admin = program.admin().await;
        ticks(&mut admin, fired..fired + 20).await;
        fired += 20;
        drop(admin);
        // Wherever it is at that moment.
        site = program.kill().await;
    }
    let running = site.start().await;
    until_taken(&receiver, fired - 1).await;
    let batches: Vec<Vec<u64>> =
        receiver.taken().iter().map(|body| numbers(std::slice::from_ref(body))).collect();
    let mut next = 0;
    let mut repeated = 0;
    for batch in &batches {
        let first = batch[0];
        assert!(first <= next, "{next} is missing: {batches:?}");
        if first < next {
            repeated += 1;
            assert!(next - first <= 3, "more than one batch came again: {batches:?}");
        }
        assert!(batch.windows(2).all(|pair| pair[1] == pair[0] + 1), "{batches:?}");
        next = next.max(batch[batch.len() - 1] + 1);
    }
    assert_eq!(next, fired);
    assert!(repeated <= rounds, "{batches:?}");
    running.stop().await;
}
