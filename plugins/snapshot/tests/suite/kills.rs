//! The plugin killed at every place where it writes while a policy is at work, on any back end.
//!
//! strace ends the plugin at a chosen system call: before the journal's line is written, when it is
//! written and nothing has followed, and where the back end itself makes things durable. Then the
//! plugin is started again, and what is there must be what would be there without the kill.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use kit::lab::command;
use serde_json::{Value, json};
use snapshot::backend::{Backend, DatasetId, Mark, NewSnapshot, Owner, Snapshot, SnapshotState};
use uuid::Uuid;

use super::link::Link;

/// Where it is killed: the journal's two calls, then those by which a back end makes things durable
/// or makes them go.
const CALLS: [&str; 6] = ["pwrite64", "fdatasync", "fsync", "rename", "unlink", "ioctl"];
/// More than a run has of any of these calls, so that the last place is surely not hit.
const MOST: usize = 80;
/// Places tried of the call that also looks.
const LOOKS: usize = 100;

/// So many times it is asked whether it is done.
const PATIENCE: usize = 1000;

/// Gives the back end to some work, while no plugin runs on this state directory.
pub(crate) type Using<'a> = &'a dyn Fn(&Path, &mut dyn FnMut(&dyn Backend));

/// A policy takes each slot once, however it is killed.
pub(crate) fn taking(dataset: &DatasetId, using: Using<'_>) {
    let dir = Link::fresh();
    using(&dir.join("state"), &mut |backend| assert_eq!(backend.list(dataset).unwrap(), []));
    let kills = everywhere(|trap| {
        let policy = Uuid::new_v4();
        let schedule = json!([{ "label": "hourly", "every_s": 3600 }]);
        prepare(&dir, dataset, policy, &schedule, &json!({}));
        let (link, was_killed) = begin(&dir, trap, |link| is_done(link, policy));
        let told = link.events.iter().filter(|event| event["class"] == "snapshot.created").count();
        link.end();
        using(&dir.join("state"), &mut |backend| {
            let of_it = own(&backend.list(dataset).unwrap(), policy);
            assert_eq!(of_it.len(), 1, "{trap:?}: {of_it:?}");
            assert_eq!(of_it[0].state, SnapshotState::Complete);
            assert!(of_it[0].mark.unwrap().slot <= Utc::now());
        });
        assert!(told >= 1, "{trap:?}: nobody was told");
        was_killed
    });
    assert!(kills["pwrite64"] >= 3 && kills["fdatasync"] >= 3, "{kills:?}");
    fs::remove_dir_all(dir).unwrap();
}

/// A policy destroys what it should and nothing else, however it is killed.
pub(crate) fn pruning(dataset: &DatasetId, using: Using<'_>) {
    let dir = Link::fresh();
    let kills = everywhere(|trap| {
        let policy = Uuid::new_v4();
        let mut before = Vec::new();
        using(&dir.join("state"), &mut |backend| {
            for age in [5, 4, 3, 2] {
                backend.create(dataset, &marked(policy, age)).unwrap();
            }
            before = backend.list(dataset).unwrap();
        });
        prepare(&dir, dataset, policy, &json!([]), &json!({ "last": 1 }));
        let (link, was_killed) = begin(&dir, trap, |link| is_pruned(link, policy));
        let pruned = link.events.iter().filter(|event| event["class"] == "snapshot.pruned");
        let told: BTreeSet<String> = pruned.flat_map(ids).collect();
        link.end();
        using(&dir.join("state"), &mut |backend| {
            let after = backend.list(dataset).unwrap();
            let gone: BTreeSet<String> = before
                .iter()
                .filter(|one| after.iter().all(|other| other.id != one.id))
                .map(|one| one.id.to_string())
                .collect();
            let own = own(&before, policy);
            let expected = own.iter().take(3).map(|one| one.id.to_string()).collect();
            assert_eq!(gone, expected, "{trap:?}");
            assert_eq!(told, expected, "{trap:?}: what is told");
            let foreign =
                |list: &[Snapshot]| list.iter().filter(|one| one.owner == Owner::Foreign).count();
            assert_eq!(foreign(&after), foreign(&before));
        });
        was_killed
    });
    assert!(kills["pwrite64"] >= 2 && kills["fdatasync"] >= 2, "{kills:?}");
    fs::remove_dir_all(dir).unwrap();
}

/// A plugin with a policy that has a snapshot of each of these ages in days, and does nothing by
/// itself.
pub(crate) fn aged(
    backend: &dyn Backend,
    dataset: &DatasetId,
    ages: &[i64],
    retention: &Value,
) -> (Link, Uuid) {
    let (dir, policy) = (Link::fresh(), Uuid::new_v4());
    for age in ages {
        backend.create(dataset, &marked(policy, *age)).unwrap();
    }
    prepare(&dir, dataset, policy, &json!([]), retention);
    let path = dir.join(format!("state/policies/{policy}.json"));
    let mut kept: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    kept["policy"]["enabled"] = json!(false);
    fs::write(path, kept.to_string()).unwrap();
    (Link::begin(&Value::Null, &dir), policy)
}

