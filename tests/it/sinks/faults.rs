//! Receivers that fail in every way, and a daemon that is killed in between.

use std::time::Duration;

use kit::receiver::{Act, Received, Receiver};
use protocol::Time;
use serde_json::{Value, json};
use sysadmd::clock::Clock;

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
async fn a_sink_that_wants_to_be_asked_is_asked_before_anything_is_sent() {
    let receiver = Receiver::start(None);
    let asks = |it: &Received| it.head.starts_with("OPTIONS ");
    receiver.plan([Act::Answer(405, ""), Act::Answer(200, "WebHook-Allowed-Origin: other\r\n")]);
    receiver.judge(move |it| {
        let consent = "WebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: 1200\r\n";
        asks(it).then_some(Act::Answer(200, consent))
    });
    let running = site(&receiver, "handshake = true").start().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 0..5).await;
    until_taken(&receiver, 4).await;
    assert_eq!(numbers(&receiver.taken()), [0, 1, 2, 3, 4]);
    let all = receiver.received();
    let (asked, sent) = all.split_at(3);
    assert!(asked.iter().all(asks) && !sent.iter().any(asks), "{all:?}");
    let told = admin.call("rpc", "identify", json!({})).await.expect("an answer");
    let host = told["hostname"].as_str().expect("a name").to_owned();
    assert!(asked.iter().all(|it| it.header("WebHook-Request-Origin") == Some(&host)));
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn whoever_was_away_for_longer_than_events_are_kept_is_told_and_goes_on() {
    let receiver = Receiver::start(None);
    let mut site = site(&receiver, "");
    site.settings.push_str("[log]\nmax_age_days = 1\n");
    let clock = Clock::fake(Time::from_micros(1_800_000_000_000_000));
    site.clock = clock.clone();
    let running = site.start().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 0..1).await;
    until_taken(&receiver, 0).await;
    let order = |action: &str| json!({"action": action, "name": "out"});
    admin.call("rpc", "sinks", order("pause")).await.expect("it is paused");
    ticks(&mut admin, 1..20).await;
    drop(admin);
    let site = running.stop().await;
    clock.advance(Duration::from_hours(48));
    let running = site.start().await;
    let mut admin = running.admin().await;
    until("the old events are removed", async || {
        let list = admin.call("events", "list", json!({"filter": {"classes": ["user.tick"]}}));
        list.await.expect("a page")["events"].as_array().expect("events").len() <= 1
    })
    .await;
    admin.call("rpc", "sinks", order("resume")).await.expect("it goes on");
    ticks(&mut admin, 20..23).await;
    until_taken(&receiver, 22).await;
    let taken = receiver.taken();
    let gap: Value = serde_json::from_str(&taken[1]).expect("JSON");
    assert_eq!(
        (&gap["type"], &gap["data"]["reason"]),
        (&json!("cloudevents.gap"), &json!("expired"))
    );
    let after: Vec<u64> = numbers(&taken[2..]).into_iter().filter(|number| *number > 19).collect();
    assert_eq!(after, [20, 21, 22], "and it goes on behind it");
    assert_eq!(numbers(&taken[..1]), [0]);
    // Told once, also over a restart.
    drop(admin);
    let running = running.restart().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 23..24).await;
    until_taken(&receiver, 23).await;
    let gaps = receiver.taken().iter().filter(|body| body.contains("cloudevents.gap")).count();
    assert_eq!(gaps, 1);
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
