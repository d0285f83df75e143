//! A snapshot of a directory as a job: it tells how far it is, and can be given up.

use std::fs::File;

use serde_json::{Value, json};

use super::{end, jobs, start};
use crate::harness::Site;

#[tokio::test]
async fn a_long_snapshot_tells_how_far_it_is_and_is_given_up() {
    let mut site = Site::new();
    site.built_in = true;
    let data = site.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let running = site.start().await;
    running.ready("snapshot").await;
    let mut client = running.admin().await;
    // Bytes that are read, and none that lie on the disk.
    let file = File::create(data.join("big")).unwrap();
    file.set_len(64 << 20).unwrap();
    let create = json!({"method": "snapshot/create", "args": {"dataset": data, "name": "first"}});
    let id = start(&mut client, create.clone()).await;
    let ended = end(&mut client, &id).await;
    assert_eq!(ended["job"]["state"], "done", "{ended}");
    assert_eq!(ended["job"]["resumable"], false, "a retry takes another one");
    // So long that it is seen on its way, whatever the machine.
    file.set_len(1 << 40).unwrap();
    client.subscribe(json!({"sub": "j", "filter": {"classes": ["job.progress"]}})).await.unwrap();
    let mut again = create;
    again["args"]["name"] = "second".into();
    let id = start(&mut client, again).await;
    let mut progress = Value::Null;
    while progress["rate_per_s"].is_null() {
        let event = client.event().await["args"].take();
        if event["data"]["id"] == *id {
            progress = event["data"]["progress"].clone();
        }
    }
    assert_eq!((&progress["phase"], &progress["unit"]), (&json!("copying"), &json!("bytes")));
    assert!(progress["done"].as_u64().unwrap() > 0, "{progress}");
    jobs(&mut client, "abort", json!({"id": id})).await.unwrap();
    let ended = end(&mut client, &id).await;
    assert_eq!(ended["job"]["state"], "aborted", "{ended}");
    let listed = client.call("snapshot", "list", json!({"dataset": data})).await.unwrap();
    let names: Vec<&Value> =
        listed["snapshots"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["first"], "nothing is left of what was given up");
    let first = listed["snapshots"][0]["id"].clone();
    let id = start(&mut client, json!({"method": "snapshot/destroy", "args": {"id": first}})).await;
    let ended = end(&mut client, &id).await;
    assert_eq!(ended["job"]["state"], "done", "{ended}");
    let progress = &ended["job"]["progress"];
    assert_eq!(
        (&progress["phase"], &progress["unit"], &progress["percent"]),
        (&json!("freeing space"), &json!("directories"), &json!(100)),
        "{ended}"
    );
    let nobody = json!({"method": "snapshot/destroy", "args": {"id": "tree:x@y"}});
    let id = start(&mut client, nobody).await;
    let ended = end(&mut client, &id).await;
    assert_eq!(
        (&ended["job"]["state"], &ended["job"]["resumable"]),
        (&json!("failed"), &json!(true))
    );
    drop(client);
    running.stop().await;
}
