//! Walking a directory tree in manifest order without ever following a symbolic link.
//!
//! The daemon may be root and the tree may belong to somebody who swaps directories for links while
//! the walk is under way. So every step opens one name relative to a directory already open, and
//! refuses a link.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Levels of the tree that keep their directory open. Deeper ones are opened again when the walk
/// comes back to them, so that depth cannot use up the process's descriptors.
const OPEN_LEVELS: usize = 64;

/// File systems that show the kernel's or a service's state (magic numbers of statfs(2)): proc,
/// sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, devpts, bpf, pstore, configfs, autofs,
/// mqueue, efivarfs, fusectl, `binfmt_misc`, selinuxfs, nsfs.
const PSEUDO: [u32; 18] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x1cd1,
    0xcafe_4a11,
    0x6165_676c,
    0x6265_6570,
    0x0187,
    0x1980_0202,
    0xde5e_81e4,
    0x6573_5543,
    0x4249_4e4d,
    0xf97c_ff8c,
    0x6e73_6673,
];

/// What the walk came upon.
pub(super) enum Step {
    /// Something with a name and attributes.
    Found(Found),
    /// Something that was named and then could not be looked at.
    Unreadable,
}

/// One thing in the tree.
pub(super) struct Found {
    /// The directory it is in, open.
    pub(super) dir: Rc<OwnedFd>,
    /// Its name there; `.` for the root itself.
    pub(super) name: CString,
    /// Its path below the root, empty for the root.
    pub(super) path: Vec<u8>,
    /// Its attributes.
    pub(super) stat: Stat,
    /// It is a directory whose content could not be listed.
    pub(super) unlisted: bool,
}

/// A walk under way.
pub(super) struct Walk {
    root: Rc<OwnedFd>,
    /// Whether to enter file systems mounted below.
    cross: bool,
    /// Device and inode of a directory that is left out altogether.
    skip: (u64, u64),
    levels: Vec<Level>,
    first: Option<Stat>,
}

struct Level {
    path: Vec<u8>,
    device: u64,
    /// Nothing when it was closed to save descriptors.
    dir: Option<Rc<OwnedFd>>,
    /// In descending order, so that `pop` gives the next.
    names: Vec<CString>,
}

impl Walk {
    /// A walk from `root`, an open directory. `skip` is left out with all that is below it.
    pub(super) fn new(root: File, cross: bool, skip: (u64, u64)) -> rustix::io::Result<Self> {
        let root: Rc<OwnedFd> = Rc::new(root.into());
        let stat = rustix::fs::fstat(&*root)?;
        Ok(Self { root, cross, skip, levels: Vec::new(), first: Some(stat) })
    }

    /// The next thing; nothing when the walk is over. An error means that the root is unreadable.
    pub(super) fn step(&mut self) -> rustix::io::Result<Option<Step>> {
        if let Some(stat) = self.first.take() {
            let root = Rc::clone(&self.root);
            let names = names_in(&root)?;
            let device = stat.st_dev;
            self.levels.push(Level { path: Vec::new(), device, dir: Some(root), names });
            return Ok(Some(Step::Found(Found {
                dir: Rc::clone(&self.root),
                name: c".".into(),
                path: Vec::new(),
                stat,
                unlisted: false,
            })));
        }
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.names.pop() else {
                self.levels.pop();
                continue;
            };
            let Some(dir) = self.current_dir() else {
                // It was moved away while the walk was below it.
                self.levels.pop();
                return Ok(Some(Step::Unreadable));
            };
            if let Some(step) = self.look(dir, name) {
                return Ok(Some(step));
            }
        }
    }

    fn look(&mut self, dir: Rc<OwnedFd>, name: CString) -> Option<Step> {
        let stat = match rustix::fs::statat(&*dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return None,
            Err(_) => return Some(Step::Unreadable),
        };
        let level = self.levels.last()?;
        let mut path = level.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let mut unlisted = false;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if (stat.st_dev, stat.st_ino) == self.skip {
                return None;
            }
            let crossing = stat.st_dev != level.device;
            if !crossing || self.cross {
                match list(&dir, &name, crossing) {
                    Ok(Some((dir, names))) => self.descend(path.clone(), &stat, dir, names),
                    Ok(None) => {}
                    Err(Errno::NOENT) => return None,
                    Err(_) => unlisted = true,
                }
            }
        }
        Some(Step::Found(Found { dir, name, path, stat, unlisted }))
    }

    fn descend(&mut self, path: Vec<u8>, stat: &Stat, dir: OwnedFd, names: Vec<CString>) {
        let device = stat.st_dev;
        self.levels.push(Level { path, device, dir: Some(Rc::new(dir)), names });
        if let Some(above) = self.levels.len().checked_sub(1 + OPEN_LEVELS)
            && let Some(level) = self.levels.get_mut(above)
        {
            level.dir = None;
        }
    }

    /// The directory of the current level, opened again when it was closed.
    fn current_dir(&mut self) -> Option<Rc<OwnedFd>> {
        let root = Rc::clone(&self.root);
        let level = self.levels.last_mut()?;
        if level.dir.is_none() {
            let mut dir = root;
            for part in level.path.split(|b| *b == b'/') {
                dir = Rc::new(open_dir(&dir, &CString::new(part).ok()?).ok()?);
            }
            level.dir = Some(dir);
        }
        level.dir.clone()
    }
}

/// Opens a directory and lists it; nothing when it is the root of a file system of no files.
fn list(
    parent: &OwnedFd,
    name: &CString,
    crossing: bool,
) -> rustix::io::Result<Option<(OwnedFd, Vec<CString>)>> {
    let dir = open_dir(parent, name)?;
    if crossing && is_pseudo(&dir) {
        return Ok(None);
    }
    let names = names_in(&dir)?;
    Ok(Some((dir, names)))
}

fn open_dir(parent: &OwnedFd, name: &CString) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// All names in a directory but `.` and `..`, in descending order.
fn names_in(dir: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

fn is_pseudo(dir: &OwnedFd) -> bool {
    // The kernel's magic numbers have 32 bits; the field's type differs between machines.
    rustix::fs::fstatfs(dir).is_ok_and(|stat| {
        PSEUDO.iter().any(|magic| i64::from(*magic) == (stat.f_type & 0xffff_ffff))
    })
}
