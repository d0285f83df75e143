//! `rpc/discover` and the documents under their paths, for different people.

use serde_json::{Value, json};

use super::validator;
use crate::harness::{Running, Site};
use crate::http;

async fn daemon() -> Running {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    running
}

fn names(document: &Value) -> Vec<&str> {
    let methods = document["methods"].as_array().expect("methods");
    methods.iter().filter_map(|method| method["name"].as_str()).collect()
}

async fn fetch(running: &Running, path: &str, token: &str) -> (u16, Value) {
    let headers = [format!("Authorization: Bearer {token}")];
    let request = http::request("GET", path, &headers, "");
    let reply = http::over_tls(running.tls(), &request).await;
    (reply.status, reply.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_what_they_may_use() {
    let running = daemon().await;
    let (viewer, admin) = (running.token("viewer").await, running.token("admin").await);
    let mut client = running.remote(&viewer).await;
    let told = client.call("rpc", "discover", json!({"as": "openrpc"})).await.expect("a document");
    let seen = names(&told);
    assert!(seen.contains(&"kit.echo") && seen.contains(&"events.list"), "{seen:?}");
    assert!(!seen.contains(&"kit.eat") && !seen.contains(&"rpc.audit"), "{seen:?}");
    // Of a method with actions only those that one may use.
    let plugins = told["methods"].as_array().unwrap().iter().find(|it| it["name"] == "rpc.plugins");
    assert_eq!(plugins.unwrap()["params"][0]["schema"], json!({"const": "list"}));
    client.close().await;

    let (status, fetched) = fetch(&running, "/openrpc.json", &viewer).await;
    assert_eq!((status, &fetched), (200, &told), "the path answers as the call does");
    let (_, all) = fetch(&running, "/openrpc.json", &admin).await;
    assert!(names(&all).contains(&"kit.eat"));
    for path in ["/openrpc.json", "/asyncapi.json", "/openapi.json"] {
        let reply = http::over_tls(running.tls(), &http::request("GET", path, &[], "")).await;
        assert_eq!(reply.status, 401, "{path} is nobody's business");
        let request = http::request("POST", path, &[], "{}");
        let reply = http::over_unix(&running.socket, &request).await;
        assert_eq!((reply.status, reply.header("allow")), (400, Some("GET")));
    }
    let (status, _) = fetch(&running, "/openrpc.json", "sad_wrong").await;
    assert_eq!(status, 401);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_not_ready_is_not_described() {
    let running = daemon().await;
    let mut admin = running.admin().await;
    let stop = json!({"action": "stop", "id": "kit"});
    admin.call("rpc", "plugins", stop).await.expect("it stops");
    let told = admin.call("rpc", "discover", json!({})).await.expect("a document");
    assert!(!names(&told).contains(&"kit.echo"));
    let refused = admin.call("rpc", "discover", json!({"as": "wsdl"})).await.unwrap_err();
    assert_eq!(refused["code"], "400");
    admin.close().await;
    running.stop().await;
}

/// What a program makes of the documents is what happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_say_what_happens() {
    let running = daemon().await;
    let mut admin = running.admin().await;
    let openapi = admin.call("rpc", "discover", json!({"as": "openapi"})).await.expect("OpenAPI");
    let operation = &openapi["paths"]["/rpc/identify"]["post"];
    let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
    let reply = post(&running, "/rpc/identify").await;
    assert!(validator(schema).is_valid(&reply), "{reply}");
    let refusal = &openapi["components"]["schemas"]["Refusal"];
    let refusal = json!({"$ref": "#/$defs/Refusal", "$defs": {
        "Refusal": inside(refusal), "Fault": openapi["components"]["schemas"]["Fault"]}});
    let reply = post(&running, "/no/where").await;
    assert!(validator(&refusal).is_valid(&reply), "{reply}");

    let asyncapi =
        admin.call("rpc", "discover", json!({"as": "asyncapi"})).await.expect("AsyncAPI");
    let message = &asyncapi["components"]["messages"]["sysadm.kit.event"]["payload"];
    let mut schema = message.clone();
    schema["properties"]["args"]["properties"]["data"] =
        asyncapi["components"]["schemas"]["kit.event"].clone();
    let subscribe = json!({"sub": "s", "filter": {"classes": ["kit.event"]}});
    admin.call("events", "subscribe", subscribe).await.expect("a subscription");
    let draft = json!({"draft": {"class": "kit.event", "message": "hello", "data": {"n": 1}}});
    admin.call("kit", "publish", draft).await.expect("it is published");
    let event = admin.event().await;
    let errors: Vec<String> =
        validator(&schema).iter_errors(&event).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{event}: {errors:?}");
    admin.close().await;
    running.stop().await;
}

async fn post(running: &Running, path: &str) -> Value {
    http::over_unix(&running.socket, &http::request("POST", path, &[], "{}")).await.json()
}

/// A schema whose references point into `$defs`.
fn inside(schema: &Value) -> Value {
    let text = schema.to_string().replace("#/components/schemas/", "#/$defs/");
    serde_json::from_str(&text).expect("JSON")
}
