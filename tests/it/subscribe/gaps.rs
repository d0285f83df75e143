//! What cannot be delivered is said, with its reason.

use std::time::Duration;

use protocol::Time;
use serde_json::{Value, json};
use sysadmd::clock::Clock;

use super::{fire, ticks};
use crate::harness::{Site, until};

#[tokio::test]
async fn a_cursor_of_another_database_gets_everything_and_is_told() {
    let running = Site::new().start().await;
    let mut client = running.admin().await;
    ticks(&mut client, 0..3).await;
    let foreign = "0197a2b4-0000-8000-8000-000000000000.2";
    let filter = json!({"classes": ["user.tick"]});
    let answer =
        client.subscribe(json!({"sub": "s", "filter": filter, "from": foreign})).await.unwrap();
    assert_eq!(answer["gap"]["reason"], "other-instance");
    assert_eq!(answer["gap"].get("missed"), None, "nobody can know");
    let (numbers, _) = super::read_ticks(&mut client, 3).await;
    assert_eq!(numbers, [0, 1, 2]);
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn a_cursor_ahead_of_the_log_is_told_and_goes_on_with_what_comes() {
    let running = Site::new().start().await;
    let mut client = running.admin().await;
    ticks(&mut client, 0..3).await;
    let standing = client.subscribe(json!({"sub": "head"})).await.unwrap();
    let (instance, seq) = standing["cursor"].as_str().unwrap().split_once('.').unwrap();
    let head: u64 = seq.parse().unwrap();
    client.call("events", "unsubscribe", json!({"sub": "head"})).await.unwrap();
    let ahead = format!("{instance}.{}", head + 1_000);
    let answer = client.subscribe(json!({"sub": "s", "from": ahead})).await.unwrap();
    assert_eq!(answer["gap"]["reason"], "ahead-of-log");
    assert_eq!(answer["replay"], Value::Null);
    assert_eq!(answer["cursor"], standing["cursor"]);
    let next = fire(&mut client, json!({"class": "user.tick"})).await;
    assert_eq!(client.event().await["args"]["seq"], next);
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn what_retention_has_removed_is_told_with_its_numbers() {
    let mut site = Site::new();
    site.settings = "[log]\nmax_age_days = 1\n".to_owned();
    let clock = Clock::fake(Time::from_micros(1_800_000_000_000_000));
    site.clock = clock.clone();
    let running = site.start().await;
    let mut client = running.admin().await;
    let answer = client.subscribe(json!({"sub": "s", "from": "now"})).await.unwrap();
    let (cursor, first) = (answer["cursor"].clone(), answer["head_seq"].as_u64().unwrap() + 1);
    ticks(&mut client, 0..20).await;
    drop(client);
    let site = running.stop().await;
    clock.advance(Duration::from_hours(48));
    // Retention looks first thing after a start. The newest event stays, whatever its age: the last
    // tick when it looks before the start itself is recorded.
    let running = site.start().await;
    let mut client = running.admin().await;
    let mut oldest = 0;
    until("the old events are removed", async || {
        let list = client.call("events", "list", json!({"limit": 1})).await.unwrap();
        oldest = list["oldest_seq"].as_u64().unwrap();
        oldest >= first + 19
    })
    .await;
    let answer = client.subscribe(json!({"sub": "s", "from": cursor})).await.unwrap();
    let gap = &answer["gap"];
    assert_eq!((&gap["reason"], &gap["from_seq"]), (&json!("expired"), &json!(first)), "{answer}");
    assert_eq!(gap["to_seq"], oldest - 1);
    assert_eq!(gap.get("missed"), None, "they were not looked at");
    assert_eq!(client.event().await["args"]["seq"], oldest);
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_cursor_is_refused() {
    let running = Site::new().start().await;
    let mut client = running.admin().await;
    for from in [
        "",
        "7",
        "yesterday",
        "0197a2b4-0000-8000-8000-000000000000",
        "x.1",
        "0197a2b4-0000-8000-8000-000000000000.5+3",
    ] {
        let refusal = client.subscribe(json!({"sub": "s", "from": from})).await.unwrap_err();
        assert_eq!(refusal["code"], "400", "{from}");
    }
    for wrong in [
        json!({"sub": ""}),
        json!({"sub": "x".repeat(65)}),
        json!({"sub": "s", "heartbeat_s": 0}),
        json!({"sub": "s", "heartbeat_s": 301}),
        json!({"sub": "s", "filter": {"classes": vec!["user.a"; 65]}}),
        json!({"sub": "s", "filter": {"text": "x".repeat(4_097)}}),
    ] {
        assert_eq!(client.subscribe(wrong.clone()).await.unwrap_err()["code"], "400", "{wrong}");
    }
    drop(client);
    running.stop().await;
}
