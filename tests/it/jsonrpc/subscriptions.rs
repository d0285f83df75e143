//! Subscriptions: the same stream as everywhere, and none of its promises less.

use std::time::Duration;

use kit::client::{Came, PATIENCE};
use serde_json::{Value, json};

use super::talk::{Talk, code};
use crate::harness::Site;

async fn fire(talk: &mut Talk, class: &str, number: u64) {
    let event = json!({"class": class, "data": {"n": number}});
    talk.call("events.fire", event).await.expect("the event is recorded");
}

#[tokio::test]
async fn a_cursor_goes_on_across_connections_and_restarts_without_loss_or_repeat() {
    let mut running = Site::new().start().await;
    let filter = json!({"classes": ["user.tick"]});
    let (mut from, mut got, mut fired) = (json!("now"), Vec::new(), 0);
    for round in 0..4 {
        let mut talk = Talk::admin(&running).await;
        let mut writer = Talk::admin(&running).await;
        let (id, standing) =
            talk.subscribe(json!({"filter": filter, "from": from, "heartbeat_s": 300})).await;
        assert_eq!(standing["gap"], Value::Null, "{standing}");
        if round == 0 {
            from = standing["cursor"].clone();
        }
        for _ in 0..10 {
            fire(&mut writer, "user.tick", fired).await;
            fired += 1;
        }
        // It leaves before it has read everything.
        while (got.len() as u64) < fired - 3 {
            let event = talk.event(&id).await;
            got.push(event["data"]["n"].as_u64().unwrap());
            from = event["cursor"].clone();
        }
        drop(talk);
        for _ in 0..5 {
            fire(&mut writer, "user.tick", fired).await;
            fired += 1;
        }
        drop(writer);
        if round % 2 == 1 {
            running = running.restart().await;
        }
    }
    let mut talk = Talk::admin(&running).await;
    let (id, _) = talk.subscribe(json!({"filter": filter, "from": from})).await;
    while (got.len() as u64) < fired {
        got.push(talk.event(&id).await["data"]["n"].as_u64().unwrap());
    }
    assert_eq!(got, (0..fired).collect::<Vec<_>>());
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn each_subscription_has_its_own_id_and_ends_alone() {
    let running = Site::new().start().await;
    let mut talk = Talk::admin(&running).await;
    let (first, _) = talk.subscribe(json!({"filter": {"classes": ["user.a"]}})).await;
    let (second, _) = talk.subscribe(json!({"filter": {"classes": ["user.b"]}})).await;
    let (named, _) = talk.subscribe(json!({"sub": "3", "filter": {"classes": ["user.c"]}})).await;
    let (next, _) = talk.subscribe(json!({"filter": {"classes": ["user.d"]}})).await;
    assert_eq!(
        [&*first, &*second, &*named, &*next],
        ["1", "2", "3", "4"],
        "no name is given twice"
    );
    fire(&mut talk, "user.b", 1).await;
    assert_eq!(talk.event(&second).await["data"]["n"], 1);
    assert_eq!(talk.call("events.unsubscribe", json!([second])).await, Ok(json!(true)));
    fire(&mut talk, "user.b", 2).await;
    fire(&mut talk, "user.a", 3).await;
    assert_eq!(talk.event(&first).await["data"]["n"], 3, "the other one is silent");
    let (again, _) = talk.subscribe(json!({"filter": {"classes": ["user.b"]}})).await;
    assert_eq!(again, "5", "an id is never given again");
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_subscription_is_refused_and_changes_nothing() {
    let running = Site::new().start().await;
    let mut talk = Talk::admin(&running).await;
    let wrong = [
        json!("life-preserver"),
        json!(["dispatcher", "system-state"]),
        json!({"sub": ""}),
        json!({"sub": "x".repeat(65)}),
        json!({"from": "yesterday"}),
        json!({"from": 7}),
        json!({"overflow": "explode"}),
        json!({"heartbeat_s": 0}),
        json!({"heartbeat_s": 301}),
        json!({"filter": {"classes": 7}}),
        json!({"unknown": 1}),
    ];
    for params in wrong {
        let refused = talk.call("events.subscribe", params.clone()).await;
        assert_eq!(code(&refused), -32602, "{params}: {refused:?}");
    }
    for (params, number) in [
        (json!(["1"]), -32004),
        (json!({"sub": "nobody"}), -32004),
        (json!([7]), -32602),
        (json!([]), -32602),
        (json!({}), -32602),
        (json!(["1", "2"]), -32602),
    ] {
        let refused = talk.call("events.unsubscribe", params.clone()).await;
        assert_eq!(code(&refused), number, "{params}");
    }
    for _ in 0..20 {
        talk.subscribe(json!({"heartbeat_s": 300})).await;
    }
    assert_eq!(code(&talk.call("events.subscribe", json!({})).await), -32029, "one too many");
    let mut stranger = Talk::stranger(&running).await;
    for method in ["events.subscribe", "events.unsubscribe"] {
        assert_eq!(code(&stranger.call(method, json!({"sub": "a"})).await), -32001);
    }
    drop((talk, stranger));
    running.stop().await;
}

#[tokio::test]
async fn a_heartbeat_says_how_far_it_is() {
    let running = Site::new().start().await;
    let mut talk = Talk::admin(&running).await;
    let (id, standing) =
        talk.subscribe(json!({"heartbeat_s": 1, "filter": {"classes": ["user.x"]}})).await;
    let beat = talk.next().await;
    let result = &beat["params"]["result"];
    assert_eq!(
        (&beat["params"]["subscription"], &result["type"]),
        (&json!(id), &json!("heartbeat"))
    );
    assert!(result["time"].is_string() && result["cursor"].is_string(), "{beat}");
    assert_eq!(result["cursor"], standing["cursor"]);
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn a_subscription_by_notification_is_one_and_is_not_answered() {
    let running = Site::new().start().await;
    let mut talk = Talk::admin(&running).await;
    let params = json!({"sub": "quiet", "filter": {"classes": ["user.q"]}});
    talk.say(&json!({"jsonrpc": "2.0", "method": "events.subscribe", "params": params})).await;
    assert_eq!(talk.delivered("quiet").await["type"], "standing");
    fire(&mut talk, "user.q", 1).await;
    assert_eq!(talk.event("quiet").await["data"]["n"], 1);
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn another_login_with_other_rights_ends_subscriptions_and_says_so() {
    let running = Site::new().start().await;
    let (operator, viewer) = (running.token("operator").await, running.token("viewer").await);
    let mut talk = Talk::remote(&running, &operator).await;
    let (id, _) =
        talk.subscribe(json!({"filter": {"classes": ["user.x"]}, "heartbeat_s": 1})).await;
    assert_eq!(code(&talk.call("rpc.auth_token", json!({"token": "sad_wrong"})).await), -32001);
    fire(&mut talk, "user.x", 1).await;
    assert_eq!(talk.event(&id).await["data"]["n"], 1, "a failed login changes nothing");
    talk.call("rpc.auth_token", json!({"token": viewer})).await.unwrap();
    let ended = loop {
        let message = talk.next().await;
        if message["params"].get("error").is_some() {
            break message;
        }
    };
    assert_eq!(ended["params"]["subscription"], json!(id));
    assert_eq!(ended["params"]["error"]["code"], -32001);
    assert_eq!(code(&talk.call("events.unsubscribe", json!([id])).await), -32004);
    assert!(talk.came_within(Duration::from_millis(1_200)).await.is_none(), "no heart beats");
    drop(talk);
    running.stop().await;
}

#[tokio::test]
async fn nobody_hears_what_is_worded_for_others() {
    let running = Site::new().start().await;
    let mut talk = Talk::admin(&running).await;
    let mut classic = running.admin().await;
    // The same name and filter: if the words were told apart by these, they would be shared.
    let wanted = json!({"sub": "1", "filter": {"classes": ["user.x"]}, "heartbeat_s": 300});
    classic.subscribe(wanted.clone()).await.unwrap();
    let (id, _) = talk.subscribe(wanted).await;
    fire(&mut talk, "user.x", 1).await;
    let event = talk.event(&id).await;
    let heard = classic.event().await;
    assert_eq!((&heard["namespace"], &heard["id"]), (&json!("events"), &json!("1")));
    assert!(heard.get("jsonrpc").is_none());
    // One event, whatever the words.
    let mut args = heard["args"].clone();
    args["type"] = "event".into();
    assert_eq!(args, event);
    drop((talk, classic));
    running.stop().await;
}

#[tokio::test]
async fn revoking_cuts_and_stopping_says_goodbye() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let made = running.make_token(json!({"name": "doomed", "role": "operator"})).await;
    let token = made["token"].as_str().unwrap();
    let mut by_header = Talk::remote(&running, token).await;
    let mut by_login = Talk::stranger(&running).await;
    by_login.call("rpc.auth_token", json!({"token": token})).await.unwrap();
    for talk in [&mut by_header, &mut by_login] {
        talk.subscribe(json!({"heartbeat_s": 300})).await;
    }
    // A batch under way is not finished in the name of somebody who is no more.
    let sleep = json!({"jsonrpc": "2.0", "id": 1, "method": "kit.sleep", "params": {"ms": 300}});
    let fire = json!({"jsonrpc": "2.0", "id": 2, "method": "events.fire", "params": {"class": "user.late"}});
    by_login.say(&json!([sleep, fire])).await;
    let mut admin = Talk::admin(&running).await;
    let revoke = json!({"action": "revoke", "id": made["id"]});
    admin.call("rpc.tokens", revoke).await.unwrap();
    for talk in [&mut by_header, &mut by_login] {
        assert_eq!(talk.line.closed().await.0, 4001);
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let list = json!({"filter": {"classes": ["user.late"]}});
    assert_eq!(admin.call("events.list", list).await.unwrap()["events"], json!([]));
    let running = running.restart().await;
    let end = loop {
        match admin.came_within(PATIENCE).await {
            Some(Came::Closed(code, reason)) => break (code, reason),
            Some(Came::Message(_)) => {}
            None => panic!("nothing came"),
        }
    };
    assert!(end.0 == 1001 && end.1.contains("retry_after_ms"), "{end:?}");
    drop((by_header, by_login, admin));
    running.stop().await;
}
