//! The audit trail: who asked for what, and what came of it. Each record's hash covers the record
//! before it, so that a later change shows.
//!
//! What this shows: a record that was altered, removed, added or moved by somebody who did not also
//! compute every later hash again. Somebody who may write the database can do that; against them
//! helps only a [`AuditTrail::head`] noted somewhere else, and while the daemon runs what it
//! remembers itself.

mod chain;
pub(crate) mod page;
mod prune;
mod verify;

use std::path::Path;
use std::sync::Arc;

use protocol::{Json, Time};
use tokio::sync::oneshot;

pub use self::page::{AuditPage, AuditQuery};
pub use self::verify::AuditVerdict;

pub(super) use self::chain::{BEGIN, Ends, Link, extend};
pub(super) use self::prune::prune;

use self::verify::{PIECE, Walk};
use super::history::SCAN_MAX;
use super::writer::Entry;
use super::{Shared, Store, StoreError, enqueue, open};

/// What somebody did, before it has its place in the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// In whose name: a principal, such as `token:backup`.
    pub actor: String,
    /// From where: an address, a socket, a plugin.
    pub origin: String,
    /// What was asked: `namespace/name`, or a word of `access` such as a login.
    pub method: String,
    /// What came of it.
    pub outcome: String,
    /// Everything else; no secrets.
    pub details: Json,
}

impl AuditEntry {
    /// Roughly the bytes it holds in memory and on disk.
    pub(super) fn weight(&self) -> usize {
        size_of::<AuditRecord>()
            + self.actor.len()
            + self.origin.len()
            + self.method.len()
            + self.outcome.len()
            + self.details.text().len()
    }

    /// What a hash covers besides the number and the time, in this order.
    fn fields(&self) -> [&[u8]; 5] {
        let Self { actor, origin, method, outcome, details } = self;
        [actor, origin, method, outcome, details.text()].map(str::as_bytes)
    }
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number: 1 for the first, without a gap, for ever.
    pub seq: u64,
    /// When; later than every record before it.
    pub time: Time,
    /// What was done.
    pub entry: AuditEntry,
    /// SHA-256 over the hash before it, its number, its time and its texts.
    pub hash: [u8; 32],
}

/// The audit trail of a store. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct AuditTrail {
    shared: Arc<Shared>,
}

impl AuditTrail {
    /// Adds an entry; when this returns its number, it is as durable as an event: both go into the
    /// same transactions. Entries and events asked for one after the other keep that order.
    ///
    /// Whoever stops waiting half-way may find it recorded all the same.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no room: nothing was recorded and no number used up.
    pub async fn append(&self, entry: AuditEntry) -> Result<u64, StoreError> {
        self.submit(entry).await?.await.map_err(|_| StoreError::Stopped)?
    }

    /// Like `EventLog::submit`.
    pub(super) async fn submit(
        &self,
        entry: AuditEntry,
    ) -> Result<oneshot::Receiver<Result<u64, StoreError>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        enqueue(&self.shared, entry.weight(), Entry::Audit(entry, reply)).await?;
        Ok(answer)
    }

    /// One page of the trail, as it stands there: [`AuditTrail::verify`] says whether it is what
    /// was recorded. One call looks at 100,000 records at most; then it answers with what it has,
    /// and where to go on.
    pub async fn page(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        self.shared.history.run(move |db| page::page(db, &query, SCAN_MAX)).await
    }

    /// Computes every hash again, up to the record that is the newest when it begins; in pieces,
    /// between other questions about history.
    ///
    /// # Errors
    /// When the trail cannot be read. A trail that was altered is an answer, not an error.
    pub async fn verify(&self) -> Result<AuditVerdict, StoreError> {
        let mut walk = Walk::upto(self.shared.progress.audit_head());
        loop {
            let mut step = walk;
            let piece = self.shared.history.run(move |db| Ok((step.piece(db, PIECE)?, step)));
            match piece.await? {
                (Some(verdict), _) => return Ok(verdict),
                (None, further) => walk = further,
            }
        }
    }

    /// The number and hash of the newest record; 0 and 32 zero bytes before the first. Noted
    /// elsewhere, it proves later that everything up to it was left alone.
    pub fn head(&self) -> (u64, [u8; 32]) {
        let Link { seq, hash } = self.shared.progress.audit_head();
        (seq, hash)
    }
}

impl Store {
    /// The audit trail.
    pub fn audit(&self) -> AuditTrail {
        AuditTrail { shared: Arc::clone(&self.shared) }
    }

    /// Verifies the audit trail in `dir` while no daemon uses it, without changing anything;
    /// blocks. Without a database, or with one from before there was a trail, it is intact and
    /// empty.
    ///
    /// # Errors
    /// When a daemon is using it, or the database is no sound database of this program.
    pub fn audit_verify_file(dir: &Path) -> Result<AuditVerdict, StoreError> {
        open::audit_verify(dir)
    }
}

/// Verifies a whole trail that nobody else uses.
pub(super) fn verify_all(
    db: &mut rusqlite::Connection,
) -> Result<AuditVerdict, super::error::Failure> {
    let mut walk = Walk::whole();
    loop {
        if let Some(verdict) = walk.piece(db, PIECE)? {
            return Ok(verdict);
        }
    }
}

#[cfg(test)]
mod tests;
