//! Policies by the plugin's methods, on a directory.

use std::fs;
use std::path::PathBuf;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde_json::{Value, json};
use snapshot::backend::hold::Holds;
use snapshot::backend::tree::Tree;
use snapshot::backend::{Backend, Mark, NewSnapshot};
use uuid::Uuid;

use super::bench;
use super::kills;
use super::link::Link;

/// A policy for this directory, and its id.
fn policy(link: &mut Link, data: &str, more: &Value) -> Uuid {
    let mut policy = json!({ "title": "test", "datasets": { "include": [data] } });
    for (name, value) in more.as_object().unwrap() {
        policy[name] = value.clone();
    }
    let saved = link.call("snapshot/policy_save", &json!({ "policy": policy })).unwrap();
    assert_eq!((&saved["new"], &saved["changed"]), (&json!(true), &json!(true)));
    saved["policy"]["policy"]["id"].as_str().unwrap().parse().unwrap()
}

/// A plugin in a directory whose dataset has snapshots of a policy, one for each age in days.
fn aged(ages: &[i64], rules: &Value) -> (Link, PathBuf, Uuid) {
    let dir = Link::fresh();
    let data = dir.join("data");
    fs::create_dir(&data).unwrap();
    let tree = Tree::open(&dir.join("state/store"), Vec::new()).unwrap();
    let dataset = tree.register(&data).unwrap();
    let id = Uuid::new_v4();
    for age in ages {
        let at = (Utc::now() - TimeDelta::days(*age)).trunc_subsecs(0);
        let new = NewSnapshot {
            label: "daily".to_owned(),
            name: None,
            comment: None,
            mark: Some(Mark { policy: id, slot: at }),
            recursive: false,
            at,
        };
        tree.create(&dataset.id, &new).unwrap();
    }
    fs::create_dir(dir.join("state/policies")).unwrap();
    let kept = json!({
        "revision": 1, "saved": Utc::now(),
        "policy": {
            "id": id, "title": "aged", "datasets": { "include": [data] }, "retention": rules,
            // By itself it destroys nothing, so that a test can look first.
            "enabled": false,
        },
    });
    fs::write(dir.join(format!("state/policies/{id}.json")), kept.to_string()).unwrap();
    (Link::begin(&Value::Null, &dir), data, id)
}

fn plan(link: &mut Link, id: Uuid) -> Value {
    link.call("snapshot/prune_plan", &json!({ "id": id })).unwrap()
}

#[test]
fn a_policy_is_saved_listed_changed_and_removed() {
    let (mut link, _, data) = bench();
    link.call("snapshot/register", &json!({ "path": data })).unwrap();
    let more = json!({
        "schedules": [{ "label": "nightly", "cron": "30 2 * * *" }],
        "retention": { "daily": 7 }, "timezone": "Europe/Berlin",
    });
    let id = policy(&mut link, &data, &more);
    let event = link.await_event("snapshot.policy-changed");
    assert_eq!((&event["data"]["verb"], &event["data"]["policy"]), (&json!("saved"), &json!(id)));
    assert_eq!(event["subject"], format!("/policies/{id}"));

    let listed = link.call("snapshot/policy_list", &json!({})).unwrap();
    let one = &listed["policies"][0];
    assert_eq!((&one["revision"], &one["datasets_count"]), (&json!(1), &json!(1)));
    assert_eq!(one["datasets"][0]["name"], data);
    assert_eq!(one["next"][0]["label"], "nightly");
    let next: DateTime<Utc> = one["next"][0]["at"].as_str().unwrap().parse().unwrap();
    assert!(next > Utc::now() && next < Utc::now() + TimeDelta::hours(25), "{next}");

    let mut changed = one["policy"].clone();
    changed["title"] = json!("renamed");
    let save = |revision| json!({ "policy": changed, "revision": revision });
    let fault = link.call("snapshot/policy_save", &save(7)).unwrap_err();
    assert_eq!(fault["kind"], "conflict", "{fault}");
    let rehearsed = json!({ "policy": changed, "dry_run": true });
    let answer = link.call("snapshot/policy_save", &rehearsed).unwrap();
    assert_eq!((&answer["policy"]["revision"], &answer["dry_run"]), (&json!(2), &json!(true)));
    let listed = link.call("snapshot/policy_list", &json!({ "id": id })).unwrap();
    assert_eq!(listed["policies"][0]["policy"]["title"], "test");
    link.call("snapshot/policy_save", &save(1)).unwrap();
    // The same again changes nothing, and tells nobody.
    let told = link.events.len();
    let again = link.call("snapshot/policy_save", &json!({ "policy": changed })).unwrap();
    assert_eq!((&again["changed"], &again["policy"]["revision"]), (&json!(false), &json!(2)));
    assert_eq!(link.events.len(), told);

    link.call("snapshot/policy_run", &json!({ "id": id })).unwrap();
    let gone = link.call("snapshot/policy_remove", &json!({ "id": id })).unwrap();
    assert_eq!(gone["snapshots_left"], 1);
    let listed = link.call("snapshot/list", &json!({ "dataset": data })).unwrap();
    assert_eq!(listed["snapshots"][0]["policy"], json!(id));
    let fault = link.call("snapshot/policy_run", &json!({ "id": id })).unwrap_err();
    assert_eq!(fault["kind"], "not-found");
}

