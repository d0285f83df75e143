//! What can take a snapshot: one trait, three implementations.
//!
//! Knows file systems and their tools. Must not know the plugin protocol, events, methods or who
//! asked: a back end is a blocking library that can be driven by a test, by the plugin or by a
//! replication run alike. The plugin half of this crate calls it.
//!
//! Three rules hold for every implementation:
//!
//! * **Identity, never names.** A dataset and a snapshot are found by what the storage itself calls
//!   them (ZFS GUID, btrfs UUID, BLAKE3 of a manifest). A name is shown and checked, but a destroy
//!   re-reads the identity right before it acts.
//! * **Foreign stays.** A snapshot without this project's mark is listed and never destroyed.
//! * **Durable on return.** What `create` and `destroy` report has survived a power cut already.

use std::collections::BTreeMap;

pub(crate) mod durable;
mod error;
pub mod hold;
mod lock;
pub(crate) mod mounts;
mod space;
mod tool;
mod types;
mod witness;

pub mod btrfs;
pub mod name;
pub mod tree;
pub mod zfs;

pub use error::{Error, ErrorKind, Result};
pub use types::{
    Capabilities, Consistency, Dataset, DatasetId, Kind, Mark, NewSnapshot, Owner, Pool, Recursion,
    Snapshot, SnapshotId, SnapshotState,
};
pub use witness::{Nobody, Witness};

/// A storage technology that can take, list and destroy snapshots.
///
/// Every method blocks (it waits for disks or for a tool), so callers put it on a thread that may
/// wait. All methods take `&self`: a back end is shared by concurrent calls and does its own locking.
pub trait Backend: Send + Sync {
    /// Which technology this is.
    fn kind(&self) -> Kind;

    /// Looks at the machine and says what works here, and if nothing does, why. Never changes
    /// anything: a probe that needs a destructive command is not a probe.
    fn capabilities(&self) -> Capabilities;

    /// The storage the datasets live in, for people who think in pools. A file system that has no
    /// pools reports itself as one.
    fn pools(&self) -> Result<Vec<Pool>>;

    /// Everything a snapshot can be taken of, ordered by name.
    fn datasets(&self) -> Result<Vec<Dataset>>;

    /// The snapshots of one dataset, oldest first in the storage's own order (a transaction or
    /// sequence number), never by clock. Foreign snapshots are included.
    fn list(&self, dataset: &DatasetId) -> Result<Vec<Snapshot>>;

    /// Takes a snapshot and returns when it is durable. The first element is the snapshot of
    /// `dataset` itself; with [`NewSnapshot::recursive`] those of its children follow. On an error
    /// nothing is left behind.
    fn create(&self, dataset: &DatasetId, new: &NewSnapshot) -> Result<Vec<Snapshot>> {
        self.create_told(dataset, new, &Nobody)
    }

    /// The same, and somebody follows it. [`ErrorKind::Cancelled`] when they want it to end.
    fn create_told(
        &self,
        dataset: &DatasetId,
        new: &NewSnapshot,
        witness: &dyn Witness,
    ) -> Result<Vec<Snapshot>>;

    /// What holds snapshots of a dataset, by their identity: tags, or where the tool cannot list
    /// them, how many there are.
    fn holds(&self, dataset: &DatasetId) -> Result<BTreeMap<String, Vec<String>>>;

    /// Whether [`Backend::unchanged_since`] can tell on this machine.
    fn tells_changes(&self) -> bool {
        false
    }

    /// Whether the dataset is still what it was in this snapshot of it; `None` when the storage cannot
    /// tell. Says "no" rather than "yes" when in doubt.
    fn unchanged_since(&self, dataset: &DatasetId, snapshot: &Snapshot) -> Result<Option<bool>> {
        let _ = (dataset, snapshot);
        Ok(None)
    }

    /// Destroys one snapshot after its identity and owner were read again, and returns what it was.
    /// Refuses what this project did not make ([`ErrorKind::Foreign`]).
    fn destroy(&self, snapshot: &SnapshotId) -> Result<Snapshot> {
        self.destroy_told(snapshot, &Nobody)
    }

    /// The same, and somebody follows it. [`ErrorKind::Cancelled`] when they want it to end before
    /// anything is destroyed; what it leaves behind after that, the next call clears away.
    fn destroy_told(&self, snapshot: &SnapshotId, witness: &dyn Witness) -> Result<Snapshot>;
}
