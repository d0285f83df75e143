//! From an older layout to the one this program writes.
//!
//! First a copy of the whole database is laid beside it, then one transaction does everything: a
//! crash at any moment leaves either the old layout or the new one.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::StoreError;
use super::audit::Ends;
use super::error::{Failure, io_error};
use super::open::{SCHEMA, VERSION, empty_file, sync_dir};

/// The tables of version 1.
const SCHEMA_1: &str = include_str!("schema/v1.sql");
/// The tables of version 2: 1, and the audit trail, sessions and keys.
const SCHEMA_2: &str = include_str!("schema/v2.sql");
/// The tables of version 3: 2, and jobs.
const SCHEMA_3: &str = include_str!("schema/v3.sql");
/// The tables of version 4: 3, and alerts.
const SCHEMA_4: &str = include_str!("schema/v4.sql");
/// Pages copied at a time.
const PAGES: i32 = 4096;
/// Bytes compared at a time.
const PIECE_BYTES: usize = 64 << 10;

/// The tables of a version this program reads.
pub(super) fn schema(version: i64) -> Option<&'static str> {
    match version {
        1 => Some(SCHEMA_1),
        2 => Some(SCHEMA_2),
        3 => Some(SCHEMA_3),
        4 => Some(SCHEMA_4),
        VERSION => Some(SCHEMA),
        _ => None,
    }
}

/// Brings a database that was found good from the layout `from` to [`VERSION`].
pub(super) fn migrate(file: &Path, db: &mut Connection, from: i64) -> Result<(), StoreError> {
    let copy = keep_copy(file, db, from)?;
    step(db, from).map_err(|failure| failure.on(db).in_file(file))?;
    let (file, copy) = (file.display(), copy.display());
    tracing::info!(%file, from, to = VERSION, %copy, "the database has a new layout; the copy is as it was, and needed no longer when all is well");
    Ok(())
}

fn step(db: &mut Connection, from: i64) -> Result<(), Failure> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    remake(&transaction, from)?;
    transaction.commit()?;
    // So that the file itself says which layout it has, also to those who do not read its log.
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

/// Everything from version `from` to this one: tables that are new, and what has moved.
pub(super) fn remake(db: &Transaction<'_>, from: i64) -> Result<(), Failure> {
    for text in new_tables(db)? {
        db.execute_batch(&text)?;
    }
    if from == 1 {
        db.execute_batch(
            "INSERT INTO api_tokens (id, hash, name, role, created, expires) \
             SELECT id, hash, name, role, created, expires FROM tokens; DROP TABLE tokens;",
        )?;
        Ends::insert(db)?;
    }
    db.execute_batch(&format!("PRAGMA user_version = {VERSION};"))?;
    if definitions(db)? == definitions(&fresh()?)? {
        return Ok(());
    }
    Err(Failure::Row(format!("layout {VERSION} could not be made of it")))
}

/// What this version has and `db` has not, word for word.
fn new_tables(db: &Connection) -> Result<Vec<String>, Failure> {
    let mut missing = definitions(&fresh()?)?;
    let there = definitions(db)?;
    missing.retain(|text| !there.contains(text));
    // `CREATE INDEX` and `CREATE UNIQUE INDEX` need their tables.
    missing.sort_by_key(|text| !text.starts_with("CREATE TABLE"));
    Ok(missing)
}

fn fresh() -> Result<Connection, Failure> {
    let db = Connection::open_in_memory()?;
    db.execute_batch(SCHEMA)?;
    Ok(db)
}

/// The statements that made the tables and indexes of a database, as they were written.
pub(super) fn definitions(db: &Connection) -> Result<Vec<String>, Failure> {
    let mut statement =
        db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")?;
    let texts = statement.query_map([], |row| row.get(0))?;
    Ok(texts.collect::<Result<_, _>>()?)
}

/// Lays a copy beside the database and returns its name. A copy that is there is never overwritten,
/// but one that is the same needs no second one: otherwise a daemon that is started again and again
/// and cannot go on would fill the disk with them.
fn keep_copy(file: &Path, db: &Connection, version: i64) -> Result<PathBuf, StoreError> {
    let doing = || format!("keep a copy of the database {} beside it", file.display());
    let new = beside(file, &format!(".v{version}.new"));
    let kept = empty_file(&new).map_err(io_error(doing())).and_then(|()| {
        copy(db, &new).map_err(|failure| match failure.in_file(file) {
            StoreError::Full => io_error(doing())(io::ErrorKind::StorageFull.into()),
            other => other,
        })?;
        place(&new, |number| copy_name(file, version, number)).map_err(io_error(doing()))
    });
    // Where there was no room, it would only take more of it; otherwise it is no longer there.
    fs::remove_file(&new).ok();
    kept
}

fn copy_name(file: &Path, version: i64, number: u32) -> PathBuf {
    let ending = format!(".v{version}");
    beside(file, &if number == 0 { ending } else { format!("{ending}.{number}") })
}

/// Moves `new` to the first name that is free; or finds that it is there already.
fn place(new: &Path, name: impl Fn(u32) -> PathBuf) -> io::Result<PathBuf> {
    let mut number = 0;
    loop {
        let name = name(number);
        if !name.try_exists()? {
            File::open(new)?.sync_all()?;
            fs::rename(new, &name)?;
            sync_dir(&name)?;
            return Ok(name);
        }
        if same(new, &name)? {
            return Ok(name);
        }
        number += 1;
    }
}

/// Page for page, with what its write-ahead log holds.
fn copy(db: &Connection, to: &Path) -> Result<(), Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags)?;
    let copied = Backup::new(db, &mut copy)
        .and_then(|backup| backup.run_to_completion(PAGES, Duration::ZERO, None));
    copied.map_err(|cause| Failure::from(cause).on(&copy))?;
    copy.close().map_err(|(_, cause)| cause.into())
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Whether two files hold the same bytes.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let mut left = one.metadata()?.len();
    if other.metadata()?.len() != left {
        return Ok(false);
    }
    let mut pieces = [vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]];
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let [left_piece, right_piece] = pieces.each_mut().map(|piece| &mut piece[..length]);
        one.read_exact(left_piece)?;
        other.read_exact(right_piece)?;
        if left_piece != right_piece {
            return Ok(false);
        }
        left -= length as u64;
    }
    Ok(true)
}
