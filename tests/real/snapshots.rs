//! Snapshots are told once they exist, to everybody who wants to know, however often a client or
//! the daemon is killed; what somebody else has made is left alone.

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use crate::place::{DATASET, Places, daemon, zfs_snapshots};
use crate::run;

#[test]
fn a_snapshot_exists_when_its_event_comes_and_no_event_is_missed() {
    let places = Places::new("product");
    run(async {
        let program = daemon().await;
        let mut asking = program.admin().await;
        let mut classic = program.admin().await;
        classic.subscribe(json!("life-preserver")).await.expect("the classic subscription");
        let mut client = program.admin().await;
        subscribe(&mut client, "now").await;

        let mut cursor = String::new();
        for place in places.names() {
            let id = asking.send("snapshot", "create", json!({"dataset": place})).await;
            let event = client.event().await;
            places.check_taken(&program, &event);
            let answer = asking.answer(&id).await.expect("the snapshot is taken");
            assert_eq!(event["args"]["data"]["snapshot"], answer["snapshots"][0]["id"]);
            cursor = event["args"]["cursor"].as_str().expect("a cursor").to_owned();
            check_classic(&classic.event().await, &event);
        }

        // The client is killed: dropping it says no goodbye.
        drop(client);
        let missed = take_all(&mut asking, &places).await;
        let program = program.kill().await.spawn().await;
        program.ready("snapshot").await;
        let mut asking = program.admin().await;
        let later = take_all(&mut asking, &places).await;

        let mut client = program.admin().await;
        subscribe(&mut client, &cursor).await;
        for expected in missed.iter().chain(&later) {
            let event = client.event().await;
            assert_eq!(event["args"]["data"]["snapshot"], *expected, "{event}");
            places.check_taken(&program, &event);
        }
        let [last] = &take(&mut asking, DATASET).await[..] else { panic!("one snapshot") };
        assert_eq!(client.event().await["args"]["data"]["snapshot"], *last);
        drop((client, asking));
        program.stop().await;
    });
}

#[test]
fn what_somebody_else_has_made_is_listed_and_never_destroyed() {
    let places = Places::new("foreign");
    places.take_foreign("theirs");
    run(async {
        let program = daemon().await;
        let mut admin = program.admin().await;
        let ours = take(&mut admin, DATASET).await;
        let listed = admin.call("snapshot", "list", json!({})).await.expect("a list");
        let snapshots = listed["snapshots"].as_array().expect("a list");
        let foreign: Vec<&Value> =
            snapshots.iter().filter(|snapshot| snapshot["owner"] == "foreign").collect();
        let backends: Vec<&Value> = foreign.iter().map(|snapshot| &snapshot["backend"]).collect();
        assert!(
            backends.contains(&&json!("zfs")) && backends.contains(&&json!("btrfs")),
            "{listed:#}"
        );
        for snapshot in foreign {
            let destroyed = admin.call("snapshot", "destroy", json!({"id": snapshot["id"]})).await;
            let refusal = destroyed.expect_err("somebody else's snapshot is left alone");
            assert_eq!(refusal["code"], "403", "{refusal}");
            let args = json!({"action": "removesnap", "dataset": snapshot["dataset"],
                              "snap": snapshot["name"]});
            let answer = admin.call("sysadm", "lifepreserver", args).await.expect("an answer");
            assert!(answer["removesnap"]["error"].is_string(), "{answer}");
        }
        assert!(zfs_snapshots().contains(&format!("{DATASET}@theirs")));
        assert!(places.subvolumes().contains("theirs"));
        let destroyed = admin.call("snapshot", "destroy", json!({"id": ours[0]})).await;
        destroyed.expect("our own is destroyed");
        assert_eq!(zfs_snapshots(), [format!("{DATASET}@theirs")]);
        drop(admin);
        program.stop().await;
    });
}

async fn subscribe(client: &mut SysAdmClient, from: &str) {
    let wanted = json!({"sub": "s", "filter": {"classes": ["snapshot.*"]}, "from": from});
    let answer = client.subscribe(wanted).await.expect("the subscription is accepted");
    assert_eq!(answer["gap"], Value::Null);
}

/// The ids of new snapshots of every place.
async fn take_all(client: &mut SysAdmClient, places: &Places) -> Vec<Value> {
    let mut ids = Vec::new();
    for place in places.names() {
        ids.extend(take(client, place).await);
    }
    ids
}

/// The id of a new snapshot.
async fn take(client: &mut SysAdmClient, place: &str) -> Vec<Value> {
    let answer = client.call("snapshot", "create", json!({"dataset": place})).await;
    let answer = answer.unwrap_or_else(|refusal| panic!("{place}: {refusal:#}"));
    let made = answer["snapshots"].as_array().expect("a list");
    made.iter().map(|snapshot| snapshot["id"].clone()).collect()
}

/// The classic message tells the same.
fn check_classic(classic: &Value, event: &Value) {
    assert_eq!((&classic["name"], &classic["id"]), (&json!("life-preserver"), &json!("")));
    let args = &classic["args"];
    assert_eq!(args["class"], "snapshot");
    assert_eq!(args["message"], event["args"]["message"]);
    assert_eq!(args["priority"], event["args"]["priority"]);
    assert_eq!(args["event_id"], event["args"]["event_id"]);
    let message = args["message"].as_str().expect("a message");
    assert!(message.contains(": New snapshot of "), "{message}");
}
