//! What snapshots are taken of, and how one sees with the system's own tools that they are there.

use std::fs;
use std::path::{Path, PathBuf};

use kit::lab::{Lab, Zfs, must};
use serde_json::Value;

use crate::it::harness::{Program, Site};

/// What every place holds.
const CONTENT: &str = "what was there";

/// A btrfs subvolume, a ZFS dataset and a plain directory, each with a file in it.
pub(crate) struct Places {
    /// A directory of no file system that knows snapshots.
    pub(crate) directory: PathBuf,
    /// A btrfs subvolume.
    pub(crate) subvolume: PathBuf,
    /// Where the ZFS dataset [`DATASET`] is mounted.
    pub(crate) dataset: PathBuf,
    btrfs: PathBuf,
    // Taken down in this order.
    _zfs: Zfs,
    _lab: Lab,
}

/// The ZFS dataset.
pub(crate) const DATASET: &str = "tank/data";

impl Places {
    /// Makes them, in a mount namespace that this thread is in from now on.
    pub(crate) fn new(name: &str) -> Self {
        let mut lab = Lab::enter(name);
        let btrfs = lab.btrfs("fs");
        let subvolume = btrfs.join("data");
        must("btrfs", "btrfs-progs", &["subvolume", "create", text(&subvolume)]);
        let mut zfs = lab.zfs();
        let dataset = zfs.pool("tank").join("data");
        must("zfs", "zfs-fuse", &["create", DATASET]);
        let directory = lab.dir().join("photos");
        fs::create_dir(&directory).expect("a directory");
        for place in [&directory, &subvolume, &dataset] {
            fs::write(place.join("file"), CONTENT).expect("a file");
        }
        Self { directory, subvolume, dataset, btrfs, _zfs: zfs, _lab: lab }
    }

    /// What one says to `snapshot/create` for each of them.
    pub(crate) fn names(&self) -> [&str; 3] {
        [text(&self.directory), text(&self.subvolume), DATASET]
    }

    /// Fails unless the snapshot of this event exists for the system's own tools.
    pub(crate) fn check_taken(&self, program: &Program, event: &Value) {
        let data = &event["args"]["data"];
        let member = |name: &str| data[name].as_str().unwrap_or_else(|| panic!("{name}: {event}"));
        let name = member("name");
        match member("backend") {
            "tree" => {
                let id = member("snapshot").strip_prefix("tree:").expect("an id of a directory");
                let (dataset, hash) = id.split_once('@').expect("a dataset and a snapshot");
                let store = program.site().path().join("plugin-state/snapshot/store/snaps");
                let manifest = store.join(dataset).join(hash);
                assert!(manifest.is_file(), "{} is not there", manifest.display());
            }
            "btrfs" => {
                let listed = self.subvolumes();
                assert!(listed.contains(name), "{name} is not among\n{listed}");
                let of_data = self.btrfs.join(".sysadmd").join(member("dataset")).join(name);
                let content = fs::read_to_string(of_data.join("file"));
                assert_eq!(content.expect("the file in the snapshot"), CONTENT);
            }
            "zfs" => {
                let listed = zfs_snapshots();
                assert!(listed.contains(&format!("{DATASET}@{name}")), "{name}: {listed:?}");
            }
            other => panic!("an unknown back end {other}: {event}"),
        }
    }

    /// Somebody else takes a snapshot of the subvolume and of the dataset.
    pub(crate) fn take_foreign(&self, name: &str) {
        let target = self.btrfs.join(name);
        let (from, to) = (text(&self.subvolume), text(&target));
        must("btrfs", "btrfs-progs", &["subvolume", "snapshot", "-r", from, to]);
        must("zfs", "zfs-fuse", &["snapshot", &format!("{DATASET}@{name}")]);
    }

    /// Every subvolume of the btrfs, as its tool lists them.
    pub(crate) fn subvolumes(&self) -> String {
        must("btrfs", "btrfs-progs", &["subvolume", "list", text(&self.btrfs)])
    }
}

/// Every ZFS snapshot, as its tool lists them.
pub(crate) fn zfs_snapshots() -> Vec<String> {
    let listed = must("zfs", "zfs-fuse", &["list", "-H", "-t", "snapshot", "-o", "name"]);
    listed.lines().map(str::to_owned).collect()
}

/// A daemon with its built-in plugins, ready to take snapshots.
pub(crate) async fn daemon() -> Program {
    let mut site = Site::new();
    site.built_in = true;
    let program = site.spawn().await;
    program.ready("snapshot").await;
    program
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the lab's paths are plain")
}
