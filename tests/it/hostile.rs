//! A plugin that means harm gets nowhere: here beside a daemon of a person, whose user it has, and
//! in `tests/real` beside one that is root.

use serde_json::{Value, json};

use crate::harness::{Running, Site};
use crate::villain::{Scene, VILLAIN};

#[tokio::test]
async fn whoever_has_the_daemons_user_cannot_reach_the_daemon() {
    let mut scene = Scene::begin(Site::new(), true).await;
    scene.what_is_allowed_works().await;
    scene.files_are_closed().await;
    scene.sockets_are_closed().await;
    scene.processes_are_closed().await;
    scene.others_are_left_alone().await;
    scene.calls_are_closed().await;
    scene.limits_hold().await;
    scene.restart().await;
    scene.sockets_are_closed().await;
    let confinement = scene.shown(VILLAIN).await["confinement"].take();
    assert_eq!(confinement["capabilities"], json!([]), "{confinement:#}");
    assert!(confinement["landlock"].is_u64(), "this test needs a kernel with Landlock (5.13)");
    scene.end().await;
}

#[tokio::test]
async fn who_asks_for_more_is_started_when_it_is_granted() {
    let mut manifest = kit::plugins::manifest(VILLAIN, &["good"]);
    manifest["sandbox"]["network"] = true.into();
    manifest["limits"]["open_files"] = 2_000.into();
    let mut site = Site::new().with_plugin(manifest);
    let grant = "grants.bad = { network = true, open_files = 2000 }";
    for granted in ["", "[plugins.grants.bad]\nnetwork = true\n"] {
        site.settings = granted.to_owned();
        let running = site.start().await;
        running.plugin_is(VILLAIN, "incompatible").await;
        let reason = shown(&running).await["reason"].clone();
        assert!(reason.as_str().expect("a reason").ends_with(grant), "{reason}");
        site = running.stop().await;
    }
    site.settings = format!(
        "[plugins.{}\n",
        grant.replace(" = { ", "]\n").replace(", ", "\n").replace(" }", "")
    );
    let running = site.start().await;
    running.ready(VILLAIN).await;
    let confinement = shown(&running).await["confinement"].clone();
    assert_eq!(confinement["network"], true, "{confinement:#}");
    assert_eq!(confinement["unix_sockets"], false, "{confinement:#}");
    assert_eq!(confinement["open_files"], 2_000, "{confinement:#}");
    let mut admin = running.admin().await;
    let listen = admin.call(VILLAIN, "hostile", json!({"act": "tcp-listen"})).await;
    assert_eq!(listen, Ok(json!({"done": "listening"})));
    let other = admin.call(VILLAIN, "hostile", json!({"act": "unix-listen"})).await;
    assert!(other.expect("an answer")["refused"].is_string());
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn a_manifest_that_asks_for_more_later_changes_nothing_until_it_is_granted() {
    let running = Site::new().with_plugin(kit::plugins::manifest(VILLAIN, &["good"])).start().await;
    running.ready(VILLAIN).await;
    let before = shown(&running).await;
    let mut manifest = kit::plugins::manifest(VILLAIN, &["good"]);
    manifest["sandbox"]["capabilities"] = json!(["SYS_ADMIN"]);
    kit::plugins::install(&running.site.plugins(), manifest).expect("it is replaced");
    let mut admin = running.admin().await;
    let args = json!({"action": "reload", "id": VILLAIN});
    let refusal = admin.call("rpc", "plugins", args).await.expect_err("it is not granted");
    let sentence = refusal["error"].as_str().expect("a sentence");
    assert!(sentence.contains("grants.bad = { capabilities = [\"SYS_ADMIN\"] }"), "{sentence}");
    let after = shown(&running).await;
    assert_eq!((&after["pid"], &after["state"]), (&before["pid"], &json!("ready")));
    drop(admin);
    running.stop().await;
}

async fn shown(running: &Running) -> Value {
    let answer = running.admin().await.call("rpc", "plugins", json!({"action": "list"})).await;
    let mut listed = answer.expect("the plugins are listed");
    let plugins = listed["plugins"].as_array_mut().expect("a list");
    plugins.iter().find(|it| it["id"] == VILLAIN).cloned().expect("it is listed")
}
