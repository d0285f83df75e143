//! `rpc/logs`: the event log as classic clients look back in it.

use std::collections::BTreeMap;

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use crate::harness::{Running, Site};

async fn logs(client: &mut SysAdmClient, mut args: Value) -> Result<Value, Value> {
    args["action"] = "read_logs".into();
    client.call("rpc", "logs", args).await
}

fn entries(answer: &Value, log: &str) -> BTreeMap<String, Value> {
    serde_json::from_value(answer[log].clone()).expect("a log")
}

/// Has the kit's plugin publish so many events of one kind.
async fn publish(running: &Running, n: u64) {
    let draft = json!({"class": "replication.failed", "priority": 7, "message": "it failed"});
    let args = json!({"draft": draft, "n": n, "batch": 64});
    running.admin().await.call("kit", "publish", args).await.expect("they are published");
}

async fn kit() -> (Running, SysAdmClient) {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let client = running.admin().await;
    (running, client)
}

#[tokio::test]
async fn every_log_has_its_events_and_all_that_came_within_a_second() {
    let (running, mut client) = kit().await;
    publish(&running, 20).await;
    let draft = json!({"class": "job.state", "data": {"process_id": "update", "state": "running"}});
    client.call("kit", "publish", json!({"draft": draft})).await.unwrap();
    let run = json!({"action": "run", "method": "kit/echo"});
    let made = client.call("rpc", "jobs", run).await.unwrap();
    let wait = json!({"action": "wait", "id": made["job"]["id"]});
    assert_eq!(client.call("rpc", "jobs", wait).await.unwrap()["ended"], true);

    let all = logs(&mut client, json!({})).await.unwrap();
    let names: Vec<&String> = all.as_object().unwrap().keys().collect();
    let expected =
        ["dispatcher", "events-dispatcher", "events-lifepreserver", "events-state", "hostinfo"];
    assert_eq!(names, expected);
    let notices = entries(&all, "events-lifepreserver");
    assert_eq!(notices.len(), 20, "none stands in another's place");
    let notice =
        json!({"class": "replication", "message": "it failed", "priority": "7 - Critical"});
    assert!(notices.values().all(|entry| *entry == notice), "{notices:?}");
    let processes: Vec<Value> = entries(&all, "events-dispatcher").into_values().collect();
    assert_eq!(processes.len(), 1, "{processes:?}");
    assert_eq!(processes[0]["process_id"], "update");
    assert_eq!(entries(&all, "dispatcher").len(), 3, "it waited, began and ended");
    let told = entries(&all, "hostinfo");
    assert!(!told.is_empty());
    assert!(told.values().chain(entries(&all, "dispatcher").values()).all(Value::is_string));

    let (first, last) = (notices.keys().next().unwrap(), notices.keys().last().unwrap());
    let some = json!({"logs": "events-lifepreserver", "start_time": first, "end_time": last});
    let some = logs(&mut client, some).await.unwrap();
    assert_eq!(some.as_object().unwrap().len(), 1);
    let found = entries(&some, "events-lifepreserver");
    assert_eq!(found.len(), 19, "from the first on, and before the last");
    let past = json!({"logs": ["hostinfo"], "time_format": "relative_day", "end_time": 1});
    assert_eq!(logs(&mut client, past).await, Ok(json!({"hostinfo": {}})));
    for nothing in [json!("nothing"), json!([]), json!(["", "Hostinfo"])] {
        assert_eq!(logs(&mut client, json!({"logs": nothing})).await, Ok(json!({})));
    }
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn a_long_log_is_cut_at_its_old_end_and_says_so() {
    let (running, mut client) = kit().await;
    publish(&running, 1_050).await;
    let question = json!({"logs": ["events-lifepreserver", "hostinfo"]});
    let answer = logs(&mut client, question.clone()).await.unwrap();
    assert_eq!(answer["cut"], json!(["events-lifepreserver"]));
    let newest = entries(&answer, "events-lifepreserver");
    assert_eq!(newest.len(), 1_000);
    let mut older = question;
    older["end_time"] = json!(newest.keys().next().unwrap());
    let answer = logs(&mut client, older).await.unwrap();
    assert_eq!(entries(&answer, "events-lifepreserver").len(), 50, "the rest");
    assert_eq!(answer.get("cut"), None);
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn who_may_not_hear_an_event_does_not_find_it() {
    let (running, mut admin) = kit().await;
    publish(&running, 1).await;
    let run = json!({"action": "run", "commands": [["/bin/echo", "for operators"]]});
    let made = admin.call("rpc", "jobs", run).await.unwrap();
    let wait = json!({"action": "wait", "id": made["job"]["id"]});
    admin.call("rpc", "jobs", wait).await.unwrap();
    let heard = logs(&mut admin, json!({})).await.unwrap();
    let processes = entries(&heard, "events-dispatcher");
    let end = processes.values().find(|entry| entry["state"] == "finished").expect("its end");
    assert_eq!(end["/bin/echo for operators"], "for operators\n");

    let token = running.token("viewer").await;
    let mut viewer = running.remote(&token).await;
    let heard = logs(&mut viewer, json!({})).await.unwrap();
    assert_eq!(heard["events-dispatcher"], json!({}));
    assert_eq!(entries(&heard, "events-lifepreserver").len(), 1);

    let scope = json!({"classes": ["replication.*"]});
    let made = running.make_token(json!({"name": "ci", "role": "operator", "scope": scope})).await;
    let mut scoped = running.remote(made["token"].as_str().unwrap()).await;
    let heard = logs(&mut scoped, json!({})).await.unwrap();
    assert_eq!(entries(&heard, "events-lifepreserver").len(), 1);
    for log in ["hostinfo", "dispatcher", "events-dispatcher", "events-state"] {
        assert_eq!(heard[log], json!({}), "{log}");
    }
    drop((admin, viewer, scoped));
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_question_is_refused_and_nothing_else_happens() {
    let (running, mut client) = kit().await;
    for wrong in [
        json!({"start_time": "yesterday"}),
        json!({"end_time": [1]}),
        json!({"logs": 7}),
        json!({"logs": [["hostinfo"]]}),
        json!({"time_format": 7}),
        json!({"time_format": "relative_day", "start_time": "-1"}),
        json!({"time_format": "time_t_seconds", "start_time": 1.5}),
        json!({"time_format": "yyyy-MM-dd", "start_time": "2026-02-30"}),
        json!({"time_format": "yyyy'", "start_time": "2026"}),
        json!({"time_format": "yyyy\u{0}", "start_time": "2026"}),
    ] {
        let refusal = logs(&mut client, wrong.clone()).await.unwrap_err();
        assert_eq!(refusal["code"], "400", "{wrong}: {refusal}");
    }
    for action in [json!({}), json!({"action": "delete_logs"}), json!({"action": 5})] {
        let refusal = client.call("rpc", "logs", action.clone()).await.unwrap_err();
        assert_eq!(refusal["code"], "400", "{action}: {refusal}");
    }
    let far = json!({"logs": "hostinfo", "time_format": "relative_month", "start_time": u64::MAX});
    let far = logs(&mut client, far).await.unwrap();
    assert!(!entries(&far, "hostinfo").is_empty(), "since ever");
    let mut stranger = running.anonymous().await;
    let refusal = logs(&mut stranger, json!({})).await.unwrap_err();
    assert_eq!(refusal["code"], "401", "{refusal}");
    drop((client, stranger));
    running.stop().await;
}
