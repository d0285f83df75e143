//! What is on its way out works as before, says so, and is counted for each client that uses it.

use kit::client::{SysAdmClient, Target};
use serde_json::{Value, json};

use crate::harness::{Running, Site};
use crate::http;

/// `kit/echo` ends and has a second version, an argument of `kit/sleep` ends, and so does a class.
async fn daemon() -> Running {
    let mut manifest = kit::plugins::manifest("kit", &["good"]);
    let methods = manifest["methods"].as_array_mut().expect("methods");
    for method in methods.iter_mut() {
        match method["method"].as_str() {
            Some("kit/echo") => {
                method["deprecated"] =
                    json!({"since": "2026-01-02", "instead": "kit@2/echo", "until": "2027-01-02"});
            }
            Some("kit/sleep") => {
                method["params"] = json!({"type": "object", "properties": {
                    "ms": {"type": "integer"}, "seconds": {"type": "integer", "deprecated": true}}});
            }
            _ => {}
        }
    }
    methods.push(json!({"method": "kit/echo", "since": 2, "kind": "query", "role": "viewer"}));
    for class in manifest["events"].as_array_mut().expect("classes") {
        if class["class"] == "kit.pulse" {
            class["deprecated"] = json!({"since": "2026-01-02"});
        }
    }
    let running = Site::new().with_plugin(manifest).start().await;
    running.ready("kit").await;
    running
}

async fn report(running: &Running) -> Vec<Value> {
    let mut admin = running.admin().await;
    let report = admin.call("rpc", "deprecations", json!({})).await.expect("a report");
    admin.close().await;
    report["uses"].as_array().expect("a list").clone()
}

