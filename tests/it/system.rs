//! The plugin `system` in the daemon, on the machine that the test runs on. It only looks, and what
//! it is asked to change is refused.

mod members;

use std::path::Path;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::harness::{Running, Site, until};

async fn daemon() -> Running {
    let mut site = Site::new();
    site.system = true;
    let running = site.start().await;
    running.ready("system").await;
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_is_listed_only_where_it_works() {
    let running = daemon().await;
    let mut admin = running.admin().await;
    let listed = admin.call("rpc", "query", json!("simple-query")).await.unwrap();
    for class in ["fs", "network", "systemmanager", "users"] {
        assert!(listed[format!("sysadm/{class}")].is_string(), "{class}: {listed}");
    }
    let has_systemd = Path::new("/run/systemd/system").is_dir();
    assert_eq!(listed["sysadm/services"].is_string(), has_systemd, "{listed}");
    if !has_systemd {
        let refused = admin.call("sysadm", "services", json!({"action": "list_services"})).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused["code"], "404");
        assert!(refused["error"].as_str().unwrap().contains("systemd does not run here"));
        let plugins = admin.call("rpc", "plugins", json!({"action": "list"})).await.unwrap();
        let said = plugins["plugins"][0]["unavailable"].to_string();
        assert!(said.contains("sysadm/services"), "{plugins}");
    }
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_classic_client_is_told_the_state_first() {
    let running = daemon().await;
    let mut admin = running.admin().await;
    until("a state", async || {
        let state = admin.call("system", "state", json!({})).await.unwrap();
        state["zpools"].as_object().is_some_and(|pools| !pools.is_empty())
    })
    .await;
    let mut classic = running.admin().await;
    classic.subscribe(json!("system-state")).await.unwrap();
    let event = classic.event().await;
    assert_eq!((&event["name"], &event["id"]), (&json!("system-state"), &json!("")));
    let args = &event["args"];
    let name = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert_eq!(args["hostname"], *name);
    assert!(args["updates"]["status"].is_string() && args["priority"].is_string(), "{args}");
    let root = &args["zpools"]["/"];
    assert!(root["capacity"].as_str().unwrap().ends_with('%'), "{root}");
    let health = root["health"].as_str().unwrap();
    assert!(["ONLINE", "DEGRADED"].contains(&health), "{root}");
    drop((admin, classic));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_wrongly_is_refused_and_changes_nothing() {
    let running = daemon().await;
    let mut admin = running.admin().await;
    let accounts = std::fs::read("/etc/passwd").unwrap();
    for (class, args) in [
        ("systemmanager", json!({"action": "nothing"})),
        ("systemmanager", json!({"action": 5})),
        ("users", json!({"action": "useradd"})),
        ("users", json!({"action": "useradd", "name": "a b", "password": "x"})),
        ("users", json!({"action": "useradd", "name": "--help", "password": "x"})),
        ("users", json!({"action": "useradd", "name": "ok", "password": "x\nroot:y"})),
        ("users", json!({"action": "useradd", "name": "ok\u{0}", "password": "x"})),
        ("users", json!({"action": "useradd", "name": "ok", "password": "x", "comment": "a:b"})),
        ("users", json!({"action": "useradd", "name": "ok", "password": "x", "shell": "'; id'"})),
        ("users", json!({"action": "userdelete", "name": "root"})),
        ("users", json!({"action": "groupmod", "name": "root"})),
        ("fs", json!({"action": "dirlist", "dir": "../etc"})),
        ("fs", json!({"action": "dirlist", "dir": "/etc/../root"})),
        ("fs", json!({"action": "dirlist", "dir": "/etc\u{0}"})),
        ("network", json!({"action": "list-everything"})),
    ] {
        let refused = admin.call("sysadm", class, args.clone()).await.unwrap_err();
        assert_eq!(refused["code"], "400", "{class} {args}: {refused}");
    }
    for args in [
        json!({"action": "killproc", "pid": "1"}),
        json!({"action": "killproc", "pid": -1}),
        json!({"action": "killproc", "pid": "4", "signal": "$(reboot)"}),
        json!({"action": "setsysctl", "sysctl": "../../etc/passwd", "value": "x"}),
        json!({"action": "setsysctl", "sysctl": "kernel.ostype", "value": "x"}),
        json!({"action": "getsysctl", "sysctl": ["kernel\n.ostype"]}),
    ] {
        let answer = admin.call("sysadm", "systemmanager", args.clone()).await.unwrap();
        let answer = answer.as_object().unwrap().values().next().unwrap();
        assert!(answer["error"].is_string(), "{args}: {answer}");
    }
    assert_eq!(std::fs::read("/etc/passwd").unwrap(), accounts);
    drop(admin);
    running.stop().await;
}

/// A child that is ended with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("/usr/bin/sleep").arg("600").spawn().expect("sleep"))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_ends_a_process_and_nobody_else_does() {
    let running = daemon().await;
    let mut sleeper = Sleeper::start();
    let pid = sleeper.0.id().to_string();
    let kill = json!({"action": "killproc", "pid": pid, "signal": "TERM"});
    for role in ["viewer", "operator"] {
        let mut client = running.remote(&running.token(role).await).await;
        let refused = client.call("sysadm", "systemmanager", kill.clone()).await.unwrap_err();
        assert_eq!(refused["code"], "403", "{role}");
        let listing = json!({"action": "dirlist", "dir": "/"});
        let refused = client.call("sysadm", "fs", listing).await.unwrap_err();
        assert_eq!(refused["code"], "403", "{role}");
        let accounts = client.call("sysadm", "users", json!({"action": "usershow"})).await.unwrap();
        assert_eq!(accounts, json!({}), "a token has no account of its own");
    }
    let mut admin = running.admin().await;
    let list = json!({"action": "procinfo"});
    let before = admin.call("sysadm", "systemmanager", list.clone()).await.unwrap();
    assert!(before["procinfo"][&pid]["command"].as_str().unwrap().contains("sleep"), "{pid}");
    let echo = admin.call("sysadm", "systemmanager", kill.clone()).await.unwrap();
    assert_eq!(echo["killproc"], json!({"pid": pid, "signal": "TERM"}));
    assert!(!sleeper.0.wait().unwrap().success());
    let after = admin.call("sysadm", "systemmanager", list).await.unwrap();
    assert_eq!(after["procinfo"].get(&pid), None);
    let again = admin.call("sysadm", "systemmanager", kill).await.unwrap();
    assert!(again["killproc"]["error"].as_str().unwrap().contains("no process"), "{again}");
    let accounts = admin.call("sysadm", "users", json!({"action": "usershow"})).await.unwrap();
    assert_eq!(accounts["root"]["uid"], "0");
    assert_eq!(accounts["root"]["canremove"], "false");
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_threshold_of_the_configuration_raises_once_also_after_a_restart() {
    let mut site = Site::new();
    site.system = true;
    // Every disk that is not empty is above it.
    site.settings =
        "[plugins.config.system.conditions.disk-full]\nraise = 1\nclear = 1\n".to_owned();
    let running = site.start().await;
    running.ready("system").await;
    let mut admin = running.admin().await;
    let full = async |admin: &mut kit::client::SysAdmClient| -> Vec<Value> {
        let answer = admin.call("system", "conditions", json!({})).await.unwrap();
        let all = answer["conditions"].as_array().unwrap().iter();
        all.filter(|row| row["condition"] == "disk-full").cloned().collect()
    };
    until("a full disk", async || !full(&mut admin).await.is_empty()).await;
    let raised = full(&mut admin).await;
    let root = raised.iter().find(|row| row["subject"] == "/disks/%2F").unwrap().clone();
    assert_eq!(root["count"], 1);
    assert!(root["advice"].as_str().unwrap().contains("delete"), "{root}");
    admin.call("rpc", "plugins", json!({"action": "restart", "id": "system"})).await.unwrap();
    running.ready("system").await;
    until("it is remembered", async || !full(&mut admin).await.is_empty()).await;
    let again = full(&mut admin).await;
    let again = again.iter().find(|row| row["subject"] == "/disks/%2F").unwrap();
    assert_eq!((&again["since"], &again["count"]), (&root["since"], &root["count"]));
    let page = admin.call("events", "list", json!({"filter": {"classes": ["system.condition.*"]}}));
    let page = page.await.unwrap();
    let told = page["events"].as_array().unwrap().iter();
    let told = told.filter(|event| event["subject"] == "/disks/%2F").count();
    assert_eq!(told, 1, "{page:#}");
    // The condition is one alert, and still is when the plugin has said again what is left.
    let wanted = json!({"action": "list", "kind": "system.disk-full", "source": "system"});
    let alerts = admin.call("rpc", "alerts", wanted).await.unwrap();
    let mut alerts = alerts["alerts"].as_array().unwrap().iter();
    let alert = alerts.find(|alert| alert["subject"] == "/disks/%2F").expect("an alert");
    assert_eq!((&alert["state"], &alert["told"]), (&json!("open"), &json!(true)));
    let args = json!({"filter": {"classes": ["alert.raised"], "subject": format!("/alerts/{}", alert["id"])}});
    let page = admin.call("events", "list", args).await.unwrap();
    assert_eq!(page["events"].as_array().map(Vec::len), Some(1), "{page:#}");
    drop(admin);
    running.stop().await;
}
