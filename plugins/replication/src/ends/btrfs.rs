//! btrfs: `btrfs send` and `btrfs receive`, with a staging directory and a commit of our own.
//!
//! ```text
//! <root>/.sysadm-incoming/<run>/   what is being received; flock: the run is alive
//! <root>/<place>/<snapshot>        copies, read-only; flock on <place>: one run at a time
//! ```

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use snapshot::backend::btrfs::transfer::{self, Facts};
use snapshot::backend::{DatasetId, Error, ErrorKind, Owner, Result};
use uuid::Uuid;

use super::child::{self, Outflow};
use super::{Halt, Look, Origin, Sending, Source, Staged, Target, failed, io_failed};
use crate::plan::{Copied, Original, Step};
use crate::run::Basis;

/// Where copies are received before they are snapshots.
const INCOMING: &str = ".sysadm-incoming";
/// Other names that are tried when a copy's is taken.
const NAMES_MAX: u32 = 99;

/// Sends snapshots of a subvolume.
pub struct Sender {
    dataset: DatasetId,
}

impl Sender {
    /// Of this subvolume.
    pub fn new(dataset: DatasetId) -> Self {
        Self { dataset }
    }

    fn facts(&self, identity: &str) -> Result<Option<Facts>> {
        let all = transfer::snapshots(&self.dataset)?;
        Ok(all.into_iter().map(|(_, facts)| facts).find(|f| f.uuid.to_string() == identity))
    }

    /// Where the snapshot of a step and its base are now.
    fn both(&self, step: &Step) -> Result<(PathBuf, Option<PathBuf>)> {
        let from = step.from.as_ref().map(|from| self.existing(from)).transpose()?;
        Ok((self.existing(&step.to)?.path, from.map(|facts| facts.path)))
    }

    fn existing(&self, original: &Original) -> Result<Facts> {
        let facts = self.facts(&original.identity)?;
        let facts = facts.filter(|facts| Some(counted(facts)) == original.changed);
        facts.ok_or_else(|| {
            let gone = format!("The snapshot {} is gone or was changed.", original.name);
            Error::new(ErrorKind::NotFound, gone)
        })
    }
}

/// What a copy of it knows as its original.
fn key(facts: &Facts) -> String {
    facts.received.unwrap_or(facts.uuid).to_string()
}

/// The number that a copy of it keeps.
fn counted(facts: &Facts) -> u64 {
    if facts.received.is_some() { facts.sent_in } else { facts.changed_in }
}

impl Source for Sender {
    fn originals(&self) -> Result<Vec<Original>> {
        let all = transfer::snapshots(&self.dataset)?;
        let original = |(snapshot, facts): (snapshot::backend::Snapshot, Facts)| Original {
            identity: snapshot.id.identity,
            key: key(&facts),
            name: snapshot.name,
            changed: Some(counted(&facts)),
            ours: snapshot.owner == Owner::Ours,
            label: snapshot.label,
            size: None,
        };
        Ok(all.into_iter().map(original).collect())
    }

    fn size(&self, step: &Step) -> (Option<u64>, Basis) {
        let total = self.both(step).and_then(|(to, from)| transfer::estimate(&to, from.as_deref()));
        match total {
            Ok(total) => (Some(total), Basis::Estimate),
            Err(_) => (None, Basis::Unknown),
        }
    }

    fn send(&self, step: &Step) -> Result<Sending> {
        let (total, basis) = self.size(step);
        let (to, from) = self.both(step)?;
        let what = format!("send {}", step.to.name);
        let stream = Outflow::start(transfer::send(&to, from.as_deref())?, &what, explain)?;
        Ok(Sending { stream: Box::new(stream), total, basis })
    }

    fn hold(&self, identity: &str, tag: &str) -> Result<()> {
        let facts =
            self.facts(identity)?.ok_or_else(|| failed("A snapshot to be held is gone."))?;
        transfer::holds(&facts.path)?.put(identity, tag)
    }