#[test]
fn what_cannot_be_meant_is_refused_and_changes_nothing() {
    let (mut link, _, data) = bench();
    let cases = [
        json!({ "title": "" }),
        json!({ "timezone": "Mars/Olympus" }),
        json!({ "datasets": { "include": [] } }),
        json!({ "datasets": { "include": ["a[" ] } }),
        json!({ "schedules": [{ "label": "x", "cron": "* * *" }] }),
        json!({ "schedules": [{ "label": "x", "cron": "0 0 31 2 *" }] }),
        json!({ "schedules": [{ "label": "x y", "cron": "0 0 * * *" }] }),
        json!({ "schedules": [{ "label": "x", "every_s": 60 }, { "label": "x", "every_s": 90 }] }),
        json!({ "retention": { "daily": -1 } }),
        json!({ "retention": { "dayly": 1 } }),
        json!({ "retention": { "min_age_s": 100, "max_age_s": 99 } }),
        json!({ "retention": { "max_destroy_per_run": 0 } }),
        json!({ "id": "me" }),
    ];
    for case in cases {
        let mut policy = json!({ "title": "test", "datasets": { "include": [data] } });
        for (name, value) in case.as_object().unwrap() {
            policy[name] = value.clone();
        }
        let fault = link.call("snapshot/policy_save", &json!({ "policy": policy })).unwrap_err();
        assert_eq!(fault["kind"], "bad-request", "{case}: {fault}");
    }
    let listed = link.call("snapshot/policy_list", &json!({})).unwrap();
    assert_eq!(listed["policies"], json!([]));
    assert_eq!(link.events.len(), 0);
}

#[test]
fn what_was_missed_is_caught_up_with_once_and_told() {
    let dir = Link::fresh();
    let data = dir.join("data");
    fs::create_dir(&data).unwrap();
    Tree::open(&dir.join("state/store"), Vec::new()).unwrap().register(&data).unwrap();
    fs::create_dir(dir.join("state/policies")).unwrap();
    let id = Uuid::new_v4();
    let kept = json!({
        "revision": 1, "saved": Utc::now() - TimeDelta::days(7),
        "policy": {
            "id": id, "title": "off for a week", "datasets": { "include": [data] },
            "schedules": [{ "label": "hourly", "cron": "0 * * * *" }],
        },
    });
    fs::write(dir.join(format!("state/policies/{id}.json")), kept.to_string()).unwrap();
    let mut link = Link::begin(&Value::Null, &dir);
    // A call has what the plugin says meanwhile read.
    let done = |link: &mut Link| {
        let listed = link.call("snapshot/policy_list", &json!({ "id": id })).unwrap();
        let next = listed["policies"][0]["next"][0]["at"].as_str().unwrap().to_owned();
        next.parse::<DateTime<Utc>>().unwrap() > Utc::now()
    };
    while !done(&mut link) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let missed = link.await_event("snapshot.missed");
    let count = missed["data"]["missed"].as_u64().unwrap();
    assert!((166..=168).contains(&count), "{missed}");
    let created = link.await_event("snapshot.created");
    assert_eq!(created["data"]["policy"], json!(id));
    assert_eq!(created["data"]["label"], "hourly");
    let listed = link.call("snapshot/list", &json!({})).unwrap();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
}

