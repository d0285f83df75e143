//! The words all back ends share: plain data, no I/O.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::error::{Error, Result};

/// A storage technology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// ZFS through its command-line tools (OpenZFS, zfs-fuse).
    Zfs,
    /// btrfs subvolumes through the kernel's ioctls.
    Btrfs,
    /// Any directory on any file system, kept in a content-addressed store.
    Tree,
}

impl Kind {
    /// The word used in identities and replies: `zfs`, `btrfs` or `tree`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zfs => "zfs",
            Self::Btrfs => "btrfs",
            Self::Tree => "tree",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A dataset's identity, which survives renaming and remounting.
///
/// `zfs:<pool guid>:<dataset guid>`, `btrfs:<file system uuid>:<subvolume uuid>` or `tree:<uuid>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct DatasetId(String);

impl DatasetId {
    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The back end it belongs to.
    pub fn kind(&self) -> Kind {
        match self.0.split(':').next() {
            Some("zfs") => Kind::Zfs,
            Some("btrfs") => Kind::Btrfs,
            _ => Kind::Tree,
        }
    }

    /// Builds `<kind>:<part>[:<part>]`. The parts come from the storage and hold no `:` or `@`.
    pub(crate) fn from_parts(kind: Kind, parts: &[&str]) -> Self {
        Self(format!("{kind}:{}", parts.join(":")))
    }
}

impl fmt::Display for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DatasetId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let wanted = match parts.next() {
            Some("zfs" | "btrfs") => 2,
            Some("tree") => 1,
            _ => 0,
        };
        let rest: Vec<&str> = parts.collect();
        let sane = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        };
        if wanted == 0 || rest.len() != wanted || !rest.iter().all(sane) || text.len() > 128 {
            return Err(Error::bad_request(format!(
                "\"{text}\" is not a dataset id. Take one from the list of datasets."
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A snapshot's identity: its dataset's, an `@`, and what the storage calls the snapshot (ZFS GUID,
/// btrfs UUID, BLAKE3 of the manifest). The name is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId {
    /// The dataset the snapshot was taken of.
    pub dataset: DatasetId,
    /// The storage's own identity of the snapshot.
    pub identity: String,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.dataset, self.identity)
    }
}

impl FromStr for SnapshotId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::bad_request(format!(
                "\"{text}\" is not a snapshot id. Take one from the list of snapshots \
                 (a snapshot is never addressed by its name alone)."
            ))
        };
        let (dataset, identity) = text.split_once('@').ok_or_else(wrong)?;
        let sane = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        if identity.is_empty() || identity.len() > 64 || !identity.bytes().all(sane) {
            return Err(wrong());
        }
        Ok(Self { dataset: dataset.parse().map_err(|_| wrong())?, identity: identity.to_owned() })
    }
}

impl<'de> Deserialize<'de> for DatasetId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for SnapshotId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for SnapshotId {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a snapshot's content is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Consistency {
    /// All of it is of one instant.
    Atomic,
    /// Every file is of one instant, the files among themselves are not.
    PerFile {
        /// Files that changed while they were read, in three attempts.
        torn: u64,
        /// Files that could not be read (permission, I/O error); their content is missing.
        unread: u64,
    },
}

/// Whether a snapshot is what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotState {
    /// Everything is in it.
    Complete,
    /// Some files are torn or missing, see [`Consistency::PerFile`].
    Torn,
    /// Its own records are damaged; it cannot be relied on.
    Corrupt,
}

/// Whose a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Made by this project; may be destroyed by it.
    Ours,
    /// Made by anybody else; shown, never destroyed.
    Foreign,
}

/// By which policy a snapshot was taken, and for which moment of its schedule. It is kept with the
/// snapshot itself, so that nothing else has to be remembered to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The policy's identity.
    pub policy: Uuid,
    /// The moment the schedule named, in whole seconds; a snapshot that was late was taken after it.
    pub slot: DateTime<Utc>,
}

