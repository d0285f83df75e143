//! Who did what: every change, refusal and login is on record, and nothing secret is.

use std::time::Duration;

use kit::client::SysAdmClient;
use protocol::manifest::Kind;
use serde_json::{Value, json};
use sysadmd::dispatch::own_methods;
use tokio::time::sleep;

use crate::harness::{Site, until};
use crate::http;

/// Every record that fits, page by page.
async fn records(admin: &mut SysAdmClient, mut question: Value) -> Vec<Value> {
    question["action"] = "query".into();
    let mut all = Vec::new();
    loop {
        let page = admin.call("rpc", "audit", question.clone()).await.expect("a page");
        all.extend(page["records"].as_array().unwrap().iter().cloned());
        if page["more"] != true {
            assert_eq!(page["resume"], Value::Null);
            return all;
        }
        question["after_seq"] = page["resume"].clone();
    }
}

async fn verify(admin: &mut SysAdmClient) {
    let verdict = admin.call("rpc", "audit", json!({"action": "verify"})).await.unwrap();
    assert_eq!(verdict["intact"], true, "{verdict}");
    let head = admin.call("rpc", "audit", json!({"action": "head"})).await.unwrap();
    assert_eq!((&verdict["last"], &verdict["head"]), (&head["seq"], &head["hash"]));
}

#[tokio::test]
async fn every_change_is_on_record_with_what_came_of_it() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut client = running.remote(&running.token("admin").await).await;
    let is_one = |method: &str| matches!(method, "events/fire" | "consul/fire");
    let own = own_methods().filter(|own| own.kind == Kind::Mutate && !is_one(own.method));
    let own = own.filter(|own| own.action != Some("rotate"));
    let mut changes: Vec<(&str, Option<&str>)> = own.map(|own| (own.method, own.action)).collect();
    assert!(changes.len() >= 9, "{changes:?}");
    changes.extend(["kit/publish", "kit/log"].map(|method| (method, None)));
    for (method, action) in changes {
        let (namespace, name) = method.split_once('/').unwrap();
        let mut args =
            json!({"note": method, "password": "canary", "deep": [{"my_token": "canary"}]});
        if let Some(action) = action {
            args["action"] = action.into();
        }
        let answer = client.call(namespace, name, args.clone()).await;
        let named = action.map_or_else(|| method.to_owned(), |action| format!("{method}:{action}"));
        let question = json!({"actor": "token:admin", "method": named});
        let found = records(&mut client, question).await;
        let [begun, ended] = &found[..] else { panic!("{named}: {found:#?}") };
        assert_eq!(begun["outcome"], "begun");
        assert_eq!(begun["origin"], "127.0.0.1 websocket");
        args["password"] = "[redacted]".into();
        args["deep"][0]["my_token"] = "[redacted]".into();
        assert_eq!(begun["details"], json!({ "args": args }));
        let outcome = match answer {
            Ok(_) => "done".to_owned(),
            Err(refusal) => format!("failed:{}", refusal["fault"]["kind"].as_str().unwrap()),
        };
        assert_eq!(ended["outcome"], outcome, "{named}");
        assert_eq!(ended["details"]["begun_seq"], begun["seq"]);
        assert!(ended["details"]["took_us"].is_u64(), "{ended}");
    }
    let all = records(&mut client, json!({})).await;
    assert!(!json!(all).to_string().contains("canary"), "a secret is on record");
    assert!(!all.iter().any(|record| record["method"] == "rpc/query"), "looking changes nothing");
    verify(&mut client).await;
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn a_fired_event_and_its_record_are_one() {
    let running = Site::new().start().await;
    let token = running.token("operator").await;
    let mut client = running.remote(&token).await;
    let mut admin = running.admin().await;
    for class in ["user.a", "user.volatile.b"] {
        let fired = client.call("events", "fire", json!({ "class": class })).await.unwrap();
        let found = records(&mut admin, json!({"method": "events/fire"})).await;
        let record = found.last().unwrap();
        assert_eq!(record["details"]["args"]["class"], class);
        assert_eq!(record["outcome"], "done");
        assert_eq!(record["actor"], "token:operator");
        if class == "user.a" {
            assert_eq!(record["time"], fired["time"]);
        }
    }
    let headers = [format!("Authorization: Bearer {token}")];
    let body = r#"{"class":"user.c"}"#;
    let request = http::request("POST", "/events/fire", &headers, body);
    assert_eq!(http::over_tls(running.tls(), &request).await.status, 200);
    let found = records(&mut admin, json!({"method": "events/fire"})).await;
    assert_eq!(found.len(), 3, "one for each: {found:#?}");
    assert_eq!(found[2]["origin"], "127.0.0.1 rest");
    verify(&mut admin).await;
    drop((client, admin));
    running.stop().await;
}

#[tokio::test]
async fn of_many_refusals_some_are_recorded_and_the_rest_counted() {
    let running = Site::new().start().await;
    let mut client = running.remote(&running.token("viewer").await).await;
    let mut admin = running.admin().await;
    let refused = json!({"method": "events/fire", "outcome": "refused:forbidden"});
    let mut calls = 0;
    // On a slow machine one more is recorded each second.
    while calls < 200 {
        client.call("events", "fire", json!({"n": calls})).await.unwrap_err();
        calls += 1;
    }
    let found = records(&mut admin, refused.clone()).await;
    assert!((20..100).contains(&found.len()), "{}", found.len());
    assert_eq!(found[0]["actor"], "token:viewer");
    assert_eq!(found[0]["details"], json!({"args": {"n": 0}}));
    sleep(Duration::from_millis(1_100)).await;
    client.call("events", "fire", json!({})).await.unwrap_err();
    let found = records(&mut admin, refused).await;
    let counted =
        found.iter().filter_map(|it| it["details"]["unrecorded_refusals_before"].as_u64());
    assert_eq!(found.len() as u64 + counted.sum::<u64>(), calls + 1, "none is lost");
    drop((client, admin));
    running.stop().await;
}