/// Runs a case once for each place of each call, until one is not hit; how many were, by call.
fn everywhere(
    mut case: impl FnMut((&str, usize)) -> bool,
) -> std::collections::BTreeMap<&'static str, usize> {
    let count = |call| {
        // Looking at a btrfs takes any number of calls that change nothing: some of them will do.
        if call == "ioctl" {
            return (1..LOOKS).step_by(6).filter(|place| case((call, *place))).count();
        }
        let missed = (1..MOST).find(|place| !case((call, *place)));
        missed.unwrap_or_else(|| panic!("{call}: {MOST} places and no end")) - 1
    };
    let counts = CALLS.map(count);
    CALLS.into_iter().zip(counts).collect()
}

/// Writes the policy and a journal that knows the clock, as an earlier life would have left them.
fn prepare(dir: &Path, dataset: &DatasetId, policy: Uuid, schedules: &Value, retention: &Value) {
    let policies = dir.join("state/policies");
    let _there = fs::remove_dir_all(&policies);
    fs::create_dir_all(&policies).unwrap();
    let kept = json!({
        "revision": 1,
        "saved": Utc::now() - TimeDelta::hours(2),
        "policy": {
            "id": policy, "title": "killed", "datasets": { "include": [dataset] },
            "schedules": schedules, "retention": retention,
        },
    });
    fs::write(policies.join(format!("{policy}.json")), kept.to_string()).unwrap();
    let clock = json!({ "did": "clock", "seen": Utc::now() });
    fs::write(dir.join("state/journal"), format!("{clock}\n")).unwrap();
}

/// Lets the plugin work until it is done, killed on the way or not; then it runs without a trap.
fn begin(
    dir: &Path,
    (call, place): (&str, usize),
    mut is_done: impl FnMut(&mut Link) -> Option<bool>,
) -> (Link, bool) {
    let strace = command("strace", "strace").get_program().to_owned();
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:signal=KILL:when={place}");
    let args = ["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let watcher: Vec<_> = std::iter::once(strace).chain(args.map(OsString::from)).collect();
    let mut until = |link: &mut Link| {
        for _ in 0..PATIENCE {
            match is_done(link) {
                Some(false) => std::thread::sleep(std::time::Duration::from_millis(20)),
                Some(true) => return true,
                None => return false,
            }
        }
        let said: Vec<_> = link.events.iter().map(|event| &event["message"]).collect();
        panic!("killed at {call} {place} it does not come to an end: {said:?}");
    };
    let mut told = VecDeque::new();
    if let Some(mut link) = Link::watched(&watcher, dir) {
        if until(&mut link) {
            return (link, false);
        }
        told = std::mem::take(&mut link.events);
    }
    let mut link = Link::watched(&[], dir).unwrap();
    link.events = told;
    assert!(until(&mut link), "it is killed by nobody");
    (link, true)
}

/// Whether the schedule has nothing to do any more, and nothing is going on.
fn is_done(link: &mut Link, policy: Uuid) -> Option<bool> {
    let listed = link.try_call("snapshot/policy_list", &json!({ "id": policy }))?.unwrap();
    let at = listed["policies"][0]["next"][0]["at"].as_str().unwrap();
    let at: DateTime<Utc> = at.parse().unwrap();
    Some(at > Utc::now() && !in_journal(&link.dir, "taking"))
}

fn is_pruned(link: &mut Link, policy: Uuid) -> Option<bool> {
    let plan = link.try_call("snapshot/prune_plan", &json!({ "id": policy }))?.unwrap();
    Some(plan["destroy"] == 0 && !in_journal(&link.dir, "pruning"))
}

/// Whether something of this kind was begun and is not over.
fn in_journal(dir: &Path, kind: &str) -> bool {
    let state = snapshot::policy::journal::read(&fs::read(dir.join("state/journal")).unwrap());
    match kind {
        "taking" => !state.taking.is_empty(),
        _ => !state.pruning.is_empty(),
    }
}

/// A snapshot as the policy would have taken it so many days ago.
fn marked(policy: Uuid, age: i64) -> NewSnapshot {
    let slot = (Utc::now() - TimeDelta::days(age)).trunc_subsecs(0);
    NewSnapshot {
        label: "daily".to_owned(),
        name: None,
        comment: None,
        mark: Some(Mark { policy, slot }),
        recursive: false,
        at: Utc::now(),
    }
}

fn own(list: &[Snapshot], policy: Uuid) -> Vec<Snapshot> {
    let is_own = |one: &&Snapshot| one.mark.is_some_and(|mark| mark.policy == policy);
    list.iter().filter(is_own).cloned().collect()
}

fn ids(event: &Value) -> Vec<String> {
    let listed = event["data"]["snapshots"].as_array().unwrap();
    listed.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}