#[test]
fn a_plan_says_why_and_only_what_was_seen_is_destroyed() {
    let (mut link, data, id) = aged(&[9, 8, 7, 6, 5, 4, 3, 2, 1], &json!({ "daily": 3 }));
    let by_hand = json!({ "dataset": data.to_str().unwrap(), "label": "by-hand" });
    link.call("snapshot/create", &by_hand).unwrap();
    let seen = plan(&mut link, id);
    assert_eq!(
        (&seen["destroy"], &seen["owned"], &seen["limit"]),
        (&json!(6), &json!(9), &json!(10))
    );
    let rows = seen["snapshots"].as_array().unwrap();
    assert_eq!(rows.len(), 10);
    assert_eq!(rows[0]["why"], "no rule keeps it");
    assert!(rows[8]["why"].as_str().unwrap().starts_with("the newest; daily 20"), "{rows:?}");
    assert_eq!(rows[9]["reasons"], json!([{ "rule": "other-policy" }]));

    let prune = |plan: &Value, more: Value| {
        let mut args = json!({ "id": id, "plan": plan });
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        args
    };
    let other = json!("6-0123456789abcdef");
    let fault = link.call("snapshot/prune", &prune(&other, json!({}))).unwrap_err();
    assert_eq!(fault["details"]["reason"], "changed", "{fault}");
    let rehearsed = prune(&seen["plan"], json!({ "dry_run": true }));
    let answer = link.call("snapshot/prune", &rehearsed).unwrap();
    assert_eq!((&answer["destroyed"], &answer["dry_run"]), (&json!(6), &json!(true)));
    assert_eq!(plan(&mut link, id)["plan"], seen["plan"]);
    let answer = link.call("snapshot/prune", &prune(&seen["plan"], json!({}))).unwrap();
    assert_eq!((&answer["destroyed"], &answer["left"]), (&json!(6), &json!([])));
    let event = link.await_event("snapshot.pruned");
    assert_eq!(event["data"]["snapshots"], answer["snapshots"]);
    let listed = link.call("snapshot/list", &json!({})).unwrap();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 4);
    assert_eq!(plan(&mut link, id)["destroy"], 0);
    // What was asked twice is refused, not done twice.
    link.call("snapshot/prune", &prune(&seen["plan"], json!({}))).unwrap_err();
}

