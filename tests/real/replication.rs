//! Snapshots are copied by the daemon as it is shipped, with the rights that the plugin's manifest
//! asks for and no others, and everybody who wants to know is told.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use kit::client::SysAdmClient;
use kit::lab::must;
use serde_json::{Value, json};

use crate::it::harness::{Program, Site};
use crate::place::{Places, text};
use crate::run;

#[test]
fn every_place_is_copied_with_all_that_a_file_is_and_classic_clients_are_told() {
    let places = Places::new("replication");
    // What only root can make, and so what only root can copy.
    let odd = places.subvolume.join("odd");
    fs::write(&odd, "x").unwrap();
    std::os::unix::fs::chown(&odd, Some(4321), Some(1234)).unwrap();
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o4755)).unwrap();
    let device = places.subvolume.join("device");
    must("mknod", "coreutils", &[text(&device), "c", "1", "3"]);
    must("zfs", "zfs-fuse", &["create", "tank/backup"]);
    let on_btrfs = places.subvolume.parent().unwrap().join("backup");
    fs::create_dir(&on_btrfs).unwrap();
    let store = places.directory.parent().unwrap().join("copies");
    let targets = [text(&store), text(&on_btrfs), "tank/backup"];
    run(async {
        let mut site = Site::new();
        (site.built_in, site.replication) = (true, true);
        let program = site.spawn().await;
        for plugin in ["snapshot", "replication"] {
            program.ready(plugin).await;
        }
        let mut admin = program.admin().await;
        let mut classic = program.admin().await;
        classic.subscribe(json!("life-preserver")).await.expect("the classic subscription");
        for (place, target) in places.names().into_iter().zip(targets) {
            let task = prepare(&mut admin, place, target).await;
            let args = json!({"task": task});
            let done = admin.call("replication", "run", args).await;
            let done = done.unwrap_or_else(|refusal| panic!("{place}: {refusal:#}"));
            assert_eq!(done["run"]["state"], "done", "{done:#}");
            for words in
                ["New snapshot of ", "Starting replication for ", "Finished replication for "]
            {
                let message = told(&mut classic).await;
                assert!(message.contains(&format!(": {words}{place}")), "{message}");
            }
            check_job(&program, &mut admin, &task).await;
            let same = ["Starting replication for ", "Finished replication for "];
            for words in same {
                assert!(told(&mut classic).await.contains(words));
            }
        }
        drop((admin, classic));
        program.stop().await;
    });
    check_btrfs(&on_btrfs);
    let copies = must("zfs", "zfs-fuse", &["list", "-H", "-r", "-t", "snapshot", "tank/backup"]);
    assert_eq!(copies.lines().count(), 1, "{copies}");
    assert!(
        store.join("version").is_file() && store.join("snaps").read_dir().unwrap().count() == 1
    );
}

/// Takes a snapshot of a place, and makes a task that copies it.
async fn prepare(admin: &mut SysAdmClient, place: &str, target: &str) -> Value {
    admin.call("snapshot", "create", json!({"dataset": place})).await.expect("a snapshot");
    let task = json!({"title": place, "sources": [place], "target": {"root": target}});
    let saved = admin.call("replication", "task_save", json!({"task": task})).await;
    saved.unwrap_or_else(|refusal| panic!("{place}: {refusal:#}"))["task"]["id"].take()
}

/// The message of the next classic event that is no progress.
async fn told(classic: &mut SysAdmClient) -> String {
    loop {
        let event = classic.event().await;
        let message = event["args"]["message"].as_str().expect("a message").to_owned();
        if !message.starts_with("Replicating ") {
            return message;
        }
    }
}

/// As a job with a key it is done once, however often it is asked for.
async fn check_job(program: &Program, admin: &mut SysAdmClient, task: &Value) {
    let key = format!("once-{task}");
    let wanted =
        json!({"action": "run", "method": "replication/run", "args": {"task": task}, "key": key});
    let made = admin.call("rpc", "jobs", wanted.clone()).await.expect("a job");
    let again = program.admin().await.call("rpc", "jobs", wanted).await.expect("the same job");
    assert_eq!(made["job"]["id"], again["job"]["id"]);
    let wait = json!({"action": "wait", "id": made["job"]["id"], "wait_s": 30});
    let ended = admin.call("rpc", "jobs", wait).await.expect("its end");
    assert_eq!(ended["job"]["state"], "done", "{ended:#}");
    let runs = admin.call("replication", "runs", json!({"task": task})).await.expect("runs");
    assert_eq!(runs["runs"].as_array().expect("a list").len(), 2, "{runs:#}");
}

fn check_btrfs(target: &Path) {
    let place = target.join("data");
    let copies: Vec<_> = place.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    let [copy] = copies.as_slice() else { panic!("{copies:?}") };
    let odd = copy.join("odd").metadata().unwrap();
    assert_eq!((odd.uid(), odd.gid(), odd.mode() & 0o7777), (4321, 1234, 0o4755));
    let device = copy.join("device").metadata().unwrap();
    assert_eq!((device.mode() & 0o170_000, device.rdev()), (0o020_000, nix::libc::makedev(1, 3)));
}
