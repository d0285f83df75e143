//! What is being done, written down before it is begun: JSON lines, each on disk before the next step.
//!
//! The journal says what to look for after a kill; what has happened, the storage says. Losing it
//! loses what has been told and up to when schedules are done, never a snapshot.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backend::{DatasetId, Error, Result, SnapshotId, durable};

/// The journal is written anew when it is longer than this, in bytes.
const REWRITE_AT: u64 = 1 << 20;
/// The largest journal that is read back, in bytes: what a run appends at most on top.
const READ_MAX: u64 = 64 << 20;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "kebab-case")]
pub enum Record {
    /// A snapshot is about to be taken.
    Taking(Taking),
    /// Snapshots are about to be destroyed.
    Pruning(Pruning),
    /// Whatever this run was, it is over and has been told.
    Over {
        /// Which.
        run: Uuid,
    },
    /// A schedule is done up to here.
    Done {
        /// The policy.
        policy: Uuid,
        /// The schedule's label.
        label: String,
        /// All slots up to here.
        until: DateTime<Utc>,
    },
    /// What the clock said, so that a clock that was set back is noticed after a restart.
    Clock {
        /// The latest moment ever seen.
        seen: DateTime<Utc>,
    },
    /// A policy is gone; nothing of it need be remembered.
    Removed {
        /// Which.
        policy: Uuid,
    },
}

/// A snapshot that is about to be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taking {
    /// The run.
    pub run: Uuid,
    /// The policy.
    pub policy: Uuid,
    /// The schedule's label.
    pub label: String,
    /// For this slot.
    pub slot: DateTime<Utc>,
    /// Of this dataset.
    pub dataset: DatasetId,
}

/// Snapshots that are about to be destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruning {
    /// The run.
    pub run: Uuid,
    /// The policy.
    pub policy: Uuid,
    /// These.
    pub snapshots: Vec<SnapshotId>,
}

/// What a journal amounts to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Snapshots that were being taken.
    pub taking: BTreeMap<Uuid, Taking>,
    /// Destructions that were going on.
    pub pruning: BTreeMap<Uuid, Pruning>,
    /// Up to when each schedule of each policy is done.
    pub done: BTreeMap<(Uuid, String), DateTime<Utc>>,
    /// The latest moment the clock ever said.
    pub seen: Option<DateTime<Utc>>,
}

impl State {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Taking(taking) => drop(self.taking.insert(taking.run, taking)),
            Record::Pruning(pruning) => drop(self.pruning.insert(pruning.run, pruning)),
            Record::Over { run } => {
                self.taking.remove(&run);
                self.pruning.remove(&run);
            }
            Record::Done { policy, label, until } => {
                self.done.insert((policy, label), until);
            }
            Record::Clock { seen } => self.seen = Some(seen),
            Record::Removed { policy } => self.done.retain(|(of, _), _| *of != policy),
        }
    }

    fn records(&self) -> Vec<Record> {
        let taking = self.taking.values().cloned().map(Record::Taking);
        let pruning = self.pruning.values().cloned().map(Record::Pruning);
        let done = self.done.iter().map(|((policy, label), until)| Record::Done {
            policy: *policy,
            label: label.clone(),
            until: *until,
        });
        let clock = self.seen.map(|seen| Record::Clock { seen });
        taking.chain(pruning).chain(done).chain(clock).collect()
    }
}

/// The journal, open for more.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    file: File,
    length: u64,
    state: State,
}

const NAME: &str = "journal";

