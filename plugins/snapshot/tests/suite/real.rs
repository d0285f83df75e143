//! A btrfs and a ZFS to disturb.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use kit::lab::{Lab, Zfs as ZfsHost, command, must, wait_for};
use snapshot::backend::btrfs::Btrfs;
use snapshot::backend::zfs::Zfs;
use snapshot::backend::{Backend, Snapshot};

use super::cases::{Bench, Place};

/// A fresh btrfs of the test's own.
pub(crate) struct BtrfsBench {
    pub(crate) mount: PathBuf,
    // Taken down last.
    _lab: Lab,
}

impl BtrfsBench {
    pub(crate) fn new() -> Self {
        let mut lab = Lab::enter("btrfs");
        let mount = lab.btrfs("fs");
        Self { mount, _lab: lab }
    }
}

fn place(backend: &dyn Backend, dir: PathBuf) -> Place {
    let datasets = backend.datasets().unwrap();
    let found = datasets.into_iter().find(|dataset| dataset.mount.as_ref() == Some(&dir));
    Place { id: found.unwrap_or_else(|| panic!("{} is not listed", dir.display())).id, dir }
}

impl Bench for BtrfsBench {
    fn backend(&self) -> &dyn Backend {
        &Btrfs
    }

    fn odd_name(&self) -> &'static str {
        "-o d\u{fc}\n d"
    }

    fn fresh(&self, name: &str) -> Place {
        let dir = self.mount.join(name);
        must("btrfs", "btrfs-progs", &["subvolume", "create", "--", dir.to_str().unwrap()]);
        place(&Btrfs, dir)
    }

    fn child(&self, parent: &Place, name: &str) -> Place {
        // One more directory between, as in real life.
        let dir = parent.dir.join("between").join(name);
        fs::create_dir_all(dir.parent().unwrap()).unwrap();
        must("btrfs", "btrfs-progs", &["subvolume", "create", "--", dir.to_str().unwrap()]);
        place(&Btrfs, dir)
    }

    fn foreign(&self, parent: &Place, name: &str) {
        let target = self.mount.join(name);
        let (from, to) = (parent.dir.to_str().unwrap(), target.to_str().unwrap());
        must("btrfs", "btrfs-progs", &["subvolume", "snapshot", "-r", from, to]);
    }

    fn disturb(&self, old: &Place) -> Place {
        let dir = self.mount.join("renamed");
        fs::rename(&old.dir, &dir).unwrap();
        place(&Btrfs, dir)
    }

    fn read(&self, made: &[Snapshot], place: &Place, file: &[u8]) -> Option<Vec<u8>> {
        let snapshot = made.iter().find(|snapshot| snapshot.dataset == place.id)?;
        let dir = self.mount.join(".sysadmd").join(place.id.as_str()).join(&snapshot.name);
        fs::read(dir.join(OsStr::from_bytes(file))).ok()
    }

    fn inventory(&self) -> BTreeSet<String> {
        let mount = self.mount.to_str().unwrap();
        let listed = must("btrfs", "btrfs-progs", &["subvolume", "list", "-u", mount]);
        // The last word but one group is the UUID, then the path; generations change on any write.
        let uuid = |line: &str| line.split(" uuid ").nth(1).map(str::to_owned);
        let mut found: BTreeSet<String> = listed.lines().filter_map(uuid).collect();
        let ledger = fs::read_dir(self.mount.join(".sysadmd/ledger"));
        found.extend(ledger.into_iter().flatten().map(|e| e.unwrap().path().display().to_string()));
        found
    }
}

/// A fresh pool on a ZFS of the test's own.
pub(crate) struct ZfsBench {
    // Taken down in this order.
    pub(crate) host: ZfsHost,
    _lab: Lab,
}

const POOL: &str = "lab";

impl ZfsBench {
    pub(crate) fn new() -> Self {
        let mut lab = Lab::enter("zfs");
        let mut host = lab.zfs();
        host.pool(POOL);
        Self { host, _lab: lab }
    }
}

fn zfs_place(name: &str) -> Place {
    let datasets = Zfs.datasets().unwrap();
    let found = datasets.into_iter().find(|dataset| dataset.name == name).unwrap();
    Place { id: found.id, dir: found.mount.unwrap() }
}

fn zfs_name(place: &Place) -> String {
    let datasets = Zfs.datasets().unwrap();
    datasets.into_iter().find(|dataset| dataset.id == place.id).unwrap().name
}

fn zfs(args: &[&str]) -> String {
    must("zfs", "zfs-fuse", args)
}

/// For what unmounts: FUSE closes files a moment after their last user did.
pub(crate) fn zfs_when_idle(args: &[&str]) {
    wait_for(&format!("zfs {args:?}"), || {
        command("zfs", "zfs-fuse").args(args).output().unwrap().status.success()
    });
}

impl Bench for ZfsBench {
    fn backend(&self) -> &dyn Backend {
        &Zfs
    }

    fn odd_name(&self) -> &'static str {
        "-o d.d:d_ d"
    }

    fn fresh(&self, name: &str) -> Place {
        let name = format!("{POOL}/{name}");
        zfs(&["create", &name]);
        zfs_place(&name)
    }

    fn child(&self, parent: &Place, name: &str) -> Place {
        let name = format!("{}/{name}", zfs_name(parent));
        zfs(&["create", &name]);
        zfs_place(&name)
    }

    fn foreign(&self, place: &Place, name: &str) {
        let dataset = zfs_name(place);
        // Our mark on the dataset is inherited by its snapshots and must not make them ours.
        zfs(&["set", "org.sysadm:policy=manual", &dataset]);
        zfs(&["snapshot", &format!("{dataset}@{name}")]);
    }

    fn disturb(&self, place: &Place) -> Place {
        let (old, new) = (zfs_name(place), format!("{POOL}/renamed"));
        // zfs-fuse does not rename what is mounted.
        zfs(&["unmount", &old]);
        zfs_when_idle(&["rename", &old, &new]);
        zfs(&["mount", &new]);
        zfs_place(&new)
    }

    fn read(&self, made: &[Snapshot], place: &Place, file: &[u8]) -> Option<Vec<u8>> {
        // zfs-fuse has no .zfs/snapshot; a clone shows what is in a snapshot.
        let snapshot = made.iter().find(|snapshot| snapshot.dataset == place.id)?;
        let clone = format!("{POOL}/clone");
        zfs(&["clone", &format!("{}@{}", zfs_name(place), snapshot.name), &clone]);
        let dir = zfs_place(&clone).dir;
        let content = fs::read(dir.join(OsStr::from_bytes(file))).ok();
        zfs_when_idle(&["destroy", &clone]);
        content
    }

    fn inventory(&self) -> BTreeSet<String> {
        zfs(&["list", "-H", "-t", "all", "-o", "name"]).lines().map(str::to_owned).collect()
    }
}
