//! Events that are brought over HTTP: every mode, and everything that is wrong with one.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::{brought, get, post, refusal};
use crate::harness::{Running, Site};
use crate::http;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json; charset=utf-8";

/// What of `user.*` is in the log: the events as they were brought.
async fn kept(running: &Running) -> Vec<Value> {
    let reply = get(&running.socket, "?classes=user.*&limit=1000").await;
    let events = reply.json().as_array().expect("a batch").clone();
    events.iter().map(|event| event["data"]["data"].clone()).collect()
}

#[tokio::test]
async fn an_event_is_kept_whole_in_every_mode() {
    let running = Site::new().start().await;
    let mut event = brought("1", "com.example.a");
    event["subject"] = json!("/x ä");
    event["sadpriority"] = json!(8);
    event["flag"] = json!(true);
    event["data"] = json!({"n": 1.5, "message": "Hello"});
    let reply = post(&running.socket, STRUCTURED, &event.to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let told = &reply.json()["recorded"][0];
    assert_eq!((&told["id"], &told["source"]), (&json!("1"), &json!("/ci")));
    assert!(told["seq"].is_u64() && told["event_id"].is_string() && told["cursor"].is_string());

    let batch = json!([brought("2", "b"), brought("3", "b"), brought("4", "b")]);
    let reply = post(&running.socket, BATCH, &batch.to_string()).await;
    let seqs: Vec<u64> = reply.json()["recorded"]
        .as_array()
        .unwrap()
        .iter()
        .map(|told| told["seq"].as_u64().unwrap())
        .collect();
    assert!(seqs.len() == 3 && seqs.is_sorted(), "{seqs:?}");
    assert_eq!(post(&running.socket, BATCH, "[]").await.json()["recorded"], json!([]));

    let headers = [
        "ce-specversion: 1.0",
        "ce-id: 5",
        "ce-source: /ci",
        "ce-type: c",
        "Ce-Subject: Euro%20%E2%82%AC",
        "ce-sadpriority: 9",
        "Content-Type: text/xml",
    ];
    let headers = headers.map(str::to_owned);
    let request = http::request("POST", "/cloudevents", &headers, "<a/>");
    assert_eq!(http::over_unix(&running.socket, &request).await.status, 200);

    let kept = kept(&running).await;
    assert_eq!(kept[0], event);
    assert_eq!(kept[1..4], *batch.as_array().unwrap());
    let xml = json!({"specversion": "1.0", "id": "5", "source": "/ci", "type": "c",
        "subject": "Euro \u{20AC}", "sadpriority": "9", "datacontenttype": "text/xml", "data": "<a/>"});
    assert_eq!(kept[4], xml);
    let reply = get(&running.socket, "?classes=user.*&min_priority=9").await;
    assert_eq!(reply.json()[0]["subject"], "Euro \u{20AC}");
    running.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_of_it_is_recorded() {
    let running = Site::new().start().await;
    let least = brought("1", "t");
    let with = |name: &str, value: Value| {
        let mut event = least.clone();
        event[name] = value;
        event.to_string()
    };
    for (kind, body, named) in [
        (STRUCTURED, String::new(), "object"),
        (STRUCTURED, "{".to_owned(), "object"),
        (STRUCTURED, format!("[{least}]"), "object"),
        (STRUCTURED, with("id", Value::Null), "id"),
        (STRUCTURED, with("time", json!("now")), "time"),
        (STRUCTURED, with("sadpriority", json!(11)), "sadpriority"),
        (BATCH, least.to_string(), "array"),
        (BATCH, format!("[{least},"), "array"),
        (BATCH, format!("[{least},{least},{}]", with("source", json!(7))), "element 2"),
        (BATCH, format!("[{least},{}]", with("sadpriority", json!("x"))), "element 1"),
        ("application/cloudevents+avro", least.to_string(), "avro"),
        ("application/json", least.to_string(), "no CloudEvent"),
    ] {
        let reply = post(&running.socket, kind, &body).await;
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
        assert!(refusal(&reply).contains(named), "{body}: {reply:?}");
    }
    let large = with("data", json!("x".repeat(300 * 1024)));
    let reply = post(&running.socket, STRUCTURED, &large).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(refusal(&reply).contains("data"), "{reply:?}");
    let larger = with("data", json!("x".repeat(1024 * 1024)));
    assert_eq!(post(&running.socket, STRUCTURED, &larger).await.status, 413);
    let request = http::request("DELETE", "/cloudevents", &[], "");
    assert_eq!(http::over_unix(&running.socket, &request).await.status, 400);
    assert_eq!(kept(&running).await, Vec::<Value>::new());
    running.stop().await;
}

#[tokio::test]
async fn a_batch_of_ten_thousand_is_recorded_in_its_order() {
    let running = Site::new().start().await;
    let elements: Vec<String> = (0..10_000)
        .map(|n| format!(r#"{{"specversion":"1.0","id":"{n}","source":"/s","type":"t"}}"#))
        .collect();
    let reply = post(&running.socket, BATCH, &format!("[{}]", elements.join(","))).await;
    assert_eq!(reply.status, 200);
    let recorded = reply.json()["recorded"].as_array().unwrap().clone();
    assert_eq!(recorded.len(), 10_000);
    let in_order = (0..).zip(&recorded).all(|(n, told)| {
        let id: Option<u64> = told["id"].as_str().and_then(|id| id.parse().ok());
        id == Some(n)
    });
    let seqs: Vec<u64> = recorded.iter().map(|told| told["seq"].as_u64().unwrap()).collect();
    assert!(in_order && seqs.is_sorted());
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_ends_early_records_nothing() {
    let running = Site::new().start().await;
    let body = brought("1", "t").to_string();
    let headers = [format!("Content-Type: {STRUCTURED}")];
    let mut request = http::request("POST", "/cloudevents", &headers, &body);
    request.truncate(request.len() - 5);
    let mut stream = tokio::net::UnixStream::connect(&running.socket).await.unwrap();
    stream.write_all(&request).await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    assert_eq!(kept(&running).await, Vec::<Value>::new());
    running.stop().await;
}

#[tokio::test]
async fn a_sender_of_webhooks_is_told_that_it_may() {
    let running = Site::new().start().await;
    let headers = ["WebHook-Request-Origin: emitter.example".to_owned()];
    let request = http::request("OPTIONS", "/cloudevents", &headers, "");
    let reply = http::over_unix(&running.socket, &request).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("WebHook-Allowed-Origin"), Some("emitter.example"));
    assert_eq!(reply.header("WebHook-Allowed-Rate"), Some("*"));
    // Consent is given by somebody who may.
    assert_eq!(http::over_tls(running.tls(), &request).await.status, 401);
    running.stop().await;
}