    fn release(&self, identity: &str, tag: &str) -> Result<()> {
        match self.facts(identity)? {
            Some(facts) => transfer::holds(&facts.path)?.remove(identity, tag),
            None => Ok(()),
        }
    }
}

/// Keeps copies in a directory of a btrfs file system.
pub struct Receiver {
    root: PathBuf,
    origin: Origin,
}

impl Receiver {
    /// In `root`, which must exist, be ours alone, and lie on a btrfs.
    pub fn new(root: &Path, origin: Origin) -> Result<Self> {
        if !root.is_absolute() || !root.is_dir() {
            return Err(Error::new(
                ErrorKind::BadRequest,
                format!("The target {} is not a directory here.", root.display()),
            ));
        }
        if !transfer::is_btrfs(root) {
            return Err(Error::new(
                ErrorKind::BadRequest,
                format!("The target {} is not on a btrfs, as the source is.", root.display()),
            ));
        }
        transfer::check_private(root)?;
        let root = root.canonicalize().map_err(|cause| io_failed("find the target", cause))?;
        Ok(Self { root, origin })
    }

    fn incoming(&self) -> PathBuf {
        self.root.join(INCOMING)
    }

    /// The place that has copies of it already.
    fn existing(&self, keys: &HashSet<String>) -> Result<Option<(PathBuf, Vec<Facts>)>> {
        let failed = |cause| io_failed(&format!("read {}", self.root.display()), cause);
        let mut unmarked = None;
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let hidden =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if hidden || !path.is_dir() || path.is_symlink() {
                continue;
            }
            let copies = transfer::copies(&path)?;
            if copies.iter().any(|copy| copy.origin.as_ref() == Some(&self.origin.mark)) {
                return Ok(Some((path, copies)));
            }
            let of_it = |copy: &Facts| {
                copy.origin.is_none()
                    && copy.received.is_some_and(|of| keys.contains(&of.to_string()))
            };
            if self.origin.first && copies.iter().any(of_it) {
                unmarked = Some((path, copies));
            }
        }
        Ok(unmarked)
    }

    fn free_place(&self) -> Result<PathBuf> {
        let empty = |path: &PathBuf| {
            !path.exists() || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
        };
        let mut places = self.origin.names.iter().map(|name| self.root.join(name));
        places.find(empty).ok_or_else(|| {
            let names = self.origin.names.join(" and ");
            failed(format!("In {} {names} hold other things.", self.root.display()))
        })
    }
}

impl Target for Receiver {
    fn demands(&self) -> (bool, bool) {
        (false, false)
    }

    fn look(&self, keys: &HashSet<String>) -> Result<Look> {
        let Some((place, facts)) = self.existing(keys)? else {
            return Ok(Look { place: self.free_place()?, copies: Vec::new() });
        };
        let copy = |facts: &Facts| Copied {
            identity: facts.uuid.to_string(),
            key: key(facts),
            name: facts.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            changed: Some(counted(facts)),
        };
        let copies = facts.iter().map(copy).collect();
        Ok(Look { place, copies })
    }

    fn tidy(&self, look: &Look) -> Result<()> {
        // A kill between the snapshot and its note.
        if look.place.is_dir() {
            let facts = transfer::copies(&look.place)?;
            for copy in facts.iter().filter(|copy| copy.origin.is_none() && copy.received.is_some())
            {
                transfer::note(&copy.path, &self.origin.mark)?;
            }
        }
        let Ok(entries) = fs::read_dir(self.incoming()) else { return Ok(()) };
        for dir in entries.flatten().map(|entry| entry.path()) {
            let Ok(open) = File::open(&dir) else { continue };
            if rustix::fs::flock(&open, FlockOperation::NonBlockingLockExclusive).is_ok() {
                transfer::clear(&dir)?;
            }
        }
        Ok(())
    }

