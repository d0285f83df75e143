//! Disks that fill up and are emptied again, on three file systems: one beginning, one end.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use kit::lab::Lab;
use nix::sys::statvfs::statvfs;
use serde_json::json;

use crate::follower::{Follower, told};
use crate::it::harness::{Site, until};
use crate::run;

/// What the disk is filled to, above the threshold of the configuration below.
const FULL: u64 = 65;
const SETTINGS: &str = "[plugins.config.system]\nlook_s = 1\n\
    [plugins.config.system.conditions.disk-full]\nraise = 60\nclear = 50\nclear_s = 0\n";

#[test]
fn a_disk_that_fills_up_is_told_once_and_its_end_once() {
    let mut lab = Lab::enter("disks");
    let disks = [lab.ext4("ext4"), lab.xfs("xfs"), lab.btrfs("btrfs")];
    run(async {
        let mut site = Site::new();
        (site.system, site.settings) = (true, SETTINGS.to_owned());
        let program = site.spawn().await;
        program.ready("system").await;
        let mut admin = program.admin().await;
        until("the disks are seen", async || {
            let listed = admin.call("system", "disks", json!({})).await.expect("a list");
            disks.iter().all(|disk| listed.to_string().contains(disk.to_str().expect("a path")))
        })
        .await;
        let changes = program.admin().await;
        let mut follower = Follower::new(changes, "disks", "system.disk.changed", "mount").await;
        for disk in &disks {
            let subject = subject_of(disk);
            fill(disk);
            until("it is raised", async || told(&mut admin, &subject).await == ["raised"]).await;
            follower.check().await;
            let state = admin.call("system", "state", json!({})).await.expect("a state");
            let row = &state["zpools"][disk.to_str().expect("a path")];
            assert_eq!(row["priority"], "6 - Critical", "{state:#}");
            empty(disk);
            let story = ["raised", "cleared"];
            until("it is cleared", async || told(&mut admin, &subject).await == story).await;
            follower.check().await;
        }
        // What is not mounted any more is not listed, and nothing more was told of it.
        let gone = &disks[0];
        nix::mount::umount(gone).expect("it is not in use");
        until("it is gone", async || {
            let listed = admin.call("system", "disks", json!({})).await.expect("a list");
            !listed.to_string().contains(gone.to_str().expect("a path"))
        })
        .await;
        follower.check().await;
        for disk in &disks {
            assert_eq!(told(&mut admin, &subject_of(disk)).await, ["raised", "cleared"]);
        }
        drop((admin, follower));
        program.stop().await;
    });
    drop(lab);
}

fn subject_of(disk: &Path) -> String {
    format!("/disks/{}", disk.to_str().expect("a path").replace('/', "%2F"))
}

fn percent(disk: &Path) -> u64 {
    let figures = statvfs(disk).expect("the disk answers");
    let used = figures.blocks() - figures.blocks_free();
    100 * used / (used + figures.blocks_available()).max(1)
}

fn fill(disk: &Path) {
    let mut file = File::create(disk.join("ballast")).expect("a file");
    let block = vec![7_u8; 4 << 20];
    while percent(disk) < FULL {
        file.write_all(&block).expect("there is room");
        file.sync_all().expect("it is on the disk");
    }
}

fn empty(disk: &Path) {
    fs::remove_file(disk.join("ballast")).expect("the ballast goes");
    // A file system that frees later does it now.
    let dir = File::open(disk).expect("the disk");
    nix::unistd::syncfs(&dir).expect("it is on the disk");
}
