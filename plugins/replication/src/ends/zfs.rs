//! ZFS: `zfs send` and `zfs receive -u`, never with `-F`.
//!
//! A receive is a transaction of its own, so there is nothing to stage: the snapshot is there when
//! it is whole. What a child's exit says is not believed alone: a receive that was killed may still
//! complete, so the storage is asked.

use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;

use snapshot::backend::zfs::{Zfs, transfer};
use snapshot::backend::{Backend, DatasetId, Error, ErrorKind, Owner, Result};
use uuid::Uuid;

use super::child::{self, Outflow};
use super::{Halt, Look, Origin, Sending, Source, Staged, Target, failed};
use crate::plan::{Conflict, Copied, Original, Step, Trouble};
use crate::run::Basis;

/// Sends snapshots of a ZFS dataset.
pub struct Sender {
    dataset: DatasetId,
}

impl Sender {
    /// Of this dataset.
    pub fn new(dataset: DatasetId) -> Self {
        Self { dataset }
    }

    /// The full name that the snapshot of this GUID has now.
    fn full(&self, guid: &str) -> Result<Option<String>> {
        let name = transfer::name_of(&self.dataset)?;
        let (_, all) = transfer::below(&name)?;
        let found = all.into_iter().find(|one| one.dataset == name && one.guid == guid);
        Ok(found.map(|one| format!("{name}@{}", one.name)))
    }

    fn existing(&self, original: &Original) -> Result<String> {
        self.full(&original.identity)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("The snapshot {} is gone.", original.name))
        })
    }
}

impl Source for Sender {
    fn originals(&self) -> Result<Vec<Original>> {
        let original = |snapshot: snapshot::backend::Snapshot| Original {
            key: snapshot.id.identity.clone(),
            identity: snapshot.id.identity,
            name: snapshot.name,
            changed: None,
            ours: snapshot.owner == Owner::Ours,
            label: snapshot.label,
            size: snapshot.size,
        };
        Ok(Zfs.list(&self.dataset)?.into_iter().map(original).collect())
    }

    fn size(&self, step: &Step) -> (Option<u64>, Basis) {
        // What a difference holds, old tools do not say.
        match step.to.size.filter(|_| step.from.is_none()) {
            Some(size) => (Some(size), Basis::Estimate),
            None => (None, Basis::Unknown),
        }
    }

    fn send(&self, step: &Step) -> Result<Sending> {
        let to = self.existing(&step.to)?;
        let from = step.from.as_ref().map(|from| self.existing(from)).transpose()?;
        let command = transfer::send(from.as_deref(), &to)?;
        let stream = Outflow::start(command, &format!("send {to}"), transfer::complaint)?;
        let (total, basis) = self.size(step);
        Ok(Sending { stream: Box::new(stream), total, basis })
    }

    fn hold(&self, identity: &str, tag: &str) -> Result<()> {
        let full = self.full(identity)?.ok_or_else(|| failed("A snapshot to be held is gone."))?;
        transfer::hold(tag, &full)
    }

    fn release(&self, identity: &str, tag: &str) -> Result<()> {
        match self.full(identity)? {
            Some(full) => transfer::release(tag, &full),
            None => Ok(()),
        }
    }
}

/// Keeps copies in datasets below another one.
pub struct Receiver {
    root: String,
    origin: Origin,
}

impl Receiver {
    /// Below `root`, which must exist and have nothing to do with the source `name`, when that is of
    /// this machine.
    pub fn new(root: &str, origin: Origin, name: Option<&str>) -> Result<Self> {
        let bad = |sentence: String| Err(Error::new(ErrorKind::BadRequest, sentence));
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._:- ".contains(c);
        if root.starts_with(['/', '-']) || root.is_empty() || !root.chars().all(plain) {
            return bad(format!(
                "The target \"{}\" is not a ZFS dataset's name.",
                root.escape_debug()
            ));
        }
        let Some(name) = name else { return Ok(Self { root: root.to_owned(), origin }) };
        if format!("{root}/").starts_with(&format!("{name}/")) {
            return bad(format!("The target {root} lies in the source {name}."));
        }
        if name.rsplit_once('/').is_some_and(|(above, _)| above == root) {
            return bad(format!(
                "The source {name} lies in the target {root}. Choose one beside it."
            ));
        }
        Ok(Self { root: root.to_owned(), origin })
    }
}

impl Target for Receiver {
    fn demands(&self) -> (bool, bool) {
        (true, true)
    }

