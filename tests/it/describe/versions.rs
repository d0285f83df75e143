//! Several versions of one method, served at once by one daemon.

use kit::client::{SysAdmClient, Target};
use serde_json::{Value, json};

use crate::harness::{Running, Site};
use crate::http;

/// The kit's plugin, whose `kit/echo` exists in two versions; the second is for operators.
async fn daemon() -> Running {
    let mut manifest = kit::plugins::manifest("kit", &["good"]);
    let methods = manifest["methods"].as_array_mut().expect("methods");
    methods.push(json!({
        "method": "kit/echo", "since": 2, "kind": "query", "role": "operator",
        "summary": "Answers its arguments and the version",
    }));
    let classes = manifest["events"].as_array_mut().expect("classes");
    classes.push(json!({"class": "system.state", "role": "viewer"}));
    let running = Site::new().with_plugin(manifest).start().await;
    running.ready("kit").await;
    running
}

async fn echo(client: &mut SysAdmClient, namespace: &str) -> Result<Value, u16> {
    let answer = client.call(namespace, "echo", json!({"n": 1})).await;
    answer.map_err(|refusal| code(&refusal))
}

fn code(refusal: &Value) -> u16 {
    refusal["code"].as_str().and_then(|code| code.parse().ok()).expect("a code")
}

fn old() -> Value {
    json!({"n": 1})
}

