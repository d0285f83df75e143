//! Webhooks of those who sign: forged, repeated and late ones begin nothing.

use std::time::Duration;

use protocol::Time;
use serde_json::{Value, json};
use sysadmd::clock::Clock;

use super::{events, make, post, runs, until_ended};
use crate::harness::Site;

const SECRET: &str = "It's a Secret to Everybody";
const TAG: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_github_signs_is_done_once_even_after_a_restart() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    let args = json!({
        "method": "events/fire", "args": {"class": "user.push"}, "signature": "github",
        "secret": SECRET, "burst": 9,
    });
    let (id, url) = make(&mut admin, args).await;
    let signed = |delivery: &str| {
        [format!("X-Hub-Signature-256: sha256={TAG}"), format!("X-GitHub-Delivery: {delivery}")]
    };
    let first = post(&running, &url, &signed("one"), "Hello, World!").await;
    assert_eq!(first.status, 202, "{first:?}");
    let begun = first.json()["action"]["uuid"].clone();
    until_ended(&mut admin, &id, 1).await;
    let again = post(&running, &url, &signed("two"), "Hello, World!").await;
    assert_eq!((again.status, &again.json()["result"]), (200, &json!("duplicate")), "{again:?}");
    assert_eq!(again.json()["action"]["uuid"], begun);
    for (headers, body) in [
        (signed("x").to_vec(), "Hello, World?"),
        (vec![], "Hello, World!"),
        (vec![format!("X-Hub-Signature-256: sha256={}", TAG.replace('7', "8"))], "Hello, World!"),
        (vec!["X-Hub-Signature-256: sha256=".to_owned()], "Hello, World!"),
    ] {
        assert_eq!(post(&running, &url, &headers, body).await.status, 404, "{headers:?}");
    }
    drop(admin);
    let running = running.restart().await;
    let again = post(&running, &url, &signed("three"), "Hello, World!").await;
    assert_eq!(again.json()["result"], "duplicate", "{again:?}");
    let mut admin = running.admin().await;
    assert_eq!(runs(&mut admin, &id).await.len(), 1);
    assert_eq!(events(&mut admin, "user.push").await.len(), 1);
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_standard_webhooks_sign_is_taken_while_it_is_new() {
    let mut site = Site::new();
    site.clock = Clock::fake(Time::from_micros(1_614_265_330_000_000));
    let clock = site.clock.clone();
    let running = site.start().await;
    let mut admin = running.admin().await;
    let args = json!({
        "method": "events/fire", "args": {"class": "user.msg"}, "signature": "standard",
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "burst": 9,
    });
    let (_, url) = make(&mut admin, args).await;
    let headers = [
        "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
        "webhook-timestamp: 1614265330".to_owned(),
        "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned(),
    ];
    let body = r#"{"test": 2432232314}"#;
    clock.advance(Duration::from_secs(299));
    assert_eq!(post(&running, &url, &headers, body).await.status, 202);
    assert_eq!(post(&running, &url, &headers, body).await.json()["result"], "duplicate");
    clock.advance(Duration::from_secs(2));
    assert_eq!(post(&running, &url, &headers, body).await.status, 404, "late, whatever it was");
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_equal_deliveries_at_the_same_moment_are_one() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    let args = json!({
        "method": "events/fire", "args": {"class": "user.push"}, "signature": "github",
        "secret": SECRET, "burst": 30, "rate_per_min": 6000,
    });
    let (id, url) = make(&mut admin, args).await;
    let headers = [format!("X-Hub-Signature-256: sha256={TAG}")];
    let calls = (0..10).map(|_| post(&running, &url, &headers, "Hello, World!"));
    let replies = futures_util::future::join_all(calls).await;
    let results: Vec<Value> = replies.iter().map(|it| it.json()["result"].clone()).collect();
    assert_eq!(results.iter().filter(|it| **it == "begun").count(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|it| **it == "duplicate").count(), 9, "{results:?}");
    until_ended(&mut admin, &id, 1).await;
    assert_eq!(events(&mut admin, "user.push").await.len(), 1);
    drop(admin);
    running.stop().await;
}
