//! What holds for every kind of storage.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::bench::{Bench, conflict, run, save};

/// A copy is made, then what has come since; the original is what is read back.
pub(crate) fn what_was_written_is_copied(bench: &dyn Bench) {
    let target = bench.target("backup");
    bench.snap("one", "first");
    bench.snap("two", "second");
    let mut link = bench.plugin();
    let task = save(&mut link, bench, &target, &json!({ "initial": "all" }));
    plans_two(&mut link, &task);
    assert_eq!(bench.copies(&target), [""; 0], "a plan copies nothing");

    let done = run(&mut link, &task);
    assert_eq!((&done["state"], &done["steps_done"]), (&json!("done"), &json!(2)), "{done:#}");
    assert!(done["bytes_done"].as_u64().unwrap() > 0);
    assert_eq!(bench.copies(&target), ["one", "two"]);
    bench.snap("three", "third");
    let done = run(&mut link, &task);
    assert_eq!(done["steps_done"], 1);
    assert_eq!(bench.copies(&target), ["one", "two", "three"]);
    for (copy, content) in [("one", "first"), ("two", "second"), ("three", "third")] {
        assert_eq!(bench.read(&target, copy, "file").as_deref(), Some(content), "{copy}");
        assert_eq!(bench.read(&target, copy, copy).as_deref(), Some(content), "{copy}");
    }
    // Nothing to do is nothing done.
    assert_eq!(run(&mut link, &task)["steps_done"], 0);
    assert_eq!(bench.holds(&target), 2, "the base, on both sides");
    assert_eq!(bench.leftovers(&target), BTreeSet::new());
    tells_what_happened(&mut link, &bench.dataset().name);
    assert_eq!(link.close(), Some(0));
}

fn plans_two(link: &mut kit::link::Link, task: &str) {
    let plan = link.call("replication/plan", &json!({ "task": task })).unwrap();
    let planned = &plan["datasets"][0];
    let seen = (&planned["state"], &planned["steps_total"]);
    assert_eq!(seen, (&json!("steps"), &json!(2)), "{plan:#}");
    assert_eq!(planned["steps"][0]["kind"], "full");
    assert_eq!(planned["steps"][1]["from"], "one");
}

fn tells_what_happened(link: &mut kit::link::Link, name: &str) {
    let mut told = Vec::new();
    for event in link.events.drain(..) {
        let class = event["class"].as_str().unwrap();
        if class != "replication.progress" {
            told.push(class.to_owned());
        }
        let start = match class {
            "replication.started" => format!(": Starting replication for {name}"),
            "replication.finished" => format!(": Finished replication for {name}"),
            _ => continue,
        };
        assert!(event["message"].as_str().unwrap().ends_with(&start), "{event}");
        assert_eq!(event["data"]["type"], class);
    }
    assert_eq!(told, ["replication.started", "replication.finished"].repeat(3));
}

/// Case 20: a base that somebody destroys at the target gives way to the one before; where the storage
/// does not let it, somebody has to decide.
pub(crate) fn pruned_at_the_target(bench: &dyn Bench, goes_on: bool) {
    let target = bench.target("backup");
    let [_, two] = ["one", "two"].map(|name| bench.snap(name, name));
    let mut link = bench.plugin();
    let task = save(&mut link, bench, &target, &json!({ "initial": "all" }));
    run(&mut link, &task);
    // While it is the base, this project does not destroy it.
    let refused = bench.backend().destroy(&two.id).unwrap_err();
    assert_eq!(refused.kind(), snapshot::backend::ErrorKind::Busy, "{refused}");
    // At the target: the one before is the base.
    bench.destroy_copy(&target, "two");
    bench.snap("three", "third");
    if goes_on {
        let done = run(&mut link, &task);
        assert_eq!(done["steps_done"], 2, "{done:#}");
        assert_eq!(bench.copies(&target), ["one", "two", "three"]);
        assert_eq!(bench.read(&target, "three", "file").as_deref(), Some("third"));
    } else {
        // To ZFS the files of the copy that is gone are changes since the one before.
        assert_eq!(conflict(&mut link, &task), "target-modified");
        assert_eq!(bench.copies(&target), ["one"]);
    }
    link.close();
}