#[tokio::test]
async fn logins_are_on_record_and_their_secrets_are_not() {
    let running = Site::new().start().await;
    let token = running.token("viewer").await;
    running.remote(&token).await.close().await;
    let mut nobody = running.anonymous().await;
    let wrong = json!({"username": "root", "password": "canary"});
    nobody.call("rpc", "auth", wrong).await.unwrap_err();
    nobody.call("rpc", "auth_token", json!({"token": "sad_canary"})).await.unwrap_err();
    nobody.call("rpc", "plugins", json!({"action": "list"})).await.unwrap_err();
    let mut admin = running.admin().await;
    let found = records(&mut admin, json!({"method": "login"})).await;
    let told: Vec<Value> =
        found.iter().map(|it| json!([it["actor"], it["outcome"], it["details"]["args"]])).collect();
    assert_eq!(
        json!(told),
        json!([
            ["token:viewer", "done", {"by": "secret"}],
            ["anonymous", "refused:unauthorized", {"by": "password", "user": "root"}],
            ["anonymous", "refused:unauthorized", {"by": "secret"}],
        ])
    );
    let found = records(&mut admin, json!({"actor": "anonymous", "method": "rpc/*"})).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    let all = json!(records(&mut admin, json!({})).await).to_string();
    assert!(!all.contains("canary") && !all.contains(&token), "a secret is on record");
    drop((nobody, admin));
    running.stop().await;
}

#[tokio::test]
async fn what_becomes_of_plugins_is_on_record_with_its_event() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    admin.call("rpc", "plugins", json!({"action": "stop", "id": "kit"})).await.unwrap();
    running.plugin_is("kit", "inactive").await;
    let wanted = json!({"filter": {"classes": ["plugin.state"]}, "limit": 1000});
    let mut events = Vec::new();
    until("the last change is recorded", async || {
        let page = admin.call("events", "list", wanted.clone()).await.unwrap();
        events = page["events"].as_array().unwrap().clone();
        events.last().is_some_and(|event| event["data"]["to"] == "inactive")
    })
    .await;
    let found = records(&mut admin, json!({"method": "plugin.state"})).await;
    assert_eq!(found.len(), events.len());
    assert!(found.len() >= 3, "it started, was ready and stopped: {found:#?}");
    for (record, event) in found.iter().zip(&events) {
        assert_eq!((&record["actor"], &record["origin"]), (&json!("sysadmd"), &json!("host")));
        assert_eq!(record["time"], event["time"]);
        assert_eq!(record["outcome"], event["data"]["to"]);
        assert_eq!(record["details"], event["data"]);
    }
    verify(&mut admin).await;
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn the_trail_is_read_by_question_and_page() {
    let running = Site::new().start().await;
    for name in ["operator", "admin"] {
        let mut client = running.remote(&running.token(name).await).await;
        for number in 0..15 {
            let event = json!({"class": format!("user.{name}"), "data": {"n": number}});
            client.call("events", "fire", event).await.unwrap();
        }
        client.call("rpc", "plugins", json!({"action": "start", "id": "x"})).await.unwrap_err();
        drop(client);
    }
    let mut admin = running.admin().await;
    let all = records(&mut admin, json!({"limit": 1000})).await;
    let seqs: Vec<u64> = all.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (seqs[0]..seqs[0] + seqs.len() as u64).collect::<Vec<_>>());
    assert_eq!(records(&mut admin, json!({"limit": 7})).await, all, "in pages");
    let (from, to) = (&all[10]["time"], &all[20]["time"]);
    let (after, before) = (seqs[4], seqs[12]);
    for (question, fits) in [
        (json!({"actor": "token:admin"}), (|r| r["actor"] == "token:admin") as fn(&Value) -> bool),
        (json!({"actor": "local:*"}), |r| r["actor"].as_str().unwrap().starts_with("local:")),
        (json!({"method": "rpc/*"}), |r| r["method"].as_str().unwrap().starts_with("rpc/")),
        (json!({"method": "rpc/plugins:start"}), |r| r["method"] == "rpc/plugins:start"),
        (json!({"outcome": "failed:not-found"}), |r| r["outcome"] == "failed:not-found"),
    ] {
        let wanted: Vec<Value> = all.iter().filter(|record| fits(record)).cloned().collect();
        assert!(!wanted.is_empty() && wanted.len() < all.len(), "{question}");
        let mut small = question.clone();
        small["limit"] = 2.into();
        assert_eq!(records(&mut admin, question).await, wanted);
        assert_eq!(records(&mut admin, small).await, wanted);
    }
    assert_eq!(records(&mut admin, json!({"since": from, "until": to})).await, all[10..20]);
    let between = json!({"after_seq": after, "before_seq": before});
    assert_eq!(records(&mut admin, between).await, all[5..12]);
    let newest = json!({"action": "query", "newest_first": true, "limit": 3});
    let page = admin.call("rpc", "audit", newest).await.unwrap();
    let backwards: Vec<Value> = all.iter().rev().take(3).cloned().collect();
    assert_eq!(page["records"], json!(backwards));
    assert_eq!((&page["more"], &page["resume"]), (&json!(true), &backwards[2]["seq"]));
    for bad in [json!({"limit": 0}), json!({"limit": 1001}), json!({"who": "x"})] {
        let mut question = bad.clone();
        question["action"] = "query".into();
        let refusal = admin.call("rpc", "audit", question).await.unwrap_err();
        assert_eq!(refusal["code"], "400", "{bad}");
    }
    drop(admin);
    running.stop().await;
}
