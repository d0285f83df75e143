//! What is copied and where to, on each kind of storage, and how one sees with the system's own tools
//! what is there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::Utc;
use kit::lab::{Lab, Zfs as ZfsHost, command, must};
use kit::link::{Link, Start};
use serde_json::{Value, json};
use snapshot::backend::btrfs::Btrfs;
use snapshot::backend::tree::Tree;
use snapshot::backend::zfs::Zfs;
use snapshot::backend::{Backend, Dataset, NewSnapshot, Snapshot};

/// A source and a place for targets.
pub(crate) trait Bench {
    /// Where files are written that the next snapshot has.
    fn files(&self) -> PathBuf;
    /// The dataset.
    fn dataset(&self) -> Dataset;
    /// A target that does not exist yet, or is empty.
    fn target(&self, name: &str) -> String;
    /// The back end.
    fn backend(&self) -> Box<dyn Backend>;
    /// Where the snapshot plugin keeps snapshots of directories.
    fn store(&self) -> PathBuf;
    /// The directory of the test.
    fn dir(&self) -> PathBuf;
    /// The names of all copies below a target, as the system's own tools list them.
    fn copies(&self, target: &str) -> Vec<String>;
    /// A file of a copy.
    fn read(&self, target: &str, copy: &str, file: &str) -> Option<String>;
    /// Destroys a copy behind our back.
    fn destroy_copy(&self, target: &str, copy: &str);
    /// Somebody else takes a snapshot at the target, after a change there.
    fn foreign(&self, target: &str, name: &str);
    /// What is left of unfinished copies.
    fn leftovers(&self, target: &str) -> BTreeSet<String>;
    /// How often snapshots of the source and below the target are held, as the storage says.
    fn holds(&self, target: &str) -> usize;

    /// Takes a snapshot after writing a file.
    fn snap(&self, name: &str, content: &str) -> Snapshot {
        fs::write(self.files().join("file"), content).unwrap();
        fs::write(self.files().join(name), content).unwrap();
        self.take(name)
    }

    /// Takes a snapshot of what is there.
    fn take(&self, name: &str) -> Snapshot {
        let new = NewSnapshot {
            label: "manual".to_owned(),
            name: Some(name.to_owned()),
            comment: None,
            recursive: false,
            at: Utc::now(),
            mark: None,
        };
        self.backend().create(&self.dataset().id, &new).unwrap().remove(0)
    }

    /// The names of the source's snapshots.
    fn originals(&self) -> Vec<String> {
        let all = self.backend().list(&self.dataset().id).unwrap();
        all.into_iter().map(|snapshot| snapshot.name).collect()
    }

    /// Starts the plugin, or strace and the plugin in it.
    fn start(&self, before: &[OsString]) -> Option<Link> {
        let config = json!({ "store": self.store() });
        let mut start = Start::example("replication", "replication-plugin", &config);
        start.command = [before, &start.command].concat();
        Link::try_start(&self.dir().join("plugin"), &start)
    }

    /// The plugin, ready.
    fn plugin(&self) -> Link {
        self.start(&[]).unwrap()
    }

    /// Where the plugin keeps its journal.
    fn journal(&self) -> PathBuf {
        self.dir().join("plugin/state/journal")
    }
}

/// A task that copies the bench's dataset; returns its id.
pub(crate) fn save(link: &mut Link, bench: &dyn Bench, target: &str, more: &Value) -> String {
    let mut task = json!({
        "title": target, "sources": [bench.dataset().id], "target": { "root": target },
    });
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let saved = link.call("replication/task_save", &json!({ "task": task }));
    saved.unwrap_or_else(|fault| panic!("{fault:#}"))["task"]["id"].as_str().unwrap().to_owned()
}

/// Runs a task that must work; returns the run.
pub(crate) fn run(link: &mut Link, task: &str) -> Value {
    let answer = link.call("replication/run", &json!({ "task": task }));
    answer.unwrap_or_else(|fault| panic!("{fault:#}"))["run"].take()
}