fn of<'a>(uses: &'a [Value], what: &str) -> Vec<&'a Value> {
    uses.iter().filter(|used| used["what"] == what).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_use_is_counted_for_each_client() {
    let running = daemon().await;
    assert!(report(&running).await.is_empty());
    let (mut named, mut plain) = (running.admin().await, running.admin().await);
    let hello = json!({"client": {"name": "gui", "version": "2.1"}});
    named.call("rpc", "hello", hello).await.expect("a greeting");
    for _ in 0..3 {
        named.call("kit", "echo", json!({})).await.expect("it works as before");
    }
    plain.call("kit", "echo", json!({})).await.expect("it works as before");
    plain.call("kit@2", "echo", json!({})).await.expect("the new one");
    plain.call("kit", "sleep", json!({"ms": 1})).await.expect("the new argument");
    named.call("kit", "sleep", json!({"ms": 1, "seconds": 0})).await.expect("the old one");
    let request = http::request("POST", "/kit/echo", &["User-Agent: curl/8".to_owned()], "{}");
    http::over_unix(&running.socket, &request).await;

    let uses = report(&running).await;
    let echoes = of(&uses, "kit/echo");
    let mut seen: Vec<(&str, &str, &str, u64)> = echoes
        .iter()
        .map(|used| {
            let text = |name: &str| used[name].as_str().expect("a text");
            (text("client"), text("version"), text("face"), used["count"].as_u64().unwrap())
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [("", "", "websocket", 1), ("curl/8", "", "rest", 1), ("gui", "2.1", "websocket", 3)]
    );
    assert_eq!(echoes[0]["deprecated"]["instead"], "kit@2/echo");
    let members = of(&uses, "kit/sleep args.seconds");
    assert_eq!((members.len(), &members[0]["client"]), (1, &json!("gui")));
    assert_eq!(uses.len(), 4, "the new version and the new argument are nobody's business");
    for client in [named, plain] {
        client.close().await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_use_is_an_event_and_a_second_is_none() {
    let running = daemon().await;
    let mut admin = running.admin().await;
    let subscribe = json!({"sub": "s", "filter": {"classes": ["daemon.deprecated"]}});
    admin.subscribe(subscribe).await.expect("a subscription");
    let class = json!({"sub": "t", "filter": {"classes": ["kit.*"]}});
    admin.subscribe(class.clone()).await.expect("a subscription");
    admin.subscribe(class).await.expect("the same again");
    let event = admin.event().await;
    let args = &event["args"];
    assert_eq!((&args["priority_num"], &args["data"]["what"]), (&json!(2), &json!("kit.pulse")));
    assert_eq!(args["data"]["kind"], "class");
    for _ in 0..2 {
        admin.call("kit", "echo", json!({})).await.expect("an answer");
    }
    let event = admin.event().await;
    assert_eq!(event["args"]["data"]["what"], "kit/echo");
    assert_eq!(event["args"]["data"]["deprecated"]["until"], "2027-01-02");
    let all = json!({"filter": {"classes": ["daemon.deprecated"]}});
    let listed = admin.call("events", "list", all).await.expect("a page");
    assert_eq!(listed["events"].as_array().map(Vec::len), Some(2), "{listed}");
    admin.close().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_says_so_where_the_protocol_can() {
    let running = daemon().await;
    let request = http::request("POST", "/kit/echo", &[], "{}");
    let reply = http::over_unix(&running.socket, &request).await;
    assert_eq!(reply.header("deprecation"), Some("@1767312000"));
    assert_eq!(reply.header("sunset"), Some("Sat, 02 Jan 2027 00:00:00 GMT"));
    assert_eq!(reply.header("link"), Some("</kit@2/echo>; rel=\"successor-version\""));
    let request = http::request("POST", "/kit@2/echo", &[], "{}");
    let reply = http::over_unix(&running.socket, &request).await;
    assert_eq!((reply.status, reply.header("deprecation")), (200, None));

    let mut client = running.admin().await;
    client.call("rpc", "hello", json!({})).await.expect("a greeting");
    let sent = r#"{"namespace":"kit","name":"echo","id":"1","args":{}}"#;
    client.send_raw(sent).await;
    let answer = client.next().await;
    assert_eq!(answer["deprecated"]["instead"], "kit@2/echo", "{answer}");
    client.close().await;
    let mut classic = running.admin().await;
    classic.send_raw(sent).await;
    let answer = classic.next().await;
    assert_eq!(answer.get("deprecated"), None, "a classic client is answered as ever");
    classic.close().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_is_for_operators() {
    let running = daemon().await;
    let token = running.token("viewer").await;
    let mut viewer = running.remote(&token).await;
    let refused = viewer.call("rpc", "deprecations", json!({})).await.unwrap_err();
    assert_eq!(refused["code"], "403");
    viewer.close().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_rpc_says_so_to_whoever_looks_for_it() {
    let running = daemon().await;
    let target = Target::Unix(running.socket.clone());
    let mut line = SysAdmClient::connect_at(target, "/jsonrpc", &[]).await.expect("a connection");
    let ask = async |line: &mut SysAdmClient, method: &str, params: Value| {
        let asked = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        line.send_raw(&asked.to_string()).await;
        line.next().await
    };
    let answer = ask(&mut line, "kit.echo", json!({"n": 1})).await;
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 1, "result": {"n": 1}}), "to the letter");
    let hello = json!({"client": {"name": "tool", "version": "3"}});
    ask(&mut line, "rpc.hello", hello).await;
    let answer = ask(&mut line, "kit.echo", json!({"n": 1})).await;
    assert_eq!(
        (&answer["result"]["n"], &answer["deprecated"]["instead"]),
        (&json!(1), &json!("kit@2/echo"))
    );
    assert_eq!(answer["deprecated"]["until"], "2027-01-02");
    let answer = ask(&mut line, "kit@2.echo", json!({"n": 1})).await;
    assert_eq!(answer.get("deprecated"), None, "{answer}");
    let call =
        |method: &str| json!({"jsonrpc": "2.0", "id": method, "method": method, "params": {}});
    line.send_raw(&json!([call("rpc.identify"), call("kit.echo")]).to_string()).await;
    let batch = line.next().await;
    assert!(
        batch[0].get("deprecated").is_none() && batch[1].get("deprecated").is_some(),
        "{batch}"
    );
    line.close().await;

    let post = async |body: Value| {
        let headers = ["Content-Type: application/json", "User-Agent: curl/8"].map(str::to_owned);
        let request = http::request("POST", "/jsonrpc", &headers, &body.to_string());
        http::over_unix(&running.socket, &request).await
    };
    for body in [call("kit.echo"), json!([call("rpc.identify"), call("kit.echo")])] {
        let reply = post(body).await;
        assert_eq!((reply.status, reply.header("deprecation")), (200, Some("@1767312000")));
        assert_eq!(reply.header("sunset"), Some("Sat, 02 Jan 2027 00:00:00 GMT"));
        assert_eq!(reply.header("link"), Some("</kit@2/echo>; rel=\"successor-version\""));
        assert!(!reply.body.contains("deprecated"), "the body is as ever: {reply:?}");
    }
    assert_eq!(post(call("kit@2.echo")).await.header("deprecation"), None);

    let uses = report(&running).await;
    let mut seen: Vec<(&str, &str, u64)> = of(&uses, "kit/echo")
        .iter()
        .map(|used| {
            let text = |name: &str| used[name].as_str().expect("a text");
            (text("face"), text("client"), used["count"].as_u64().expect("a number"))
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [("jsonrpc", "", 1), ("jsonrpc", "curl/8", 2), ("jsonrpc", "tool", 2)]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_on_its_way_out_is_counted_on_every_stream() {
    let running = daemon().await;
    let target = || Target::Unix(running.socket.clone());
    let headers = [("Sec-WebSocket-Protocol", "cloudevents.json")];
    let query = "/cloudevents?classes=kit.pulse";
    let mut stream = SysAdmClient::connect_at(target(), query, &headers).await.expect("a stream");
    stream.next().await;
    let mut line = SysAdmClient::connect_at(target(), "/jsonrpc", &[]).await.expect("a connection");
    let params = json!({"filter": {"classes": ["kit.pulse"]}});
    let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "events.subscribe", "params": params});
    line.send_raw(&asked.to_string()).await;
    line.next().await;
    let uses = report(&running).await;
    let mut faces: Vec<&str> =
        of(&uses, "kit.pulse").iter().map(|used| used["face"].as_str().expect("a text")).collect();
    faces.sort_unstable();
    assert_eq!(faces, ["cloudevents", "jsonrpc"]);
    stream.close().await;
    line.close().await;
    running.stop().await;
}