/// Something a snapshot can be taken of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dataset {
    /// Identity, stable across renames.
    pub id: DatasetId,
    /// The back end.
    #[serde(rename = "backend")]
    pub kind: Kind,
    /// What people call it: a ZFS dataset name, or a path.
    pub name: String,
    /// The pool it lives in, see [`Pool::name`].
    pub pool: String,
    /// Where its files are now, if they are anywhere.
    #[serde(serialize_with = "lossy_path")]
    pub mount: Option<PathBuf>,
    /// Bytes it takes with all it holds, when the storage knows that.
    pub used: Option<u64>,
    /// Bytes that can still be written to it.
    pub available: Option<u64>,
    /// Bytes its current content refers to, when the storage knows that.
    pub referenced: Option<u64>,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Identity; what [`super::Backend::destroy`] takes.
    pub id: SnapshotId,
    /// The dataset it was taken of.
    pub dataset: DatasetId,
    /// Its name, unique within the dataset.
    pub name: String,
    /// Position among the dataset's snapshots: a transaction or sequence number, never a clock.
    pub order: u64,
    /// When it was taken, by the clock of that moment.
    pub created: DateTime<Utc>,
    /// Whose it is.
    pub owner: Owner,
    /// The label given at creation.
    pub label: Option<String>,
    /// The comment given at creation.
    pub comment: Option<String>,
    /// The policy that took it, when one did.
    #[serde(flatten)]
    pub mark: Option<Mark>,
    /// Whether it can be relied on.
    pub state: SnapshotState,
    /// What its content is worth.
    pub consistency: Consistency,
    /// Bytes of its content, when the storage knows that.
    pub size: Option<u64>,
}

/// What to take.
#[derive(Debug, Clone)]
pub struct NewSnapshot {
    /// Part of the generated name, 1–64 characters of `[A-Za-z0-9._:-]`.
    pub label: String,
    /// A full name instead of a generated one, same characters, 1–128 of them. Classic SysAdm
    /// clients choose their own names.
    pub name: Option<String>,
    /// Free text for people, at most 512 bytes.
    pub comment: Option<String>,
    /// The policy that takes it, when one does.
    pub mark: Option<Mark>,
    /// Also the children: ZFS child datasets, nested subvolumes, file systems mounted below.
    pub recursive: bool,
    /// The time to write into the name and, where the storage has none of its own, the record.
    pub at: DateTime<Utc>,
}

/// What a recursive snapshot means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recursion {
    /// All children at one instant.
    Atomic,
    /// Child after child, each of its own instant.
    Stepwise,
    /// The children's files become part of the one snapshot.
    Included,
}

/// What a back end can do on this machine, as probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Whether it works at all.
    pub available: bool,
    /// A sentence that says why not, or what is reduced.
    pub reason: Option<String>,
    /// Versions of the tools or kernel parts it uses.
    pub version: Option<String>,
    /// What a recursive snapshot means.
    pub recursion: Recursion,
    /// What a snapshot's content is worth at best.
    pub consistency: Consistency,
    /// Further abilities found by asking the tools, such as `send:R` for `zfs send -R`.
    pub features: Vec<String>,
}

/// The storage datasets live in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// A ZFS pool's name, or the path a file system is reached by.
    pub name: String,
    /// The back end.
    #[serde(rename = "backend")]
    pub kind: Kind,
    /// Capacity in bytes.
    pub size: u64,
    /// Bytes in use.
    pub allocated: u64,
    /// Bytes free.
    pub free: u64,
    /// `ONLINE`, `DEGRADED`, … as ZFS words it.
    pub health: String,
    /// Further columns as the storage's own tool prints them: `altroot`, `dedup`, `frag`,
    /// `expandsz` for ZFS, nothing for others.
    pub columns: BTreeMap<String, String>,
}

// serde hands the field by reference.
#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn lossy_path<S: Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    path.as_deref().map(Path::to_string_lossy).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_round_trip_and_refuse_anything_else() {
        for text in ["zfs:12:34@56", "btrfs:a-b:c-d@e-f", "tree:0a-1b@abcdef"] {
            let id: SnapshotId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
        }
        for text in [
            "zfs:12@34",
            "tree:x/../y@12",
            "tree:12",
            "tree:12@",
            "lvm:12@34",
            "tree:12@ab/cd",
            "pool/data@name",
        ] {
            assert!(text.parse::<SnapshotId>().is_err(), "{text} was taken");
        }
    }
}
