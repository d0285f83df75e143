//! Streams: where they begin, how they go on, what else comes.

use serde_json::{Value, json};

use super::client::Stream;
use super::{brought, fire, ticks};
use crate::harness::Site;

#[tokio::test]
async fn a_stream_says_where_it_stands_and_then_what_happens() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    let mut stream = Stream::open(&running, "?classes=user.*&min_priority=3&subject=%2Fx*").await;
    let first = stream.next().await;
    assert_eq!(first["type"], "cloudevents.subscribed");
    assert_eq!(first["data"]["gap"], Value::Null);
    assert_eq!(first["data"]["replay"], Value::Null);
    fire(&mut admin, json!({"class": "user.a", "priority": 2, "subject": "/x/1"})).await;
    fire(&mut admin, json!({"class": "user.a", "priority": 3, "subject": "/y/1"})).await;
    let args = json!({"class": "user.a", "priority": 7, "subject": "/x/1",
                      "message": "It\nis", "data": [1, {"a": null}]});
    let seq = fire(&mut admin, args).await;
    let event = stream.event().await;
    let hostname = admin.call("rpc", "identify", json!({})).await.unwrap()["hostname"].clone();
    assert_eq!(event["source"], format!("sysadmd://{}/client", hostname.as_str().unwrap()));
    assert_eq!((&event["type"], &event["subject"]), (&json!("user.a"), &json!("/x/1")));
    assert_eq!((&event["sadpriority"], &event["severitynumber"]), (&json!(7), &json!(18)));
    assert_eq!(event["sequence"], format!("{seq:020}"));
    assert_eq!(event["data"], json!({"message": "It\nis", "data": [1, {"a": null}]}));
    drop((stream, admin));
    running.stop().await;
}

#[tokio::test]
async fn a_cursor_neither_skips_nor_repeats() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 0..10).await;
    let (mut from, mut read) = ("oldest".to_owned(), Vec::new());
    for round in 1..=4 {
        let query = format!("?classes=user.tick&from={from}");
        let mut stream = Stream::open(&running, &query).await;
        assert_eq!(stream.next().await["type"], "cloudevents.subscribed");
        ticks(&mut admin, round * 10..round * 10 + 10).await;
        let (numbers, cursor) = stream.ticks(7).await;
        read.extend(numbers);
        from = cursor;
    }
    drop(admin);
    let running = running.restart().await;
    let mut stream = Stream::open(&running, &format!("?classes=user.tick&from={from}")).await;
    assert_eq!(stream.next().await["data"]["replay"]["to_seq"].as_u64(), Some(51 + 1));
    read.extend(stream.ticks(50 - read.len()).await.0);
    assert_eq!(read, (0..50).collect::<Vec<u64>>());
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn a_heartbeat_carries_the_cursor_and_a_gap_is_told() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    let mut stream = Stream::open(&running, "?classes=user.none&heartbeat=1").await;
    let first = stream.next().await;
    fire(&mut admin, json!({"class": "user.a"})).await;
    let heartbeat = stream.next().await;
    assert_eq!(heartbeat["type"], "cloudevents.heartbeat");
    assert_ne!(heartbeat["cursor"], first["cursor"]);
    // A cursor of another database.
    let foreign = format!("{}.7", uuid::Uuid::from_u128(7));
    let mut stream = Stream::open(&running, &format!("?from={foreign}")).await;
    assert_eq!(stream.next().await["data"]["gap"]["reason"], "other-instance");
    assert_eq!(stream.event().await["type"], "daemon.started");
    drop((stream, admin));
    running.stop().await;
}

#[tokio::test]
async fn an_event_that_is_brought_is_answered_when_it_is_durable() {
    let running = Site::new().start().await;
    let mut stream = Stream::open(&running, "?classes=user.*").await;
    stream.next().await;
    let mut event = brought("a-1", "com.example.built");
    event["x"] = json!("kept");
    event["data"] = json!({"message": "Built 7", "n": 7});
    stream.say(&event.to_string()).await;
    let (mut accepted, mut delivered) = (None, None);
    while accepted.is_none() || delivered.is_none() {
        let came = stream.event().await;
        let is_answer = came["type"] == "cloudevents.accepted";
        if is_answer { accepted = Some(came) } else { delivered = Some(came) }
    }
    let (accepted, delivered) = (accepted.unwrap(), delivered.unwrap());
    assert_eq!(
        (&accepted["data"]["id"], &accepted["data"]["source"]),
        (&json!("a-1"), &json!("/ci"))
    );
    assert_eq!(accepted["data"]["event_id"], delivered["id"]);
    assert_eq!(delivered["type"], "user.com.example.built");
    assert_eq!(delivered["data"], json!({"message": "Built 7", "data": event}));
    for bad in ["{", "[]", "", r#"{"specversion":"1.0"}"#, &"[".repeat(10_000)] {
        stream.say(bad).await;
        let refused = stream.event().await;
        assert_eq!(refused["type"], "cloudevents.refused", "{bad}");
        assert_eq!(refused["data"]["fault"]["kind"], "bad-request", "{bad}");
    }
    let mut deep = brought("deep", "t");
    deep["data"] = json!(0);
    let data = format!("{}{}", "[".repeat(130), "]".repeat(130));
    stream.say(&deep.to_string().replace("\"data\":0", &format!("\"data\":{data}"))).await;
    let refused = stream.event().await;
    assert_eq!(
        (&refused["type"], &refused["data"]["id"]),
        (&json!("cloudevents.refused"), &json!("deep"))
    );
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_stream_is_refused_before_it_begins() {
    let running = Site::new().start().await;
    let open = async |query: &str, headers: &[(&'static str, &str)]| {
        let stream = tokio::net::UnixStream::connect(&running.socket).await.unwrap();
        Stream::over(Box::new(stream), query, headers).await.err()
    };
    let spoken = "Sec-WebSocket-Protocol";
    assert_eq!(open("", &[(spoken, "")]).await, Some(400));
    assert_eq!(open("", &[(spoken, "cloudevents.avro")]).await, Some(400));
    assert_eq!(open("", &[(spoken, "cloudevents.avro, cloudevents.json")]).await, None);
    for query in ["?from=x", "?limit=1", "?min_priority=11", "?overflow=x", "?x=1", "?heartbeat=0"]
    {
        assert_eq!(open(query, &[]).await, Some(400), "{query}");
    }
    assert_eq!(open("", &[("Authorization", "Bearer sad_x")]).await, Some(401));
    assert_eq!(open("", &[("Origin", "https://elsewhere.example")]).await, Some(403));
    running.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_the_daemon_and_says_when_to_come_back() {
    let running = Site::new().start().await;
    let mut stream = Stream::open(&running, "").await;
    stream.next().await;
    let (_, (code, reason)) = tokio::join!(running.stop(), stream.closed());
    assert_eq!(code, 1001);
    assert!(reason.contains("retry_after_ms"), "{reason}");
}
