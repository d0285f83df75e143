//! The store's directories, locks and blobs.
//!
//! ```text
//! version               one line, so that a later layout is not mistaken for this one
//! lock                  flock: shared while a snapshot is taken, exclusive while blobs are removed
//! sweep                 exists while unreferenced blobs may be lying about; holds the reason
//! datasets/<uuid>.json  the registered directories; flock: one snapshot or destroy at a time each
//! snaps/<uuid>/<hash>   manifests
//! blobs/ab/<hash>       file contents
//! holds/<hash>/<tag>    why a snapshot must stay
//! tmp/<uuid>/           one running snapshot's workspace
//! ```
//!
//! A snapshot exists from the moment its manifest is renamed into `snaps`. Whatever a killed process
//! leaves is in `tmp` or is a blob nobody refers to; the workspace it also leaves is the sign that
//! makes the next opener clean up. That matters after a power cut too: a blob renamed but never
//! flushed must not be taken for content, and until the manifest is written none of them is referred
//! to.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::super::durable::{self, make_dir, sync_dir};
use super::super::error::{Error, Result};
use super::super::lock::Lock;

const VERSION: &str = "sysadm-tree-store 1\n";

/// The store's place on disk.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
}

/// A running snapshot's own directory below `tmp`.
#[derive(Debug)]
pub(super) struct Workspace {
    path: PathBuf,
    /// Holding it keeps the blobs of this snapshot, to which nothing refers yet, from being swept.
    _shared: Lock,
}

/// The name of the marker that unreferenced blobs may exist.
const SWEEP: &str = "sweep";

impl Store {
    /// Opens the store in `root`, making it when there is nothing yet.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let what = || format!("open the snapshot store {}", root.display());
        make_dir(root).map_err(|cause| Error::io(what(), cause))?;
        let root = root.canonicalize().map_err(|cause| Error::io(what(), cause))?;
        let version = root.join("version");
        match fs::read_to_string(&version) {
            Ok(text) if text == VERSION => {}
            Ok(_) => {
                return Err(Error::unavailable(format!(
                    "The snapshot store {} has another layout than this version of sysadmd \
                     knows. Use the version that made it, or choose another directory.",
                    root.display()
                )));
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                durable::write(&root, "version", VERSION.as_bytes())
                    .map_err(|cause| Error::io(what(), cause))?;
            }
            Err(cause) => return Err(Error::io(what(), cause)),
        }
        let store = Self { root };
        for dir in ["datasets", "snaps", "blobs", "tmp"] {
            make_dir(&store.root.join(dir)).map_err(|cause| Error::io(what(), cause))?;
        }
        Ok(store)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn datasets(&self) -> PathBuf {
        self.root.join("datasets")
    }

    pub(super) fn snaps(&self, dataset: Uuid) -> PathBuf {
        self.root.join("snaps").join(dataset.to_string())
    }

    pub(super) fn manifest(&self, dataset: Uuid, hash: &str) -> PathBuf {
        self.snaps(dataset).join(hash)
    }

    /// All datasets that have or had snapshots, registered or not.
    pub(super) fn snap_dirs(&self) -> io::Result<Vec<PathBuf>> {
        children(&self.root.join("snaps"))
    }

    pub(super) fn blob(&self, hash: &blake3::Hash) -> PathBuf {
        let hex = hash.to_hex();
        let (shard, _) = hex.split_at(2);
        self.root.join("blobs").join(shard).join(hex.as_str())
    }

    pub(super) fn blob_dirs(&self) -> io::Result<Vec<PathBuf>> {
        children(&self.root.join("blobs"))
    }

    /// Whether a blob of that hash and size is there.
    pub(super) fn has_blob(&self, hash: &blake3::Hash, size: u64) -> bool {
        fs::symlink_metadata(self.blob(hash)).is_ok_and(|meta| meta.len() == size)
    }

