//! Opening: one daemon per directory, and a database that can be trusted.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};
use uuid::Uuid;

use super::audit::{AuditVerdict, BEGIN, Ends, Link};
use super::check::{self, Depth, check, damaged, has_log};
use super::error::{Failure, io_error};
use super::migrate::migrate;
use super::{Bounds, StoreError};

/// The schema this program writes.
pub(super) const SCHEMA: &str = include_str!("schema.sql");
/// Marks the file as ours: `sadd` in ASCII.
pub(super) const APPLICATION_ID: i64 = 0x7361_6464;
/// The version of [`SCHEMA`].
pub(super) const VERSION: i64 = 5;

/// How long the writer waits for readers when the write-ahead log has to be started afresh.
const BUSY: Duration = Duration::from_millis(500);

pub(super) const DATABASE: &str = "sysadmd.db";
const LOCK: &str = "sysadmd.lock";

/// A database that was found good, and what it holds.
pub(super) struct Opened {
    pub(super) file: PathBuf,
    pub(super) db: Connection,
    pub(super) instance: Uuid,
    pub(super) bounds: Bounds,
    /// The newest record of the audit trail.
    pub(super) audit_head: Link,
    /// The time of the newest event or record, in microseconds since 1970; 0 without one.
    pub(super) newest_micros: u64,
    /// Held as long as the writer lives.
    pub(super) lock: Lock,
}

/// Opens or makes the database in `dir`, and brings an older one to [`VERSION`].
pub(super) fn open(dir: &Path) -> Result<Opened, StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io_error(format!("make the state directory {}", dir.display())))?;
    let lock = lock(dir)?;
    let file = dir.join(DATABASE);
    let version = if exists(&file)? {
        check(&file, Depth::Start)?
    } else {
        create(dir, &file)?;
        VERSION
    };
    let mut db = connect(&file).map_err(|failure| failure.in_file(&file))?;
    if version != VERSION {
        migrate(&file, &mut db, version)?;
    }
    opened(file, db, lock)
}

/// Looks at everything in the database of `dir`, for as long as it takes; without one, at nothing.
pub(super) fn check_all(dir: &Path) -> Result<(), StoreError> {
    let file = dir.join(DATABASE);
    if !exists(&file)? {
        return Ok(());
    }
    let lock = lock(dir)?;
    let checked = check(&file, Depth::All);
    drop(lock);
    checked.map(drop)
}

/// Verifies the audit trail of the database in `dir`; without one, there is nothing to find.
pub(super) fn audit_verify(dir: &Path) -> Result<AuditVerdict, StoreError> {
    let file = dir.join(DATABASE);
    if !exists(&file)? {
        return Ok(AuditVerdict::Intact { first: 1, last: 0, head: BEGIN.hash });
    }
    let lock = lock(dir)?;
    let verdict = check::audit_trail(&file);
    drop(lock);
    verdict
}

fn exists(file: &Path) -> Result<bool, StoreError> {
    let looking = || format!("look for {}", file.display());
    let exists = file.try_exists().map_err(io_error(looking()))?;
    // SQLite would apply the log to whatever stands in the place of the database it belongs to.
    if !exists && has_log(file).map_err(io_error(looking()))? {
        return Err(damaged(file, "it is missing, but its write-ahead log is there"));
    }
    Ok(exists)
}

/// A connection that only reads.
pub(super) fn reader(file: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(file, flags)
        .inspect(|db| db.set_prepared_statement_cache_capacity(32))
        .map_err(|cause| Failure::from(cause).in_file(file))
}

fn opened(file: PathBuf, db: Connection, lock: Lock) -> Result<Opened, StoreError> {
    let found = contents(&db).map_err(|failure| failure.in_file(&file))?;
    let Contents { instance, bounds, audit_head, newest_micros } = found;
    Ok(Opened { file, db, instance, bounds, audit_head, newest_micros, lock })
}

fn connect(file: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags)?;
    db.set_prepared_statement_cache_capacity(32);
    // FULL makes every commit durable, not only every checkpoint (https://sqlite.org/pragma.html).
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 33554432;",
    )?;
    // The only other users are our own readers; see `Writer::fold`.
    db.busy_timeout(BUSY)?;
    Ok(db)
}

struct Contents {
    instance: Uuid,
    bounds: Bounds,
    audit_head: Link,
    newest_micros: u64,
}

fn contents(db: &Connection) -> Result<Contents, Failure> {
    let instance: [u8; 16] = db.query_row("SELECT id FROM instance", [], |row| row.get(0))?;
    let (oldest, head, micros): (i64, i64, i64) = db.query_row(
        "SELECT coalesce((SELECT min(seq) FROM events), 1), \
                coalesce((SELECT max(seq) FROM events), 0), \
                max(coalesce((SELECT time FROM events ORDER BY seq DESC LIMIT 1), 0), \
                    coalesce((SELECT time FROM audit ORDER BY seq DESC LIMIT 1), 0))",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    Ok(Contents {
        instance: Uuid::from_bytes(instance),
        bounds: Bounds { oldest: oldest.cast_unsigned(), head: head.cast_unsigned() },
        audit_head: Ends::of(db)?.head,
        newest_micros: micros.cast_unsigned(),
    })
}

/// Makes the database beside its place and moves it there when it is whole, so that a crash
/// half-way never leaves one that looks damaged.
fn create(dir: &Path, file: &Path) -> Result<(), StoreError> {
    let new = dir.join("sysadmd.db.new");
    let doing = || format!("make the database {}", file.display());
    empty_file(&new).map_err(io_error(doing()))?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|cause| io_error(doing())(cause.into()))?;
    let instance = uuid::Builder::from_random_bytes(random).into_uuid();
    fill(&new, instance).map_err(|cause| Failure::from(cause).in_file(file))?;
    fs::rename(&new, file).map_err(io_error(doing()))?;
    sync_dir(file).map_err(io_error(doing()))
}

/// An empty file only its owner may read, for a new database; what an attempt that a crash cut
/// short may have left is gone.
pub(super) fn empty_file(path: &Path) -> io::Result<()> {
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    match fs::remove_file(journal) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map(drop)
}

/// Makes durable that a file has its name.
pub(super) fn sync_dir(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn fill(new: &Path, instance: Uuid) -> Result<(), rusqlite::Error> {
    let db = Connection::open_with_flags(new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.execute_batch(&format!(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA synchronous = FULL; BEGIN; {SCHEMA} \
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
    ))?;
    db.execute("INSERT INTO instance (id) VALUES (?1)", params![instance.as_bytes()])?;
    Ends::insert(&db)?;
    db.close().map_err(|(_, cause)| cause)
}

/// The right to a directory, given back when this is dropped. Said, not left to the closing of the
/// file: a process that is just being started has that file, too, until it is another program.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.unlock().ok();
    }
}

pub(super) fn lock(dir: &Path) -> Result<Lock, StoreError> {
    let path = dir.join(LOCK);
    let doing = || format!("lock {}", path.display());
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_error(doing()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Whether the other one has said who it is yet or not, it is there.
            let _unsaid = lock.read_to_string(&mut text);
            return Err(StoreError::InUse { dir: dir.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(cause)) => return Err(io_error(doing())(cause)),
    }
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(io_error(doing()))?;
    Ok(Lock(lock))
}
