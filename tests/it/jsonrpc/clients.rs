//! The clients of `jsonrpsee`, as programs use them.

use std::time::Duration;

use jsonrpsee_core::client::{BatchResponse, ClientT, Error, Subscription, SubscriptionClientT};
use jsonrpsee_core::params::{ArrayParams, BatchRequestBuilder, ObjectParams};
use jsonrpsee_http_client::HttpClientBuilder;
use jsonrpsee_ws_client::{HeaderMap, HeaderValue, WsClientBuilder};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{PATIENCE, Running, Site};

async fn plain() -> (Running, String) {
    let mut site = Site::new().with_kit();
    site.plain = true;
    let running = site.start().await;
    running.ready("kit").await;
    let token = running.token("operator").await;
    (running, token)
}

fn headers(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    HeaderMap::from_iter([("authorization".parse().unwrap(), value)])
}

fn object(value: Value) -> ObjectParams {
    let mut params = ObjectParams::new();
    let Value::Object(members) = value else { panic!("an object") };
    for (name, value) in members {
        params.insert(&name, value).unwrap();
    }
    params
}

#[tokio::test]
async fn its_websocket_client_calls_subscribes_and_unsubscribes() {
    let (running, token) = plain().await;
    let url = format!("ws://{}/jsonrpc", running.addresses[1]);
    let client = WsClientBuilder::new().set_headers(headers(&token)).build(&url).await.unwrap();
    let echoed: Value = client.request("kit.echo", object(json!({"n": 1}))).await.unwrap();
    assert_eq!(echoed, json!({"n": 1}));
    let refused = client.request::<Value, _>("rpc.tokens", object(json!({"action": "list"}))).await;
    let Err(Error::Call(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.code(), -32003);
    let data: Value = serde_json::from_str(error.data().unwrap().get()).unwrap();
    assert_eq!(data["kind"], "forbidden");
    let wanted = object(json!({"filter": {"classes": ["user.x"]}}));
    let mut subscription: Subscription<Value> =
        client.subscribe("events.subscribe", wanted, "events.unsubscribe").await.unwrap();
    let next = timeout(PATIENCE, subscription.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(next["type"], "standing");
    client
        .notification("events.fire", object(json!({"class": "user.x", "message": "hi"})))
        .await
        .unwrap();
    let next = timeout(PATIENCE, subscription.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((&next["type"], &next["message"]), (&json!("event"), &json!("hi")));
    subscription.unsubscribe().await.unwrap();
    let mut batch = BatchRequestBuilder::new();
    batch.insert("kit.echo", object(json!({"n": 1}))).unwrap();
    batch.insert("no.such", ArrayParams::new()).unwrap();
    let answers: BatchResponse<'_, Value> = client.batch_request(batch).await.unwrap();
    assert_eq!((answers.num_successful_calls(), answers.num_failed_calls()), (1, 1));
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn its_http_client_calls_and_sends_batches() {
    let (running, token) = plain().await;
    let url = format!("http://{}/jsonrpc/v1", running.addresses[1]);
    let client = HttpClientBuilder::new()
        .set_headers(headers(&token))
        .request_timeout(Duration::from_secs(20))
        .build(&url)
        .unwrap();
    let echoed: Value = client.request("kit.echo", object(json!({"n": 1}))).await.unwrap();
    assert_eq!(echoed, json!({"n": 1}));
    client.notification("events.fire", object(json!({"class": "user.x"}))).await.unwrap();
    let mut batch = BatchRequestBuilder::new();
    for n in 0..100 {
        batch.insert("kit.echo", object(json!({ "n": n }))).unwrap();
    }
    let answers: BatchResponse<'_, Value> = client.batch_request(batch).await.unwrap();
    let numbers: Vec<Value> = answers.into_ok().unwrap().collect();
    assert_eq!(numbers, (0..100).map(|n| json!({ "n": n })).collect::<Vec<_>>());
    drop(client);
    running.stop().await;
}
