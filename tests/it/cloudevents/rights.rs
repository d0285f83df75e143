//! Who hears and brings what, and what happens when a right ends.

use serde_json::json;

use super::client::Stream;
use super::{brought, fire};
use crate::harness::{Door, Site};
use crate::http::{self, Reply};

async fn as_token(door: &Door, token: &str, method: &str, path: &str, body: &str) -> Reply {
    let headers = [
        format!("Authorization: Bearer {token}"),
        "Content-Type: application/cloudevents+json".to_owned(),
    ];
    http::over_tls(door.tls(), &http::request(method, path, &headers, body)).await
}

#[tokio::test]
async fn streams_and_batches_show_what_their_reader_may_hear() {
    let running = Site::new().start().await;
    let scope = json!({"classes": ["user.mine.*"]});
    let made = json!({"name": "narrow", "role": "operator", "scope": scope});
    let made = running.make_token(made).await;
    let token = made["token"].as_str().unwrap();
    let mut stream = Stream::remote(&running, "", token).await;
    assert_eq!(stream.next().await["type"], "cloudevents.subscribed");
    let mut admin = running.admin().await;
    fire(&mut admin, json!({"class": "user.theirs"})).await;
    fire(&mut admin, json!({"class": "user.mine.a"})).await;
    assert_eq!(stream.event().await["type"], "user.mine.a");
    let reply = as_token(&running, token, "GET", "/cloudevents", "").await;
    let kinds: Vec<String> = reply
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["user.mine.a"]);
    drop((stream, admin));
    running.stop().await;
}

#[tokio::test]
async fn who_may_not_fire_may_not_bring() {
    let running = Site::new().start().await;
    let viewer = running.token("viewer").await;
    let body = brought("1", "t").to_string();
    assert_eq!(as_token(&running, &viewer, "POST", "/cloudevents", &body).await.status, 403);
    let mut stream = Stream::remote(&running, "", &viewer).await;
    stream.next().await;
    stream.say(&body).await;
    let refused = stream.event().await;
    assert_eq!(refused["type"], "cloudevents.refused");
    assert_eq!(refused["data"]["fault"]["kind"], "forbidden");
    let operator = running.token("operator").await;
    assert_eq!(as_token(&running, &operator, "POST", "/cloudevents", &body).await.status, 200);
    let mut admin = running.admin().await;
    let trail = admin.call("rpc", "audit", json!({"action": "query"})).await.unwrap();
    let records = trail["records"].as_array().unwrap();
    let outcomes: Vec<&str> = records
        .iter()
        .filter(|record| record["method"] == "events/fire")
        .map(|record| record["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes.len(), 3, "{records:#?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "done").count(), 1);
    drop((stream, admin));
    running.stop().await;
}

#[tokio::test]
async fn strangers_hear_and_bring_nothing() {
    let running = Site::new().start().await;
    for (method, body) in [("GET", ""), ("POST", "{}"), ("OPTIONS", "")] {
        let request = http::request(method, "/cloudevents", &[], body);
        let reply = http::over_tls(running.tls(), &request).await;
        assert_eq!(reply.status, 401, "{method}");
        assert!(reply.header("WWW-Authenticate").is_some());
    }
    let stream = kit::client::tls(running.tls()).await.unwrap();
    assert_eq!(Stream::over(Box::new(stream), "", &[]).await.err(), Some(401));
    running.stop().await;
}

#[tokio::test]
async fn revoking_a_token_cuts_its_streams_and_those_who_wait() {
    let running = Site::new().start().await;
    let made = running.make_token(json!({"name": "gone", "role": "viewer"})).await;
    let (id, token) = (made["id"].clone(), made["token"].as_str().unwrap());
    let mut stream = Stream::remote(&running, "", token).await;
    stream.next().await;
    let waiting = as_token(&running, token, "GET", "/cloudevents?after=now&wait=300", "");
    let revoking = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let mut admin = running.admin().await;
        admin.call("rpc", "tokens", json!({"action": "revoke", "id": id})).await.unwrap();
        stream.closed().await
    };
    let (reply, (code, _)) = tokio::join!(waiting, revoking);
    assert_eq!((reply.status, code), (401, 4001));
    running.stop().await;
}