#[test]
fn a_plan_comes_in_pages() {
    let (mut link, _, id) = aged(&[5, 4, 3, 2, 1], &json!({ "last": 2 }));
    let (mut names, mut after) = (Vec::new(), Value::Null);
    loop {
        let mut args = json!({ "id": id, "limit": 2, "only": "destroy" });
        if !after.is_null() {
            args["after"] = after;
        }
        let page = link.call("snapshot/prune_plan", &args).unwrap();
        names.extend(page["snapshots"].as_array().unwrap().clone());
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn more_than_may_go_at_once_waits_for_approval() {
    let ages: Vec<i64> = (1..=20).rev().collect();
    let (mut link, _, id) = aged(&ages, &json!({ "last": 1, "max_destroy_per_run": 5 }));
    let seen = plan(&mut link, id);
    assert_eq!((&seen["destroy"], &seen["needs_approval"]), (&json!(19), &json!(true)));
    // Enabled, it would destroy by itself: it asks instead.
    let listed = link.call("snapshot/policy_list", &json!({ "id": id })).unwrap();
    let mut policy = listed["policies"][0]["policy"].clone();
    policy["enabled"] = json!(true);
    link.call("snapshot/policy_save", &json!({ "policy": policy })).unwrap();
    while !link.events.iter().any(|event| event["class"] == "snapshot.prune-needs-approval") {
        assert_eq!(plan(&mut link, id)["destroy"], 19);
    }
    let event = link.await_event("snapshot.prune-needs-approval");
    assert_eq!(event["data"]["plan"], seen["plan"]);
    let raised = |(verb, alert): &(String, Value)| {
        verb == "alert/raise" && alert["kind"] == "snapshot.prune-needs-approval"
    };
    plan(&mut link, id);
    assert!(link.alerts.iter().any(raised), "{:?}", link.alerts);
    let prune = json!({ "id": id, "plan": seen["plan"] });
    let fault = link.call("snapshot/prune", &prune).unwrap_err();
    assert_eq!(fault["details"]["reason"], "needs-approval");
    let approved = json!({ "id": id, "plan": seen["plan"], "approve": true });
    assert_eq!(link.call("snapshot/prune", &approved).unwrap()["destroyed"], 19);
}

#[test]
fn one_dataset_that_fails_keeps_no_other_from_its_snapshot() {
    let (mut link, _, data) = bench();
    let second = link.dir.join("second");
    fs::create_dir(&second).unwrap();
    for path in [data.as_str(), second.to_str().unwrap()] {
        link.call("snapshot/register", &json!({ "path": path })).unwrap();
    }
    let both = json!({ "datasets": { "include": [data, second] } });
    let id = policy(&mut link, &data, &both);
    let run = json!({ "id": id });
    let rehearsed =
        link.call("snapshot/policy_run", &json!({ "id": id, "dry_run": true })).unwrap();
    assert_eq!(rehearsed["datasets"].as_array().unwrap().len(), 2);
    fs::remove_dir(&second).unwrap();
    let answer = link.call("snapshot/policy_run", &run).unwrap();
    assert_eq!(answer["snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(answer["failed"].as_array().unwrap().len(), 1);
    // Whoever keeps the last line of a class sees that something is wrong.
    let last = link.events.back().unwrap();
    assert_eq!((&last["class"], &last["priority"]), (&json!("snapshot.policy-failing"), &json!(6)));
    assert!(last["message"].as_str().unwrap().contains("1 of 2 datasets"), "{last}");
    let listed = link.call("snapshot/policy_list", &run).unwrap();
    assert_eq!(listed["policies"][0]["failing"].as_array().unwrap().len(), 1);
    fs::create_dir(&second).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    link.call("snapshot/policy_run", &run).unwrap();
    assert_eq!(link.await_event("snapshot.policy-recovered")["data"]["policy"], json!(id));
}

#[test]
fn a_policy_without_datasets_says_so() {
    let (mut link, _, _) = bench();
    let id = policy(&mut link, "/no/such/place", &json!({}));
    let fault = link.call("snapshot/policy_run", &json!({ "id": id })).unwrap_err();
    assert_eq!(fault["kind"], "not-found", "{fault}");
    assert_eq!(link.await_event("snapshot.policy-failing")["data"]["total"], 0);
}

#[test]
fn the_state_directory_is_lost_and_nothing_is_destroyed() {
    let (link, data, _) = aged(&[3, 2, 1], &json!({ "last": 1 }));
    for left in ["policies", "journal"] {
        let path = link.dir.join("state").join(left);
        let _gone = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
    let dir = link.end();
    let mut link = Link::begin(&Value::Null, &dir);
    let listed = link.call("snapshot/list", &json!({ "dataset": data })).unwrap();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 3);
    // A new policy does not take the old one's snapshots for its own.
    let rules = json!({ "retention": { "last": 1 } });
    let id = policy(&mut link, data.to_str().unwrap(), &rules);
    link.call("snapshot/policy_run", &json!({ "id": id })).unwrap();
    let seen = plan(&mut link, id);
    assert_eq!(
        (&seen["destroy"], &seen["keep"], &seen["owned"]),
        (&json!(0), &json!(4), &json!(1))
    );
}

#[test]
fn what_is_held_stays_and_says_by_whom() {
    let (mut link, _, id) = aged(&[5, 4, 3, 2, 1], &json!({ "last": 1 }));
    let seen = plan(&mut link, id);
    let oldest = seen["snapshots"][0]["snapshot"].as_str().unwrap();
    let (_, identity) = oldest.split_once('@').unwrap();
    let holds = Holds::at(link.dir.join("state/store/holds"));
    holds.put(identity, "sysadm:task:cursor").unwrap();
    let held = plan(&mut link, id);
    assert_eq!((&seen["destroy"], &held["destroy"]), (&json!(4), &json!(3)));
    assert_eq!(held["snapshots"][0]["why"], "held: sysadm:task:cursor");
    let prune = json!({ "id": id, "plan": held["plan"] });
    assert_eq!(link.call("snapshot/prune", &prune).unwrap()["destroyed"], 3);
}

#[test]
fn a_list_that_fails_destroys_nothing_and_says_so_once() {
    let (mut link, _, id) = aged(&[5, 4, 3, 2, 1], &json!({ "last": 1 }));
    let seen = plan(&mut link, id);
    let snaps = link.dir.join("state/store/snaps");
    let of_it = fs::read_dir(&snaps).unwrap().next().unwrap().unwrap().path();
    let aside = link.dir.join("aside");
    fs::rename(&of_it, &aside).unwrap();
    fs::write(&of_it, "no directory").unwrap();
    let broken = plan(&mut link, id);
    assert_eq!((&broken["destroy"], &broken["owned"]), (&json!(0), &json!(0)));
    assert_eq!(broken["problems"].as_array().unwrap().len(), 1, "{broken}");
    let prune = json!({ "id": id, "plan": seen["plan"] });
    let fault = link.call("snapshot/prune", &prune).unwrap_err();
    assert_eq!(fault["details"]["reason"], "incomplete", "{fault}");
    // By itself it tells that, and again only when something else is wrong.
    enable(&mut link, id, true);
    while !link.events.iter().any(|event| event["class"] == "snapshot.prune-blocked") {
        plan(&mut link, id);
    }
    enable(&mut link, id, false);
    enable(&mut link, id, true);
    // More than the time after which it has looked again.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    enable(&mut link, id, false);
    let told = link.events.iter().filter(|event| event["class"] == "snapshot.prune-blocked");
    assert_eq!(told.count(), 1);
    fs::remove_file(&of_it).unwrap();
    fs::rename(&aside, &of_it).unwrap();
    assert_eq!(plan(&mut link, id)["plan"], seen["plan"]);
}

/// Has the policy's schedules and pruning count, or not.
fn enable(link: &mut Link, id: Uuid, is_enabled: bool) {
    let listed = link.call("snapshot/policy_list", &json!({ "id": id })).unwrap();
    let mut policy = listed["policies"][0]["policy"].clone();
    policy["enabled"] = json!(is_enabled);
    link.call("snapshot/policy_save", &json!({ "policy": policy })).unwrap();
}

/// The plugin with a clock that `set` sets, by this much against the true one.
fn with_clock(dir: &std::path::Path) -> (Link, impl Fn(&str) + use<>) {
    let libraries = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"];
    let library = libraries.map(|folder| format!("{folder}/faketime/libfaketimeMT.so.1"));
    let library = library.iter().find(|path| fs::exists(path).unwrap()).unwrap_or_else(|| {
        panic!(
            "libfaketime is missing: apt-get update && \
             apt-get install -y --no-install-recommends faketime"
        )
    });
    let file = dir.join("clock");
    fs::write(&file, "+0").unwrap();
    let watcher = [
        "/usr/bin/env".to_owned(),
        format!("LD_PRELOAD={library}"),
        format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    let link = Link::watched(&watcher.map(Into::into), dir).unwrap();
    (link, move |offset| fs::write(&file, offset).unwrap())
}

#[test]
fn a_clock_that_jumps_destroys_nothing_and_keeps_the_order() {
    let (link, data, id) = aged(&[3, 2, 1], &json!({ "max_age_s": 30 * 86_400 }));
    let dir = link.end();
    let (mut link, set) = with_clock(&dir);
    assert_eq!(plan(&mut link, id)["destroy"], 0);
    enable(&mut link, id, true);
    for (jump, expected) in [("+3650d", 2), ("-366d", 0)] {
        set(jump);
        let told = link.await_clock(&mut |link| drop(plan(link, id)));
        assert_eq!(told["data"]["trusted"], false, "{told}");
        let seen = plan(&mut link, id);
        assert_eq!(seen["destroy"], expected, "{jump}: {seen}");
        assert!(seen["clock_doubt"].as_str().unwrap().contains("jumped"));
        let prune = json!({ "id": id, "plan": seen["plan"] });
        let fault = link.call("snapshot/prune", &prune).unwrap_err();
        assert_eq!(fault["details"]["reason"], "clock", "{fault}");
        // Taking goes on, and the storage knows the order.
        let run = json!({ "id": id, "label": "jumped" });
        link.call("snapshot/policy_run", &run).unwrap();
        set("+0");
        let told = link.await_clock(&mut |link| drop(plan(link, id)));
        assert_eq!(told["data"]["trusted"], true, "{told}");
    }
    let listed = link.call("snapshot/list", &json!({ "dataset": data })).unwrap();
    let snapshots = listed["snapshots"].as_array().unwrap();
    let labels: Vec<&Value> = snapshots.iter().map(|one| &one["label"]).collect();
    assert_eq!(labels, ["daily", "daily", "daily", "jumped", "jumped"]);
    // The one of ten years ahead stays, and is in nobody's way.
    let seen = plan(&mut link, id);
    assert_eq!(seen["snapshots"][3]["reasons"][0], json!({ "rule": "future" }));
    link.end();
    fs::remove_dir_all(dir).unwrap();
}

/// A directory as the place to be killed on.
fn on_a_directory(case: impl Fn(&snapshot::backend::DatasetId, kills::Using<'_>)) {
    let data = Link::fresh();
    fs::write(data.join("file"), "content").unwrap();
    // Its id is the store's, and the store is the test's own: it is found by registering it again.
    let store = Link::fresh();
    let tree = Tree::open(&store.join("store"), Vec::new()).unwrap();
    let id = tree.register(&data).unwrap().id;
    drop(tree);
    let using = |state: &std::path::Path, work: &mut dyn FnMut(&dyn Backend)| {
        if !state.join("store").exists() {
            fs::rename(store.join("store"), state.join("store")).unwrap();
        }
        work(&Tree::open(&state.join("store"), Vec::new()).unwrap());
    };
    case(&id, &using);
    for dir in [data, store] {
        fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn killed_anywhere_a_policy_takes_each_slot_once() {
    on_a_directory(|id, using| kills::taking(id, using));
}

#[test]
fn killed_anywhere_pruning_destroys_what_it_should_and_nothing_else() {
    on_a_directory(|id, using| kills::pruning(id, using));
}
