//! A whole database to keep elsewhere, and one that comes back.

use std::path::Path;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::error::{Failure, io_error};
use super::open::{DATABASE, Lock, empty_file, lock, reader};
use super::{Store, StoreError};

/// Keeps every daemon away from a state directory until it is dropped.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "it is held, not used")] Lock);

impl Store {
    /// Keeps daemons away from `dir`.
    ///
    /// # Errors
    /// When one uses it.
    pub fn hold(dir: &Path) -> Result<Held, StoreError> {
        lock(dir).map(Held)
    }

    /// Copies the database in `dir` as it is at one moment, also while a daemon uses it; blocks.
    ///
    /// # Errors
    /// When there is none, or one of the two files cannot be read or written.
    pub fn copy(dir: &Path, to: &Path) -> Result<(), StoreError> {
        let file = dir.join(DATABASE);
        empty_file(to).map_err(io_error(format!("write {}", to.display())))?;
        let from = reader(&file)?;
        copied(&from, to).map_err(|failure| failure.in_file(&file))
    }

    /// Gives the database in `dir` a name of its own, so that nobody takes its numbers for those of
    /// the one it is a copy of; blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn rename(dir: &Path) -> Result<(), StoreError> {
        let file = dir.join(DATABASE);
        renamed(&file).map_err(|failure| failure.in_file(&file))
    }
}

fn copied(from: &Connection, to: &Path) -> Result<(), Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags)?;
    // In one step: each further one would begin anew whenever the daemon has written.
    Backup::new(from, &mut copy)?.step(-1)?;
    copy.execute_batch("PRAGMA journal_mode = DELETE;")?;
    copy.close().map_err(|(_, cause)| cause.into())
}

fn renamed(file: &Path) -> Result<(), Failure> {
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|cause| Failure::Row(cause.to_string()))?;
    let name = uuid::Builder::from_random_bytes(random).into_uuid();
    db.execute("UPDATE instance SET id = ?1", [name.as_bytes().as_slice()])?;
    db.close().map_err(|(_, cause)| cause.into())
}