    fn look(&self, keys: &HashSet<String>) -> Result<Look> {
        let (places, snapshots) = transfer::below(&self.root)?;
        let inside = format!("{}/", self.root);
        let below = |name: &str| name.strip_prefix(&inside).is_some_and(|rest| !rest.contains('/'));
        let marked = places
            .iter()
            .find(|place| below(&place.name) && place.origin.as_ref() == Some(&self.origin.mark));
        let shares = |name: &str| {
            snapshots.iter().any(|one| one.dataset == name && keys.contains(&one.guid))
        };
        let unmarked = || {
            places.iter().find(|place| {
                self.origin.first
                    && place.origin.is_none()
                    && below(&place.name)
                    && shares(&place.name)
            })
        };
        if let Some(place) = marked.or_else(unmarked) {
            let copy = |one: &transfer::Facts| Copied {
                identity: one.guid.clone(),
                key: one.guid.clone(),
                name: one.name.clone(),
                changed: None,
            };
            let of_it = snapshots.iter().filter(|one| one.dataset == place.name);
            return Ok(Look {
                place: PathBuf::from(&place.name),
                copies: of_it.map(copy).collect(),
            });
        }
        let mut names = self.origin.names.iter().map(|name| format!("{inside}{name}"));
        let free = names.find(|name| !places.iter().any(|place| place.name == *name));
        let place = free.ok_or_else(|| {
            failed(format!(
                "Below {} {} hold other things.",
                self.root,
                self.origin.names.join(" and ")
            ))
        })?;
        Ok(Look { place: PathBuf::from(place), copies: Vec::new() })
    }

    fn tidy(&self, look: &Look) -> Result<()> {
        // A kill between the first receive and the mark.
        if look.copies.is_empty() {
            return Ok(());
        }
        transfer::adopt(&name(look), &self.origin.mark)
    }

    fn stage(
        &self,
        _run: Uuid,
        (look, step): (&Look, &Step),
        stream: &mut dyn Read,
    ) -> std::result::Result<Box<dyn Staged>, Halt> {
        let place = name(look);
        let what = format!("receive {} into {place}", step.to.name);
        let fed = child::feed(transfer::receive(&place)?, &what, complaint, stream);
        match fed {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Foreign => {
                let snapshots = step.from.iter().map(|from| from.name.clone()).collect();
                let trouble = Trouble::TargetModified;
                return Err(Halt::Conflict(Conflict { trouble, snapshots }));
            }
            Err(error) => return Err(error.into()),
        }
        let mark = self.origin.mark.clone();
        Ok(Box::new(Received { place, key: step.to.key.clone(), mark }))
    }

    fn hold(&self, look: &Look, identity: &str, tag: &str) -> Result<()> {
        match full(&name(look), identity)? {
            Some(full) => transfer::hold(tag, &full),
            None => Err(failed("A copy to be held is gone.")),
        }
    }

    fn release(&self, look: &Look, identity: &str, tag: &str) -> Result<()> {
        match full(&name(look), identity)? {
            Some(full) => transfer::release(tag, &full),
            None => Ok(()),
        }
    }
}

/// A snapshot that is there already.
struct Received {
    place: String,
    key: String,
    mark: String,
}

impl Staged for Received {
    fn sync(&self) -> Result<()> {
        // A receive is part of a transaction group that is on the disk when it ends.
        Ok(())
    }

    fn check(&self) -> Result<()> {
        match full(&self.place, &self.key)? {
            Some(_) => Ok(()),
            None => Err(failed("What was received is another snapshot.")),
        }
    }

    fn commit(self: Box<Self>) -> Result<()> {
        transfer::adopt(&self.place, &self.mark)
    }
}

fn name(look: &Look) -> String {
    look.place.to_string_lossy().into_owned()
}

/// The full name of the snapshot of this GUID in a dataset.
fn full(dataset: &str, guid: &str) -> Result<Option<String>> {
    let (_, all) = transfer::below(dataset)?;
    let found = all.into_iter().find(|one| one.dataset == dataset && one.guid == guid);
    Ok(found.map(|one| format!("{dataset}@{}", one.name)))
}

/// A complaint of `zfs receive`; of files that were changed at the target it is
/// [`ErrorKind::Foreign`].
fn complaint(what: &str, text: &str) -> Error {
    if text.contains("has been modified") {
        return Error::new(ErrorKind::Foreign, format!("Could not {what}: it has been modified."));
    }
    transfer::complaint(what, text)
}
