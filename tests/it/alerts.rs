//! Alerts: raised by plugins, handled by people, once over kills and restarts.

mod lives;

use kit::client::SysAdmClient;
use protocol::Role;
use serde_json::{Value, json};

use crate::harness::{Running, Site, until};

/// `rpc/alerts` with this action.
async fn alerts(client: &mut SysAdmClient, action: &str, mut args: Value) -> Result<Value, Value> {
    args["action"] = action.into();
    client.call("rpc", "alerts", args).await
}

/// The alerts there are, also those that are over.
async fn all(client: &mut SysAdmClient) -> Vec<Value> {
    let states = json!({"states": ["pending", "open", "clearing", "closed"]});
    let answer = alerts(client, "list", states).await.expect("they are listed");
    answer["alerts"].as_array().expect("alerts").clone()
}

/// Has the kit's plugin say something of alerts.
async fn ring(client: &mut SysAdmClient, args: Value) -> Result<Value, Value> {
    client.call("kit", "ring", args).await
}

/// What was told of alerts, in order: the verb, and whether people are told.
async fn told(client: &mut SysAdmClient) -> Vec<(String, bool)> {
    let answer = alerts(client, "history", json!({"limit": 1000})).await.expect("history");
    let history = answer["history"].as_array().expect("entries").clone();
    let entry = |it: &Value| (it["verb"].as_str().unwrap().to_owned(), it["notify"] == true);
    history.iter().rev().map(entry).collect()
}

async fn kit() -> (Running, SysAdmClient) {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let client = running.admin().await;
    (running, client)
}

fn broken(subject: &str) -> Value {
    json!({"kind": "kit.broken", "subject": subject, "priority": 9, "message": "it is broken"})
}

#[tokio::test]
async fn what_a_plugin_raises_is_listed_handled_and_cleared() {
    let (running, mut admin) = kit().await;
    let said = ring(&mut admin, json!({"raise": broken("/x")})).await.unwrap();
    assert_eq!(said, json!({"id": 1, "state": "open"}));
    assert_eq!(ring(&mut admin, json!({"raise": broken("/x"), "n": 4})).await.unwrap(), said);

    let listed = alerts(&mut admin, "list", json!({})).await.unwrap();
    let alert = &listed["alerts"][0];
    for (member, value) in [
        ("source", json!("kit")),
        ("kind", json!("kit.broken")),
        ("subject", json!("/x")),
        ("priority", json!(7)),
        ("message", json!("it is broken")),
        ("advice", json!("Mend it")),
        ("count", json!(5)),
        ("told", json!(true)),
    ] {
        assert_eq!(alert[member], value, "{member} in {alert}");
    }
    // Whoever follows from where the list was made sees what comes and nothing twice.
    let filter = json!({"classes": ["alert.*"]});
    let mut follower = running.admin().await;
    let from = listed["cursor"].clone();
    follower.subscribe(json!({"sub": "a", "filter": filter, "from": from})).await.unwrap();
    let noted = json!({"id": 1, "note": "on it"});
    let taken = alerts(&mut admin, "acknowledge", noted).await.unwrap();
    assert_eq!(taken["alert"]["acknowledged"]["note"], "on it");
    alerts(&mut admin, "silence", json!({"id": 1, "for_s": 3600})).await.unwrap();
    let counts = alerts(&mut admin, "list", json!({"kind": "kit.*"})).await.unwrap();
    let counts = ["open", "acknowledged", "silenced"].map(|name| counts[name].clone());
    assert_eq!(counts, [1, 1, 1].map(Value::from));
    let over = ring(&mut admin, json!({"clear": {"kind": "kit.broken", "subject": "/x"}})).await;
    assert_eq!(over.unwrap()["state"], "closed");
    let mut heard = Vec::new();
    while heard.last() != Some(&json!("cleared")) {
        let event = follower.event().await;
        assert_eq!(event["args"]["subject"], "/alerts/1");
        heard.push(event["args"]["data"]["verb"].clone());
    }
    assert_eq!(heard, ["acknowledged", "silenced", "cleared"].map(Value::from));
    assert_eq!(alerts(&mut admin, "list", json!({})).await.unwrap()["alerts"], json!([]));
    let shown = alerts(&mut admin, "show", json!({"id": 1})).await.unwrap();
    assert_eq!(shown["alert"]["state"], "closed");
    drop((admin, follower));
    running.stop().await;
}

