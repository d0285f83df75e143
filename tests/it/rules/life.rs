//! Rules over the daemon's death, schedules, paths, and whose rights they have.

use serde_json::{Value, json};

use super::{events_of, fire, make, rules, runs, until_runs};
use crate::harness::{Site, until};

/// However often the daemon is killed: every event is answered, and none twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_the_daemon_is_killed_no_event_is_lost_and_none_is_answered_twice() {
    let mut program = Site::new().spawn().await;
    let mut admin = program.admin().await;
    let rule = json!({
        "when": {"event": {"classes": ["user.order"]}}, "method": "events/fire",
        "args": {"class": "user.bill"}, "manner": {"at_once": 4},
    });
    let id = make(&mut admin, rule).await;
    let mut fired = 0;
    for round in 0..4 {
        for number in 0..40 {
            let args = json!({"class": "user.order", "subject": format!("/{round}/{number}")});
            admin.call("events", "fire", args).await.expect("it is fired");
            fired += 1;
        }
        drop(admin);
        // It has begun with some of them and not with others.
        program = program.kill().await.spawn().await;
        admin = program.admin().await;
    }
    let done = until_runs(&mut admin, &id, "done", fired).await;
    assert_eq!(done.len(), fired);
    let bills = events_of(&mut admin, "user.bill").await;
    assert_eq!(bills.len(), fired, "one for each, however often it was killed");
    drop(admin);
    program.stop().await;
}

/// What a killed daemon had begun and nobody knows the end of: a question is asked again, a change is
/// given up and told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_off_is_repeated_only_where_that_does_no_harm() {
    let program = Site::new().with_kit().spawn().await;
    program.ready("kit").await;
    let mut admin = program.admin().await;
    let when = json!({"event": {"classes": ["user.x"]}});
    let question = json!({"when": when, "method": "kit/sleep", "args": {"ms": 2000}});
    let question = make(&mut admin, question).await;
    let change = make(&mut admin, json!({"when": when, "method": "kit/hang"})).await;
    fire(&mut admin, "user.x", "/a", 1).await;
    until("both run", async || {
        let mut both = runs(&mut admin, &question).await;
        both.extend(runs(&mut admin, &change).await);
        both.iter().filter(|run| run["job"].is_string()).count() == 2
    })
    .await;
    drop(admin);
    let program = program.kill().await.spawn().await;
    let mut admin = program.admin().await;
    let dead = until_runs(&mut admin, &change, "dead", 1).await;
    assert_eq!(dead[0]["tries"], 1, "{dead:?}");
    let done = until_runs(&mut admin, &question, "done", 1).await;
    assert_eq!((done.len(), &done[0]["tries"]), (1, &json!(2)));
    drop(admin);
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_was_disabled_or_away_makes_up_for_what_it_has_missed() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    let rule = json!({
        "when": {"event": {"classes": ["user.x"]}}, "method": "events/fire",
        "args": {"class": "user.y"},
    });
    let id = make(&mut admin, rule).await;
    rules(&mut admin, "disable", json!({ "id": id })).await.unwrap();
    fire(&mut admin, "user.x", "/a", 1).await;
    drop(admin);
    let running = running.restart().await;
    let mut admin = running.admin().await;
    fire(&mut admin, "user.x", "/b", 1).await;
    assert_eq!(runs(&mut admin, &id).await.len(), 0);
    rules(&mut admin, "enable", json!({ "id": id })).await.unwrap();
    until_runs(&mut admin, &id, "done", 2).await;
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_and_a_path_have_their_moments() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    let file = running.site.path().join("watched");
    let path = json!({
        "when": {"path": file}, "method": "events/fire", "args": {"class": "user.changed"},
    });
    let path = make(&mut admin, path).await;
    let second = json!({
        "when": {"schedule": {"cron": "* * * * * *", "zone": "Europe/Zurich"}},
        "method": "events/fire", "args": {"class": "user.second"},
    });
    let second = make(&mut admin, second).await;
    let done = until_runs(&mut admin, &second, "done", 2).await;
    assert!(done[0]["cause"]["moment"].is_string(), "{done:?}");
    assert_eq!(runs(&mut admin, &path).await.len(), 0, "nothing has changed yet");
    std::fs::write(&file, "new").unwrap();
    let done = until_runs(&mut admin, &path, "done", 1).await;
    assert_eq!(done[0]["cause"], "change");
    let before = done.len();
    std::fs::write(&file, "newer").unwrap();
    until_runs(&mut admin, &path, "done", before + 1).await;
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_hears_and_does_what_its_owner_may_and_no_more() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    let scope = json!({"name": "narrow", "role": "operator", "scope": {
        "methods": ["rpc/rules", "events/fire"], "classes": ["user.mine", "user.answer"],
    }});
    let made = running.make_token(scope).await;
    let mut narrow = running.remote(made["token"].as_str().unwrap()).await;
    let all =
        json!({"when": {"event": {}}, "method": "events/fire", "args": {"class": "user.answer"}});
    let heard_by_itself = rules(&mut narrow, "create", all).await.unwrap_err();
    assert_eq!(heard_by_itself["fault"]["kind"], "bad-request");
    let rule = json!({
        "when": {"event": {"classes": ["user.mine", "user.others"]}}, "method": "events/fire",
        "args": {"class": "user.answer"},
    });
    let id = make(&mut narrow, rule).await;
    for class in ["user.others", "user.mine", "user.others"] {
        fire(&mut admin, class, "/a", 1).await;
    }
    let done = until_runs(&mut admin, &id, "done", 1).await;
    assert_eq!((done.len(), &done[0]["cause"]["event"]["class"]), (1, &json!("user.mine")));
    for (wrong, kind) in [
        (json!({"when": {"path": "/etc"}, "method": "events/fire"}), "forbidden"),
        (json!({"when": {"event": {}}, "method": "kit/crash"}), "forbidden"),
        (json!({"when": {"schedule": {"cron": "x"}}, "method": "events/fire"}), "bad-request"),
        (json!({"when": {"event": {"min_prio": 5}}, "method": "events/fire"}), "bad-request"),
        (
            json!({"when": {"event": {}}, "method": "events/fire", "manner": {"attempts": 0}}),
            "bad-request",
        ),
    ] {
        let refused = rules(&mut narrow, "create", wrong.clone()).await.unwrap_err();
        assert_eq!(refused["fault"]["kind"], kind, "{wrong}");
    }
    // When the token is gone the rule does nothing, and what it could not do is told.
    let args = json!({"action": "revoke", "id": made["id"]});
    admin.call("rpc", "tokens", args).await.unwrap();
    fire(&mut admin, "user.mine", "/a", 1).await;
    let other = json!({"when": {"event": {"classes": ["user.mine"]}}, "method": "events/fire", "args": {"class": "user.z"}});
    let other = make(&mut admin, other).await;
    fire(&mut admin, "user.mine", "/a", 1).await;
    until_runs(&mut admin, &other, "done", 1).await;
    let answers: Vec<Value> = events_of(&mut admin, "user.answer").await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    drop((admin, narrow));
    running.stop().await;
}