/// Runs a task that must find a conflict; returns what it is.
pub(crate) fn conflict(link: &mut Link, task: &str) -> String {
    let fault = link.call("replication/run", &json!({ "task": task })).unwrap_err();
    assert_eq!(fault["kind"], "conflict", "{fault:#}");
    let answer = link.call("replication/conflicts", &json!({})).unwrap();
    let found = answer["conflicts"].as_array().unwrap();
    let of_task =
        found.iter().find(|found| found["task"] == task).unwrap_or_else(|| panic!("{answer:#}"));
    assert!(!of_task["conflict"]["solutions"].as_array().unwrap().is_empty());
    of_task["conflict"]["trouble"].as_str().unwrap().to_owned()
}

/// A directory, its store, and stores beside it.
pub(crate) struct TreeBench {
    dir: PathBuf,
    dataset: Dataset,
}

impl TreeBench {
    pub(crate) fn new() -> Self {
        let name = format!("replication-{}", uuid::Uuid::new_v4());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(dir.join("data")).unwrap();
        let tree = Tree::open(&dir.join("store"), Vec::new()).unwrap();
        let dataset = tree.register(&dir.join("data")).unwrap();
        Self { dir, dataset }
    }

    fn tree(target: &str) -> Option<Tree> {
        Path::new(target)
            .join("version")
            .exists()
            .then(|| Tree::open(Path::new(target), Vec::new()).unwrap())
    }

    fn kept(&self, target: &str) -> Vec<Snapshot> {
        // Before the first copy the dataset is not known there.
        Self::tree(target).and_then(|tree| tree.list(&self.dataset.id).ok()).unwrap_or_default()
    }

    fn find(&self, target: &str, copy: &str) -> Snapshot {
        self.kept(target).into_iter().find(|kept| kept.name == copy).unwrap()
    }
}

impl Drop for TreeBench {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.dir);
    }
}

impl Bench for TreeBench {
    fn files(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn dataset(&self) -> Dataset {
        self.dataset.clone()
    }

    fn target(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn backend(&self) -> Box<dyn Backend> {
        Box::new(Tree::open(&self.store(), Vec::new()).unwrap())
    }

    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    fn copies(&self, target: &str) -> Vec<String> {
        self.kept(target).into_iter().map(|kept| kept.name).collect()
    }

    fn read(&self, target: &str, copy: &str, file: &str) -> Option<String> {
        use snapshot::backend::tree::manifest::{Node, Reader};
        let identity = self.find(target, copy).id.identity;
        let uuid = self.dataset.id.as_str().strip_prefix("tree:")?;
        let manifest = Path::new(target).join("snaps").join(uuid).join(identity);
        let mut reader = Reader::open(&manifest).unwrap();
        while let Some(entry) = reader.next_entry().unwrap() {
            if let (true, Node::File { blob: Some(blob), .. }) =
                (entry.path == file.as_bytes(), entry.node)
            {
                let hex = blob.to_hex().to_string();
                let content = fs::read(Path::new(target).join("blobs").join(&hex[..2]).join(&hex));
                return Some(String::from_utf8(content.unwrap()).unwrap());
            }
        }
        None
    }

    fn destroy_copy(&self, target: &str, copy: &str) {
        let _released = fs::remove_dir_all(Path::new(target).join("holds"));
        let id = self.find(target, copy).id;
        Self::tree(target).unwrap().destroy(&id).unwrap();
    }

    fn foreign(&self, target: &str, name: &str) {
        // Another directory's snapshot in the same store.
        let other = self.dir.join("other");
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join("theirs"), name).unwrap();
        let tree = Self::tree(target).unwrap();
        let dataset = tree.register(&other).unwrap();
        let new = NewSnapshot {
            label: "theirs".to_owned(),
            name: Some(name.to_owned()),
            comment: None,
            recursive: false,
            at: Utc::now(),
            mark: None,
        };
        tree.create(&dataset.id, &new).unwrap();
    }

    fn leftovers(&self, target: &str) -> BTreeSet<String> {
        // Whoever opens the store next tidies it.
        drop(Self::tree(target));
        let entries = fs::read_dir(Path::new(target).join("tmp"));
        entries.into_iter().flatten().map(|e| e.unwrap().path().display().to_string()).collect()
    }

    fn holds(&self, target: &str) -> usize {
        let count = |dir: PathBuf| {
            let held = fs::read_dir(dir.join("holds")).into_iter().flatten();
            held.map(|held| fs::read_dir(held.unwrap().path()).unwrap().count()).sum::<usize>()
        };
        count(self.store()) + count(PathBuf::from(target))
    }
}

/// Two file systems.
pub(crate) struct BtrfsBench {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    // Taken down last.
    lab: Lab,
}

impl BtrfsBench {
    pub(crate) fn new() -> Self {
        let mut lab = Lab::enter("replication-btrfs");
        let (from, to) = (lab.btrfs("from"), lab.btrfs("to"));
        let data = from.join("data");
        must("btrfs", "btrfs-progs", &["subvolume", "create", data.to_str().unwrap()]);
        Self { from, to, lab }
    }

