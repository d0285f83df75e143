//! The faces beside REST answer and deliver in the shapes that they are described in.

use std::collections::BTreeSet;

use kit::client::{SysAdmClient, Target};
use serde_json::{Value, json};

use super::validator;
use crate::harness::{Running, Site};
use crate::http::{self, Reply};

const METHODS: [&str; 7] = ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "HEAD"];

async fn daemon() -> (Running, SysAdmClient) {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let admin = running.admin().await;
    (running, admin)
}

async fn document(admin: &mut SysAdmClient, form: &str) -> Value {
    admin.call("rpc", "discover", json!({"as": form})).await.expect("a document")
}

/// A part of a document that can be asked by itself: its references lead into `$defs`.
fn whole(document: &Value, schema: &Value) -> Value {
    let inside = |value: &Value| -> Value {
        let text = value.to_string().replace("#/components/schemas/", "#/$defs/");
        serde_json::from_str(&text).expect("JSON")
    };
    let mut whole = inside(schema);
    whole["$defs"] = inside(&document["components"]["schemas"]);
    whole
}

fn fits(document: &Value, schema: &Value, value: &Value) {
    let validator = validator(&whole(document, schema));
    let errors: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{value}: {errors:?}");
}

async fn ask(running: &Running, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
    let headers: Vec<String> = headers.iter().map(|line| (*line).to_owned()).collect();
    http::over_unix(&running.socket, &http::request(method, path, &headers, body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_over_http_is_answered_as_described() {
    let (running, mut admin) = daemon().await;
    let openapi = document(&mut admin, "openapi").await;
    let event = r#"{"specversion":"1.0","id":"1","source":"/ci","type":"user.built"}"#;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"rpc.identify"}"#;
    let batch = format!(r#"[{call},{{"jsonrpc":"2.0","id":2,"method":"no.such"}}]"#);
    let json = ["Content-Type: application/json"];
    let cloud = ["Content-Type: application/cloudevents+json"];
    let fire = "/v1/event/fire/{name}";
    let asked: [(&str, &str, &str, &[&str], &str); 10] = [
        ("/jsonrpc", "POST", "/jsonrpc", &json, call),
        ("/jsonrpc", "POST", "/jsonrpc", &json, &batch),
        ("/jsonrpc/v1", "POST", "/jsonrpc/v1", &json, call),
        ("/cloudevents", "POST", "/cloudevents", &cloud, event),
        ("/cloudevents", "GET", "/cloudevents?limit=5", &[], ""),
        (fire, "PUT", "/v1/event/fire/deploy?service=web", &[], "v7"),
        (fire, "PUT", "/v1/event/fire/a/b?pretty", &[], ""),
        ("/v1/event/list", "GET", "/v1/event/list?name=deploy", &[], ""),
        ("/v1/agent/self", "GET", "/v1/agent/self", &[], ""),
        ("/openrpc.json", "GET", "/openrpc.json", &[], ""),
    ];
    for (described, method, path, headers, body) in asked {
        let operation = &openapi["paths"][described][method.to_lowercase()];
        let reply = ask(&running, method, path, headers, body).await;
        assert_eq!(reply.status, 200, "{method} {path}: {reply:?}");
        let kind = reply.header("content-type").expect("a kind").split(';').next().expect("one");
        let schema = &operation["responses"]["200"]["content"][kind]["schema"];
        assert!(schema.is_object(), "{method} {path} answers {kind}, of which nothing is said");
        fits(&openapi, schema, &reply.json());
    }
    // And what goes in.
    let posted = &openapi["paths"]["/jsonrpc"]["post"]["requestBody"]["content"];
    let schema = &posted["application/json"]["schema"];
    for body in [call, &batch] {
        fits(&openapi, schema, &serde_json::from_str(body).expect("JSON"));
    }
    admin.close().await;
    running.stop().await;
}

/// A method that is described is served, and one that is served is described.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_methods_of_each_path_are_those_described() {
    let (running, mut admin) = daemon().await;
    let openapi = document(&mut admin, "openapi").await;
    let paths = openapi["paths"].as_object().expect("paths");
    let rest = |path: &str| {
        let operation = &paths[path]["post"];
        operation.get("x-role").is_some() || operation["responses"]["200"]["description"] == "Done"
    };
    let others: Vec<&String> = paths.keys().filter(|path| !rest(path)).collect();
    assert_eq!(others.len(), 44, "{others:?}");
    for path in others {
        let described = paths[path].as_object().expect("operations");
        let described: BTreeSet<String> = described.keys().map(|it| it.to_uppercase()).collect();
        let mut served = BTreeSet::new();
        for method in METHODS {
            let reply = ask(&running, method, &path.replace("{name}", "x"), &[], "").await;
            let is_of_another = reply.status == 405
                || reply.status == 400 && reply.body.contains("use GET")
                || reply.status == 400 && method == "HEAD";
            if !is_of_another {
                served.insert(method.to_owned());
            }
        }
        // Where nothing else is meant by it, it says which methods there are.
        if !described.contains("OPTIONS") {
            served.remove("OPTIONS");
        }
        assert_eq!(served, described, "{path}");
    }
    admin.close().await;
    running.stop().await;
}

fn payload<'a>(asyncapi: &'a Value, channel: &str, message: &str) -> &'a Value {
    let messages = &asyncapi["components"]["messages"];
    let payload = &messages[format!("{channel}.{message}")]["payload"];
    assert!(payload.is_object(), "{channel}.{message} is not described");
    payload
}

/// Everything that a websocket of JSON-RPC says of a subscription, from its beginning to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_over_json_rpc_is_as_described() {
    let (running, mut admin) = daemon().await;
    let (openrpc, asyncapi) =
        (document(&mut admin, "openrpc").await, document(&mut admin, "asyncapi").await);
    let method = |name: &str| {
        let methods = openrpc["methods"].as_array().expect("methods");
        methods.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name}"))
    };
    let target = Target::Unix(running.socket.clone());
    let mut line = SysAdmClient::connect_at(target, "/jsonrpc", &[]).await.expect("a connection");
    let params = json!({"filter": {"classes": ["kit.event"]}, "heartbeat_s": 1});
    let fields = method("events.subscribe")["params"].as_array().expect("params");
    for name in params.as_object().expect("an object").keys() {
        assert!(fields.iter().any(|field| field["name"] == name.as_str()), "{name}");
    }
    let ask = |id: u32, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let subscribe = ask(1, "events.subscribe", params);
    fits(&asyncapi, payload(&asyncapi, "jsonrpc", "_subscribe"), &subscribe);
    line.send_raw(&subscribe.to_string()).await;
    let answer = line.next().await;
    fits(&asyncapi, payload(&asyncapi, "jsonrpc", "_subscribed"), &answer);
    fits(&openrpc, &method("events.subscribe")["result"]["schema"], &answer["result"]);
    fits(&asyncapi, payload(&asyncapi, "jsonrpc", "_standing"), &line.next().await);
    fits(&asyncapi, payload(&asyncapi, "jsonrpc", "_heartbeat"), &line.next().await);
    let draft = json!({"draft": {"class": "kit.event", "message": "hello", "data": {"n": 1}}});
    admin.call("kit", "publish", draft).await.expect("it is published");
    let event = loop {
        let came = line.next().await;
        if came["params"]["result"]["type"] == "event" {
            break came;
        }
    };
    fits(&asyncapi, payload(&asyncapi, "jsonrpc", "kit.event"), &event);
    for (id, name, params) in
        [(2, "events.unsubscribe", json!({"sub": "1"})), (3, "rpc.auth_clear", json!({}))]
    {
        line.send_raw(&ask(id, name, params).to_string()).await;
        let answer = loop {
            let came = line.next().await;
            if came["id"] == id {
                break came;
            }
        };
        fits(&openrpc, &method(name)["result"]["schema"], &answer["result"]);
        assert_eq!(method(name)["x-websocket"], true);
    }
    line.close().await;
    admin.close().await;
    running.stop().await;
}

