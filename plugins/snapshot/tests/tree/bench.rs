//! A tree store and directories in a temporary folder.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use snapshot::backend::tree::Tree;
use snapshot::backend::tree::manifest::{Entry, Node, Reader};
use snapshot::backend::{Backend, Snapshot};
use uuid::Uuid;

use crate::cases::{Bench, Place};

/// A store, and a place for directories beside it; both go with it.
pub(crate) struct TreeBench {
    pub(crate) dir: PathBuf,
    pub(crate) tree: Tree,
}

impl TreeBench {
    pub(crate) fn new() -> Self {
        // On the disk and not in /tmp, which may be a tmpfs without extended attributes.
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tree-{}", Uuid::new_v4()));
        fs::create_dir_all(dir.join("data")).unwrap();
        let dir = dir.canonicalize().unwrap();
        let tree = Tree::open(&dir.join("store"), Vec::new()).unwrap();
        Self { dir, tree }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub(crate) fn place(&self, name: &str) -> Place {
        let dir = self.dir.join("data").join(name);
        fs::create_dir_all(&dir).unwrap();
        Place { id: self.tree.register(&dir).unwrap().id, dir }
    }

    pub(crate) fn manifest(&self, snapshot: &Snapshot) -> PathBuf {
        manifest_path(&self.store(), snapshot)
    }

    pub(crate) fn entries(&self, snapshot: &Snapshot) -> BTreeMap<Vec<u8>, Entry> {
        entries(&self.manifest(snapshot))
    }

    pub(crate) fn content(&self, snapshot: &Snapshot, path: &[u8]) -> Option<Vec<u8>> {
        let entries = self.entries(snapshot);
        let entry = entries.get(path)?;
        let node = match &entry.node {
            Node::HardLink { to } => &entries[to].node,
            node => node,
        };
        match node {
            Node::File { blob: Some(blob), .. } => {
                Some(fs::read(blob_path(&self.store(), blob)).unwrap())
            }
            _ => None,
        }
    }
}

impl Drop for TreeBench {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.dir);
    }
}

impl Bench for TreeBench {
    fn backend(&self) -> &dyn Backend {
        &self.tree
    }

    fn odd_name(&self) -> &'static str {
        "-o d\u{fc}\n d"
    }

    fn fresh(&self, name: &str) -> Place {
        self.place(name)
    }

    fn child(&self, parent: &Place, name: &str) -> Place {
        let dir = parent.dir.join(name);
        fs::create_dir_all(&dir).unwrap();
        Place { id: parent.id.clone(), dir }
    }

    fn foreign(&self, place: &Place, name: &str) {
        // A manifest that is right in every way but says that somebody else made it.
        let uuid = place.id.as_str().strip_prefix("tree:").unwrap();
        let header = format!(
            "{{\"dataset\":\"{uuid}\",\"name\":\"{name}\",\"sequence\":9,\
             \"created\":\"2026-11-21T22:20:00Z\",\"maker\":\"another\",\"label\":null,\
             \"comment\":null,\"path\":\"/x\",\"entries\":0,\"bytes\":0,\"torn\":0,\"unread\":0}}"
        );
        let text = format!("sysadm-tree 1\n{header}\nend\n");
        let hash = blake3::hash(text.as_bytes()).to_hex();
        let dir = self.store().join("snaps").join(uuid);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(hash.as_str()), text).unwrap();
    }

    fn disturb(&self, place: &Place) -> Place {
        // Another process opens the store, and somebody registers the directory by another way.
        let again = Tree::open(&self.store(), Vec::new()).unwrap();
        let link = self.dir.join("link");
        std::os::unix::fs::symlink(&place.dir, &link).unwrap();
        Place { id: again.register(&link).unwrap().id, dir: place.dir.clone() }
    }

    fn read(&self, made: &[Snapshot], place: &Place, file: &[u8]) -> Option<Vec<u8>> {
        use std::os::unix::ffi::OsStrExt;
        let snapshot = made.iter().find(|snapshot| snapshot.dataset == place.id)?;
        let datasets = self.tree.datasets().unwrap();
        let top = datasets.iter().find(|dataset| dataset.id == place.id)?.mount.clone()?;
        let below = place.dir.strip_prefix(top).unwrap().as_os_str().as_bytes();
        let path = if below.is_empty() { file.to_vec() } else { [below, b"/", file].concat() };
        self.content(snapshot, &path)
    }

    fn inventory(&self) -> BTreeSet<String> {
        files(&self.store())
    }
}

/// Reads a manifest to its end.
pub(crate) fn entries(manifest: &Path) -> BTreeMap<Vec<u8>, Entry> {
    let mut reader = Reader::open(manifest).unwrap();
    let mut entries = BTreeMap::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        entries.insert(entry.path.clone(), entry);
    }
    entries
}

pub(crate) fn manifest_path(store: &Path, snapshot: &Snapshot) -> PathBuf {
    let dataset = snapshot.dataset.as_str().strip_prefix("tree:").unwrap();
    store.join("snaps").join(dataset).join(&snapshot.id.identity)
}

pub(crate) fn blob_path(store: &Path, blob: &blake3::Hash) -> PathBuf {
    let hex = blob.to_hex();
    store.join("blobs").join(&hex[..2]).join(hex.as_str())
}

/// Reads every blob of a snapshot and compares its hash; returns the blobs.
pub(crate) fn verify(store: &Path, snapshot: &Snapshot) -> HashSet<String> {
    let manifest = manifest_path(store, snapshot);
    let whole = blake3::hash(&fs::read(&manifest).unwrap());
    assert_eq!(whole.to_hex().as_str(), snapshot.id.identity);
    let mut blobs = HashSet::new();
    for entry in entries(&manifest).into_values() {
        let Node::File { size, blob, .. } = entry.node else { continue };
        let blob = blob.unwrap();
        let content = fs::read(blob_path(store, &blob)).unwrap();
        assert_eq!(content.len() as u64, size);
        assert_eq!(blake3::hash(&content), blob);
        blobs.insert(blob.to_hex().to_string());
    }
    blobs
}

/// All files below a directory.
pub(crate) fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.to_string_lossy().into_owned());
        }
    }
    found
}
