//! The two ends of a copy: where snapshots are read, and where they are written.
//!
//! Knows storage, by the back ends of the snapshot plugin; must not know tasks, runs or events. An
//! end belongs to one dataset. Every method may be called again after a crash: what has been done
//! already is found done.

pub mod btrfs;
pub mod child;
pub mod frame;
pub mod remote;
pub mod tree;
pub mod words;
pub mod zfs;

use std::collections::HashSet;
use std::error::Error as _;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use snapshot::backend::btrfs::Btrfs;
use snapshot::backend::tree::Tree;
use snapshot::backend::zfs::Zfs;
use snapshot::backend::{Backend, Dataset, DatasetId, Error, ErrorKind, Kind, Result};
use uuid::Uuid;

use crate::plan::{Conflict, Copied, Original, Step};
use crate::run::Basis;
use remote::{Found, Remote, Ssh};

/// Why a step did not come to its end.
#[derive(Debug)]
pub enum Halt {
    /// It was tried and failed.
    Failed(Error),
    /// The target does not fit.
    Conflict(Conflict),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A snapshot on its way out.
pub trait Stream: Read + Send {
    /// Whether all of it has been read and the sender says so too.
    fn finish(&mut self) -> Result<()>;
}

/// What a source answers when it is asked to send.
pub struct Sending {
    /// The bytes.
    pub stream: Box<dyn Stream>,
    /// How many.
    pub total: Option<u64>,
    /// What that figure is worth.
    pub basis: Basis,
}

/// Where snapshots are read.
pub trait Source: Send + Sync {
    /// All snapshots of the dataset, oldest first.
    fn originals(&self) -> Result<Vec<Original>>;
    /// Bytes that a step will send, and what that figure is worth.
    fn size(&self, step: &Step) -> (Option<u64>, Basis);
    /// Begins to send one. The same step always gives the same bytes.
    fn send(&self, step: &Step) -> Result<Sending>;
    /// Keeps a snapshot from being destroyed until [`Source::release`].
    fn hold(&self, identity: &str, tag: &str) -> Result<()>;
    /// Lets it go; what is not held, or is gone, is no error.
    fn release(&self, identity: &str, tag: &str) -> Result<()>;
}

/// What is at the target.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Where the copies of the dataset are, or will be.
    pub place: PathBuf,
    /// What is there, oldest first.
    pub copies: Vec<Copied>,
}

/// Where snapshots are written.
pub trait Target: Send + Sync {
    /// Whether the base must be the newest snapshot, and whether copies keep their names.
    fn demands(&self) -> (bool, bool);
    /// What is there of the dataset, which also has copies of these keys.
    fn look(&self, keys: &HashSet<String>) -> Result<Look>;
    /// Removes what runs that have died left behind, and completes what they left incomplete.
    fn tidy(&self, look: &Look) -> Result<()>;
    /// Receives a stream for a run, where nobody takes it for a snapshot.
    fn stage(
        &self,
        run: Uuid,
        to: (&Look, &Step),
        stream: &mut dyn Read,
    ) -> std::result::Result<Box<dyn Staged>, Halt>;
    /// Keeps a copy from being destroyed until [`Target::release`].
    fn hold(&self, look: &Look, identity: &str, tag: &str) -> Result<()>;
    /// Lets it go; what is not held, or is gone, is no error.
    fn release(&self, look: &Look, identity: &str, tag: &str) -> Result<()>;
}

/// What was received and is no snapshot yet. Dropped before [`Staged::commit`], nothing of it is left
/// (what a killed process leaves, [`Target::tidy`] removes).
pub trait Staged {
    /// Returns when all of it is on the disk.
    fn sync(&self) -> Result<()>;
    /// Whether it is what was to be sent.
    fn check(&self) -> Result<()>;
    /// Makes it a snapshot in its place, durably.
    fn commit(self: Box<Self>) -> Result<()>;
}

/// Where copies go.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// A directory, or a ZFS dataset.
    pub root: &'a str,
    /// 1, and one more each time somebody decided to begin anew beside what is there.
    pub generation: u32,
}

/// From where to where.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// The machine that is read from; none: this one.
    pub from: Option<&'a Ssh>,
    /// The machine that is written to; none: this one.
    pub to: Option<&'a Ssh>,
    /// Where there.
    pub destination: Destination<'a>,
}

/// Both ends of the copies of a dataset.
pub struct Ends {
    /// The dataset's name now.
    pub name: String,
    /// Where it is read.
    pub source: Box<dyn Source>,
    /// Where its copies are written.
    pub target: Box<dyn Target>,
}

/// Opens both ends. `store` is where the snapshot plugin of this machine keeps snapshots of
/// directories.
pub fn open(dataset: &DatasetId, way: Way<'_>, store: &Path) -> Result<Ends> {
    let (name, source): (String, Box<dyn Source>) = match way.from {
        None => (find(dataset.as_str(), store)?.name, source(dataset, store)?),
        Some(ssh) => {
            let (sender, found) = remote::Sender::open(Remote::connect(ssh)?, dataset.as_str())?;
            (found.name, Box::new(sender))
        }
    };
    let target: Box<dyn Target> = match way.to {
        None => target((dataset, &name), way.destination, store, way.from.is_none())?,
        Some(ssh) => {
            let to = (way.destination.root, way.destination.generation);
            Box::new(remote::Receiver::open(Remote::connect(ssh)?, dataset, &name, to)?)
        }
    };
    Ok(Ends { name, source, target })
}