/// Case 19: when nothing that both sides have is left at the source, nothing is sent over what is at
/// the target.
pub(crate) fn pruned_at_the_source(bench: &dyn Bench) {
    let target = bench.target("backup");
    let [one, _, three] = ["one", "two", "three"].map(|name| bench.snap(name, name));
    let mut link = bench.plugin();
    let task = save(&mut link, bench, &target, &json!({ "initial": "all" }));
    run(&mut link, &task);
    // The base alone: it cannot be destroyed, and the ones before it are not needed.
    bench.backend().destroy(&one.id).unwrap();
    bench.backend().destroy(&three.id).unwrap_err();
    assert_eq!(run(&mut link, &task)["steps_done"], 0);
    release_all(&mut link);
    let all = bench.backend().list(&bench.dataset().id).unwrap();
    for snapshot in &all {
        bench.backend().destroy(&snapshot.id).unwrap();
    }
    bench.snap("four", "fourth");
    let before = bench.copies(&target);
    assert_eq!(conflict(&mut link, &task), "no-common-base");
    assert_eq!(bench.copies(&target), before, "nothing is destroyed, nothing is sent whole");
    // Somebody decides.
    let dataset = bench.dataset().id;
    let choice =
        if dataset.as_str().starts_with("tree:") { "send-again" } else { "new-generation" };
    let decided = json!({ "task": task, "dataset": dataset, "choice": choice });
    link.call("replication/resolve", &decided).unwrap();
    run(&mut link, &task);
    let after = bench.copies(&target);
    assert!(before.iter().all(|copy| after.contains(copy)) && after.contains(&"four".to_owned()));
    assert_eq!(link.call("replication/conflicts", &json!({})).unwrap()["conflicts"], json!([]));
    link.close();
}

/// Lets go of every base, as somebody can who means it.
pub(crate) fn release_all(link: &mut kit::link::Link) {
    let holds = link.call("replication/holds", &json!({})).unwrap();
    for hold in holds["holds"].as_array().unwrap() {
        let mut args = json!({});
        for part in ["task", "dataset", "side", "role", "identity"] {
            args[part] = hold[part].clone();
        }
        let refused = link.call("replication/release", &args).unwrap_err();
        assert_eq!(refused["kind"], "conflict", "a base is not let go by mistake");
        args["give_up_base"] = json!(true);
        link.call("replication/release", &args).unwrap();
    }
    assert_eq!(link.call("replication/holds", &json!({})).unwrap()["holds"], json!([]));
}

/// Case 24: what somebody else has at the target is there afterwards.
pub(crate) fn foreign_snapshots_stay(bench: &dyn Bench, goes_on: bool) {
    let target = bench.target("backup");
    bench.snap("one", "first");
    let mut link = bench.plugin();
    let task = save(&mut link, bench, &target, &json!({}));
    run(&mut link, &task);
    bench.foreign(&target, "theirs");
    let before: BTreeSet<String> = bench.copies(&target).into_iter().collect();
    bench.snap("two", "second");
    if goes_on {
        run(&mut link, &task);
    } else {
        // Case 21: where the storage wants the base to be the newest, somebody has to decide.
        assert_eq!(conflict(&mut link, &task), "target-ahead");
        let alert = link.alerts.iter().rfind(|(method, _)| method == "alert/raise").unwrap();
        assert_eq!(alert.1["kind"], "replication.conflict");
    }
    let after: BTreeSet<String> = bench.copies(&target).into_iter().collect();
    assert!(before.is_subset(&after), "{before:?} {after:?}");
    assert_eq!(after.contains("two"), goes_on);
    link.close();
}

/// Case 35: with the state directory lost the copies are recognised, and it goes on where it was.
pub(crate) fn lost_state(bench: &dyn Bench) {
    let target = bench.target("backup");
    let id = uuid::Uuid::new_v4();
    bench.snap("one", "first");
    let mut link = bench.plugin();
    let task = save(&mut link, bench, &target, &json!({ "id": id }));
    run(&mut link, &task);
    link.close();
    std::fs::remove_dir_all(bench.dir().join("plugin")).unwrap();
    bench.snap("two", "second");
    let mut link = bench.plugin();
    let task = save(&mut link, bench, &target, &json!({ "id": id }));
    let plan = link.call("replication/plan", &json!({ "task": task })).unwrap();
    assert_eq!(plan["datasets"][0]["steps"][0]["from"], "one", "{plan:#}");
    run(&mut link, &task);
    assert_eq!(bench.copies(&target), ["one", "two"]);
    assert_eq!(bench.originals(), ["one", "two"]);
    assert_eq!(bench.holds(&target), 2);
    link.close();
}

