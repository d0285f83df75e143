//! Alerts over restarts and kills, and those of the daemon itself.

use std::time::Duration;

use kit::client::Came;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{alerts, all, broken, ring, told};
use crate::chance::Chance;
use crate::harness::{PATIENCE, Site, until};

/// Rounds of being killed.
const ROUNDS: u64 = 12;

#[tokio::test]
async fn a_daemon_that_is_killed_knows_each_alert_once() {
    let mut chance = Chance::new();
    let mut program = Site::new().with_kit().spawn().await;
    let mut answered = 0;
    for round in 0..ROUNDS {
        program.ready("kit").await;
        let (door, first) = (program.admin().await, round * 1_000);
        let raising = async move {
            let (mut client, mut known) = (door, 0);
            for number in first..first + 40 {
                let raise = json!({"raise": broken(&format!("/{number}"))});
                if client.try_send("kit", "ring", raise).await.is_none() {
                    break;
                }
                match client.came_within(PATIENCE).await {
                    Some(Came::Message(told)) if told["args"]["state"] == "open" => known += 1,
                    _ => break,
                }
            }
            known
        };
        let killing = async {
            sleep(chance.millis(120)).await;
            program.kill().await
        };
        let (known, site) = tokio::join!(raising, killing);
        answered += known;
        program = site.spawn().await;
    }
    program.ready("kit").await;
    let mut client = program.admin().await;
    let known = all(&mut client).await;
    assert!(known.len() as u64 >= answered, "{} of {answered} answered", known.len());
    let told = told(&mut client).await;
    assert_eq!(told.len(), known.len(), "each was told once: {told:?}");
    assert!(told.iter().all(|it| *it == ("raised".to_owned(), true)), "{told:?}");
    let mut subjects: Vec<&Value> = known.iter().map(|alert| &alert["subject"]).collect();
    subjects.sort_by_key(ToString::to_string);
    subjects.dedup();
    assert_eq!(subjects.len(), known.len());
    drop(client);
    program.stop().await;
}

#[tokio::test]
async fn what_people_did_survives_and_a_plugin_that_starts_may_say_what_is_left() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    for subject in ["/x", "/y"] {
        ring(&mut admin, json!({"raise": broken(subject)})).await.unwrap();
    }
    alerts(&mut admin, "acknowledge", json!({"id": 1, "note": "on it"})).await.unwrap();
    alerts(&mut admin, "silence", json!({"id": 2, "for_s": 3600})).await.unwrap();
    let before = all(&mut admin).await;
    drop(admin);
    let running = running.restart().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    assert_eq!(all(&mut admin).await, before);
    ring(&mut admin, json!({"sync": [broken("/y")]})).await.unwrap();
    let states: Vec<Value> =
        all(&mut admin).await.iter().map(|alert| alert["state"].clone()).collect();
    assert_eq!(states, [json!("open"), json!("closed")], "the open one comes first");
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn a_plugin_in_quarantine_is_wrong_until_it_is_started() {
    let site = Site::new().with_plugin(kit::plugins::manifest("kit", &["crash-loop", "1"]));
    let running = site.start().await;
    running.plugin_is("kit", "quarantined").await;
    let mut admin = running.admin().await;
    let mut found = Value::Null;
    until("it is an alert", async || {
        let known = all(&mut admin).await;
        found = known.first().cloned().unwrap_or_default();
        found["state"] == "open"
    })
    .await;
    assert_eq!(
        (&found["kind"], &found["subject"], &found["source"]),
        (&json!("plugin.quarantined"), &json!("/plugins/kit"), &json!("sysadmd"))
    );
    assert!(found["advice"].as_str().is_some_and(|advice| advice.contains("plugins start")));
    let start = json!({"action": "start", "id": "kit"});
    admin.call("rpc", "plugins", start).await.unwrap();
    until("that was over, at least for a while", async || {
        told(&mut admin).await.contains(&("cleared".to_owned(), true))
    })
    .await;
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn the_configuration_has_the_last_word() {
    let mut site = Site::new().with_kit();
    site.settings = "[alerts.\"kit.flapping\"]\nenabled = false\n\
                     [alerts.\"kit.*\"]\npriority = 2\nfor_s = 1\n"
        .to_owned();
    let running = site.start().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    let flapping = json!({"raise": {"kind": "kit.flapping"}});
    assert_eq!(ring(&mut admin, flapping).await.unwrap(), json!({}));
    let told = ring(&mut admin, json!({"raise": broken("/x")})).await.unwrap();
    assert_eq!(told, json!({"id": 1, "state": "pending"}));
    until("it has lasted", async || all(&mut admin).await[0]["state"] == "open").await;
    assert_eq!(all(&mut admin).await[0]["priority"], 2);
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn the_command_line_shows_and_handles_them() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    ring(&mut admin, json!({"raise": broken("/x")})).await.unwrap();
    ring(&mut admin, json!({"raise": broken("/y")})).await.unwrap();
    let socket = running.socket.clone();
    let ctl = async |args: &[&str]| crate::command::done(&socket, args).await;
    let listed = ctl(&["alerts", "list"]).await;
    for part in ["ID", "7 - Critical", "kit.broken", "/x", "it is broken", "Mend it"] {
        assert!(listed.contains(part), "{part} in {listed}");
    }
    assert!(ctl(&["alerts", "ack", "1", "2", "--note", "on it"]).await.contains("by local:"));
    assert!(ctl(&["alerts", "silence", "2", "--for", "8h"]).await.contains("silent until"));
    ctl(&["alerts", "unsilence", "2"]).await;
    ctl(&["alerts", "unack", "1"]).await;
    ctl(&["alerts", "close", "1"]).await;
    let left = ctl(&["--json", "alerts", "list"]).await;
    let left: Value = serde_json::from_str(&left).unwrap();
    assert_eq!(left["alerts"].as_array().map_or(0, Vec::len), 1, "{left}");
    let history = ctl(&["alerts", "history", "1"]).await;
    for verb in ["raised", "acknowledged", "unacknowledged", "cleared"] {
        assert!(history.contains(verb), "{verb} in {history}");
    }
    assert!(ctl(&["alerts", "show", "1"]).await.contains("closed"));
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn who_follows_sees_what_is_and_what_comes() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    ring(&mut admin, json!({"raise": broken("/x")})).await.unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sysadmctl"));
    command.env_remove("SYSADMD_TOKEN").arg("--socket").arg(&running.socket);
    command.args(["alerts", "follow"]).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut next = async |part: &str| loop {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
        let line = line.expect("in time").expect("readable").expect("a line");
        if line.contains(part) {
            return;
        }
    };
    next("kit.broken").await;
    ring(&mut admin, json!({"raise": {"kind": "kit.broken", "message": "more is"}})).await.unwrap();
    next("more is").await;
    child.kill().await.expect("it is ended");
    drop(admin);
    running.stop().await;
}
