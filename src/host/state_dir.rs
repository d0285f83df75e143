//! The private directory of a plugin, and whose it is.
//!
//! A daemon that is root gives each plugin a user of its own. Nothing writes down which: it is the
//! owner of the plugin's directory, and stays so when the plugin is removed, so that no other
//! plugin ever inherits its files.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, chownat, fchown, openat, statat};
use sha2::{Digest, Sha256};

/// Users that systemd's table of ranges leaves to nobody (systemd.io/UIDS-GIDS) and that fit where
/// a container has only the first 65536.
const USERS: RangeInclusive<u32> = 60_706..=61_183;
/// How deep a directory may be that changes hands.
const DEPTH_MAX: u32 = 64;
/// Others may pass through, and see nothing.
const PASSABLE: u32 = 0o711;

/// Whose a directory is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Whoever the daemon is.
    Daemon,
    /// A user of the plugin's own. Needs root.
    Own,
}

/// Makes `ROOT/plugin-state/ID` and gives it to its owner; the owner's number, if it is the
/// plugin's own.
pub(crate) fn prepare(root: &Path, id: &str, owner: Owner) -> io::Result<Option<u32>> {
    // Two plugins must not be given the same user.
    static CHOOSING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = CHOOSING.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = path(root, id);
    let make = || DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    match owner {
        Owner::Daemon => {
            make()?;
            // It may have been somebody's own before.
            if nix::unistd::geteuid().is_root() && dir.metadata()?.uid() != 0 {
                give(&dir, 0)?;
            }
            Ok(None)
        }
        Owner::Own => {
            let uid = choose(&dir, id)?;
            make()?;
            for above in [root, &all(root)] {
                let mode = above.metadata()?.permissions().mode();
                if mode & PASSABLE != PASSABLE {
                    fs::set_permissions(above, PermissionsExt::from_mode(mode | PASSABLE))?;
                }
            }
            if dir.metadata()?.uid() != uid {
                give(&dir, uid)?;
            }
            Ok(Some(uid))
        }
    }
}

/// The state directory of a plugin below that of the daemon.
pub(crate) fn path(root: &Path, id: &str) -> PathBuf {
    all(root).join(id)
}

fn all(root: &Path) -> PathBuf {
    root.join("plugin-state")
}

/// The user whose the directory is already, or one that is free: the first of a row that begins at
/// a place which path and id decide.
fn choose(dir: &Path, id: &str) -> io::Result<u32> {
    let present = fs::symlink_metadata(dir).ok().map(|metadata| metadata.uid());
    if let Some(uid) = present.filter(|uid| USERS.contains(uid) && !has_account(*uid)) {
        return Ok(uid);
    }
    let mut taken = owners_in(dir.parent().unwrap_or(dir));
    // Another daemon on this machine may have plugins too.
    taken.extend(owners_in(Path::new("/proc")));
    first_free(&Sha256::digest(dir.as_os_str().as_encoded_bytes()), |uid| {
        !taken.contains(&uid) && !has_account(uid)
    })
    .ok_or_else(|| io::Error::other(format!("no user is left in {USERS:?} for the plugin {id}")))
}

fn first_free(hash: &[u8], is_free: impl Fn(u32) -> bool) -> Option<u32> {
    let number = hash.iter().take(3).fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    let count = USERS.end() - USERS.start() + 1;
    (0..count).map(|step| USERS.start() + (number + step) % count).find(|uid| is_free(*uid))
}

fn owners_in(dir: &Path) -> BTreeSet<u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(fs::symlink_metadata(entry.path()).ok()?.uid())).collect()
}

/// Whether somebody has this number as a user or a group. If that cannot be found out, nobody has.
fn has_account(uid: u32) -> bool {
    matches!(User::from_uid(Uid::from_raw(uid)), Ok(Some(_)))
        || matches!(Group::from_gid(Gid::from_raw(uid)), Ok(Some(_)))
}

