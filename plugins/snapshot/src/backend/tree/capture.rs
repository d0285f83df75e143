//! Turning a directory into manifest entries and blobs.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::witness::Witness;
use super::copy::{self, Outcome};
use super::manifest::{self, Entry, Node, Reader, Stamp};
use super::store::{Store, Workspace};
use super::walk::{Found, Step, Walk};

/// What taking a snapshot amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Entries in the manifest.
    pub entries: u64,
    /// Bytes of all regular files, hard links counted once.
    pub bytes: u64,
    /// Files that were read.
    pub copied: u64,
    /// Files taken over from the snapshot before, without reading them.
    pub reused: u64,
    /// Files that changed while they were read, in every attempt.
    pub torn: u64,
    /// Files and directories that could not be read.
    pub unread: u64,
}

/// Longest value and list of extended attributes the kernel gives (`XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 65_536;
/// A file changed at most this long before the walk began may change again without getting another
/// change time: the kernel's clock for files ticks every 4 to 10 ms.
const TICK_NANOS: i128 = 50_000_000;
/// The same for file systems that record whole (or even) seconds.
const COARSE_NANOS: i128 = 2_000_000_000;

/// What to take a snapshot of.
pub(super) struct Source<'a> {
    /// The directory, open.
    pub(super) root: File,
    /// The newest trusted manifest of the same directory.
    pub(super) previous: Option<Reader>,
    /// Whether to enter file systems mounted below it.
    pub(super) cross: bool,
    /// Bytes of the snapshot before: what this one will hold, as far as anybody knows.
    pub(super) basis: Option<u64>,
    /// Who follows it.
    pub(super) witness: &'a dyn Witness,
}

/// Walks a directory, stores the content of its files and writes the entries to `entries` in the
/// workspace.
pub(super) fn run(store: &Store, workspace: &Workspace, source: Source<'_>) -> Result<Effort> {
    let failed = |cause: io::Error| Error::io("write to the snapshot store", cause);
    let own = fs::metadata(store.root()).map_err(failed)?;
    let fresh = fs::metadata(workspace.path()).map_err(failed)?;
    let entries = File::create_new(workspace.path().join("entries")).map_err(failed)?;
    let mut capture = Capture {
        store,
        blob: workspace.path().join("blob"),
        previous: Previous { reader: source.previous, ahead: None },
        began: i128::from(fresh.mtime()) * 1_000_000_000 + i128::from(fresh.mtime_nsec()),
        links: HashMap::new(),
        buffer: vec![0; XATTR_MAX],
        out: BufWriter::new(entries),
        effort: Effort::default(),
        basis: source.basis,
        witness: source.witness,
        is_unwanted: false,
    };
    let unreadable = |cause: Errno| Error::io("read the directory", cause);
    let mut walk =
        Walk::new(source.root, source.cross, (own.dev(), own.ino())).map_err(unreadable)?;
    while let Some(step) = walk.step().map_err(unreadable)? {
        match step {
            Step::Found(found) => capture.visit(&found).map_err(failed)?,
            Step::Unreadable => capture.effort.unread += 1,
        }
        if capture.is_unwanted || !capture.goes_on(0) {
            return Err(Error::cancelled());
        }
    }
    capture.out.flush().map_err(failed)?;
    Ok(capture.effort)
}

struct Capture<'a> {
    store: &'a Store,
    /// Where a file's copy grows before it becomes a blob.
    blob: PathBuf,
    previous: Previous,
    /// The walk's beginning by the kernel's clock, in nanoseconds.
    began: i128,
    /// Where a file with several names was met first.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    out: BufWriter<File>,
    effort: Effort,
    basis: Option<u64>,
    witness: &'a dyn Witness,
    /// Whoever follows it has given it up.
    is_unwanted: bool,
}

