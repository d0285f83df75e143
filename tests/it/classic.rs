//! What a client written for the original server may rely on.

use kit::client::SysAdmClient;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Running, Site};

/// A daemon with the kit's plugin, and an administrator's client.
async fn kit() -> (Running, SysAdmClient) {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let client = running.admin().await;
    (running, client)
}

/// Has the kit's plugin publish an event; it is recorded when this returns.
async fn publish(admin: &mut SysAdmClient, class: &str, message: &str) {
    publish_draft(admin, json!({"class": class, "message": message})).await;
}

async fn publish_draft(admin: &mut SysAdmClient, draft: Value) {
    let args = json!({"draft": draft, "n": 1, "batch": 1});
    admin.call("kit", "publish", args).await.expect("it is published");
}

fn request(namespace: &str, name: &str, id: &Value, args: &Value) -> String {
    json!({"namespace": namespace, "name": name, "id": id, "args": args}).to_string()
}

#[tokio::test]
async fn the_last_event_of_each_class_comes_before_the_answer() {
    let (running, mut admin) = kit().await;
    for (class, last) in
        [("snapshot.created", "a"), ("snapshot.created", "b"), ("replication.started", "c")]
    {
        publish(&mut admin, class, last).await;
    }
    publish_draft(&mut admin, json!({"class": "job.state", "data": {"state": "running"}})).await;
    publish_draft(&mut admin, json!({"class": "system.state", "data": {"hostname": "h"}})).await;
    let mut client = running.admin().await;
    let classes = json!(["life-preserver", "dispatcher", "system-state"]);
    client.send_raw(&request("events", "subscribe", &"s".into(), &classes)).await;
    let came = [client.next().await, client.next().await, client.next().await];
    assert_eq!(
        came.each_ref().map(|it| &it["name"]),
        ["life-preserver", "dispatcher", "system-state"]
    );
    assert_eq!(came[0]["args"]["message"], "c", "only the newest of the class");
    let answer = client.next().await;
    // The original keeps one key, so the last class shows.
    assert_eq!(answer["args"], json!({"subscribe": "system-state"}));
    assert_eq!(answer["id"], "s");
    drop((client, admin));
    running.stop().await;
}

#[tokio::test]
async fn an_event_comes_once_however_often_it_is_subscribed() {
    let (running, mut admin) = kit().await;
    let mut client = running.admin().await;
    for args in [
        json!("life-preserver"),
        json!(["life-preserver", "life_preserver"]),
        json!("life_preserver"),
    ] {
        let answer = client.subscribe(args).await.unwrap();
        assert_eq!(answer, json!({"subscribe": "life-preserver"}));
    }
    for message in ["one", "two", "three"] {
        publish(&mut admin, "snapshot.created", message).await;
        assert_eq!(client.event().await["args"]["message"], message);
    }
    // Subscribing again shows the last one again, and the next one once.
    client.subscribe(json!(["life-preserver", "life-preserver"])).await.unwrap();
    publish(&mut admin, "snapshot.created", "four").await;
    publish(&mut admin, "snapshot.created", "five").await;
    let messages: Vec<Value> =
        client.events(3).await.iter().map(|event| event["args"]["message"].clone()).collect();
    assert_eq!(messages, ["three", "four", "five"]);
    client.call("events", "unsubscribe", json!(["life-preserver"])).await.unwrap();
    publish(&mut admin, "snapshot.created", "unheard").await;
    client.subscribe(json!({"sub": "now", "filter": {"classes": ["snapshot.*"]}})).await.unwrap();
    publish(&mut admin, "snapshot.created", "six").await;
    assert_eq!(client.event().await["name"], "event", "nothing came for the class that was left");
    drop((client, admin));
    running.stop().await;
}

#[tokio::test]
async fn a_burst_while_somebody_subscribes_again_and_again_is_seen_whole_and_once() {
    let (running, mut admin) = kit().await;
    let mut client = running.admin().await;
    client.subscribe(json!("dispatcher")).await.unwrap();
    let draft = json!({"class": "job.state", "data": {}});
    let burst = admin.send("kit", "publish", json!({"draft": draft, "n": 300, "batch": 8})).await;
    for _ in 0..20 {
        client.send("events", "subscribe", json!("dispatcher")).await;
    }
    admin.answer(&burst).await.unwrap();
    publish_draft(&mut admin, json!({"class": "job.state", "data": {"last": true}})).await;
    let mut seqs = Vec::new();
    loop {
        let message = client.next().await;
        if message["name"] == "dispatcher" {
            seqs.push(message["args"]["seq"].as_u64().unwrap());
        }
        if message["args"]["last"] == true {
            break;
        }
    }
    // An event may come again only as the last event before an answer.
    let shown_again = 20;
    let mut distinct = seqs.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 301);
    assert!(seqs.len() <= 301 + shown_again, "{}", seqs.len());
    drop((client, admin));
    running.stop().await;
}

