//! Rules about events: which, when, how often, and what becomes of what does not work.

use serde_json::{Value, json};

use super::{events_of, fire, make, rules, runs, until_runs};
use crate::harness::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_acts_on_what_its_filter_wants_and_on_nothing_else() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    fire(&mut admin, "user.pool", "/pools/a", 7).await;
    let id = make(
        &mut admin,
        json!({
            "name": "note", "method": "events/fire", "args": {"class": "user.noted"},
            "when": {"event": {"classes": ["user.pool"], "min_priority": 5, "subject": "/pools/*", "text": "M"}},
        }),
    )
    .await;
    fire(&mut admin, "user.pool", "/pools/a", 4).await;
    fire(&mut admin, "user.other", "/pools/a", 7).await;
    fire(&mut admin, "user.pool", "/disks/a", 7).await;
    for subject in ["/pools/a", "/pools/b"] {
        fire(&mut admin, "user.pool", subject, 7).await;
    }
    let done = until_runs(&mut admin, &id, "done", 2).await;
    assert_eq!(done.len(), 2, "what was before the rule is not for it: {done:?}");
    let subjects: Vec<&Value> =
        done.iter().rev().map(|run| &run["cause"]["event"]["subject"]).collect();
    assert_eq!(subjects, ["/pools/a", "/pools/b"]);
    assert_eq!(events_of(&mut admin, "user.noted").await.len(), 2);
    // Who fired them, and that a rule was made, is on record.
    let audit = admin.call("rpc", "audit", json!({"action": "query", "method": "events/fire"}));
    let audit = audit.await.unwrap()["records"].to_string();
    assert!(audit.contains(&format!("rule:{id}")), "{audit}");
    rules(&mut admin, "delete", json!({ "id": id })).await.unwrap();
    fire(&mut admin, "user.pool", "/pools/a", 7).await;
    // A later rule sees that the deleted one has done nothing more.
    let other = json!({"when": {"event": {"classes": ["user.pool"]}}, "method": "events/fire", "args": {"class": "user.late"}});
    let other = make(&mut admin, other).await;
    fire(&mut admin, "user.pool", "/pools/a", 7).await;
    until_runs(&mut admin, &other, "done", 1).await;
    assert_eq!(runs(&mut admin, &id).await.len(), 2);
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_work_is_tried_again_given_up_and_can_be_retried() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    let fault = |kind: &str| json!({"fault": {"kind": kind, "message": "no such luck"}});
    let when = json!({"event": {"classes": ["user.x"]}});
    let passing = json!({
        "when": when, "method": "kit/fault", "args": fault("unavailable"),
        "manner": {"attempts": 3, "retry_s": 1, "retry_max_s": 1},
    });
    let passing = make(&mut admin, passing).await;
    let wrong = json!({"when": when, "method": "kit/fault", "args": fault("bad-request")});
    let wrong = make(&mut admin, wrong).await;
    fire(&mut admin, "user.x", "/a", 1).await;
    let dead = until_runs(&mut admin, &wrong, "dead", 1).await;
    assert_eq!(
        (&dead[0]["tries"], &dead[0]["error"]["message"]),
        (&json!(1), &json!("no such luck"))
    );
    let dead = until_runs(&mut admin, &passing, "dead", 1).await;
    assert_eq!(dead[0]["tries"], 3, "{dead:?}");
    let told = events_of(&mut admin, "rule.dead").await;
    assert_eq!((told.len(), &told[0]["priority_num"]), (2, &json!(5)));
    let listed = rules(&mut admin, "history", json!({"state": "dead"})).await.unwrap();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 2);
    let run = &dead[0]["id"];
    let retried = rules(&mut admin, "retry", json!({ "run": run })).await.unwrap();
    assert_eq!(retried["run"]["state"], "waiting");
    crate::harness::until("it was tried once more", async || {
        let run = &runs(&mut admin, &passing).await[0];
        run["state"] == "dead" && run["tries"] == 4
    })
    .await;
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_before_it_has_lasted_is_no_matter() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    let rule = json!({
        "when": {"event": {"classes": ["user.load"], "min_priority": 6}},
        "method": "events/fire", "args": {"class": "user.lasting"}, "manner": {"for_s": 2},
    });
    let id = make(&mut admin, rule).await;
    for (subject, priority) in [("/a", 7), ("/b", 7), ("/a", 0), ("/b", 8)] {
        fire(&mut admin, "user.load", subject, priority).await;
    }
    // Of /a it is over, of /b it went on, and got worse.
    let ended = until_runs(&mut admin, &id, "done", 2).await;
    let over: Vec<&Value> = ended.iter().filter(|run| run["state"] == "over").collect();
    assert_eq!(over.len(), 1, "{ended:?}");
    assert_eq!(over[0]["cause"]["event"]["subject"], "/a");
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_that_come_close_after_each_other_the_last_one_counts() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    let rule = json!({
        "when": {"event": {"classes": ["user.save"]}}, "method": "events/fire",
        "args": {"class": "user.saved"}, "manner": {"debounce_s": 2},
    });
    let id = make(&mut admin, rule).await;
    for subject in ["/a", "/a", "/b", "/a"] {
        fire(&mut admin, "user.save", subject, 1).await;
    }
    let ended = until_runs(&mut admin, &id, "done", 2).await;
    let states: Vec<&Value> = ended.iter().rev().map(|run| &run["state"]).collect();
    assert_eq!(states, ["superseded", "superseded", "done", "done"], "{ended:?}");
    assert_eq!(events_of(&mut admin, "user.saved").await.len(), 2);
    drop(admin);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_one_key_is_done_one_after_the_other() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    let rule = json!({
        "when": {"event": {"classes": ["user.go"]}}, "method": "kit/sleep", "args": {"ms": 300},
    });
    let id = make(&mut admin, rule).await;
    for subject in ["/a", "/b", "/a"] {
        fire(&mut admin, "user.go", subject, 1).await;
    }
    until_runs(&mut admin, &id, "done", 3).await;
    let jobs = admin.call("rpc", "jobs", json!({"action": "list"})).await.unwrap();
    let of = |run: &Value| {
        let jobs = jobs["jobs"].as_array().unwrap();
        let job = jobs.iter().find(|job| job["id"] == run["job"]).unwrap();
        let text = |name: &str| job[name].as_str().unwrap().to_owned();
        (text("started"), text("ended"))
    };
    let mut all = runs(&mut admin, &id).await;
    all.reverse();
    let [first, _, third] = &all[..] else { panic!("{all:?}") };
    assert!(of(third).0 >= of(first).1, "the second of /a waits for the first");
    drop(admin);
    running.stop().await;
}