    /// Moves a finished file from a workspace to its place among the blobs.
    pub(super) fn adopt_blob(&self, file: &Path, hash: &blake3::Hash, size: u64) -> io::Result<()> {
        if self.has_blob(hash, size) {
            return fs::remove_file(file);
        }
        let blob = self.blob(hash);
        match fs::rename(file, &blob) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                if let Some(shard) = blob.parent() {
                    make_dir(shard)?;
                }
                fs::rename(file, &blob)
            }
            other => other,
        }
    }

    /// Where the holds of all snapshots are kept.
    pub(super) fn holds(&self) -> PathBuf {
        self.root.join("holds")
    }

    /// Keeps blobs from being removed while somebody reads them.
    pub(super) fn reading(&self) -> Result<Lock> {
        let failed = |cause: io::Error| Error::io("lock the snapshot store", cause);
        self.lock_file().and_then(Lock::shared).map_err(failed)
    }

    /// Begins a snapshot: waits for a sweep to end, then holds the next one off.
    pub(super) fn workspace(&self) -> Result<Workspace> {
        let failed = |cause: io::Error| Error::io("begin a snapshot in the store", cause);
        let lock = self.lock_file().and_then(Lock::shared).map_err(failed)?;
        let tmp = self.root.join("tmp");
        let path = tmp.join(Uuid::new_v4().to_string());
        make_dir(&path).map_err(failed)?;
        // The workspace is the sign of an unfinished snapshot: it must outlast the blobs.
        sync_dir(&tmp).map_err(failed)?;
        Ok(Workspace { path, _shared: lock })
    }

    /// The exclusive lock, unless somebody takes a snapshot right now.
    pub(super) fn try_exclusive(&self) -> Result<Option<Lock>> {
        let failed = |cause: io::Error| Error::io("lock the snapshot store", cause);
        self.lock_file().and_then(Lock::try_exclusive).map_err(failed)
    }

    /// Keeps other snapshots and destroys of a dataset away, or says that one is running.
    pub(super) fn lock_dataset(&self, dataset: Uuid) -> Result<Lock> {
        let failed =
            |cause: io::Error| Error::io(format!("lock the dataset tree:{dataset}"), cause);
        let file = File::open(self.datasets().join(format!("{dataset}.json"))).map_err(failed)?;
        Lock::try_exclusive(file).map_err(failed)?.ok_or_else(|| {
            Error::busy(
                "Another snapshot of this directory is being taken or destroyed. \
                 Try again when it is done.",
            )
        })
    }

    /// Workspaces of snapshots that never finished. To be called under the exclusive lock only:
    /// every living workspace holds the shared one.
    pub(super) fn abandoned(&self) -> io::Result<Vec<PathBuf>> {
        children(&self.root.join("tmp"))
    }

    /// Notes that unreferenced blobs may exist, and why they are still there.
    pub(super) fn want_sweep(&self, reason: &str) -> io::Result<()> {
        durable::write(&self.root, SWEEP, reason.as_bytes())
    }

    /// Why unreferenced blobs may exist, if they may.
    pub(super) fn sweep_wanted(&self) -> Option<String> {
        fs::read_to_string(self.root.join(SWEEP)).ok()
    }

    pub(super) fn sweep_done(&self) -> io::Result<()> {
        match fs::remove_file(self.root.join(SWEEP)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Flushes everything written to the store's file system.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.root)?)?)
    }

    fn lock_file(&self) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.root.join("lock"))
    }
}

impl Workspace {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the snapshot; nothing of the workspace is left.
    pub(super) fn close(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

/// What is in a directory, by path; nothing when there is no such directory.
pub(super) fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(cause),
    }
}

/// The manifests in a directory of `snaps`: what is named by a hash. Anything else was put there by
/// somebody else and is left alone.
pub(super) fn manifests(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let is_hash = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| blake3::Hash::from_hex(name).is_ok())
    };
    Ok(children(dir)?.into_iter().filter(is_hash).collect())
}
