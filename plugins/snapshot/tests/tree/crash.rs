//! SIGKILL at any moment leaves a store in which every listed snapshot is whole, and nothing else.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use kit::lab::wait_for;
use snapshot::backend::tree::Tree;
use snapshot::backend::{Backend, SnapshotState};

use crate::bench::{TreeBench, files, verify};
use crate::cases::new;

/// The directory of the bench, for the process that is to be killed.
const VICTIM: &str = "SNAPSHOT_TEST_VICTIM";
const ROUNDS: u64 = 30;
/// Snapshots the victim keeps; older ones it destroys.
const KEPT: usize = 3;

/// Changes files, takes a snapshot, destroys the oldest one.
fn churn(tree: &Tree, dir: &Path, round: u64) {
    let data = dir.join("data/churn");
    fs::create_dir_all(&data).unwrap();
    let id = tree.register(&data).unwrap().id;
    for number in 0..20_u64 {
        // Some contents stay, some change, some come back.
        let content = format!("{number} {}", (round * number) % 7).repeat(500);
        fs::write(data.join(format!("file-{number}")), content).unwrap();
    }
    tree.create(&id, &new("churn")).unwrap();
    let snapshots = tree.list(&id).unwrap();
    if snapshots.len() > KEPT {
        tree.destroy(&snapshots[0].id).unwrap();
    }
}

/// What holds after any number of kills, once the store was opened again.
fn check(dir: &Path, tree: &Tree) -> usize {
    let store = dir.join("store");
    let mut referenced = HashSet::new();
    let mut count = 0;
    for dataset in tree.datasets().unwrap() {
        for snapshot in tree.list(&dataset.id).unwrap() {
            assert_eq!(snapshot.state, SnapshotState::Complete, "{snapshot:?}");
            referenced.extend(verify(&store, &snapshot));
            count += 1;
        }
    }
    let blobs = files(&store.join("blobs"));
    let blobs: HashSet<&str> = blobs.iter().filter_map(|path| path.rsplit('/').next()).collect();
    assert_eq!(blobs, referenced.iter().map(String::as_str).collect());
    assert_eq!(fs::read_dir(store.join("tmp")).unwrap().count(), 0);
    count
}

/// On its own a small test of the same work; with [`VICTIM`] set it works until it is killed.
#[test]
fn churning_keeps_the_newest_and_nothing_else() {
    if let Some(dir) = std::env::var_os(VICTIM) {
        let dir = Path::new(&dir);
        let tree = Tree::open(&dir.join("store"), Vec::new()).unwrap();
        for round in 0.. {
            churn(&tree, dir, round);
        }
    }
    let bench = TreeBench::new();
    for round in 0..6 {
        churn(&bench.tree, &bench.dir, round);
    }
    assert_eq!(check(&bench.dir, &bench.tree), KEPT);
}

#[test]
fn killed_at_any_moment_the_store_stays_whole() {
    let bench = TreeBench::new();
    let mut seen = 0;
    for round in 0..ROUNDS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["crash::churning_keeps_the_newest_and_nothing_else", "--exact"])
            .env(VICTIM, &bench.dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From before the first write to some snapshots later, however slow the machine is: every
        // other round first waits until a snapshot has come or gone.
        if round % 2 == 1 {
            let before = files(&bench.store().join("snaps"));
            wait_for("a snapshot", || files(&bench.store().join("snaps")) != before);
        }
        thread::sleep(Duration::from_millis(5 + round * 11 % 120));
        victim.kill().unwrap();
        let ended = victim.wait().unwrap();
        assert_eq!(ended.code(), None, "the victim ended by itself: {ended}");
        let tree = Tree::open(&bench.store(), Vec::new()).unwrap();
        seen = seen.max(check(&bench.dir, &tree));
    }
    assert!(seen > 0, "no snapshot was ever finished: the kills come too early to prove anything");
}
