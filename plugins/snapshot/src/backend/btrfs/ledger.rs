//! Which snapshots of a btrfs file system are ours, and what was said about them.
//!
//! A read-only snapshot can carry no mark of its own. So each has a small file beside it, in the
//! `.sysadmd/ledger` of the mount it was made through, named by the snapshot's UUID: it follows the
//! snapshot through renames, and it is lost only with the file system.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::durable;
use super::super::error::{Error, Result};
use super::super::types::Mark;

/// Our directory at the root of a mount.
const HOME: &str = ".sysadmd";

/// What is written about one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) label: Option<String>,
    pub(super) comment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mark: Option<Mark>,
    /// For a copy: the dataset that its original is a snapshot of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
}

/// Where the snapshots of a dataset are kept; made if missing.
pub(super) fn home(mount: &Path, dataset: &str) -> Result<PathBuf> {
    prepare(mount)?;
    let dir = mount.join(HOME).join(dataset);
    durable::make_dir(&dir)
        .map_err(|cause: io::Error| Error::io(format!("make {}", dir.display()), cause))?;
    Ok(dir)
}

/// The note about a snapshot, from any of the file system's mounts.
pub(super) fn read(mounts: &[PathBuf], snapshot: Uuid) -> Option<Note> {
    mounts.iter().map(|mount| mount.join(HOME)).filter(|home| is_trusted(home)).find_map(|home| {
        let text = fs::read(home.join("ledger").join(file_name(snapshot))).ok()?;
        serde_json::from_slice(&text).ok()
    })
}

/// Where the holds of the file system's snapshots are kept.
pub(super) fn holds(mount: &Path) -> PathBuf {
    mount.join(HOME).join("holds")
}

/// Makes our directory at the root of a mount, with room for notes.
pub(super) fn prepare(mount: &Path) -> Result<()> {
    let home = mount.join(HOME);
    let failed = |cause: io::Error| Error::io(format!("make {}", home.display()), cause);
    durable::make_dir(&home).map_err(failed)?;
    if !is_trusted(&home) {
        return Err(distrusted(&home));
    }
    durable::make_dir(&home.join("ledger")).map_err(failed)
}

/// The refusal of a directory that others can write to.
pub(super) fn distrusted(dir: &Path) -> Error {
    Error::failed(format!(
        "{} belongs to somebody else or can be written by others. \
         Remove it, or make it the daemon's own with mode 0700.",
        dir.display()
    ))
}

/// Writes a note, durably.
pub(super) fn write(mount: &Path, snapshot: Uuid, note: &Note) -> io::Result<()> {
    let dir = mount.join(HOME).join("ledger");
    durable::write(&dir, &file_name(snapshot), &serde_json::to_vec(note)?)
}

/// Forgets a snapshot on all mounts. Only tidying: a note without its snapshot means nothing.
pub(super) fn forget(mounts: &[PathBuf], snapshot: Uuid) {
    for mount in mounts {
        let _gone = fs::remove_file(mount.join(HOME).join("ledger").join(file_name(snapshot)));
    }
}

/// Whether nobody but us can have put anything there.
pub(super) fn is_trusted(home: &Path) -> bool {
    fs::symlink_metadata(home).is_ok_and(|meta| {
        meta.is_dir()
            && meta.uid() == nix::unistd::geteuid().as_raw()
            && meta.permissions().mode() & 0o022 == 0
    })
}

fn file_name(snapshot: Uuid) -> String {
    format!("{snapshot}.json")
}