/// Where a dataset of this machine is read.
pub fn source(dataset: &DatasetId, store: &Path) -> Result<Box<dyn Source>> {
    Ok(match dataset.kind() {
        Kind::Zfs => Box::new(zfs::Sender::new(dataset.clone())),
        Kind::Btrfs => Box::new(btrfs::Sender::new(dataset.clone())),
        Kind::Tree => Box::new(tree::Sender::new(dataset, store)?),
    })
}

/// Where copies of a dataset of this name are written on this machine; `both` when it is read here,
/// too.
pub fn target(
    (dataset, name): (&DatasetId, &str),
    to: Destination<'_>,
    store: &Path,
    both: bool,
) -> Result<Box<dyn Target>> {
    let origin = Origin::new(dataset, name, to.generation);
    Ok(match dataset.kind() {
        Kind::Zfs => Box::new(zfs::Receiver::new(to.root, origin, both.then_some(name))?),
        Kind::Btrfs => Box::new(btrfs::Receiver::new(Path::new(to.root), origin)?),
        Kind::Tree => Box::new(tree::Receiver::new(dataset, Path::new(to.root), store)?),
    })
}

/// The dataset that somebody means, on this machine or another.
pub fn known(text: &str, from: Option<&Ssh>, store: &Path) -> Result<Found> {
    match from {
        None => {
            let found = find(text, store)?;
            Ok(Found { id: found.id.to_string(), name: found.name })
        }
        Some(ssh) => Ok(remote::Sender::open(Remote::connect(ssh)?, text)?.1),
    }
}

/// What a copy is a copy of, and what its place is called when it has none yet.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The dataset's id, with the generation behind it from the second on.
    pub mark: String,
    /// Names for the place, the first free one is taken.
    pub names: [String; 2],
    /// Whether copies without a mark may be of it.
    pub first: bool,
}

impl Origin {
    /// The origin that a dataset of this name is.
    pub fn new(dataset: &DatasetId, name: &str, generation: u32) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let leaf = name.rsplit('/').find(|part| !part.is_empty()).unwrap_or("root");
        let mut leaf: String = leaf.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        leaf.truncate(64);
        if leaf.starts_with(['.', '-']) {
            leaf.insert(0, '_');
        }
        let short: String =
            blake3::hash(dataset.as_str().as_bytes()).to_hex().chars().take(8).collect();
        let suffix = if generation > 1 { format!("-g{generation}") } else { String::new() };
        let mark =
            if generation > 1 { format!("{dataset}+g{generation}") } else { dataset.to_string() };
        let names = [format!("{leaf}{suffix}"), format!("{leaf}-{short}{suffix}")];
        Self { mark, names, first: generation <= 1 }
    }
}

/// The dataset that somebody means by an id, a name or a path.
pub fn find(text: &str, store: &Path) -> Result<Dataset> {
    let fits = |dataset: &Dataset| {
        dataset.id.as_str() == text
            || dataset.name == text
            || text.starts_with('/') && dataset.mount.as_deref() == Some(Path::new(text))
    };
    let kinds = match text.parse::<DatasetId>() {
        Ok(id) => vec![id.kind()],
        Err(_) => vec![Kind::Zfs, Kind::Btrfs, Kind::Tree],
    };
    for kind in kinds {
        match datasets(kind, store) {
            Ok(all) => {
                if let Some(found) = all.into_iter().find(|dataset| fits(dataset)) {
                    return Ok(found);
                }
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::new(
        ErrorKind::NotFound,
        format!(
            "There is no dataset \"{}\". `snapshot/datasets` lists them; a directory is one after \
             its first snapshot.",
            text.escape_debug()
        ),
    ))
}

fn datasets(kind: Kind, store: &Path) -> Result<Vec<Dataset>> {
    match kind {
        Kind::Zfs => Zfs.datasets(),
        Kind::Btrfs => Btrfs.datasets(),
        // Without a store there is no directory that was ever snapshotted.
        Kind::Tree if !store.join("version").exists() => Ok(Vec::new()),
        Kind::Tree => Tree::open(store, Vec::new())?.datasets(),
    }
}

/// Whether an error says that there is no space.
pub fn is_full(error: &Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        let full = cause.downcast_ref::<io::Error>().is_some_and(|cause| {
            matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        });
        let text = cause.to_string().to_lowercase();
        if full || text.contains("no space left") || text.contains("out of space") {
            return true;
        }
        next = cause.source();
    }
    false
}

fn failed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Failed, what)
}

fn io_failed(what: &str, cause: io::Error) -> Error {
    failed(format!("Could not {what}: {cause}.")).because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_name_that_is_one() {
        let id: DatasetId = "btrfs:1:2".parse().unwrap();
        for (name, leaf) in [
            ("tank/data", "data"),
            ("/srv/my photos/", "my_photos"),
            ("/", "root"),
            ("/x/-rf", "_-rf"),
            ("/x/..", "_.."),
            ("/x/\u{fc}\n", "__"),
        ] {
            let origin = Origin::new(&id, name, 1);
            assert_eq!(origin.names[0], leaf);
            assert!(origin.names[1].starts_with(&format!("{leaf}-")));
            assert_eq!(origin.mark, "btrfs:1:2");
            let second = Origin::new(&id, name, 2);
            assert_eq!(second.names[0], format!("{leaf}-g2"));
            assert_ne!(second.mark, origin.mark);
        }
    }

    #[test]
    fn a_full_disk_is_known_by_its_cause() {
        let full = failed("x").because(io::Error::from(io::ErrorKind::StorageFull));
        assert!(is_full(&full));
        let said = failed("x").because("ERROR: writing to f failed: No space left on device");
        assert!(is_full(&said));
        assert!(!is_full(&failed("x").because("something else")) && !is_full(&failed("x")));
    }
}
