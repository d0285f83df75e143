//! The plugin is killed at every record of its journal, while it is being written and when it is
//! written and nothing has followed; then it is started again.
//!
//! strace ends it at the system call, and only for that file. The plugin is both ends here, and with
//! it go the programs that send and receive, whose pipes are closed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use kit::lab::{command, wait_for};
use serde_json::json;

use super::bench::{Bench, run, save};

/// More records than a run of one step has.
const RECORDS_MAX: u32 = 20;

/// Kills it everywhere while it sends a difference, each time the next one.
pub(crate) fn in_an_increment(bench: &dyn Bench) {
    let target = bench.target("backup");
    bench.snap("s-0", "zero");
    let mut link = bench.plugin();
    let task = save(&mut link, bench, &target, &json!({}));
    run(&mut link, &task);
    link.close();
    let mut wanted = vec!["s-0".to_owned()];
    let mut deaths = 0;
    for (edge, number) in places() {
        let name = format!("s-{edge}-{number}");
        bench.snap(&name, &name);
        wanted.push(name.clone());
        let killed = dies(bench, &task, edge, number);
        deaths += u32::from(killed);
        converges(bench, &task, &target, &wanted);
        if !killed && edge == "fdatasync" {
            break;
        }
    }
    // Eleven records, killed before and after each.
    assert!(deaths >= 22, "{deaths}");
}

/// The same while it sends the first snapshot, whole, each time to a target of its own.
pub(crate) fn in_a_first_copy(bench: &dyn Bench) {
    bench.snap("first", "content");
    let mut deaths = 0;
    for (edge, number) in places() {
        let target = bench.target(&format!("backup-{edge}-{number}"));
        let mut link = bench.plugin();
        let task = save(&mut link, bench, &target, &json!({}));
        link.close();
        let killed = dies(bench, &task, edge, number);
        deaths += u32::from(killed);
        converges(bench, &task, &target, &["first".to_owned()]);
        let mut link = bench.plugin();
        link.call("replication/task_remove", &json!({ "task": task })).unwrap();
        link.close();
        if !killed && edge == "fdatasync" {
            break;
        }
    }
    assert!(deaths >= 22, "{deaths}");
}

/// Each record: cut short by the first system call, or written and nothing after it by the second.
fn places() -> impl Iterator<Item = (&'static str, u32)> {
    (1..RECORDS_MAX).flat_map(|number| [("write", number), ("fdatasync", number)])
}

/// Runs the task under a trap; whether it was sprung.
fn dies(bench: &dyn Bench, task: &str, call: &str, number: u32) -> bool {
    let journal = bench.journal();
    let trap: Vec<OsString> = [
        command("strace", "strace").get_program().to_owned(),
        "-f".into(),
        "-qq".into(),
        "-o".into(),
        "/dev/null".into(),
        "-P".into(),
        journal.clone().into_os_string(),
        "-e".into(),
        format!("trace={call}").into(),
        "-e".into(),
        format!("inject={call}:signal=KILL:when={number}").into(),
    ]
    .to_vec();
    assert!(Path::new(&journal).exists());
    let Some(mut link) = bench.start(&trap) else { return true };
    let ended = link.try_call("replication/run", &json!({ "task": task }));
    link.kill();
    ended.is_none()
}

/// Started again it does what is left, and nothing twice.
fn converges(bench: &dyn Bench, task: &str, target: &str, wanted: &[String]) {
    let mut link = bench.plugin();
    // A run that was on record goes on by itself.
    wait_for("the run that was cut off to end", || {
        let runs = link.call("replication/runs", &json!({ "task": task })).unwrap();
        let newest = runs["runs"].as_array().unwrap().first().cloned().unwrap_or_default();
        // One that was cut off is followed by one that goes on.
        newest["state"] != "running" && newest["state"] != "interrupted"
    });
    let plan = link.call("replication/plan", &json!({ "task": task })).unwrap();
    let first_copy = wanted.len() == 1;
    let full = plan["datasets"][0]["steps"][0]["kind"] == "full";
    assert!(first_copy || !full, "all would be sent again: {plan:#}");
    run(&mut link, task);
    let copies = bench.copies(target);
    assert_eq!(copies, wanted, "each once");
    let newest = wanted.last().unwrap();
    let content = if first_copy { "content" } else { newest };
    assert_eq!(bench.read(target, newest, "file").as_deref(), Some(content));
    assert_eq!(bench.leftovers(target), BTreeSet::new());
    assert_eq!(bench.holds(target), 2, "the base, on both sides");
    let holds = link.call("replication/holds", &json!({})).unwrap();
    assert_eq!(holds["holds"].as_array().unwrap().len(), 2, "{holds:#}");
    assert!(holds["holds"].as_array().unwrap().iter().all(|hold| hold["stale"] == false));
    link.close();
}