#[tokio::test]
async fn a_flapping_source_makes_one_notice_and_one_recovery() {
    let (running, mut admin) = kit().await;
    let (raise, clear) = (json!({"kind": "kit.flapping"}), json!({"kind": "kit.flapping"}));
    ring(&mut admin, json!({"raise": raise, "clear": clear, "n": 300})).await.unwrap();
    let id = all(&mut admin).await[0]["id"].clone();
    alerts(&mut admin, "close", json!({"id": id})).await.unwrap();
    let told = told(&mut admin).await;
    assert!(told.len() < 20, "{told:?}");
    let notices: Vec<_> = told.into_iter().filter(|it| it.1).map(|it| it.0).collect();
    assert_eq!(notices, ["raised", "cleared"]);
    let alert = all(&mut admin).await[0].clone();
    assert_eq!((&alert["count"], &alert["flips"]), (&json!(300), &json!(299)));
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_declared_is_refused_and_counted() {
    let rude = kit::plugins::manifest("rude", &["undeclared-alert"]);
    let running = Site::new().with_kit().with_plugin(rude).start().await;
    running.ready("kit").await;
    running.ready("rude").await;
    let mut admin = running.admin().await;
    until("five reports are refused", async || {
        let listed = admin.call("rpc", "plugins", json!({"action": "list"})).await.unwrap();
        let plugins = listed["plugins"].as_array().unwrap();
        let rude = plugins.iter().find(|plugin| plugin["id"] == "rude").unwrap();
        rude["events_refused"] == 5
    })
    .await;
    let refusal = ring(&mut admin, json!({"raise": {"kind": "other.kind"}})).await.unwrap_err();
    assert_eq!(refusal["code"], "400", "{refusal}");
    let long = json!({"raise": {"kind": "kit.broken", "message": "x".repeat(2_000)}});
    let refusal = ring(&mut admin, long).await.unwrap_err();
    assert_eq!(refusal["code"], "400", "{refusal}");
    assert_eq!(all(&mut admin).await, [] as [Value; 0]);
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn viewers_look_and_operators_act_and_nobody_asks_nonsense() {
    let (running, mut admin) = kit().await;
    ring(&mut admin, json!({"raise": broken("/x")})).await.unwrap();
    let acts = [
        ("acknowledge", json!({"id": 1})),
        ("unacknowledge", json!({"id": 1})),
        ("silence", json!({"id": 1, "until": "2200-01-01T00:00:00Z"})),
        ("unsilence", json!({"id": 1})),
        ("close", json!({"id": 1})),
    ];
    let mut viewer = running.remote(&running.token(Role::Viewer.as_str()).await).await;
    let mut operator = running.remote(&running.token(Role::Operator.as_str()).await).await;
    for (action, args) in &acts {
        let refusal = alerts(&mut viewer, action, args.clone()).await.unwrap_err();
        assert_eq!(refusal["code"], "403", "{action}: {refusal}");
    }
    for action in ["list", "history"] {
        alerts(&mut viewer, action, json!({})).await.unwrap();
    }
    alerts(&mut viewer, "show", json!({"id": 1})).await.unwrap();
    let before = all(&mut admin).await;
    for (action, args) in [
        ("acknowledge", json!({})),
        ("acknowledge", json!({"id": "1"})),
        ("acknowledge", json!({"id": 1, "note": "x".repeat(1_025)})),
        ("silence", json!({"id": 1})),
        ("silence", json!({"id": 1, "for_s": 0})),
        ("silence", json!({"id": 1, "for_s": 40_000_000})),
        ("silence", json!({"id": 1, "for_s": u64::MAX})),
        ("silence", json!({"id": 1, "for_s": 5, "until": "2200-01-01T00:00:00Z"})),
        ("silence", json!({"id": 1, "until": "tomorrow"})),
        ("list", json!({"states": ["wrong"]})),
        ("list", json!({"state": ["open"]})),
        ("history", json!({"limit": 0})),
        ("history", json!({"limit": 5_000})),
        ("raise", json!({"kind": "kit.broken"})),
    ] {
        let refusal = alerts(&mut operator, action, args.clone()).await.unwrap_err();
        assert_eq!(refusal["code"], "400", "{action} {args}: {refusal}");
    }
    let refusal = alerts(&mut operator, "close", json!({"id": 99})).await.unwrap_err();
    assert_eq!(refusal["code"], "404", "{refusal}");
    assert_eq!(all(&mut admin).await, before, "nonsense changes nothing");
    let two = [acts[0].clone(), acts[4].clone()];
    for (action, args) in two {
        alerts(&mut operator, action, args).await.unwrap();
    }
    let scope = json!({"resources": ["/alerts/7"]});
    let made = json!({"name": "ci", "role": "operator", "scope": scope});
    let made = running.make_token(made).await;
    let mut bound = running.remote(made["token"].as_str().unwrap()).await;
    let refusal = alerts(&mut bound, "close", json!({"id": 1})).await.unwrap_err();
    assert_eq!(refusal["code"], "403", "{refusal}");
    drop((admin, viewer, operator, bound));
    running.stop().await;
}

#[tokio::test]
async fn whoever_may_not_hear_of_alerts_is_not_shown_them() {
    let (running, mut admin) = kit().await;
    for subject in ["/x", "/y"] {
        ring(&mut admin, json!({"raise": broken(subject)})).await.unwrap();
    }
    for (scope, seen) in [
        (json!({"classes": ["user.*"]}), 0),
        (json!({"classes": ["alert.*"]}), 2),
        (json!({"classes": ["*"], "resources": ["/nowhere", "/alerts/2"]}), 1),
    ] {
        // What is bound to resources may not call what is about none.
        let is_bound = scope.get("resources").is_some();
        let args = json!({"name": "t", "role": "operator", "scope": scope});
        let made = running.make_token(args).await;
        let mut client = running.remote(made["token"].as_str().unwrap()).await;
        let listed = alerts(&mut client, "list", json!({})).await;
        if is_bound {
            assert_eq!(listed.unwrap_err()["code"], "403");
        } else {
            let listed = listed.unwrap();
            assert_eq!(listed["alerts"].as_array().unwrap().len(), seen, "{scope}: {listed}");
            assert_eq!(listed["open"], seen, "{scope}");
            let shown = alerts(&mut client, "show", json!({"id": 1})).await;
            assert_eq!(shown.is_ok(), seen > 0, "{scope}: {shown:?}");
        }
    }
    drop(admin);
    running.stop().await;
}
