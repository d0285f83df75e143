//! Snapshots of any directory on any file system, without privileges: a content-addressed store.
//!
//! Knows the store's layout and how to fill it. A snapshot is a manifest (see [`manifest`]) whose
//! BLAKE3 is its identity, and the blobs it refers to. Files are cloned where the file system can
//! (FICLONE), else copied; the manifest is written last, so a snapshot is there whole or not at all.
//! Each file is of one instant, the files among themselves are not, and the snapshot says so.

mod capture;
mod copy;
pub(crate) mod escape;
pub mod manifest;
pub(crate) mod registry;
mod store;
mod sweep;
pub mod transfer;
mod walk;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use rustix::fs::{Mode, OFlags};
use uuid::Uuid;

use super::durable;
use super::error::{Error, Result};
use super::hold::Holds;
use super::types::{
    Capabilities, Consistency, Dataset, DatasetId, Kind, NewSnapshot, Owner, Pool, Recursion,
    Snapshot, SnapshotId, SnapshotState,
};
use super::{Backend, Nobody, Witness, name};
pub use capture::Effort;
use capture::Source;
use manifest::{Header, MAKER, Reader};
use registry::Record;
use store::{Store, Workspace};
pub use sweep::Swept;

/// Snapshots of registered directories.
#[derive(Debug)]
pub struct Tree {
    store: Store,
    allow: Vec<PathBuf>,
    /// Manifests whose hash was found right: path, size and modification time. A manifest is never
    /// written again, so reading it through on every listing would find nothing new.
    verified: Mutex<HashMap<PathBuf, (u64, i64)>>,
}

impl Tree {
    /// Opens the store in the directory `store` (made if missing) and cleans up after a snapshot
    /// that was killed. Only directories in and below `allow` can be registered; empty allows any.
    pub fn open(store: &Path, allow: Vec<PathBuf>) -> Result<Self> {
        let store = Store::open(store)?;
        sweep::recover(&store, &Nobody)?;
        Ok(Self { store, allow, verified: Mutex::default() })
    }

    /// Makes a directory a dataset, or finds the dataset it is already. The path is resolved first,
    /// so two ways to one directory are one dataset.
    pub fn register(&self, path: &Path) -> Result<Dataset> {
        registry::register(&self.store, path, &self.allow).map(|record| dataset(&record))
    }

    /// The dataset whose directory is `path`, which must be free of links and dots.
    pub fn find_path(&self, path: &Path) -> Result<Option<Dataset>> {
        let records = registry::all(&self.store)?;
        Ok(records.iter().find(|record| record.path == path).map(dataset))
    }

    /// Takes a snapshot like [`Backend::create`] and says how much work it was.
    pub fn take(&self, id: &DatasetId, new: &NewSnapshot) -> Result<(Snapshot, Effort)> {
        self.take_told(id, new, &Nobody)
    }

    /// The same, and somebody follows it.
    fn take_told(
        &self,
        id: &DatasetId,
        new: &NewSnapshot,
        witness: &dyn Witness,
    ) -> Result<(Snapshot, Effort)> {
        let record = self.find(id)?;
        let name = name::settle(new)?;
        sweep::recover(&self.store, &Nobody)?;
        let _dataset = self.store.lock_dataset(record.id)?;
        let snapshots = self.snapshots(record.id)?;
        if snapshots.iter().any(|other| other.name == name) {
            return Err(Error::exists(format!(
                "{} has a snapshot named {name} already. Choose another name.",
                record.path.display()
            )));
        }
        let header = Header {
            dataset: record.id,
            name,
            sequence: snapshots.last().map_or(0, |newest| newest.order) + 1,
            created: new.at,
            maker: Some(MAKER.to_owned()),
            label: Some(new.label.clone()),
            comment: new.comment.clone(),
            mark: new.mark,
            path: escape::word(record.path.as_os_str().as_encoded_bytes()),
            entries: 0,
            bytes: 0,
            torn: 0,
            unread: 0,
        };
        let base = snapshots.into_iter().rfind(|s| s.state != SnapshotState::Corrupt);
        let basis = base.as_ref().and_then(|snapshot| snapshot.size);
        let base = base.map(|s| self.store.manifest(record.id, &s.id.identity));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(&record.path, flags, Mode::empty())
            .map_err(|cause| Error::io(format!("open {}", record.path.display()), cause))?;
        let source = Source {
            root: File::from(root),
            previous: base.and_then(|path| Reader::open(&path).ok()),
            cross: new.recursive,
            basis,
            witness,
        };
        let workspace = self.store.workspace()?;
        let taken = self.fill(&workspace, source, header);
        if taken.is_err() {
            // The reason itself goes to the caller; a failing marker must not hide it.
            let _unmarked = self.store.want_sweep("a snapshot failed");
        }
        workspace.close().map_err(|cause| Error::io("tidy the snapshot store", cause))?;
        if self.store.sweep_wanted().is_some() {
            sweep::recover(&self.store, &Nobody)?;
        }
        taken
    }

