//! Who only annoys is kept: what is wrong is refused, counted and shown, the rest works.

use std::time::Instant;

use serde_json::{Value, json};

use super::scene::{BAD, Scene, bad};
use crate::harness::until;

#[tokio::test]
async fn who_is_slow_loud_or_confused_is_kept() {
    let behaviours: [&[&str]; 7] = [
        &["slow-hello", "200"],
        &["slow-start", "200"],
        &["slow", "50"],
        &["chatty"],
        &["unknown-ids"],
        &["invalid-utf8"],
        &["answer-twice"],
    ];
    for behaviour in behaviours {
        let mut scene = Scene::with(bad(behaviour)).await;
        scene.until("ready").await;
        for number in 0..20 {
            let args = json!({"n": number});
            assert_eq!(scene.call("echo", args.clone()).await, Ok(args), "{behaviour:?}");
        }
        let shown = scene.shown().await;
        let expected = (&json!("ready"), &json!(0), &json!(20));
        let found = (&shown["state"], &shown["restarts"], &shown["calls"]);
        assert_eq!(found, expected, "{behaviour:?}: {shown:#}");
        scene.end().await;
    }
}

#[tokio::test]
async fn events_that_cannot_be_are_refused_and_counted() {
    for behaviour in ["undeclared-class", "too-loud"] {
        let mut scene = Scene::with(bad(&[behaviour])).await;
        scene.until("ready").await;
        until("all three are refused", async || scene.shown().await["events_refused"] == 3).await;
        let shown = scene.shown().await;
        let found = (&shown["state"], &shown["events_published"]);
        assert_eq!(found, (&json!("ready"), &json!(0)), "{behaviour}");
        assert!(published(&mut scene).await.is_empty());
        scene.end().await;
    }
}

#[tokio::test]
async fn a_flood_of_either_form_is_recorded_in_order_and_drowns_nobody() {
    for behaviour in ["flood", "flood-notifications"] {
        let mut scene = Scene::with(bad(&[behaviour, "3000"])).await;
        scene.until("ready").await;
        scene.nobody_minds().await;
        until("the flood is on record", async || scene.shown().await["events_published"] == 3_000)
            .await;
        let order: Vec<u64> = published(&mut scene).await;
        assert_eq!(order, (0..3_000).collect::<Vec<_>>(), "{behaviour}");
        scene.end().await;
    }
}

#[tokio::test]
async fn a_flood_without_end_is_held_to_its_rate_and_can_be_stopped() {
    for behaviour in ["flood", "flood-notifications"] {
        let (rate, burst) = (500, 100);
        let mut manifest = bad(&[behaviour]);
        manifest["limits"]["events_per_s"] = rate.into();
        manifest["limits"]["events_burst"] = burst.into();
        let begun = Instant::now();
        let mut scene = Scene::with(manifest).await;
        scene.until("ready").await;
        for _ in 0..10 {
            scene.nobody_minds().await;
        }
        until("the flood has used its burst", async || {
            scene.shown().await["events_published"].as_u64() > Some(burst)
        })
        .await;
        let published = scene.shown().await["events_published"].as_u64().expect("a number");
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).expect("a short time");
        let most = burst + rate * milliseconds / 1_000 + 1;
        assert!(published <= most, "{behaviour}: {published} in {milliseconds} ms");
        let stopped = scene.control("stop").await.expect("it can be stopped");
        assert_eq!(stopped["state"], "inactive", "{stopped}");
        scene.end().await;
    }
}

/// The numbers of the bad plugin's events, in the order of the log.
async fn published(scene: &mut Scene) -> Vec<u64> {
    let (mut numbers, mut after) = (Vec::new(), json!(0));
    while !after.is_null() {
        let question = json!({"filter": {"source": BAD}, "after_seq": after, "limit": 1000});
        let mut page = scene.admin.call("events", "list", question).await.expect("a page");
        let events = page["events"].as_array().expect("a list");
        let number = |event: &Value| event["data"]["i"].as_u64().expect("a number");
        numbers.extend(events.iter().map(number));
        after = page["resume"].take();
    }
    numbers
}