/// What the opted-in websocket says of a subscription, and a stream of `CloudEvents`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_streams_are_as_described() {
    let (running, mut admin) = daemon().await;
    let asyncapi = document(&mut admin, "asyncapi").await;
    let subscribe = json!({"sub": "s", "filter": {"classes": ["kit.event"]}, "heartbeat_s": 1});
    let said = json!({"namespace": "events", "name": "subscribe", "id": "1", "args": subscribe});
    fits(&asyncapi, payload(&asyncapi, "sysadm", "_subscribe"), &said);
    admin.send_raw(&said.to_string()).await;
    fits(&asyncapi, payload(&asyncapi, "sysadm", "_subscribed"), &admin.next().await);
    fits(&asyncapi, payload(&asyncapi, "sysadm", "_heartbeat"), &admin.next().await);

    let query = "/cloudevents?classes=kit.event&heartbeat=1";
    let target = Target::Unix(running.socket.clone());
    let headers = [("Sec-WebSocket-Protocol", "cloudevents.json")];
    let mut stream = SysAdmClient::connect_at(target, query, &headers).await.expect("a stream");
    fits(&asyncapi, payload(&asyncapi, "cloudevents", "_subscribed"), &stream.next().await);
    fits(&asyncapi, payload(&asyncapi, "cloudevents", "_heartbeat"), &stream.next().await);
    let mut other = running.admin().await;
    let draft = json!({"draft": {"class": "kit.event", "message": "hello", "data": {"n": 1}}});
    other.call("kit", "publish", draft).await.expect("it is published");
    let event = loop {
        let came = stream.next().await;
        if came["type"] == "kit.event" {
            break came;
        }
    };
    fits(&asyncapi, payload(&asyncapi, "cloudevents", "kit.event"), &event);
    let brought = json!({"specversion": "1.0", "id": "1", "source": "/ci", "type": "user.x"});
    fits(&asyncapi, payload(&asyncapi, "cloudevents", "_bring"), &brought);
    for (said, kind) in [(brought, "accepted"), (json!({"specversion": "1.0"}), "refused")] {
        stream.send_raw(&said.to_string()).await;
        let answer = loop {
            let came = stream.next().await;
            if came["type"] != "cloudevents.heartbeat" {
                break came;
            }
        };
        fits(&asyncapi, payload(&asyncapi, "cloudevents", &format!("_{kind}")), &answer);
    }
    stream.close().await;
    other.close().await;
    admin.close().await;
    running.stop().await;
}