    /// Removes what no snapshot refers to, unless a snapshot is being taken (whoever ends last
    /// sweeps). Returns what was removed.
    pub fn sweep(&self) -> Result<Swept> {
        self.want_sweep("asked for")?;
        sweep::recover(&self.store, &Nobody)
    }

    fn fill(
        &self,
        workspace: &Workspace,
        source: Source<'_>,
        mut header: Header,
    ) -> Result<(Snapshot, Effort)> {
        let witness = source.witness;
        let effort = capture::run(&self.store, workspace, source)?;
        witness.progress("writing to the disk", (0, None), "", "");
        header.entries = effort.entries;
        header.bytes = effort.bytes;
        header.torn = effort.torn;
        header.unread = effort.unread;
        let path = self.publish(workspace, &header).map_err(|cause| {
            Error::io(format!("write the snapshot {} to the store", header.name), cause)
        })?;
        Ok((self.describe(header.dataset, &path)?, effort))
    }

    /// Makes the blobs durable, then the manifest.
    fn publish(&self, workspace: &Workspace, header: &Header) -> io::Result<PathBuf> {
        self.store.sync_all()?;
        let draft = workspace.path().join("manifest");
        let mut file = File::create_new(&draft)?;
        let mut hasher = blake3::Hasher::new();
        let mut put = |bytes: &[u8]| {
            hasher.update(bytes);
            file.write_all(bytes)
        };
        put(manifest::preamble(header)?.as_bytes())?;
        let mut entries = File::open(workspace.path().join("entries"))?;
        let mut block = vec![0; 128 * 1024];
        loop {
            let length = entries.read(&mut block)?;
            if length == 0 {
                break;
            }
            put(block.get(..length).unwrap_or_default())?;
        }
        put(manifest::END.as_bytes())?;
        file.sync_all()?;
        let dir = self.store.snaps(header.dataset);
        if !dir.exists() {
            durable::make_dir(&dir)?;
            durable::sync_dir(&self.store.root().join("snaps"))?;
        }
        let path = self.store.manifest(header.dataset, hasher.finalize().to_hex().as_str());
        fs::rename(draft, &path)?;
        durable::sync_dir(&dir)?;
        Ok(path)
    }

    /// All snapshots of a dataset in order.
    fn snapshots(&self, dataset: Uuid) -> Result<Vec<Snapshot>> {
        let failed = |cause: io::Error| Error::io("list the snapshots in the store", cause);
        let mut snapshots = Vec::new();
        for path in store::manifests(&self.store.snaps(dataset)).map_err(failed)? {
            snapshots.push(self.describe(dataset, &path)?);
        }
        snapshots.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        Ok(snapshots)
    }

    /// What a manifest says, or that it cannot be relied on.
    fn describe(&self, dataset: Uuid, path: &Path) -> Result<Snapshot> {
        let identity = path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        let id = dataset_id(dataset);
        let header = self.verify(path, &identity).and_then(|()| Reader::open(path));
        let header = match header.map(|reader| reader.header().clone()) {
            Ok(header) if header.dataset == dataset => header,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Err(Error::io("list the snapshots in the store", cause));
            }
            _ => return Ok(damaged(id, &identity, path)),
        };
        let whole = header.torn == 0 && header.unread == 0;
        Ok(Snapshot {
            id: SnapshotId { dataset: id.clone(), identity },
            dataset: id,
            name: header.name,
            order: header.sequence,
            created: header.created,
            owner: if header.maker.as_deref() == Some(MAKER) {
                Owner::Ours
            } else {
                Owner::Foreign
            },
            label: header.label,
            comment: header.comment,
            mark: header.mark,
            state: if whole { SnapshotState::Complete } else { SnapshotState::Torn },
            consistency: Consistency::PerFile { torn: header.torn, unread: header.unread },
            size: Some(header.bytes),
        })
    }

    /// Whether a manifest's hash is its name.
    fn verify(&self, path: &Path, identity: &str) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::symlink_metadata(path)?;
        let seen = (meta.len(), meta.mtime());
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.get(path) == Some(&seen) {
            return Ok(());
        }
        if manifest::hash_file(path)?.to_hex().as_str() != identity {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its hash is not its name"));
        }
        verified.insert(path.to_owned(), seen);
        Ok(())
    }

    fn find(&self, id: &DatasetId) -> Result<Record> {
        registry::find(&self.store, uuid_of(id)?)
    }

    fn want_sweep(&self, reason: &str) -> Result<()> {
        self.store.want_sweep(reason).map_err(|cause| Error::io("mark the snapshot store", cause))
    }
}

