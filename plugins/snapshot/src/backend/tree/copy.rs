//! One file's content into the store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::manifest;
use super::store::Store;
use super::walk::Found;

/// How often a file that changes while it is read is read again before it counts as torn.
const ATTEMPTS: usize = 3;
/// Bytes per read; a block of zeroes of this size becomes a hole in the copy.
const BLOCK: usize = 128 * 1024;

/// What became of a file.
pub(super) enum Outcome {
    /// Its content is a blob now.
    Stored {
        /// Bytes in the blob.
        size: u64,
        /// The blob.
        hash: blake3::Hash,
        /// It changed in every attempt.
        torn: bool,
        /// Its attributes before the first byte was read.
        stat: Box<Stat>,
    },
    /// It is not there any more, or not a file any more.
    Gone,
    /// It is there and cannot be read.
    Unreadable,
    /// Nobody wants it any more.
    Unwanted,
}

/// Copies a file to `temporary` and makes it a blob. An error is the store's, not the file's.
/// `goes_on` is told of the bytes so far and says whether there should be more.
pub(super) fn file(
    store: &Store,
    found: &Found,
    temporary: &Path,
    goes_on: &dyn Fn(u64) -> bool,
) -> io::Result<Outcome> {
    for attempt in 1..=ATTEMPTS {
        let source = match open(found) {
            Ok(source) => source,
            Err(Errno::NOENT) => return Ok(Outcome::Gone),
            Err(_) => return Ok(Outcome::Unreadable),
        };
        let Ok(before) = rustix::fs::fstat(&source) else { return Ok(Outcome::Unreadable) };
        if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
            return Ok(Outcome::Gone);
        }
        let copy = match copy(&source, temporary, goes_on)? {
            Ok(copy) => copy,
            Err(outcome) => {
                fs::remove_file(temporary)?;
                return Ok(outcome);
            }
        };
        let stable = copy.cloned || rustix::fs::fstat(&source).is_ok_and(|now| same(&before, &now));
        if stable || attempt == ATTEMPTS {
            store.adopt_blob(temporary, &copy.hash, copy.size)?;
            return Ok(Outcome::Stored {
                size: copy.size,
                hash: copy.hash,
                torn: !stable,
                stat: Box::new(before),
            });
        }
        fs::remove_file(temporary)?;
    }
    Ok(Outcome::Unreadable)
}

struct Copy {
    size: u64,
    hash: blake3::Hash,
    /// The kernel made it in one step, so it cannot be torn.
    cloned: bool,
}

/// A copy of `source` at `temporary`; what became of it instead when it cannot be read to its end, or
/// need not.
fn copy(
    source: &File,
    temporary: &Path,
    goes_on: &dyn Fn(u64) -> bool,
) -> io::Result<Result<Copy, Outcome>> {
    // Read-only from birth for everybody else; this handle may write.
    let mut target =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o400).open(temporary)?;
    if rustix::fs::ioctl_ficlone(&target, source).is_ok() {
        let hash = manifest::hash_file(temporary);
        return match hash {
            Ok(hash) => Ok(Ok(Copy { size: target.metadata()?.len(), hash, cloned: true })),
            // The blocks are the source's own: what cannot be read here cannot be read there.
            Err(_) => Ok(Err(Outcome::Unreadable)),
        };
    }
    let mut source = source;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0_u8; BLOCK];
    let mut size = 0_u64;
    loop {
        let length = match source.read(&mut block) {
            Ok(0) => break,
            Ok(length) => length,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Ok(Err(Outcome::Unreadable)),
        };
        let read = block.get(..length).unwrap_or_default();
        hasher.update(read);
        size += u64::try_from(length).unwrap_or(0);
        if length == BLOCK && read.iter().all(|byte| *byte == 0) {
            target.seek(SeekFrom::Start(size))?;
        } else {
            target.write_all(read)?;
        }
        if !goes_on(size) {
            return Ok(Err(Outcome::Unwanted));
        }
    }
    target.set_len(size)?;
    Ok(Ok(Copy { size, hash: hasher.finalize(), cloned: false }))
}

/// Opens the file itself, never what a link points to, and never waits for a pipe's other end.
/// Leaves the access time alone where the owner may ask for that.
fn open(found: &Found) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let quiet = flags | OFlags::NOATIME;
    let opened = match rustix::fs::openat(&*found.dir, &found.name, quiet, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(&*found.dir, &found.name, flags, Mode::empty()),
        other => other,
    };
    opened.map(File::from)
}

fn same(before: &Stat, now: &Stat) -> bool {
    before.st_size == now.st_size
        && before.st_mtime == now.st_mtime
        && before.st_mtime_nsec == now.st_mtime_nsec
        && before.st_ctime == now.st_ctime
        && before.st_ctime_nsec == now.st_ctime_nsec
}
