//! What replication needs of btrfs: what a read-only subvolume was made from, the commands that send
//! and receive one, and the step that makes a received one durable.
//!
//! A successful `btrfs receive` is not durable: after a power cut its files are empty. So it receives
//! into a staging directory, and [`commit`] takes a read-only snapshot of the result into its final
//! place, which writes all of it to the disk before it returns and keeps what it was received from.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use uuid::Uuid;

use super::super::error::{Error, Result};
use super::super::hold::Holds;
use super::super::types::{DatasetId, Snapshot};
use super::super::{durable, mounts, tool};
use super::ledger::{self, Note};
use super::{explain, find, ioctl, open_dir, snapshots_of, volumes};

/// A read-only subvolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Identity.
    pub uuid: Uuid,
    /// What it is a copy of, when it was received.
    pub received: Option<Uuid>,
    /// Where it is.
    pub path: PathBuf,
    /// Transaction it was made in.
    pub made_in: u64,
    /// Transaction of its last change: greater than what a receiver knows when somebody made it
    /// writable and changed it.
    pub changed_in: u64,
    /// For a copy: `changed_in` of its original when that was sent.
    pub sent_in: u64,
    /// For a copy: the dataset that its original is a snapshot of, as our note says.
    pub origin: Option<String>,
}

impl Facts {
    fn of(path: PathBuf, info: &ioctl::Subvolume, origin: Option<String>) -> Self {
        Self {
            uuid: info.uuid,
            received: (!info.received.is_nil()).then_some(info.received),
            path,
            made_in: info.made_in,
            changed_in: info.sent_as,
            sent_in: info.sent_in,
            origin,
        }
    }
}

/// The snapshots of a dataset, oldest first, each with its facts.
pub fn snapshots(dataset: &DatasetId) -> Result<Vec<(Snapshot, Facts)>> {
    let (system, uuid) = find(dataset)?;
    let facts = |snapshot: Snapshot| {
        let identity: Uuid = snapshot.id.identity.parse().ok()?;
        let volume = system.volume(identity)?;
        let facts = Facts::of(volume.path.clone(), &volume.info, None);
        Some((snapshot, facts))
    };
    Ok(snapshots_of(&system, uuid).into_iter().filter_map(facts).collect())
}

/// The read-only subvolumes directly in a directory.
pub fn copies(dir: &Path) -> Result<Vec<Facts>> {
    let failed = |cause: io::Error| Error::io(format!("read {}", dir.display()), cause);
    let mount = mount_of(dir)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some((_open, info)) = volumes::open_root(&path) else { continue };
        if info.read_only {
            let note = ledger::read(std::slice::from_ref(&mount), info.uuid);
            found.push(Facts::of(path, &info, note.and_then(|note| note.origin)));
        }
    }
    found.sort_by_key(|facts| (facts.made_in, facts.uuid));
    Ok(found)
}

/// Whether a directory is one that only we can write to; the refusal when not.
pub fn check_private(dir: &Path) -> Result<()> {
    if ledger::is_trusted(dir) { Ok(()) } else { Err(ledger::distrusted(dir)) }
}

/// Whether a directory is on a btrfs file system.
pub fn is_btrfs(dir: &Path) -> bool {
    fs::File::open(dir).is_ok_and(|open| ioctl::file_system(open.as_fd()).is_ok())
}

/// The command that writes a subvolume to its standard output, as what changed since `parent` or as
/// a whole.
pub fn send(path: &Path, parent: Option<&Path>) -> Result<Command> {
    let mut command = btrfs(&["send", "-q"])?;
    if let Some(parent) = parent {
        command.arg("-p").arg(parent);
    }
    command.arg(path);
    Ok(command)
}

/// The command that makes a subvolume in `dir` of what it reads from its standard input.
pub fn receive(dir: &Path) -> Result<Command> {
    let mut command = btrfs(&["receive", "-q"])?;
    command.arg(dir);
    Ok(command)
}

/// Bytes of file content that [`send`] will write, as the kernel says without reading the content.
pub fn estimate(path: &Path, parent: Option<&Path>) -> Result<u64> {
    let failed = |cause: io::Error| Error::io("estimate what is to be sent", cause);
    let mut command = btrfs(&["send", "-q", "--no-data"])?;
    if let Some(parent) = parent {
        command.arg("-p").arg(parent);
    }
    command.arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut sending = command.spawn().map_err(failed)?;
    let stream = sending.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let mut dump = btrfs(&["receive", "--dump"])?;
    dump.stdin(stream).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut dumping = dump.spawn().map_err(failed)?;
    // What the command holds of the pipe would keep the sender waiting.
    drop(dump);
    let lines = BufReader::new(dumping.stdout.take().ok_or_else(|| Error::failed("no output"))?);
    let mut bytes = 0_u64;
    for line in lines.split(b'\n') {
        bytes = bytes.saturating_add(extent(&line.map_err(failed)?).unwrap_or(0));
    }
    let sent = sending.wait().map_err(failed)?;
    dumping.wait().map_err(failed)?;
    if sent.success() { Ok(bytes) } else { Err(Error::failed("The size is not known.")) }
}