impl Backend for Tree {
    fn kind(&self) -> Kind {
        Kind::Tree
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            available: true,
            reason: self.store.sweep_wanted(),
            version: None,
            recursion: Recursion::Included,
            consistency: Consistency::PerFile { torn: 0, unread: 0 },
            features: Vec::new(),
        }
    }

    fn pools(&self) -> Result<Vec<Pool>> {
        let records = registry::all(&self.store)?;
        Ok(records
            .iter()
            .filter_map(|record| super::space::pool(Kind::Tree, &record.path))
            .collect())
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        Ok(registry::all(&self.store)?.iter().map(dataset).collect())
    }

    fn list(&self, dataset: &DatasetId) -> Result<Vec<Snapshot>> {
        self.snapshots(self.find(dataset)?.id)
    }

    fn holds(&self, _: &DatasetId) -> Result<BTreeMap<String, Vec<String>>> {
        Holds::all([self.store.holds()])
    }

    fn create_told(
        &self,
        dataset: &DatasetId,
        new: &NewSnapshot,
        witness: &dyn Witness,
    ) -> Result<Vec<Snapshot>> {
        self.take_told(dataset, new, witness).map(|(snapshot, _effort)| vec![snapshot])
    }

    fn destroy_told(&self, id: &SnapshotId, witness: &dyn Witness) -> Result<Snapshot> {
        let record = self.find(&id.dataset)?;
        let path = self.store.manifest(record.id, &id.identity);
        let _dataset = self.store.lock_dataset(record.id)?;
        // The identity is read again from the disk, not remembered.
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
        let known = self.snapshots(record.id)?;
        let Some(snapshot) = known.into_iter().find(|snapshot| snapshot.id == *id) else {
            return Err(Error::not_found(format!("There is no snapshot {id} (any more).")));
        };
        if snapshot.owner == Owner::Foreign {
            return Err(Error::foreign(&snapshot.name));
        }
        Holds::refuse([self.store.holds()], &id.identity, &snapshot.name)?;
        if witness.cancelled() {
            return Err(Error::cancelled());
        }
        // Marked before the manifest goes: a kill in between leaves a needless sweep, not
        // blobs that nobody looks for.
        self.want_sweep("a snapshot was destroyed")?;
        let failed = |cause| Error::io(format!("destroy the snapshot {}", snapshot.name), cause);
        fs::remove_file(&path).map_err(failed)?;
        durable::sync_dir(&self.store.snaps(record.id)).map_err(failed)?;
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
        sweep::recover(&self.store, witness)?;
        Ok(snapshot)
    }
}

fn dataset(record: &Record) -> Dataset {
    let space = super::space::of(&record.path);
    let name = record.path.to_string_lossy().into_owned();
    Dataset {
        id: dataset_id(record.id),
        kind: Kind::Tree,
        pool: name.clone(),
        name,
        mount: record.path.is_dir().then(|| record.path.clone()),
        used: None,
        available: space.map(|space| space.available),
        referenced: None,
    }
}

fn damaged(dataset: DatasetId, identity: &str, path: &Path) -> Snapshot {
    let written = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    Snapshot {
        id: SnapshotId { dataset: dataset.clone(), identity: identity.to_owned() },
        dataset,
        name: format!("damaged-{}", identity.get(..8).unwrap_or(identity)),
        order: 0,
        created: written.map(DateTime::<Utc>::from).unwrap_or_default(),
        // It lies in our private store, and to be rid of it somebody must be able to destroy it.
        owner: Owner::Ours,
        label: None,
        comment: None,
        mark: None,
        state: SnapshotState::Corrupt,
        consistency: Consistency::PerFile { torn: 0, unread: 0 },
        size: None,
    }
}

fn dataset_id(id: Uuid) -> DatasetId {
    DatasetId::from_parts(Kind::Tree, &[&id.to_string()])
}

fn uuid_of(id: &DatasetId) -> Result<Uuid> {
    let uuid = id.as_str().strip_prefix("tree:").and_then(|uuid| uuid.parse().ok());
    uuid.ok_or_else(|| Error::bad_request(format!("\"{id}\" is not the id of a directory.")))
}