#[tokio::test]
async fn unknown_classes_are_passed_over_and_wrong_arguments_refused() {
    let (running, mut client) = kit().await;
    assert_eq!(client.subscribe(json!("nothing")).await, Ok(json!({})));
    assert_eq!(client.subscribe(json!(["x", 7, null])).await, Ok(json!({})));
    let both = json!(["x", "dispatcher"]);
    assert_eq!(client.subscribe(both).await, Ok(json!({"subscribe": "dispatcher"})));
    for wrong in
        [json!([]), json!(7), json!(null), json!(true), json!({}), json!({"classes": ["*"]})]
    {
        let refusal = client.subscribe(wrong.clone()).await.unwrap_err();
        assert_eq!(refusal["code"], "400", "{wrong}");
        assert_eq!(refusal["message"], "Bad Request", "{wrong}");
    }
    client.send_raw(r#"{"namespace":"events","name":"subscribe","id":"none"}"#).await;
    assert_eq!(client.answer("none").await.unwrap_err()["code"], "400", "no argument");
    let unknown = client.call("events", "unsubscribe", json!("nothing")).await;
    assert_eq!(unknown, Ok(json!({})));
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn names_are_matched_in_any_case_but_those_that_were_not() {
    let (running, mut client) = kit().await;
    for (namespace, name) in [("RPC", "Identify"), ("Rpc", "QUERY"), ("KIT", "Echo")] {
        client.send_raw(&request(namespace, name, &"i".into(), &json!({}))).await;
        let answer = client.next().await;
        assert_eq!(answer["name"], "response", "{answer}");
        assert_eq!(answer["namespace"], namespace, "repeated as it was sent");
    }
    client.send_raw(&request("EVENTS", "subscribe", &"i".into(), &"dispatcher".into())).await;
    assert_eq!(client.next().await["namespace"], "EVENTS");
    for name in ["Auth", "AUTH_TOKEN", "Auth_clear"] {
        let refusal = client.call("rpc", name, json!({"token": "x"})).await.unwrap_err();
        assert_eq!(refusal["code"], "404", "{name} is no login: {refusal}");
    }
    client.call("rpc", "query", json!("")).await.expect("and no logout");
    let refusal = client.call("events", "Subscribe", json!("dispatcher")).await.unwrap_err();
    assert_eq!(refusal["code"], "400", "{refusal}");
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn an_id_is_a_string_and_comes_back_as_it_was() {
    let (running, mut client) = kit().await;
    for id in ["1", " ", "ü\"\\\n\u{1}", "sysadm-client-event-auto", "\u{1f600}"] {
        client.send_raw(&request("rpc", "identify", &id.into(), &json!(""))).await;
        let answer = client.next().await;
        assert_eq!((answer["id"].as_str(), &answer["name"]), (Some(id), &json!("response")));
        client.send_raw(&request("rpc", "nothing", &id.into(), &json!(""))).await;
        assert_eq!(client.next().await["id"], id, "in a refusal as well");
    }
    for id in [json!(7), json!(null), json!({"a": 1}), json!("")] {
        client.send_raw(&request("rpc", "identify", &id, &json!(""))).await;
        let answer = client.next().await;
        assert_eq!((&answer["id"], &answer["name"]), (&json!(""), &json!("identify")), "{id}");
    }
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn a_request_may_look_as_it_likes() {
    let (running, mut client) = kit().await;
    let pretty = "\n{\n  \"namespace\" : \"kit\",\n\t\"name\": \"echo\", \"extra\": [1],\n  \"id\": \"p\",\n  \"args\": { \"n\" : 1 }\n}\n\r ";
    client.send_raw(pretty).await;
    assert_eq!(client.answer("p").await, Ok(json!({"n": 1})));
    let binary = request("kit", "echo", &"b".into(), &json!({"n": 2})).into_bytes();
    client.send_message(Message::binary(binary)).await;
    assert_eq!(client.answer("b").await, Ok(json!({"n": 2})));
    client.send_raw(r#"{"namespace":"kit","name":"echo","id":"w","n":3}"#).await;
    let whole = client.answer("w").await.unwrap();
    assert_eq!(whole, json!({"namespace": "kit", "name": "echo", "id": "w", "n": 3}));
    let escaped = r#"{"n\u0061mespace":"kit","name":"ec\u0068o","id":"e","args":"x"}"#;
    client.send_raw(escaped).await;
    assert_eq!(client.answer("e").await, Ok(json!("x")));
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn what_is_sent_behind_a_login_is_answered_as_logged_in() {
    let running = Site::new().start().await;
    let token = running.token("viewer").await;
    for _ in 0..10 {
        let mut client = running.anonymous().await;
        client.send_raw(&request("rpc", "query", &"early".into(), &json!(""))).await;
        let login = json!({"token": token});
        client.send_raw(&request("rpc", "auth_token", &"login".into(), &login)).await;
        client.send_raw(&request("rpc", "query", &"query".into(), &json!(""))).await;
        client.send_raw(&request("events", "subscribe", &"sub".into(), &"dispatcher".into())).await;
        client.send_raw(&request("rpc", "auth_clear", &"out".into(), &json!(""))).await;
        client.send_raw(&request("rpc", "query", &"late".into(), &json!(""))).await;
        assert_eq!(client.answer("early").await.unwrap_err()["code"], "401");
        assert_eq!(client.answer("login").await.unwrap()[1], 900);
        assert_eq!(client.answer("query").await.unwrap()["rpc/query"], "read");
        client.answer("sub").await.unwrap();
        assert_eq!(client.answer("late").await.unwrap_err()["code"], "401");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_slow_call_delays_nobody() {
    let (running, mut client) = kit().await;
    let mut slow = Vec::new();
    for _ in 0..3 {
        slow.push(client.send("kit", "sleep", json!({"ms": 1_000})).await);
    }
    client.send_raw(&request("rpc", "identify", &"fast".into(), &json!(""))).await;
    client.send_raw(&request("kit", "echo", &"echo".into(), &json!(1))).await;
    let first = [client.next().await, client.next().await];
    assert!(first.iter().all(|it| it["id"] == "fast" || it["id"] == "echo"), "{first:?}");
    let mut other = running.admin().await;
    other.call("rpc", "query", json!("")).await.unwrap();
    other.call("kit", "echo", json!(1)).await.unwrap();
    for id in slow {
        assert_eq!(client.answer(&id).await.unwrap()["slept_ms"], 1_000);
    }
    drop((client, other));
    running.stop().await;
}

#[tokio::test]
async fn the_three_classes_have_exactly_their_members() {
    let (running, mut admin) = kit().await;
    let mut client = running.admin().await;
    client.subscribe(json!(["dispatcher", "life-preserver", "system-state"])).await.unwrap();
    let job = json!({"event_system": "dispatcher", "process_id": "p1", "state": "finished",
        "process_details": {"cmds": ["a b"], "time_started": "x"}});
    publish_draft(&mut admin, json!({"class": "job.state", "message": "unseen", "data": job}))
        .await;
    let (args, seq) = classic(&client.text().await, "dispatcher");
    assert!(seq.is_u64());
    // The kit's plugin numbers what it publishes.
    let mut expected = job.clone();
    expected["i"] = 0.into();
    assert_eq!(args, expected);

    let state =
        json!({"hostname": "nas", "updates": {"status": "noupdates"}, "zpools": {"tank": {}}});
    publish_draft(&mut admin, json!({"class": "system.state", "priority": 9, "data": state})).await;
    let (args, seq) = classic(&client.text().await, "system-state");
    let mut expected = state.clone();
    expected["i"] = 0.into();
    expected["priority"] = "9 - Urgent".into();
    assert_eq!((args, seq), (expected, Value::Null), "not recorded, so without a number");

    let texts = [
        ("snapshot.created", 1, "1 - Information", "snapshot"),
        ("replication.failed", 7, "7 - Critical", "replication"),
    ];
    for (class, priority, words, family) in texts {
        let message = "Fri Nov 21 22:20:00 UTC 2026: \"tank/Data\"\t→ ü";
        publish(&mut admin, class, message).await;
        let (args, seq) = classic(&client.text().await, "life-preserver");
        assert!(seq.is_u64());
        assert_eq!(
            args,
            json!({"class": family, "message": message, "priority": words}),
            "{priority}"
        );
    }
    drop((client, admin));
    running.stop().await;
}

/// The arguments of a classic event without what classic clients ignore, and its number.
fn classic(text: &str, name: &str) -> (Value, Value) {
    let mut event = compact(text);
    assert_eq!(event["id"], "", "{text}");
    assert_eq!(event["namespace"], "events", "{text}");
    assert_eq!(event["name"], name, "{text}");
    assert_eq!(event.as_object().unwrap().len(), 4, "{text}");
    let args = event["args"].as_object_mut().unwrap();
    let seq = args.remove("seq").unwrap_or_default();
    for added in ["event_id", "time"] {
        assert!(args.remove(added).is_some_and(|it| it.is_string()), "{added} in {text}");
    }
    (event["args"].take(), seq)
}

/// The message, which must be compact and have its members in alphabetical order.
fn compact(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(text, value.to_string(), "compact and alphabetical");
    value
}

#[tokio::test]
async fn answers_are_compact_and_in_alphabetical_order() {
    let (running, mut client) = kit().await;
    let requests = [
        ("rpc", "identify", json!("")),
        ("rpc", "query", json!("simple-query")),
        ("rpc", "hello", json!({})),
        ("rpc", "plugins", json!({"action": "list"})),
        ("events", "subscribe", json!("dispatcher")),
        ("events", "fire", json!({"class": "user.a"})),
        ("events", "list", json!({})),
        ("no", "thing", json!({})),
        ("rpc", "auth_token", json!({"token": "wrong"})),
    ];
    for (namespace, name, args) in requests {
        client.send_raw(&request(namespace, name, &"x".into(), &args)).await;
        let answer = compact(&client.text().await);
        assert!(answer["name"] == "response" || answer["name"] == "error", "{answer}");
        assert_eq!(answer.as_object().unwrap().len(), 4, "{answer}");
    }
    drop(client);
    running.stop().await;
}
