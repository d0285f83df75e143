//! The directories that are datasets.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::durable;
use super::super::error::{Error, Result};
use super::super::lock::Lock;
use super::escape;
use super::store::{self, Store};

/// Directories that show the kernel, not files; a snapshot of them means nothing and never ends.
const NOT_FILES: [&str; 3] = ["/proc", "/sys", "/dev"];

/// A registered directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: Uuid,
    pub(super) path: PathBuf,
}

/// How a record is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    /// Escaped, because JSON cannot hold any path.
    path: String,
}

/// All registered directories, by path.
pub(super) fn all(store: &Store) -> Result<Vec<Record>> {
    let failed = |cause: io::Error| Error::io("read the registered directories", cause);
    let mut records = Vec::new();
    for file in store::children(&store.datasets()).map_err(failed)? {
        let id = file.file_name().and_then(|name| name.to_str());
        let id = id.and_then(|name| name.strip_suffix(".json")?.parse::<Uuid>().ok());
        // Anything else is a temporary file of a process that was killed while it registered.
        let Some(id) = id else { continue };
        records.push(Record { id, path: read(&file).map_err(failed)? });
    }
    records.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(records)
}

/// One registered directory.
pub(super) fn find(store: &Store, id: Uuid) -> Result<Record> {
    let file = store.datasets().join(format!("{id}.json"));
    match read(&file) {
        Ok(path) => Ok(Record { id, path }),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            Err(Error::not_found(format!("There is no registered directory tree:{id}.")))
        }
        Err(cause) => Err(Error::io(format!("read the record of tree:{id}"), cause)),
    }
}

/// Registers a directory, or finds it registered. `allow` limits what may be registered to these
/// directories and what is below them; empty means no limit.
pub(super) fn register(store: &Store, path: &Path, allow: &[PathBuf]) -> Result<Record> {
    let path = check(store, path, allow)?;
    // Two registrations at once must not make two datasets of one directory.
    let _lock = fs::File::open(store.datasets())
        .and_then(Lock::exclusive)
        .map_err(|cause| Error::io("lock the registered directories", cause))?;
    if let Some(record) = all(store)?.into_iter().find(|record| record.path == path) {
        return Ok(record);
    }
    let id = Uuid::new_v4();
    let written = Written { path: escape::word(path.as_os_str().as_bytes()) };
    let json = serde_json::to_vec(&written)
        .map_err(|cause| Error::failed("The directory cannot be recorded.").because(cause))?;
    durable::write(&store.datasets(), &format!("{id}.json"), &json)
        .map_err(|cause| Error::io(format!("register {}", path.display()), cause))?;
    Ok(Record { id, path })
}

/// Has a dataset that was received be listed here as it was there; `path` is escaped. One that is
/// registered already stays as it is.
pub(super) fn adopt(store: &Store, id: Uuid, path: &str) -> io::Result<()> {
    let name = format!("{id}.json");
    if store.datasets().join(&name).exists() {
        return Ok(());
    }
    let json = serde_json::to_vec(&Written { path: path.to_owned() })?;
    durable::write(&store.datasets(), &name, &json)
}

/// The directory's real path, when it may be a dataset.
fn check(store: &Store, asked: &Path, allow: &[PathBuf]) -> Result<PathBuf> {
    let shown = asked.display();
    if !asked.is_absolute() {
        return Err(Error::bad_request(format!(
            "\"{shown}\" is not an absolute path. Give the directory from / on."
        )));
    }
    let path = asked.canonicalize().map_err(|cause| Error::io(format!("find {shown}"), cause))?;
    if !path.is_dir() {
        return Err(Error::bad_request(format!("{shown} is not a directory.")));
    }
    if NOT_FILES.iter().any(|pseudo| path.starts_with(pseudo)) {
        return Err(Error::bad_request(format!(
            "{shown} shows the kernel's state, not files, and cannot be snapshotted."
        )));
    }
    if path.starts_with(store.root()) {
        return Err(Error::bad_request(format!(
            "{shown} belongs to the snapshot store itself and cannot be snapshotted."
        )));
    }
    let allowed = |root: &PathBuf| {
        path.starts_with(root) || root.canonicalize().is_ok_and(|root| path.starts_with(root))
    };
    if !allow.is_empty() && !allow.iter().any(allowed) {
        return Err(Error::bad_request(format!(
            "The configuration does not allow {shown} to be snapshotted. \
             Add it to the directories of the snapshot plugin."
        )));
    }
    fs::read_dir(&path).map_err(|cause| Error::io(format!("read {shown}"), cause))?;
    Ok(path)
}

fn read(file: &Path) -> io::Result<PathBuf> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the record is damaged");
    path_in(&fs::read(file)?).ok_or_else(damaged)
}

/// The directory that a record names.
pub fn path_in(record: &[u8]) -> Option<PathBuf> {
    let written: Written = serde_json::from_slice(record).ok()?;
    let path = escape::decode(&written.path)?;
    Some(PathBuf::from(OsString::from_vec(path)))
}
