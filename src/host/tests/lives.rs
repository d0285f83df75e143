//! Lives of plugins: start, end, back-off, quarantine, reload, and those who will not go.

use std::os::unix::fs::PermissionsExt;

use protocol::FaultKind;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_life_is_told_in_events() {
    let yard = Yard::ready(&["good"]).await;
    yard.host.control("kit", Verb::Restart).await.unwrap();
    yard.host.control("kit", Verb::Stop).await.unwrap();
    // Then the last change is on record.
    yard.host.shutdown().await;
    let states = yard.states("kit").await;
    let expected = ["starting", "ready", "stopping", "starting", "ready", "stopping", "inactive"];
    assert_eq!(states, expected);
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_sees_a_clean_world() {
    let yard = Yard::ready(&["good"]).await;
    let own = yard.call("self", Value::Null).await.unwrap();
    let names: Vec<&String> = own["env"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["LANG", "LC_ALL", "PATH", "TZ"], "{own}");
    let state_dir = PathBuf::from(own["state_dir"].as_str().unwrap());
    assert_eq!(state_dir, yard.dir.join("state/plugin-state/kit"));
    let mode = state_dir.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    let pid = yard.status("kit").pid.unwrap();
    assert_eq!(own["pid"], pid);
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_crashes_again_and_again_is_quarantined_until_somebody_asks() {
    let mut manifest = manifest(&["crash-loop", "1"]);
    manifest["restart"]["max"] = 3.into();
    let yard = Yard::new(&[manifest]);
    let status = yard.until("kit", State::Quarantined).await;
    assert_eq!(status.restarts, 2);
    assert!(status.reason.contains("SIGABRT"), "{}", status.reason);
    let fault = yard.call("echo", Value::Null).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
    yard.host.control("kit", Verb::Start).await.ok();
    let again = yard.until("kit", State::Quarantined).await;
    assert_eq!(again.restarts, 5, "it was started three more times");
    yard.host.shutdown().await;
    let changes = yard.events("plugin.state").await;
    assert!(changes.iter().any(|event| event.priority.number() == 7));
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_start_is_told_to_whoever_asks() {
    let mut cases = vec![
        (vec!["exit-before-hello", "9"], "exited with status 9"),
        (vec!["refuse"], "does not want to"),
        (vec!["wrong-id"], "somebody-else"),
        (vec!["wrong-version"], "version 99"),
        (vec!["garbage-before-hello"], "protocol error"),
        (vec!["silent"], "did not answer initialize within 300 ms"),
    ];
    for (behaviour, expected) in cases.drain(..) {
        let mut manifest = manifest(&behaviour);
        manifest["limits"]["start_ms"] = 300.into();
        manifest["restart"]["max"] = 1.into();
        let yard = Yard::new(&[manifest]);
        let status = yard.until("kit", State::Quarantined).await;
        assert!(status.reason.contains(expected), "{behaviour:?}: {}", status.reason);
        let fault = yard.host.control("kit", Verb::Restart).await.unwrap_err();
        assert!(fault.message.contains(expected), "{behaviour:?}: {fault}");
        yard.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_the_protocol_is_ended() {
    let cases = [
        ("garbage-after-hello", "protocol error: 3 lines"),
        ("huge-line", "protocol error: a line of more than"),
        ("endless-line", "protocol error: a line of more than"),
        ("close-stdout", "closed its standard output"),
        ("no-health", "no health question"),
        ("stop-reading", "no health question"),
    ];
    for (behaviour, expected) in cases {
        let mut manifest = manifest(&[behaviour]);
        if expected.contains("health") {
            manifest["health"] = json!({ "interval_ms": 50, "timeout_ms": 50 });
        }
        manifest["restart"]["max"] = 1.into();
        let yard = Yard::new(&[manifest]);
        let status = yard.until("kit", State::Quarantined).await;
        assert!(status.reason.contains(expected), "{behaviour}: {}", status.reason);
        yard.host.shutdown().await;
        let was_degraded = yard.states("kit").await.contains(&"degraded".to_owned());
        assert_eq!(was_degraded, expected.contains("health"), "{behaviour}");
        yard.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_odd_is_survived() {
    for behaviour in ["unknown-ids", "answer-twice", "invalid-utf8", "chatty"] {
        let yard = Yard::ready(&[behaviour]).await;
        for n in 0..3 {
            assert_eq!(yard.call("echo", json!(n)).await, Ok(json!(n)), "{behaviour}");
        }
        assert_eq!(yard.status("kit").restarts, 0);
        yard.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ignores_every_word_is_killed() {
    let mut manifest = manifest(&["ignore-shutdown"]);
    manifest["limits"]["stop_ms"] = 50.into();
    let yard = Yard::new(&[manifest]);
    let pid = yard.until("kit", State::Ready).await.pid.unwrap();
    let status = yard.host.control("kit", Verb::Stop).await.unwrap();
    assert_eq!(status.state, State::Inactive);
    assert!(!is_alive(pid));
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grandchild_that_holds_the_pipe_neither_hides_the_end_nor_survives() {
    let mut manifest = manifest(&["grandchild"]);
    manifest["restart"]["max"] = 1.into();
    let yard = Yard::new(&[manifest]);
    let status = yard.until("kit", State::Quarantined).await;
    assert!(status.reason.contains("exited with status 0"), "{}", status.reason);
    let held = yard.dir.0.clone();
    eventually("the grandchild to be gone", || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut left = processes.filter(|entry| {
            std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&held))
        });
        left.next().is_none().then_some(())
    })
    .await;
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_calls_loses_none() {
    let yard = Yard::ready(&["slow", "5"]).await;
    let first = yard.status("kit").pid;
    let calling = async {
        let mut answered = 0;
        while answered < 300 {
            let batch = (0..10).map(|n| yard.call("echo", json!(n)));
            for (n, answer) in futures_util::future::join_all(batch).await.into_iter().enumerate() {
                assert_eq!(answer, Ok(json!(n)));
                answered += 1;
            }
        }
    };
    let reloading = async {
        for _ in 0..4 {
            let status = yard.host.control("kit", Verb::Reload).await.unwrap();
            assert_eq!(status.state, State::Ready);
        }
    };
    tokio::join!(calling, reloading);
    assert_ne!(yard.status("kit").pid, first);
    assert_eq!(yard.status("kit").calls_failed, 0);
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_leaves_the_old_process() {
    let yard = Yard::ready(&["good"]).await;
    let pid = yard.status("kit").pid;
    let mut broken = manifest(&["exit-before-hello", "4"]);
    broken["version"] = "2.0.0".into();
    kit::plugins::install(&yard.dir.join("plugins"), broken).unwrap();
    let fault = yard.host.control("kit", Verb::Reload).await.unwrap_err();
    assert!(fault.message.contains("exited with status 4"), "{fault}");
    let status = yard.status("kit");
    assert_eq!((status.pid, status.state, status.version.as_str()), (pid, State::Ready, "1.2.3"));
    assert_eq!(yard.call("echo", json!(1)).await, Ok(json!(1)));
    std::fs::write(yard.dir.join("plugins/kit/manifest.json"), "{").unwrap();
    let fault = yard.host.control("kit", Verb::Reload).await.unwrap_err();
    assert!(fault.message.contains("manifest.json"), "{fault}");
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_finds_what_is_new_gone_and_changed() {
    let yard = Yard::new(&[manifest(&["good"]), kit::plugins::manifest("other", &["good"])]);
    yard.until("kit", State::Ready).await;
    yard.until("other", State::Ready).await;
    let plugins = yard.dir.join("plugins");
    let mut changed = manifest(&["good"]);
    changed["methods"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "method": "kit/more", "kind": "query", "role": "viewer" }));
    kit::plugins::install(&plugins, changed).unwrap();
    std::fs::remove_dir_all(plugins.join("other")).unwrap();
    kit::plugins::install(&plugins, kit::plugins::manifest("third", &["good"])).unwrap();
    std::fs::create_dir(plugins.join("empty")).unwrap();
    let refusals = yard.host.rescan().await;
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].reason.contains("no manifest.json"));
    assert_eq!(yard.status("empty").state, State::Incompatible);
    yard.until("third", State::Ready).await;
    eventually("the new method", || yard.host.method("kit/more", None, 1)).await;
    assert!(yard.host.method("other/echo", None, 1).is_none());
    assert!(!yard.host.status().iter().any(|status| status.id == "other"));
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_told_to_stop_takes_its_plugins_along() {
    let yard = Yard::ready(&["good"]).await;
    let pid = yard.status("kit").pid.unwrap();
    yard.tasks.stop();
    eventually("the process to be gone", || (!is_alive(pid)).then_some(())).await;
    yard.end().await;
}