/// Gives the directory and all in it to a user. The directory itself comes last, so that a change
/// that was cut short is begun again.
fn give(dir: &Path, uid: u32) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = File::from(rustix::fs::open(dir, flags, Mode::empty())?);
    let mut given = Given { uid, left: 0 };
    given.below(&opened, DEPTH_MAX)?;
    given.own(&opened)?;
    opened.set_permissions(PermissionsExt::from_mode(0o700))?;
    let Given { left, .. } = given;
    tracing::info!(dir = %dir.display(), uid, left, "a plugin's state directory changes hands");
    Ok(())
}

struct Given {
    uid: u32,
    /// Files that were left as they are.
    left: u64,
}

impl Given {
    /// No symbolic link is followed. A file of several names is left alone: one of them may be
    /// elsewhere, and not the plugin's.
    fn below(&mut self, dir: impl AsFd, depth: u32) -> io::Result<()> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(io::Error::other(format!("directories more than {DEPTH_MAX} deep")));
        };
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if [&b"."[..], b".."].contains(&name.to_bytes()) {
                continue;
            }
            let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = openat(&dir, name, flags, Mode::empty())?;
                self.below(&inner, depth)?;
                self.own(&inner)?;
            } else if stat.st_nlink == 1 {
                let (user, group) = self.ids();
                chownat(&dir, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
            } else {
                self.left += 1;
            }
        }
        Ok(())
    }

    fn own(&self, dir: impl AsFd) -> io::Result<()> {
        let (user, group) = self.ids();
        Ok(fchown(dir, Some(user), Some(group))?)
    }

    fn ids(&self) -> (rustix::fs::Uid, rustix::fs::Gid) {
        (rustix::fs::Uid::from_raw(self.uid), rustix::fs::Gid::from_raw(self.uid))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn plugins_that_want_the_same_user_get_neighbours() {
        let count = USERS.end() - USERS.start() + 1;
        let last = (count - 1).to_be_bytes();
        let wanted = |free: &dyn Fn(u32) -> bool| first_free(&last[1..], free);
        assert_eq!(wanted(&|_| true), Some(*USERS.end()));
        assert_eq!(wanted(&|uid| uid != *USERS.end()), Some(*USERS.start()));
        assert_eq!(wanted(&|uid| uid == 61_000), Some(61_000));
        assert_eq!(wanted(&|_| false), None);
    }

    #[test]
    fn what_changes_hands_is_only_what_lies_there() {
        if !nix::unistd::geteuid().is_root() {
            // Files are given away by root alone.
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let (root, elsewhere) = (place.path().join("state"), place.path().join("elsewhere"));
        fs::write(&elsewhere, "not the plugin's").unwrap();
        assert_eq!(prepare(&root, "a", Owner::Daemon).unwrap(), None);
        let dir = path(&root, "a");
        fs::create_dir_all(dir.join("sub/deeper")).unwrap();
        fs::write(dir.join("sub/deeper/file"), "").unwrap();
        symlink(&elsewhere, dir.join("sub/link")).unwrap();
        fs::hard_link(&elsewhere, dir.join("second-name")).unwrap();
        let uid = prepare(&root, "a", Owner::Own).unwrap().unwrap();
        let owner = |path: &str| fs::symlink_metadata(dir.join(path)).unwrap().uid();
        for given in ["", "sub", "sub/deeper", "sub/deeper/file", "sub/link"] {
            assert_eq!(owner(given), uid, "{given}");
        }
        assert_eq!(elsewhere.metadata().unwrap().uid(), 0);
        assert_eq!(prepare(&root, "a", Owner::Own).unwrap(), Some(uid), "the same next time");
        assert_ne!(prepare(&root, "b", Owner::Own).unwrap(), Some(uid), "nobody else's");
        prepare(&root, "a", Owner::Daemon).unwrap();
        assert_eq!(owner("sub/deeper/file"), 0);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&root), mode(&all(&root)), mode(&dir)), (0o711, 0o711, 0o700));
    }
}