/// A failing task is not forgotten when another one has done well.
pub(crate) fn failures_are_told_again(bench: &dyn Bench) {
    bench.snap("one", "first");
    let mut link = bench.plugin();
    let [good, bad] = ["good", "bad"].map(|name| bench.target(name));
    let fails = save(&mut link, bench, &bad, &json!({ "initial": "fail", "title": "fails" }));
    let works = save(&mut link, bench, &good, &json!({ "title": "works" }));
    assert_eq!(conflict(&mut link, &fails), "nothing-there");
    link.events.clear();
    run(&mut link, &works);
    let last = link.events.pop_back().unwrap();
    assert_eq!(last["class"], "replication.failing", "{last}");
    assert_eq!(last["message"], "1 of 2 tasks failing: fails");
    assert_eq!(last["priority"], 8);
    // Switched off it fails no more.
    link.call("replication/task_enable", &json!({ "task": fails, "enabled": false })).unwrap();
    link.events.clear();
    run(&mut link, &works);
    assert!(link.events.iter().all(|event| event["class"] != "replication.failing"));
    link.close();
}

/// What only looks changes nothing, and what is refused neither.
pub(crate) fn dry_runs_change_nothing(bench: &dyn Bench) {
    let target = bench.target("backup");
    bench.snap("one", "first");
    let mut link = bench.plugin();
    let wish =
        json!({ "title": "t", "sources": [bench.dataset().name], "target": { "root": target } });
    let dry = json!({ "task": wish, "dry_run": true });
    let answer = link.call("replication/task_save", &dry).unwrap();
    assert_eq!(answer["datasets"][0]["steps"][0]["to"], "one", "{answer:#}");
    assert_eq!(link.call("replication/task_list", &json!({})).unwrap()["tasks"], json!([]));
    let task = save(&mut link, bench, &target, &json!({}));
    let answer = link.call("replication/run", &json!({ "task": task, "dry_run": true })).unwrap();
    assert_eq!((&answer["run"], &answer["datasets"][0]["state"]), (&Value::Null, &json!("steps")));
    assert_eq!(bench.copies(&target), [""; 0]);
    run(&mut link, &task);
    let removed = json!({ "task": task, "dry_run": true });
    assert_eq!(link.call("replication/task_remove", &removed).unwrap()["released"], 2);
    assert_eq!(bench.holds(&target), 2);
    let answer = link.call("replication/task_remove", &json!({ "task": task })).unwrap();
    assert_eq!((&answer["released"], &answer["left"]), (&json!(2), &json!([])), "{answer:#}");
    assert_eq!(bench.holds(&target), 0);
    assert_eq!(bench.copies(&target), ["one"], "copies stay");
    let gone = link.call("replication/run", &json!({ "task": task })).unwrap_err();
    assert_eq!(gone["kind"], "not-found");
    link.close();
}

/// The cases, each as a test of its own.
macro_rules! suite {
    ($bench:expr, $goes_on:expr) => {
        #[test]
        fn what_was_written_is_copied() {
            super::cases::what_was_written_is_copied(&$bench);
        }

        #[test]
        fn a_base_that_is_pruned_at_the_target_gives_way() {
            super::cases::pruned_at_the_target(&$bench, $goes_on);
        }

        #[test]
        fn nothing_is_sent_whole_over_copies() {
            super::cases::pruned_at_the_source(&$bench);
        }

        #[test]
        fn foreign_snapshots_stay() {
            super::cases::foreign_snapshots_stay(&$bench, $goes_on);
        }

        #[test]
        fn a_lost_state_directory_loses_no_copy() {
            super::cases::lost_state(&$bench);
        }

        #[test]
        fn failures_are_told_again_when_another_run_ends() {
            super::cases::failures_are_told_again(&$bench);
        }

        #[test]
        fn dry_runs_change_nothing() {
            super::cases::dry_runs_change_nothing(&$bench);
        }
    };
}

pub(crate) use suite;
