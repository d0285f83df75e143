//! Directories: from the snapshot plugin's store to another store.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use snapshot::backend::tree::manifest::MAKER;
use snapshot::backend::tree::transfer::{Incoming, Kept, Outgoing, Vault};
use snapshot::backend::{DatasetId, Error, ErrorKind, Result};
use uuid::Uuid;

use super::{Halt, Look, Sending, Source, Staged, Stream, Target, failed};
use crate::plan::{Copied, Original, Step};
use crate::run::Basis;

/// Sends snapshots of a directory.
pub struct Sender {
    dataset: Uuid,
    vault: Vault,
}

impl Sender {
    /// Of this directory, from this store.
    pub fn new(dataset: &DatasetId, store: &Path) -> Result<Self> {
        Ok(Self { dataset: uuid_of(dataset)?, vault: Vault::open(store)? })
    }

    fn outgoing(&self, step: &Step) -> Result<Outgoing> {
        let from = step.from.as_ref().map(|from| from.identity.as_str());
        self.vault.outgoing(self.dataset, from, &step.to.identity)
    }
}

impl Source for Sender {
    fn originals(&self) -> Result<Vec<Original>> {
        let original = |kept: Kept| Original {
            identity: kept.hash.clone(),
            key: kept.hash,
            name: kept.header.name,
            changed: None,
            ours: kept.header.maker.as_deref() == Some(MAKER),
            label: kept.header.label,
            size: Some(kept.header.bytes),
        };
        Ok(self.vault.snapshots(self.dataset)?.into_iter().map(original).collect())
    }

    fn size(&self, step: &Step) -> (Option<u64>, Basis) {
        match self.outgoing(step) {
            Ok(stream) => (Some(stream.total()), Basis::Exact),
            Err(_) => (None, Basis::Unknown),
        }
    }

    fn send(&self, step: &Step) -> Result<Sending> {
        let stream = self.outgoing(step)?;
        let total = Some(stream.total());
        Ok(Sending { stream: Box::new(Whole(stream)), total, basis: Basis::Exact })
    }

    fn hold(&self, identity: &str, tag: &str) -> Result<()> {
        self.vault.holds().put(identity, tag)
    }

    fn release(&self, identity: &str, tag: &str) -> Result<()> {
        self.vault.holds().remove(identity, tag)
    }
}

/// A stream that ends only when it is whole.
struct Whole(Outgoing);

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Stream for Whole {
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Keeps copies in another store.
pub struct Receiver {
    dataset: Uuid,
    root: PathBuf,
}

impl Receiver {
    /// In the store in `root`, which is made by the first copy if it is not there.
    pub fn new(dataset: &DatasetId, root: &Path, source: &Path) -> Result<Self> {
        let bad = |sentence: String| Err(Error::new(ErrorKind::BadRequest, sentence));
        if !root.is_absolute() {
            return bad(format!("The target {} is not an absolute path.", root.display()));
        }
        // What does not exist is no other place's other name.
        let real = root.canonicalize().ok();
        let same = root == source || real.is_some() && real == source.canonicalize().ok();
        if same {
            return bad("The target is the store that the snapshots are in already.".to_owned());
        }
        Ok(Self { dataset: uuid_of(dataset)?, root: root.to_owned() })
    }

    fn vault(&self) -> Result<Vault> {
        Vault::open(&self.root)
    }
}

impl Target for Receiver {
    fn demands(&self) -> (bool, bool) {
        (false, false)
    }

    fn look(&self, _keys: &HashSet<String>) -> Result<Look> {
        // Looking makes nothing.
        let copies = if self.root.join("version").exists() {
            self.vault()?.snapshots(self.dataset)?
        } else {
            Vec::new()
        };
        let copy = |kept: Kept| Copied {
            identity: kept.hash.clone(),
            key: kept.hash,
            name: kept.header.name,
            changed: None,
        };
        let copies = copies.into_iter().map(copy).collect();
        Ok(Look { place: self.root.clone(), copies })
    }

    fn tidy(&self, _look: &Look) -> Result<()> {
        // Opening the store has done that.
        Ok(())
    }

    fn stage(
        &self,
        _run: Uuid,
        (_look, step): (&Look, &Step),
        stream: &mut dyn Read,
    ) -> std::result::Result<Box<dyn Staged>, Halt> {
        let mut incoming = self.vault()?.incoming(self.dataset)?;
        incoming.take(stream)?;
        Ok(Box::new(Received { incoming, hash: step.to.key.clone() }))
    }

    fn hold(&self, _look: &Look, identity: &str, tag: &str) -> Result<()> {
        self.vault()?.holds().put(identity, tag)
    }

    fn release(&self, _look: &Look, identity: &str, tag: &str) -> Result<()> {
        self.vault()?.holds().remove(identity, tag)
    }
}

struct Received {
    incoming: Incoming,
    hash: String,
}

impl Staged for Received {
    fn sync(&self) -> Result<()> {
        self.incoming.sync()
    }

    fn check(&self) -> Result<()> {
        self.incoming.check(&self.hash)
    }

    fn commit(self: Box<Self>) -> Result<()> {
        self.incoming.commit()
    }
}

fn uuid_of(dataset: &DatasetId) -> Result<Uuid> {
    let uuid = dataset.as_str().strip_prefix("tree:").and_then(|uuid| uuid.parse().ok());
    uuid.ok_or_else(|| failed(format!("{dataset} is not a directory.")))
}
