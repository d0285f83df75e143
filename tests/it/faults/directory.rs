//! Plugins come and go with their directories.

use serde_json::{Value, json};

use super::scene::{BAD, Scene, assert_refused, bad};
use crate::harness::until;

#[tokio::test]
async fn a_plugin_starts_when_it_is_put_there_and_goes_when_it_is_removed() {
    let mut scene = Scene::without().await;
    assert_eq!(scene.shown().await, Value::Null);
    assert_refused(&scene.call("echo", json!(1)).await, "404", "bad/echo");
    let plugins = scene.running.site.plugins();
    kit::plugins::install(&plugins, bad(&["good"])).expect("it is put there");
    scene.until("ready").await;
    assert_eq!(scene.call("echo", json!(1)).await, Ok(json!(1)));

    let mut newer = bad(&["good"]);
    newer["description"] = "A newer one".into();
    kit::plugins::install(&plugins, newer).expect("it is replaced");
    until("the newer one is there", async || scene.shown().await["description"] == "A newer one")
        .await;
    assert_eq!(scene.call("echo", json!(2)).await, Ok(json!(2)));

    std::fs::remove_dir_all(plugins.join(BAD)).expect("it is removed");
    until("it has gone", async || scene.shown().await.is_null()).await;
    assert_refused(&scene.call("echo", json!(3)).await, "404", "bad/echo");
    scene.until("inactive").await;

    kit::plugins::install(&plugins, bad(&["good"])).expect("it is put there again");
    scene.until("ready").await;
    assert_eq!(scene.call("echo", json!(4)).await, Ok(json!(4)));
    scene.end().await;
}

#[tokio::test]
async fn a_plugin_that_writes_all_the_time_keeps_no_other_from_being_found() {
    let mut scene = Scene::without().await;
    let noise = scene.running.site.plugins().join("kit/noise");
    let mut writing = tokio::task::JoinSet::new();
    writing.spawn(async move {
        for number in 0_u64.. {
            std::fs::write(&noise, number.to_string()).expect("it is written");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let plugins = scene.running.site.plugins();
    kit::plugins::install(&plugins, bad(&["good"])).expect("it is put there");
    scene.until("ready").await;
    writing.shutdown().await;
    scene.end().await;
}

#[tokio::test]
async fn what_is_no_plugin_is_shown_with_the_reason_until_it_is_mended() {
    let mut scene = Scene::without().await;
    let plugins = scene.running.site.plugins();
    let cases = [
        (json!("no object"), "manifest.json"),
        (json!({"manifest_version": 99, "id": BAD, "version": "1", "exec": ["/bin/true"]}), "99"),
        (
            json!({"manifest_version": 1, "id": "else", "version": "1", "exec": ["/bin/true"]}),
            "directory's name",
        ),
        (
            json!({"manifest_version": 1, "id": BAD, "version": "1", "exec": ["bin/true"]}),
            "absolute path",
        ),
        (
            json!({"manifest_version": 1, "id": BAD, "version": "1", "exec": ["/no/such/program"]}),
            "not an executable file",
        ),
        (with_method_of("kit/echo"), "already answered by the plugin kit"),
    ];
    let dir = plugins.join(BAD);
    std::fs::create_dir_all(&dir).expect("a directory");
    for (manifest, reason) in cases {
        let text = manifest.to_string();
        std::fs::write(dir.join("manifest.json"), &text).expect("a manifest");
        until(&format!("{text} is refused for {reason:?}"), async || {
            let shown = scene.shown().await;
            let said = shown["reason"].as_str().unwrap_or_default();
            shown["state"] == "incompatible" && said.contains(reason)
        })
        .await;
    }
    kit::plugins::install(&plugins, bad(&["good"])).expect("it is mended");
    scene.until("ready").await;
    assert_eq!(scene.call("echo", json!(1)).await, Ok(json!(1)));
    scene.end().await;
}

fn with_method_of(method: &str) -> Value {
    let mut manifest = bad(&["good"]);
    manifest["methods"][0]["method"] = method.into();
    manifest
}