    fn stage(
        &self,
        run: Uuid,
        (look, step): (&Look, &Step),
        stream: &mut dyn Read,
    ) -> std::result::Result<Box<dyn Staged>, Halt> {
        transfer::make_dir(&look.place)?;
        transfer::check_private(&look.place)?;
        let place = lock(&look.place)?;
        let dir = self.incoming().join(run.to_string());
        transfer::clear(&dir)?;
        transfer::make_dir(&dir)?;
        transfer::check_private(&self.incoming())?;
        let alive = lock(&dir)?;
        let staged = Received {
            dir,
            place: look.place.clone(),
            mark: self.origin.mark.clone(),
            wanted: step.to.clone(),
            _locks: [place, alive],
        };
        let what = format!("receive {}", step.to.name);
        child::feed(transfer::receive(&staged.dir)?, &what, explain, stream)?;
        Ok(Box::new(staged))
    }

    fn hold(&self, look: &Look, identity: &str, tag: &str) -> Result<()> {
        transfer::holds(&look.place)?.put(identity, tag)
    }

    fn release(&self, look: &Look, identity: &str, tag: &str) -> Result<()> {
        transfer::holds(&look.place)?.remove(identity, tag)
    }
}

/// A subvolume that was received.
struct Received {
    dir: PathBuf,
    place: PathBuf,
    mark: String,
    wanted: Original,
    /// Held as long as it is there.
    _locks: [File; 2],
}

impl Received {
    fn subvolume(&self) -> Result<Facts> {
        let failed_to = |cause| io_failed("read what was received", cause);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed_to)? {
            found.push(entry.map_err(failed_to)?.path());
        }
        let [path] = found.as_slice() else {
            return Err(failed("What was received is not one subvolume."));
        };
        match transfer::facts(path) {
            Some((facts, true)) => Ok(facts),
            _ => Err(failed("What was received is not whole.")),
        }
    }
}

impl Staged for Received {
    fn sync(&self) -> Result<()> {
        transfer::sync(&self.dir)
    }

    fn check(&self) -> Result<()> {
        let facts = self.subvolume()?;
        let is_it = facts.received.is_some_and(|of| of.to_string() == self.wanted.key)
            && Some(facts.sent_in) == self.wanted.changed;
        if is_it { Ok(()) } else { Err(failed("What was received is another snapshot.")) }
    }

    fn commit(self: Box<Self>) -> Result<()> {
        let staged = self.subvolume()?;
        let mut number = 1;
        loop {
            let name = if number == 1 {
                self.wanted.name.clone()
            } else {
                format!("{}-{number}", self.wanted.name)
            };
            match transfer::commit(&staged.path, &self.place, &name, &self.mark) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < NAMES_MAX => {
                    number += 1;
                }
                Err(error) => return Err(error),
                Ok(_) => return transfer::clear(&self.dir),
            }
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // What cannot be removed now the next run removes.
        let _left = transfer::clear(&self.dir);
    }
}

/// A lock that ends with the file, or that somebody else is at work there.
fn lock(dir: &Path) -> Result<File> {
    let open = File::open(dir).map_err(|cause| io_failed("open the target", cause))?;
    rustix::fs::flock(&open, FlockOperation::NonBlockingLockExclusive).map_err(|cause| {
        Error::new(
            ErrorKind::Busy,
            format!("Another run is writing to {}. Try again when it is done.", dir.display()),
        )
        .because(std::io::Error::from(cause))
    })?;
    Ok(open)
}

/// What the program said: of its lines the one that names the error.
fn explain(what: &str, text: &str) -> Error {
    let line = text.lines().find(|line| line.starts_with("ERROR:")).or_else(|| text.lines().next());
    let line = line.unwrap_or_default().trim_start_matches("ERROR:").trim();
    let text: String = text.chars().take(2000).collect();
    failed(format!("Could not {what}: btrfs says \"{line}\".")).because(text)
}
