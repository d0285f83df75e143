//! Which subvolumes there are, and by which path each can be reached.
//!
//! Only mounted file systems are seen. The tree is walked from subvolume to subvolume with ioctls
//! that answer relative to the directory they are asked on; the listing tools print paths that are
//! relative to whatever happens to be mounted.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use uuid::Uuid;

use super::super::error::Result;
use super::super::mounts;
use super::ioctl::{self, Subvolume};

/// The root directory of every subvolume has this number (`BTRFS_FIRST_FREE_OBJECTID`).
const ROOT_INODE: u64 = 256;

/// One btrfs file system that is mounted.
#[derive(Debug)]
pub(super) struct FileSystem {
    pub(super) uuid: Uuid,
    /// Where its subvolumes are mounted, the one nearest to the top of the file system first.
    pub(super) mounts: Vec<PathBuf>,
    pub(super) volumes: Vec<Volume>,
}

/// One subvolume that can be reached.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) info: Subvolume,
    pub(super) path: PathBuf,
    /// The mount it is reached through.
    pub(super) mount: PathBuf,
}

impl FileSystem {
    pub(super) fn volume(&self, uuid: Uuid) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.info.uuid == uuid)
    }
}

impl Volume {
    /// A read-only copy of another subvolume is a snapshot of it.
    pub(super) fn is_snapshot(&self) -> bool {
        self.info.read_only && !self.info.parent.is_nil()
    }
}

/// All mounted btrfs file systems with their subvolumes.
pub(super) fn scan() -> Result<Vec<FileSystem>> {
    let mut mounts = mounts::read()?;
    mounts.retain(|mount| mount.kind == "btrfs");
    mounts.sort_by_key(|m| (m.root.as_os_str().len(), m.point.as_os_str().len(), m.point.clone()));
    let mut systems: Vec<FileSystem> = Vec::new();
    for mount in mounts {
        // A mounted file, a mounted plain directory, a mount hidden below another: not a subvolume.
        let Some((dir, info)) = open_root(&mount.point) else { continue };
        let Ok(uuid) = ioctl::file_system(dir.as_fd()) else { continue };
        let index = systems.iter().position(|system| system.uuid == uuid);
        let index = index.unwrap_or_else(|| {
            systems.push(FileSystem { uuid, mounts: Vec::new(), volumes: Vec::new() });
            systems.len() - 1
        });
        let Some(system) = systems.get_mut(index) else { continue };
        system.mounts.push(mount.point.clone());
        if system.volume(info.uuid).is_none() {
            let path = mount.point.clone();
            system.volumes.push(Volume { info, path, mount: mount.point });
        }
    }
    for system in &mut systems {
        descend(system);
    }
    Ok(systems)
}

/// Opens a subvolume's root directory; nothing when it is not one.
pub(super) fn open_root(path: &Path) -> Option<(File, Subvolume)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    if rustix::fs::fstat(&dir).ok()?.st_ino != ROOT_INODE {
        return None;
    }
    let info = ioctl::subvolume(dir.as_fd()).ok()?;
    Some((dir, info))
}

/// Adds the subvolumes below those that are there already. Those that are mounted themselves keep
/// the path of their own mount: that is the name people know.
fn descend(system: &mut FileSystem) {
    let mut known: HashSet<Uuid> = system.volumes.iter().map(|volume| volume.info.uuid).collect();
    let mut next = 0;
    while let Some(above) = system.volumes.get(next) {
        let (path, mount) = (above.path.clone(), above.mount.clone());
        next += 1;
        let Some((dir, _)) = open_root(&path) else { continue };
        for (id, place) in ioctl::children(dir.as_fd()).unwrap_or_default() {
            let Some((below, info)) = child(&dir, id, place) else { continue };
            if known.insert(info.uuid) {
                let path = path.join(below);
                system.volumes.push(Volume { info, path, mount: mount.clone() });
            }
        }
    }
    system.volumes.sort_by(|a, b| a.path.cmp(&b.path));
}

/// A child's path below its parent, when it can be reached there and nothing is mounted over it.
fn child(dir: &File, id: u64, place: u64) -> Option<(PathBuf, Subvolume)> {
    let path = ioctl::child_path(dir.as_fd(), id, place).ok()?;
    let path = PathBuf::from(OsStr::from_bytes(&path));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let stay = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let opened = rustix::fs::openat2(dir, &path, flags, Mode::empty(), stay).ok()?;
    let info = ioctl::subvolume(opened.as_fd()).ok()?;
    (info.id == id).then_some((path, info))
}
