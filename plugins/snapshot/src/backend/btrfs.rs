//! Snapshots of btrfs subvolumes, through the kernel's ioctls.
//!
//! Knows subvolumes, mounts and where our snapshots are kept: read-only in
//! `<mount>/.sysadmd/<dataset id>/<name>`. A subvolume's UUID is its identity. A read-only subvolume
//! that is a copy of another is that one's snapshot; it is ours when the ledger says so.

mod ioctl;
mod ledger;
pub mod transfer;
mod volumes;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use chrono::{DateTime, Utc};
use nix::errno::Errno;
use rustix::fs::RenameFlags;
use uuid::Uuid;

use super::error::{Error, Result};
use super::hold::Holds;
use super::lock::Lock;
use super::types::{
    Capabilities, Consistency, Dataset, DatasetId, Kind, NewSnapshot, Owner, Pool, Recursion,
    Snapshot, SnapshotId, SnapshotState,
};
use super::{Backend, Witness, name, space};
use ledger::Note;
use volumes::{FileSystem, Volume};

/// A snapshot has this in front of its name until its ledger note is durable. A dot cannot begin a
/// snapshot's name.
const UNFINISHED: &str = ".new-";

/// Snapshots of the btrfs file systems that are mounted where the calling thread can see them.
#[derive(Debug, Default, Clone, Copy)]
pub struct Btrfs;

impl Backend for Btrfs {
    fn kind(&self) -> Kind {
        Kind::Btrfs
    }

    fn capabilities(&self) -> Capabilities {
        let mounted = volumes::scan().is_ok_and(|systems| !systems.is_empty());
        let root = nix::unistd::geteuid().is_root();
        let reason = match (mounted, root) {
            (false, _) => Some("No btrfs file system is mounted."),
            (true, false) => Some(
                "The daemon does not run as root, so it can list btrfs snapshots but neither take \
                 nor destroy them.",
            ),
            (true, true) => None,
        };
        let stream = std::fs::read_to_string("/sys/fs/btrfs/features/send_stream_version");
        Capabilities {
            available: mounted && root,
            reason: reason.map(str::to_owned),
            version: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .ok()
                .map(|release| format!("kernel {}", release.trim())),
            recursion: Recursion::Stepwise,
            consistency: Consistency::Atomic,
            features: stream.iter().map(|version| format!("stream:{}", version.trim())).collect(),
        }
    }

    fn pools(&self) -> Result<Vec<Pool>> {
        let systems = volumes::scan()?;
        Ok(systems.iter().filter_map(|fs| space::pool(Kind::Btrfs, fs.mounts.first()?)).collect())
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        let systems = volumes::scan()?;
        let mut datasets: Vec<Dataset> = systems.iter().flat_map(datasets_of).collect();
        datasets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(datasets)
    }

    fn list(&self, dataset: &DatasetId) -> Result<Vec<Snapshot>> {
        let (system, uuid) = find(dataset)?;
        Ok(snapshots_of(&system, uuid))
    }