    /// Where the copies of the dataset are.
    pub(crate) fn place(target: &str) -> PathBuf {
        Path::new(target).join("data")
    }
}

impl Bench for BtrfsBench {
    fn files(&self) -> PathBuf {
        self.from.join("data")
    }

    fn dataset(&self) -> Dataset {
        let all = Btrfs.datasets().unwrap();
        all.into_iter().find(|dataset| dataset.mount.as_ref() == Some(&self.files())).unwrap()
    }

    fn target(&self, name: &str) -> String {
        let dir = self.to.join(name);
        fs::create_dir_all(&dir).unwrap();
        dir.to_str().unwrap().to_owned()
    }

    fn backend(&self) -> Box<dyn Backend> {
        Box::new(Btrfs)
    }

    fn store(&self) -> PathBuf {
        self.lab.dir().join("store")
    }

    fn dir(&self) -> PathBuf {
        self.lab.dir().to_owned()
    }

    fn copies(&self, target: &str) -> Vec<String> {
        let listed =
            must("btrfs", "btrfs-progs", &["subvolume", "list", "-r", self.to.to_str().unwrap()]);
        let name = Path::new(target).file_name().unwrap().to_str().unwrap();
        let path = |line: &str| line.split(" path ").nth(1).unwrap().to_owned();
        let below = listed.lines().map(path).filter(|path| path.starts_with(&format!("{name}/")));
        below.map(|path| path.rsplit('/').next().unwrap().to_owned()).collect()
    }

    fn read(&self, target: &str, copy: &str, file: &str) -> Option<String> {
        fs::read_to_string(Self::place(target).join(copy).join(file)).ok()
    }

    fn destroy_copy(&self, target: &str, copy: &str) {
        let path = Self::place(target).join(copy);
        must("btrfs", "btrfs-progs", &["subvolume", "delete", "-c", path.to_str().unwrap()]);
    }

    fn foreign(&self, target: &str, name: &str) {
        let other = self.to.join(format!("other-{name}"));
        must("btrfs", "btrfs-progs", &["subvolume", "create", other.to_str().unwrap()]);
        fs::write(other.join("theirs"), name).unwrap();
        let place = Self::place(target).join(name);
        let (from, to) = (other.to_str().unwrap(), place.to_str().unwrap());
        must("btrfs", "btrfs-progs", &["subvolume", "snapshot", "-r", from, to]);
    }

    fn leftovers(&self, target: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(Path::new(target).join(".sysadm-incoming"));
        entries.into_iter().flatten().map(|e| e.unwrap().path().display().to_string()).collect()
    }

