//! Which snapshots are held, by which task and why: what the storage itself cannot always list.
//!
//! Written before a snapshot is held and after it was released, so that no hold of ours is unknown.
//! Losing this file loses knowledge, not snapshots.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ends::remote::Ssh;
use crate::state_file;

/// Which end a snapshot is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// Where it is read.
    Source,
    /// Where it is written.
    Target,
}

/// Why a snapshot is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// It is being sent, or is the base of what is being sent.
    Step,
    /// It is the base of the next step.
    Cursor,
}

impl Role {
    /// The tag a task holds by.
    pub(crate) fn tag(self, task: Uuid) -> String {
        let word = match self {
            Self::Step => "step",
            Self::Cursor => "cursor",
        };
        format!("sysadm:{task}:{word}")
    }
}

/// One hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(crate) task: Uuid,
    pub(crate) dataset: String,
    pub(crate) side: Side,
    pub(crate) role: Role,
    /// The snapshot, as the storage calls it.
    pub(crate) identity: String,
    pub(crate) name: String,
    /// Where the task's copies go, so that the hold can be let go without the task.
    pub(crate) root: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source_ssh: Option<Ssh>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target_ssh: Option<Ssh>,
    pub(crate) generation: u32,
    pub(crate) run: Uuid,
    pub(crate) since: DateTime<Utc>,
}

impl Hold {
    /// Whether it is the same hold, whenever it was made.
    fn is(&self, other: &Self) -> bool {
        let key = |hold: &Self| {
            (hold.task, hold.side, hold.role, hold.dataset.clone(), hold.identity.clone())
        };
        key(self) == key(other)
    }
}

/// All holds.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    holds: Mutex<Vec<Hold>>,
}

impl Ledger {
    /// Reads what is known; nothing when it is missing or damaged.
    pub(crate) fn open(path: &Path) -> Self {
        let known = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { path: path.to_owned(), holds: Mutex::new(known.unwrap_or_default()) }
    }

    /// Notes a hold; once is enough.
    pub(crate) fn put(&self, hold: Hold) -> io::Result<()> {
        self.change(|holds| {
            if !holds.iter().any(|known| known.is(&hold)) {
                holds.push(hold);
            }
        })
    }

    /// Forgets a hold.
    pub(crate) fn remove(&self, hold: &Hold) -> io::Result<()> {
        self.change(|holds| holds.retain(|known| !known.is(hold)))
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Hold> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those of a task on snapshots of a dataset.
    pub(crate) fn of(&self, task: Uuid, dataset: &str) -> Vec<Hold> {
        let mut holds = self.all();
        holds.retain(|hold| hold.task == task && hold.dataset == dataset);
        holds
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Hold>)) -> io::Result<()> {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let before = holds.clone();
        change(&mut holds);
        if *holds == before {
            return Ok(());
        }
        let written = serde_json::to_vec(&*holds)
            .map_err(io::Error::from)
            .and_then(|text| state_file::write(&self.path, &text));
        if written.is_err() {
            *holds = before;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_known_until_it_is_removed_and_survives() {
        let dir = std::env::temp_dir().join(format!("sysadmd-ledger-{}", Uuid::new_v4()));
        let path = dir.join("holds.json");
        let hold = Hold {
            task: Uuid::new_v4(),
            dataset: "tree:1".to_owned(),
            side: Side::Source,
            role: Role::Step,
            identity: "ab".to_owned(),
            name: "first".to_owned(),
            root: "/backup".to_owned(),
            source_ssh: None,
            target_ssh: None,
            generation: 1,
            run: Uuid::new_v4(),
            since: DateTime::UNIX_EPOCH,
        };
        let cursor = Hold { role: Role::Cursor, ..hold.clone() };
        let ledger = Ledger::open(&path);
        for hold in [&hold, &cursor, &hold] {
            ledger.put(hold.clone()).unwrap();
        }
        assert_eq!(Ledger::open(&path).of(hold.task, "tree:1"), [hold.clone(), cursor.clone()]);
        ledger.remove(&hold).unwrap();
        assert_eq!(Ledger::open(&path).all(), [cursor]);
        assert_eq!(Ledger::open(&path).of(hold.task, "tree:2"), []);
        fs::write(&path, "{").unwrap();
        assert_eq!(Ledger::open(&path).all(), []);
        fs::remove_dir_all(dir).unwrap();
    }
}