    fn create_told(
        &self,
        dataset: &DatasetId,
        new: &NewSnapshot,
        witness: &dyn Witness,
    ) -> Result<Vec<Snapshot>> {
        let name = name::settle(new)?;
        let (system, uuid) = find(dataset)?;
        let top = system.volume(uuid).filter(|volume| !volume.is_snapshot()).ok_or_else(|| {
            Error::not_found(format!("The subvolume of {dataset} does not exist any more."))
        })?;
        let mut wanted = vec![top];
        if new.recursive {
            let below = |v: &&Volume| {
                v.info.uuid != uuid && !v.is_snapshot() && v.path.starts_with(&top.path)
            };
            wanted.extend(system.volumes.iter().filter(below));
        }
        let mut made: Vec<Snapshot> = Vec::new();
        let total = u64::try_from(wanted.len()).ok();
        for (volume, done) in wanted.into_iter().zip(0..) {
            let shown = volume.path.to_string_lossy();
            witness.progress("taking", (done, total), "subvolumes", &shown);
            let taken = if witness.cancelled() {
                Err(Error::cancelled())
            } else {
                take(&system, volume, &name, new)
            };
            match taken {
                Ok(snapshot) => made.push(snapshot),
                Err(error) => {
                    for snapshot in &made {
                        // The first failure is what the caller must hear of.
                        let _undone = self.destroy(&snapshot.id);
                    }
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    fn holds(&self, dataset: &DatasetId) -> Result<BTreeMap<String, Vec<String>>> {
        let (system, _) = find(dataset)?;
        Holds::all(system.mounts.iter().map(|mount| ledger::holds(mount)))
    }

    fn tells_changes(&self) -> bool {
        true
    }

    fn unchanged_since(&self, id: &DatasetId, snapshot: &Snapshot) -> Result<Option<bool>> {
        let (system, uuid) = find(id)?;
        let Some(volume) = system.volume(uuid) else { return Ok(Some(false)) };
        // What is written but not committed yet has no transaction yet.
        ioctl::commit(open_dir(&volume.path)?.as_fd())
            .map_err(|errno| explain("write to the disk", errno))?;
        let now = volumes::open_root(&volume.path).filter(|(_, info)| info.uuid == uuid);
        Ok(Some(now.is_some_and(|(_, info)| info.changed_in <= snapshot.order)))
    }

    fn destroy_told(&self, id: &SnapshotId, witness: &dyn Witness) -> Result<Snapshot> {
        let (system, uuid) = find(&id.dataset)?;
        let gone = || Error::not_found(format!("There is no snapshot {id} (any more)."));
        let identity: Uuid = id.identity.parse().map_err(|_| gone())?;
        let snapshot = snapshots_of(&system, uuid).into_iter().find(|s| s.id == *id);
        let snapshot = snapshot.ok_or_else(gone)?;
        if snapshot.owner == Owner::Foreign {
            return Err(Error::foreign(&snapshot.name));
        }
        let volume = system.volume(identity).ok_or_else(gone)?;
        // What is at that path now, not what was there when it was listed.
        let (_open, info) = volumes::open_root(&volume.path).ok_or_else(gone)?;
        if info.uuid != identity || info.parent != uuid || !info.read_only {
            return Err(gone());
        }
        Holds::refuse(
            system.mounts.iter().map(|m| ledger::holds(m)),
            &id.identity,
            &snapshot.name,
        )?;
        let mount = open_dir(&volume.mount)?;
        if witness.cancelled() {
            return Err(Error::cancelled());
        }
        witness.progress("destroying", (0, Some(1)), "subvolumes", &snapshot.name);
        ioctl::delete(mount.as_fd(), info.id)
            .map_err(|errno| explain(&format!("destroy the snapshot {}", snapshot.name), errno))?;
        witness.progress("writing to the disk", (0, None), "", "");
        ioctl::commit(mount.as_fd()).map_err(|errno| explain("write to the disk", errno))?;
        ledger::forget(&system.mounts, identity);
        if let Some(dir) = volume.path.parent().filter(|dir| dir.ends_with(id.dataset.as_str())) {
            // Fails while there are others in it, and that is right.
            let _kept = std::fs::remove_dir(dir);
        }
        Ok(snapshot)
    }
}

/// Takes one snapshot: unfinished name, ledger note, final name, all on disk.
fn take(system: &FileSystem, volume: &Volume, name: &str, new: &NewSnapshot) -> Result<Snapshot> {
    let id = dataset_id(system, volume.info.uuid);
    let shown = volume.path.display();
    if snapshots_of(system, volume.info.uuid).iter().any(|other| other.name == name) {
        return Err(exists(&volume.path, name));
    }
    let path = ledger::home(&volume.mount, id.as_str())?;
    let dir = open_dir(&path)?;
    let lock = Lock::try_exclusive(open_dir(&path)?)
        .map_err(|cause| Error::io(format!("lock {}", path.display()), cause))?;
    let _lock = lock.ok_or_else(|| {
        Error::busy(format!("Another snapshot of {shown} is being taken. Try again."))
    })?;
    remove_unfinished(&path, &dir, volume)?;
    let (source, _) = volumes::open_root(&volume.path)
        .filter(|(_, info)| info.uuid == volume.info.uuid)
        .ok_or_else(|| Error::not_found(format!("The subvolume {shown} is gone.")))?;
    let draft = format!("{UNFINISHED}{name}");
    let failed = |errno: Errno| explain(&format!("take a snapshot of {shown}"), errno);
    let c_name = ioctl::name(draft.as_bytes()).map_err(failed)?;
    ioctl::snapshot(source.as_fd(), dir.as_fd(), &c_name).map_err(failed)?;
    let (_open, info) = volumes::open_root(&path.join(&draft))
        .ok_or_else(|| Error::failed("The new snapshot cannot be read back."))?;
    let made = Volume { info, path: path.join(name), mount: volume.mount.clone() };
    let note = Note {
        label: Some(new.label.clone()),
        comment: new.comment.clone(),
        mark: new.mark,
        origin: None,
    };
    if let Err(error) = finish(&made, &dir, &draft, &note) {
        // What went wrong is told; a leftover is also removed by the next snapshot.
        let _tidied = ioctl::delete(dir.as_fd(), made.info.id);
        ledger::forget(&system.mounts, made.info.uuid);
        return Err(error);
    }
    Ok(describe(&id, &made, Some(note)))
}

/// Makes an unfinished snapshot ours and gives it its name. The name appears last, so whoever sees
/// it sees a complete snapshot with its note.
fn finish(made: &Volume, dir: &File, draft: &str, note: &Note) -> Result<()> {
    ledger::write(&made.mount, made.info.uuid, note)
        .map_err(|cause| Error::io("record the new snapshot", cause))?;
    let name = made.path.file_name().unwrap_or_default();
    match rustix::fs::renameat_with(dir, draft, dir, name, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => {
            return Err(exists(&made.mount, &name.to_string_lossy()));
        }
        Err(cause) => return Err(Error::io("name the new snapshot", cause)),
    }
    ioctl::commit(dir.as_fd()).map_err(|errno| explain("write to the disk", errno))
}

/// Deletes what a killed snapshot of this dataset left. Called under the directory's lock, so
/// nobody is at work on it; only read-only copies of this very subvolume are touched.
fn remove_unfinished(path: &Path, dir: &File, volume: &Volume) -> Result<()> {
    let failed = |cause: std::io::Error| Error::io(format!("read {}", path.display()), cause);
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_bytes().starts_with(UNFINISHED.as_bytes()) {
            continue;
        }
        let Some((_open, info)) = volumes::open_root(&entry.path()) else { continue };
        if info.read_only && info.parent == volume.info.uuid {
            ioctl::delete(dir.as_fd(), info.id)
                .map_err(|errno| explain("remove an unfinished snapshot", errno))?;
            ledger::forget(std::slice::from_ref(&volume.mount), info.uuid);
        }
    }
    Ok(())
}

/// The file system a dataset id names, and the subvolume's UUID. The subvolume itself may be gone
/// while its snapshots are still there.
fn find(id: &DatasetId) -> Result<(FileSystem, Uuid)> {
    let mut parts = id.as_str().split(':').skip(1).map(str::parse::<Uuid>);
    let (Some(Ok(wanted)), Some(Ok(volume))) = (parts.next(), parts.next()) else {
        return Err(Error::bad_request(format!("\"{id}\" is not the id of a btrfs subvolume.")));
    };
    let system = volumes::scan()?.into_iter().find(|system| system.uuid == wanted);
    let system = system.ok_or_else(|| {
        Error::not_found(format!("The btrfs file system of {id} is not mounted here."))
    })?;
    let known = |v: &Volume| v.info.uuid == volume || v.is_snapshot() && v.info.parent == volume;
    if !system.volumes.iter().any(known) {
        return Err(Error::not_found(format!("The subvolume {id} does not exist (any more).")));
    }
    Ok((system, volume))
}

fn datasets_of(system: &FileSystem) -> Vec<Dataset> {
    let pool = system.mounts.first().map(|path| path.to_string_lossy().into_owned());
    let pool = pool.unwrap_or_default();
    // A file system made by old tools gives its top subvolume no UUID: nothing to know it by.
    let plain = system.volumes.iter().filter(|v| !v.is_snapshot() && !v.info.uuid.is_nil());
    plain
        .map(|volume| Dataset {
            id: dataset_id(system, volume.info.uuid),
            kind: Kind::Btrfs,
            name: volume.path.to_string_lossy().into_owned(),
            pool: pool.clone(),
            mount: Some(volume.path.clone()),
            used: None,
            available: space::of(&volume.path).map(|space| space.available),
            referenced: None,
        })
        .collect()
}

fn snapshots_of(system: &FileSystem, dataset: Uuid) -> Vec<Snapshot> {
    let id = dataset_id(system, dataset);
    let unfinished = |volume: &Volume| {
        let name = volume.path.file_name().unwrap_or_default();
        name.as_bytes().starts_with(UNFINISHED.as_bytes())
    };
    let of_it = |v: &&Volume| v.is_snapshot() && v.info.parent == dataset && !unfinished(v);
    let mut found: Vec<&Volume> = system.volumes.iter().filter(of_it).collect();
    found.sort_by_key(|volume| (volume.info.made_in, volume.info.id));
    found
        .into_iter()
        .map(|volume| describe(&id, volume, ledger::read(&system.mounts, volume.info.uuid)))
        .collect()
}

fn describe(dataset: &DatasetId, volume: &Volume, note: Option<Note>) -> Snapshot {
    let (seconds, nanos) = volume.info.made_at;
    let created = i64::try_from(seconds).ok().and_then(|s| DateTime::from_timestamp(s, nanos));
    let owner = if note.is_some() { Owner::Ours } else { Owner::Foreign };
    let (label, comment, mark) =
        note.map_or((None, None, None), |note| (note.label, note.comment, note.mark));
    let name = volume.path.file_name().unwrap_or(OsStr::new("/"));
    Snapshot {
        id: SnapshotId { dataset: dataset.clone(), identity: volume.info.uuid.to_string() },
        dataset: dataset.clone(),
        name: name.to_string_lossy().into_owned(),
        order: volume.info.made_in,
        created: created.unwrap_or(DateTime::<Utc>::UNIX_EPOCH),
        owner,
        label,
        comment,
        mark,
        state: SnapshotState::Complete,
        consistency: Consistency::Atomic,
        size: None,
    }
}

fn dataset_id(system: &FileSystem, volume: Uuid) -> DatasetId {
    DatasetId::from_parts(Kind::Btrfs, &[&system.uuid.to_string(), &volume.to_string()])
}

fn open_dir(path: &Path) -> Result<File> {
    File::open(path).map_err(|cause| Error::io(format!("open {}", path.display()), cause))
}

fn exists(of: &Path, name: &str) -> Error {
    Error::exists(format!(
        "{} has a snapshot named {name} already. Choose another name.",
        of.display()
    ))
}

/// The kernel's answers in the words of this back end.
fn explain(what: &str, errno: Errno) -> Error {
    let cause = std::io::Error::from(errno);
    match errno {
        // To root the kernel says this only while the subvolume is being sent somewhere.
        Errno::EPERM if nix::unistd::geteuid().is_root() => Error::busy(format!(
            "Could not {what}: it is being sent to another place. Try again later."
        ))
        .because(cause),
        Errno::ENOTEMPTY => {
            Error::busy(format!("Could not {what}: another subvolume lies in it.")).because(cause)
        }
        Errno::EBUSY | Errno::ETXTBSY => {
            Error::busy(format!("Could not {what}: it is in use.")).because(cause)
        }
        _ => Error::io(what, cause),
    }
}
