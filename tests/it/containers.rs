//! The plugin `containers` and the face for Docker Cloud's clients, with a stand-in for an engine that
//! says what a real one was recorded to say.

mod stand_in;
mod triggers;

use kit::client::{SysAdmClient, Target};
use kit::transcript::Names;
use serde_json::{Value, json};

use crate::harness::{Running, Site, until};
use crate::http::{self, Reply};
use crate::protocol_page::{blocks, json_of};

use stand_in::StandIn;

const PAGE: &str = include_str!("../../docs/protocols/docker-cloud.md");

async fn daemon(engine: &StandIn) -> Running {
    let mut site = Site::new();
    (site.containers, site.settings) = (true, engine.settings());
    let running = site.start().await;
    running.ready("containers").await;
    let mut admin = running.admin().await;
    until("the engine is known", async || {
        let nodes = admin.call("containers", "nodes", json!({})).await.expect("nodes");
        nodes["nodes"][0]["state"] == "Deployed"
    })
    .await;
    running
}

async fn ask(running: &Running, method: &str, path: &str, headers: &[String]) -> Reply {
    http::over_tls(running.tls(), &http::request(method, path, headers, "")).await
}

fn basic(user: &str, token: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{token}"));
    format!("Authorization: Basic {pair}")
}

async fn stream(running: &Running, path: &str, token: &str) -> Result<SysAdmClient, String> {
    let target = Target::Tls { addr: running.tls(), token: None };
    let login = basic("anybody", token).replacen("Authorization: ", "", 1);
    SysAdmClient::connect_at(target, path, &[("Authorization", login.as_str())]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_of_the_page_is_what_happens() {
    let engine = StandIn::start();
    let running = daemon(&engine).await;
    let token = running.token("operator").await;
    let login = [basic("anybody", &token)];
    let mut names = Names::default();
    let services = ask(&running, "GET", "/api/app/v1/service/", &login).await.json();
    names.set("SERVICE", services["objects"][0]["uuid"].as_str().expect("a service"));
    let http = blocks(PAGE, "http");
    assert!(http.iter().flat_map(|block| &block.turns).count() >= 10, "the page has lost examples");
    for turn in http.iter().flat_map(|block| &block.turns) {
        let sent = names.fill(&turn.sent);
        let mut words = sent.splitn(3, ' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let request = http::request(method, path, &login, words.next().unwrap_or(""));
        let reply = http::over_tls(running.tls(), &request).await;
        let (status, body) = turn.expected[0].split_once(' ').unwrap();
        assert_eq!(reply.status.to_string(), status, "{turn:?}: {reply:?}");
        assert_eq!(names.compare(&json_of(body), &reply.json()), None, "{turn:?}: {reply:?}");
    }
    let streams = blocks(PAGE, "stream");
    assert_eq!(streams.len(), 1);
    for turn in streams.iter().flat_map(|block| &block.turns) {
        let path = turn.sent.strip_prefix("GET ").expect("a path");
        let mut client = stream(&running, path, &token).await.expect("a stream");
        engine.stops();
        for line in &turn.expected {
            let event = client.next().await;
            assert_eq!(names.compare(&json_of(line), &event), None, "{event}");
        }
        client.close().await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_is_told_so_and_slashes_and_namespaces_say_nothing() {
    let engine = StandIn::start();
    let running = daemon(&engine).await;
    let token = running.token("viewer").await;
    let own = "/api/app/v1/container/";
    let stranger = ask(&running, "GET", own, &[]).await;
    assert_eq!((stranger.status, stranger.json()["error"].is_string()), (401, true));
    let wrong = ask(&running, "GET", own, &[basic("anybody", "sad_wrong")]).await;
    assert_eq!(wrong.status, 401);
    let refused = stream(&running, "/api/audit/v1/events", "sad_wrong").await.err();
    let refused = refused.expect("it is refused");
    assert!(refused.contains("401"), "{refused}");
    // A token that may see stacks and nothing else.
    let scope = json!({"name": "stacks", "role": "viewer", "scope": {"methods": ["containers/stacks", "containers/services"]}});
    let made = running.make_token(scope).await;
    let stacks = [basic("anybody", made["token"].as_str().expect("a token"))];
    assert_eq!(ask(&running, "GET", "/api/app/v1/stack/", &stacks).await.status, 200);
    assert_eq!(ask(&running, "GET", own, &stacks).await.status, 403);

    let login = [basic("anybody", &token)];
    let whole = ask(&running, "GET", own, &login).await.json();
    for same in
        ["//api/app/v1/container", "/api/app/v1/me//container//", "/api/app/v1/container/?x=y"]
    {
        let reply = ask(&running, "GET", same, &login).await.json();
        assert_eq!(reply["objects"], whole["objects"], "{same}");
    }
    let path = whole["objects"][0]["resource_uri"].as_str().expect("a path").to_owned();
    let one = ask(&running, "GET", &path, &login).await.json();
    assert_eq!(one, whole["objects"][0]);
    assert!(!one.to_string().contains("secret"), "the environment is shown to nobody");
    assert_eq!(ask(&running, "GET", "/api/audit/v1/events", &login).await.status, 400);
    assert_eq!(ask(&running, "GET", "/api/app/v1/nothing/", &login).await.status, 404);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_leaves_out_what_is_not_asked_for_and_begins_where_it_is_told() {
    let engine = StandIn::start();
    let running = daemon(&engine).await;
    let token = running.token("viewer").await;
    let login = [basic("anybody", &token)];
    let container = ask(&running, "GET", "/api/app/v1/container/", &login).await.json();
    let service = container["objects"][0]["service"].as_str().expect("a service").to_owned();
    let events = "/api/audit/v1/events";
    let by_parent = format!("{events}?parents={service}&type=container,node");
    let mut of_service = stream(&running, &by_parent, &token).await.expect("a stream");
    let mut of_nobody =
        stream(&running, &format!("{events}?parent=x-y"), &token).await.expect("a stream");
    let mut of_all = stream(&running, "/api/audit/v1/me/events/", &token).await.expect("a stream");
    let in_query = format!("{events}?user=anybody&token={token}&type=stack");
    let target = Target::Tls { addr: running.tls(), token: None };
    let mut of_stack = SysAdmClient::connect_at(target, &in_query, &[]).await.expect("a stream");
    engine.stops();
    let stopping = of_service.next().await;
    assert_eq!((&stopping["state"], &stopping["type"]), (&json!("Stopping"), &json!("container")));
    assert_eq!(of_service.next().await["state"], "Stopped");
    let mut kinds = Vec::new();
    loop {
        let event = of_all.next().await;
        kinds.push(event["type"].as_str().expect("a type").to_owned());
        if event["type"] == "stack" && event["state"] == "Stopped" {
            break;
        }
    }
    for (kind, least) in [("container", 2), ("service", 1), ("stack", 1)] {
        assert!(kinds.iter().filter(|it| **it == kind).count() >= least, "{kinds:?}");
    }
    assert_eq!(of_stack.next().await["type"], "stack");

    // From a cursor, from a moment, and from the beginning: the same, once.
    let cursor = stopping["cursor"].as_str().expect("a cursor");
    for (since, first) in
        [(cursor, "Stopped"), ("oldest", "Stopping"), ("2001-01-01T00:00:00Z", "Stopping")]
    {
        let path = format!("{events}?type=container&since={since}");
        let mut again = stream(&running, &path, &token).await.expect("a stream");
        assert_eq!(again.next().await["state"], first, "{since}");
        again.close().await;
    }
    let future = format!("{events}?type=container&since=2100-01-01T00:00:00Z");
    let mut future = stream(&running, &future, &token).await.expect("a stream");
    engine.starts();
    assert_eq!(future.next().await["state"], "Running");
    assert_eq!(of_service.next().await["state"], "Running");
    let silence =
        tokio::time::timeout(std::time::Duration::from_millis(200), of_nobody.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    for client in [of_service, of_nobody, of_all, of_stack, future] {
        client.close().await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_events_ends_in_what_the_engine_lists() {
    let engine = StandIn::start();
    let running = daemon(&engine).await;
    let mut admin = running.admin().await;
    // More than the plugin holds: it throws them away and looks.
    engine.storms(40_000);
    engine.stops_unheard();
    until("the model is what the engine lists", async || {
        let listed: Value = admin.call("containers", "list", json!({})).await.expect("a list");
        listed["containers"][0]["state"] == "Stopped with errors"
    })
    .await;
    admin.close().await;
    running.stop().await;
}