    fn holds(&self, _target: &str) -> usize {
        let count = |mount: &Path| {
            let held = fs::read_dir(mount.join(".sysadmd/holds")).into_iter().flatten();
            held.map(|held| fs::read_dir(held.unwrap().path()).unwrap().count()).sum::<usize>()
        };
        count(&self.from) + count(&self.to)
    }
}

/// A pool to copy from and one to copy to.
pub(crate) struct ZfsBench {
    // Taken down in this order.
    _host: ZfsHost,
    lab: Lab,
}

impl ZfsBench {
    pub(crate) fn new() -> Self {
        let mut lab = Lab::enter("replication-zfs");
        let mut host = lab.zfs();
        host.pool("here");
        host.pool("there");
        zfs(&["create", "here/data"]);
        Self { _host: host, lab }
    }
}

pub(crate) fn zfs(args: &[&str]) -> String {
    must("zfs", "zfs-fuse", args)
}

impl Bench for ZfsBench {
    fn files(&self) -> PathBuf {
        self.lab.dir().join("here/data")
    }

    fn dataset(&self) -> Dataset {
        Zfs.datasets().unwrap().into_iter().find(|dataset| dataset.name == "here/data").unwrap()
    }

    fn target(&self, name: &str) -> String {
        let dataset = format!("there/{name}");
        let asked = command("zfs", "zfs-fuse").args(["list", &dataset]).output().unwrap();
        if !asked.status.success() {
            zfs(&["create", &dataset]);
        }
        dataset
    }

    fn backend(&self) -> Box<dyn Backend> {
        Box::new(Zfs)
    }

    fn store(&self) -> PathBuf {
        self.lab.dir().join("store")
    }

    fn dir(&self) -> PathBuf {
        self.lab.dir().to_owned()
    }

    fn copies(&self, target: &str) -> Vec<String> {
        let listed =
            zfs(&["list", "-H", "-r", "-t", "snapshot", "-s", "createtxg", "-o", "name", target]);
        let of_data = |line: &&str| line.starts_with(&format!("{target}/"));
        listed
            .lines()
            .filter(of_data)
            .map(|line| line.rsplit('@').next().unwrap().to_owned())
            .collect()
    }

    fn read(&self, target: &str, copy: &str, file: &str) -> Option<String> {
        // zfs-fuse has no .zfs/snapshot; a clone shows what is in a snapshot.
        let clone = "there/clone";
        zfs(&["clone", &format!("{target}/data@{copy}"), clone]);
        let content = fs::read_to_string(self.lab.dir().join(clone).join(file)).ok();
        kit::lab::wait_for("the clone to be destroyed", || {
            let gone = command("zfs", "zfs-fuse").args(["destroy", clone]).output().unwrap();
            gone.status.success()
        });
        content
    }

    fn destroy_copy(&self, target: &str, copy: &str) {
        let full = format!("{target}/data@{copy}");
        for hold in self.tags() {
            let _released = command("zfs", "zfs-fuse").args(["release", &hold, &full]).output();
        }
        zfs(&["destroy", &full]);
    }

    fn foreign(&self, target: &str, name: &str) {
        zfs(&["snapshot", &format!("{target}/data@{name}")]);
    }

    fn leftovers(&self, _target: &str) -> BTreeSet<String> {
        BTreeSet::new()
    }

    fn holds(&self, target: &str) -> usize {
        let mut count = 0;
        for root in ["here/data", target] {
            let listed = zfs(&["list", "-H", "-r", "-t", "snapshot", "-o", "userrefs", root]);
            count += listed.lines().map(|line| line.parse::<usize>().unwrap_or(0)).sum::<usize>();
        }
        count
    }
}

impl ZfsBench {
    /// The tags that the plugin knows of.
    fn tags(&self) -> Vec<String> {
        let text = fs::read(self.dir().join("plugin/state/holds.json")).unwrap_or_default();
        let known: Vec<Value> = serde_json::from_slice(&text).unwrap_or_default();
        let tag = |hold: &Value| {
            format!("sysadm:{}:{}", hold["task"].as_str().unwrap(), hold["role"].as_str().unwrap())
        };
        known.iter().map(tag).collect()
    }
}