/// Bytes of a line of the dump that tells of file content.
pub fn extent(line: &[u8]) -> Option<u64> {
    if !line.starts_with(b"update_extent ") {
        return None;
    }
    // A file's name may hold anything; the length is in the last words.
    let text = String::from_utf8_lossy(line);
    text.rsplit(' ').find_map(|word| word.strip_prefix("len=")?.parse().ok())
}

/// Makes what was received into `staged` a snapshot named `name` in `dir`, durably, and notes where
/// it comes from. [`super::super::ErrorKind::AlreadyExists`] when there is anything of that name.
pub fn commit(staged: &Path, dir: &Path, name: &str, origin: &str) -> Result<Facts> {
    let shown = dir.join(name);
    let what = || format!("make {}", shown.display());
    let (source, _) = volumes::open_root(staged)
        .ok_or_else(|| Error::failed("What was received is not there any more."))?;
    let open = open_dir(dir)?;
    let c_name = ioctl::name(name.as_bytes()).map_err(|errno| explain(&what(), errno))?;
    match ioctl::snapshot(source.as_fd(), open.as_fd(), &c_name) {
        Ok(()) => {}
        Err(Errno::EEXIST) => {
            return Err(Error::exists(format!("{} exists already.", shown.display())));
        }
        Err(errno) => return Err(explain(&what(), errno)),
    }
    let (_open, info) = volumes::open_root(&shown)
        .ok_or_else(|| Error::failed("What was received cannot be read back."))?;
    note(&shown, origin)?;
    ioctl::commit(open.as_fd()).map_err(|errno| explain("write to the disk", errno))?;
    Ok(Facts::of(shown, &info, Some(origin.to_owned())))
}

/// Notes what a copy is a copy of, so that it is known as ours and by its dataset.
pub fn note(copy: &Path, origin: &str) -> Result<()> {
    let (_open, info) =
        volumes::open_root(copy).ok_or_else(|| Error::not_found("The copy is gone."))?;
    let mount = mount_of(copy)?;
    ledger::prepare(&mount)?;
    let note = Note {
        label: Some("replica".to_owned()),
        comment: None,
        mark: None,
        origin: Some(origin.to_owned()),
    };
    ledger::write(&mount, info.uuid, &note).map_err(|cause| Error::io("record the copy", cause))
}

/// What a subvolume is, when `path` is the root of one; `None` for anything else. Also what can be
/// written to, such as one half received.
pub fn facts(path: &Path) -> Option<(Facts, bool)> {
    let (_open, info) = volumes::open_root(path)?;
    Some((Facts::of(path.to_owned(), &info, None), info.read_only))
}

/// Removes a staging directory with the subvolumes in it. Only for directories that this project
/// alone fills.
pub fn clear(dir: &Path) -> Result<()> {
    let failed = |cause: io::Error| Error::io(format!("remove {}", dir.display()), cause);
    let entries = match fs::read_dir(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if let Some((_open, info)) = volumes::open_root(&path) {
            ioctl::delete(open_dir(dir)?.as_fd(), info.id)
                .map_err(|errno| explain(&format!("remove {}", path.display()), errno))?;
        }
    }
    fs::remove_dir_all(dir).map_err(failed)
}

/// Returns when all that was written to the file system of `dir` is on the disk.
pub fn sync(dir: &Path) -> Result<()> {
    rustix::fs::syncfs(open_dir(dir)?).map_err(|cause| Error::io("write to the disk", cause))
}

/// Makes a directory for our eyes only, with what leads to it.
pub fn make_dir(dir: &Path) -> Result<()> {
    durable::make_dir(dir).map_err(|cause| Error::io(format!("make {}", dir.display()), cause))
}

/// The holds on snapshots of the file system that `path` is on.
pub fn holds(path: &Path) -> Result<Holds> {
    let mount = mount_of(path)?;
    ledger::prepare(&mount)?;
    Ok(Holds::at(ledger::holds(&mount)))
}

/// The mount a path is reached through.
fn mount_of(path: &Path) -> Result<PathBuf> {
    let real = path
        .canonicalize()
        .map_err(|cause| Error::io(format!("find {}", path.display()), cause))?;
    let mut points: Vec<PathBuf> = mounts::read()?
        .into_iter()
        .filter(|mount| mount.kind == "btrfs" && real.starts_with(&mount.point))
        .map(|mount| mount.point)
        .collect();
    points.sort_by_key(|point| point.as_os_str().as_bytes().len());
    points.pop().ok_or_else(|| {
        Error::bad_request(format!("{} is not on a btrfs file system.", path.display()))
    })
}

fn btrfs(args: &[&str]) -> Result<Command> {
    let path = tool::find("btrfs").ok_or_else(|| {
        Error::unavailable("The program btrfs is not installed here. Install btrfs-progs.")
    })?;
    Ok(tool::quiet(&path, args))
}