fn new() -> Value {
    json!({"echo": {"n": 1}, "version": 2})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_new_clients_are_served_at_once() {
    let running = daemon().await;
    let (mut before, mut after) = (running.admin().await, running.admin().await);
    let hello = json!({"protocols": [1], "versions": {"kit": 2}});
    let greeting = after.call("rpc", "hello", hello).await.expect("a greeting");
    assert_eq!(greeting["versions"], json!({"kit": 2}));
    for _ in 0..3 {
        assert_eq!(echo(&mut before, "kit").await, Ok(old()));
        assert_eq!(echo(&mut after, "kit").await, Ok(new()));
    }
    assert_eq!(echo(&mut before, "kit@2").await, Ok(new()), "a call may name the version itself");
    assert_eq!(echo(&mut after, "KIT@1").await, Ok(old()));
    // A method that has not changed is the same in every version.
    let slept = after.call("kit", "sleep", json!({"ms": 1})).await;
    assert!(slept.is_ok(), "{slept:?}");
    after.call("rpc", "hello", json!({})).await.expect("a greeting");
    assert_eq!(echo(&mut after, "kit").await, Ok(old()), "the last hello counts");
    for client in [before, after] {
        client.close().await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_not_there_is_refused() {
    let running = daemon().await;
    let mut admin = running.admin().await;
    for namespace in ["kit@3", "kit@0", "kit@x", "rpc@2"] {
        assert_eq!(echo(&mut admin, namespace).await, Err(404), "{namespace}");
    }
    admin.call("rpc@1", "identify", json!({})).await.expect("version 1 is there");
    let many: serde_json::Map<String, Value> =
        (0..65).map(|number| (format!("n{number}"), 1.into())).collect();
    let wrong = [json!({"kit": 0}), json!({"kit": 10_000}), json!({"kit": "2"}), many.into()];
    for versions in wrong {
        let refused = admin.call("rpc", "hello", json!({"versions": versions})).await;
        assert_eq!(code(&refused.unwrap_err()), 400);
    }
    admin.call("rpc", "hello", json!({"versions": {"kit": 9}})).await.expect("it may come yet");
    let refused = admin.call("kit", "echo", json!({})).await.unwrap_err();
    let hint = refused["fault"]["hint"].as_str().expect("a hint");
    assert!(hint.contains("newest is 2"), "{hint}");
    admin.close().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_version_is_judged_by_its_own_role() {
    let running = daemon().await;
    let token = running.token("viewer").await;
    let mut viewer = running.remote(&token).await;
    assert_eq!(echo(&mut viewer, "kit").await, Ok(old()));
    assert_eq!(echo(&mut viewer, "kit@2").await, Err(403));
    let document = viewer.call("rpc", "discover", json!({})).await.expect("a document");
    let names: Vec<&str> = document["methods"]
        .as_array()
        .expect("methods")
        .iter()
        .filter_map(|method| method["name"].as_str())
        .filter(|name| name.split('.').next_back() == Some("echo"))
        .collect();
    assert_eq!(names, ["kit.echo"]);
    viewer.close().await;
    let over_http = async |path: &str| {
        let request = http::request("POST", path, &[], r#"{"n":1}"#);
        http::over_unix(&running.socket, &request).await.json()["args"].clone()
    };
    assert_eq!(over_http("/kit/echo").await, old());
    assert_eq!(over_http("/kit@2/echo").await, new());
    running.stop().await;
}

/// One event, and one call, in every version that is spoken, by one daemon at the same time: classic
/// words, version 1 of `SysAdm`, version 1 of JSON-RPC under both of its paths, and two versions of a
/// method on each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_of_every_face_is_served_side_by_side() {
    let running = daemon().await;
    let at = |path: &'static str| {
        let target = Target::Unix(running.socket.clone());
        async move { SysAdmClient::connect_at(target, path, &[]).await.expect("a connection") }
    };
    let (mut classic, mut first) = (running.admin().await, running.admin().await);
    let (mut newest, mut named) = (at("/jsonrpc").await, at("/jsonrpc/v1").await);
    let hello = json!({"protocols": [1, 2], "versions": {"kit": 2}});
    let greeting = first.call("rpc", "hello", hello).await.expect("a greeting");
    assert_eq!(greeting["protocol"], 1, "the newest that both know");
    classic.call("events", "subscribe", json!("system-state")).await.expect("a subscription");
    let sub = json!({"sub": "s", "filter": {"classes": ["system.state"]}});
    first.subscribe(sub).await.expect("a subscription");
    for line in [&mut newest, &mut named] {
        let params = json!({"filter": {"classes": ["system.state"]}});
        let asked =
            json!({"jsonrpc": "2.0", "id": 1, "method": "events.subscribe", "params": params});
        line.send_raw(&asked.to_string()).await;
        assert_eq!(line.next().await["result"], "1");
        assert_eq!(line.next().await["params"]["result"]["type"], "standing");
    }
    let mut other = running.admin().await;
    let draft =
        json!({"draft": {"class": "system.state", "message": "Fine", "data": {"uptime": "1"}}});
    other.call("kit", "publish", draft).await.expect("it is published");
    let event = classic.event().await;
    assert_eq!((&event["name"], &event["args"]["uptime"]), (&json!("system-state"), &json!("1")));
    assert!(event["args"]["priority"].is_string() && event["args"].get("cursor").is_none());
    let event = first.event().await;
    assert_eq!((&event["name"], &event["id"]), (&json!("event"), &json!("s")));
    assert!(event["args"]["cursor"].is_string());
    for line in [&mut newest, &mut named] {
        let event = line.next().await;
        assert_eq!(event["method"], "events.subscription");
        assert_eq!(event["params"]["result"]["class"], "system.state");
    }
    assert_eq!(echo(&mut classic, "kit").await, Ok(old()));
    assert_eq!(echo(&mut first, "kit").await, Ok(new()));
    for (method, answer) in [("kit.echo", old()), ("kit@2.echo", new())] {
        for line in [&mut newest, &mut named] {
            let asked = json!({"jsonrpc": "2.0", "id": 2, "method": method, "params": {"n": 1}});
            line.send_raw(&asked.to_string()).await;
            assert_eq!(line.next().await["result"], answer, "{method}");
        }
    }
    let refused = http::request("POST", "/jsonrpc/v2", &[], "{}");
    let refused = http::over_unix(&running.socket, &refused).await;
    assert_eq!(refused.status, 404, "a version that is not spoken");
    for client in [classic, first, newest, named, other] {
        client.close().await;
    }
    running.stop().await;
}