impl Journal {
    /// Opens the journal in a directory, which begins empty when there is none. What a kill has cut
    /// off at its end is dropped.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(dir: &Path) -> Result<Self> {
        let failed = |cause: io::Error| Error::io("open the journal of policies", cause);
        let path = dir.join(NAME);
        let text = match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.len() > READ_MAX => {
                return Err(Error::failed(format!(
                    "{} is too long to be a journal. Move it away to begin a new one.",
                    path.display()
                )));
            }
            Ok(_) => std::fs::read(&path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(cause) => return Err(failed(cause)),
        };
        Self::rewritten(dir, read(&text)).map_err(failed)
    }

    /// What it amounts to.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Adds a line and returns when it is on disk.
    ///
    /// # Errors
    /// When it cannot be written. Then nothing may be begun.
    pub fn add(&mut self, record: Record) -> Result<()> {
        let failed = |cause: io::Error| Error::io("write the journal of policies", cause);
        let mut line = serde_json::to_vec(&record).map_err(|cause| failed(cause.into()))?;
        line.push(b'\n');
        self.file.write_all_at(&line, self.length).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        self.length += u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.state.apply(record);
        if self.length > REWRITE_AT {
            let state = std::mem::take(&mut self.state);
            *self = Self::rewritten(&self.dir.clone(), state).map_err(failed)?;
        }
        Ok(())
    }

    /// A new file with what still counts, in the place of the old one.
    fn rewritten(dir: &Path, state: State) -> io::Result<Self> {
        let mut text = Vec::new();
        for record in state.records() {
            serde_json::to_writer(&mut text, &record)?;
            text.push(b'\n');
        }
        durable::write(dir, NAME, &text)?;
        let file = OpenOptions::new().write(true).mode(0o600).open(dir.join(NAME))?;
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        Ok(Self { dir: dir.to_owned(), file, length, state })
    }
}

/// What the text of a journal amounts to. A line that is none ends it: what lies behind it is from
/// before a write that was cut off, or nobody's.
pub fn read(text: &[u8]) -> State {
    let mut state = State::default();
    // The last piece is empty, or a line that was cut off before its end.
    let whole = text.len() - text.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
    for line in text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let Ok(record) = serde_json::from_slice(line) else { break };
        state.apply(record);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Record> {
        let dataset: DatasetId = "tree:12".parse().unwrap();
        let slot = DateTime::from_timestamp(1_795_299_600, 0).unwrap();
        let [run, other, policy] = [1, 2, 3].map(Uuid::from_u128);
        let label = "daily".to_owned();
        vec![
            Record::Clock { seen: slot },
            Record::Taking(Taking {
                run,
                policy,
                label: label.clone(),
                slot,
                dataset: dataset.clone(),
            }),
            Record::Done { policy, label, until: slot },
            Record::Over { run },
            Record::Pruning(Pruning {
                run: other,
                policy,
                snapshots: vec![SnapshotId { dataset, identity: "ab".to_owned() }],
            }),
        ]
    }

    #[test]
    fn torn_at_any_byte_the_last_whole_line_counts() {
        let mut text = Vec::new();
        let mut states = vec![(0, State::default())];
        for record in some() {
            text.extend(serde_json::to_vec(&record).unwrap());
            text.push(b'\n');
            let mut state = states.last().unwrap().1.clone();
            state.apply(record);
            states.push((text.len(), state));
        }
        for length in 0..=text.len() {
            let expected = &states.iter().rfind(|(end, _)| *end <= length).unwrap().1;
            assert_eq!(read(&text[..length]), *expected, "cut at {length}");
            // What a disk may leave in the place of what was not written.
            let garbage = [&text[..length], &b"\0\0\0\0\n{}\n"[..]].concat();
            assert_eq!(read(&garbage), *expected, "garbage at {length}");
        }
    }

    #[test]
    fn it_comes_back_and_does_not_grow_for_ever() {
        let dir = std::env::temp_dir().join(format!("sysadmd-journal-{}", Uuid::new_v4()));
        durable::make_dir(&dir).unwrap();
        let mut journal = Journal::open(&dir).unwrap();
        for record in some() {
            journal.add(record).unwrap();
        }
        let state = journal.state().clone();
        assert_eq!((state.taking.len(), state.pruning.len(), state.done.len()), (0, 1, 1));
        assert_eq!(Journal::open(&dir).unwrap().state(), &state);
        for number in 0..8_000 {
            journal.add(Record::Over { run: Uuid::from_u128(1000 + number) }).unwrap();
            assert!(journal.length <= REWRITE_AT);
        }
        journal.length = REWRITE_AT;
        journal.add(Record::Over { run: Uuid::nil() }).unwrap();
        assert!(journal.length < 1000);
        assert_eq!(Journal::open(&dir).unwrap().state(), &state);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