impl Capture<'_> {
    /// Tells how far it is, `more` bytes into a file; whether to go on.
    fn goes_on(&self, more: u64) -> bool {
        let done = self.effort.bytes + more;
        // What has grown beyond the snapshot before has no known end.
        let total = self.basis.filter(|total| *total >= done);
        let files = self.effort.copied + self.effort.reused;
        let message = format!("{files} files, {} of them read", self.effort.copied);
        self.witness.progress("copying", (done, total), "bytes", &message);
        !self.witness.cancelled()
    }

    /// Records one thing. Errors are the store's; the tree's own are counted.
    fn visit(&mut self, found: &Found) -> io::Result<()> {
        let mut stat = found.stat;
        let node = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.effort.unread += u64::from(found.unlisted);
                Node::Dir
            }
            FileType::RegularFile => match self.file(found, &mut stat)? {
                Some(node) => node,
                None => return Ok(()),
            },
            FileType::Symlink => {
                match rustix::fs::readlinkat(&*found.dir, &found.name, Vec::new()) {
                    Ok(target) => Node::Symlink { target: target.into_bytes() },
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                    Err(_) => {
                        self.effort.unread += 1;
                        return Ok(());
                    }
                }
            }
            FileType::Fifo => Node::Fifo,
            FileType::CharacterDevice => Node::CharDevice { device: stat.st_rdev },
            FileType::BlockDevice => Node::BlockDevice { device: stat.st_rdev },
            // A socket means nothing without the process that listens on it.
            FileType::Socket | FileType::Unknown => return Ok(()),
        };
        let entry = Entry {
            path: found.path.clone(),
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: mtime(&stat),
            ctime: self.trusted_ctime(&stat),
            inode: stat.st_ino,
            xattrs: self.xattrs(found),
            node,
        };
        self.effort.entries += 1;
        writeln!(self.out, "{}", entry.encode())
    }

    /// The node of a regular file; nothing when it is gone.
    fn file(&mut self, found: &Found, stat: &mut Stat) -> io::Result<Option<Node>> {
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&key)
        {
            return Ok(Some(Node::HardLink { to: first.clone() }));
        }
        let node = match self.unchanged(found, stat) {
            Some(node) => {
                self.effort.reused += 1;
                node
            }
            None => match copy::file(self.store, found, &self.blob, &|size| self.goes_on(size))? {
                Outcome::Gone => return Ok(None),
                Outcome::Unwanted => {
                    self.is_unwanted = true;
                    return Ok(None);
                }
                Outcome::Unreadable => {
                    self.effort.unread += 1;
                    Node::File { size: 0, blob: None, torn: false }
                }
                Outcome::Stored { size, hash, torn, stat: seen } => {
                    *stat = *seen;
                    self.effort.copied += 1;
                    self.effort.torn += u64::from(torn);
                    Node::File { size, blob: Some(hash), torn }
                }
            },
        };
        if let Node::File { size, .. } = node {
            self.effort.bytes += size;
        }
        if stat.st_nlink > 1 {
            self.links.insert(key, found.path.clone());
        }
        Ok(Some(node))
    }

    /// The previous snapshot's node of this file, when nothing says that it has changed since: same
    /// size, inode, modification and change time to the nanosecond, and its blob is there.
    fn unchanged(&mut self, found: &Found, stat: &Stat) -> Option<Node> {
        let before = self.previous.entry(&found.path)?;
        let Node::File { size, blob: Some(blob), torn: false } = before.node else { return None };
        let same = u64::try_from(stat.st_size).is_ok_and(|now| now == size)
            && before.inode == stat.st_ino
            && before.mtime == mtime(stat)
            && before.ctime == Some(ctime(stat));
        (same && self.store.has_blob(&blob, size)).then_some(before.node)
    }

    fn trusted_ctime(&self, stat: &Stat) -> Option<Stamp> {
        let at = ctime(stat);
        let window = if at.nanos == 0 { COARSE_NANOS } else { TICK_NANOS };
        let nanos = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
        (nanos + window < self.began).then_some(at)
    }

    /// Extended attributes, by a path that does not follow the last name. A file system without
    /// them has none; one that vanishes meanwhile is left out.
    fn xattrs(&mut self, found: &Found) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut path = format!("/proc/self/fd/{}/", found.dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(found.name.to_bytes());
        let Ok(length) = rustix::fs::llistxattr(&*path, &mut *self.buffer) else {
            return Vec::new();
        };
        let list = self.buffer.get(..length).unwrap_or_default().to_vec();
        let mut xattrs = Vec::new();
        for name in list.split(|b| *b == 0).filter(|name| !name.is_empty()) {
            if let Ok(length) = rustix::fs::lgetxattr(&*path, name, &mut *self.buffer) {
                let value = self.buffer.get(..length).unwrap_or_default();
                xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
        xattrs
    }
}

/// The manifest before, read side by side with the walk.
struct Previous {
    reader: Option<Reader>,
    ahead: Option<Entry>,
}

impl Previous {
    /// The entry of `path`. Paths must be asked for in manifest order.
    fn entry(&mut self, path: &[u8]) -> Option<Entry> {
        loop {
            if self.ahead.is_none() {
                self.ahead = self.reader.as_mut()?.next_entry().ok().flatten();
            }
            match manifest::path_order(&self.ahead.as_ref()?.path, path) {
                std::cmp::Ordering::Less => self.ahead = None,
                std::cmp::Ordering::Equal => return self.ahead.take(),
                std::cmp::Ordering::Greater => return None,
            }
        }
    }
}

fn mtime(stat: &Stat) -> Stamp {
    Stamp { seconds: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

fn ctime(stat: &Stat) -> Stamp {
    Stamp { seconds: stat.st_ctime, nanos: u32::try_from(stat.st_ctime_nsec).unwrap_or(0) }
}
