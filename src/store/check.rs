//! Whether a database may be trusted, found out without changing a byte of it or beside it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::StoreError;
use super::audit::{AuditVerdict, BEGIN, Ends, verify_all};
use super::error::{Failure, io_error};
use super::migrate::{definitions, schema};
use super::open::{APPLICATION_ID, VERSION};
use super::rows::{COLUMNS, decode};

/// Up to this size every page is looked at before a start: a fraction of a second. Of larger files
/// the start looks at the ends, and `sysadmd --check` at all.
const SMALL_BYTES: u64 = 64 << 20;
/// The first version that has an audit trail.
const AUDITED: i64 = 2;
/// The newest events a start looks at: where a crash or a bad copy shows.
const TAIL: u64 = 1000;
/// Where the numbers stand in the header (<https://sqlite.org/fileformat2.html#the_database_header>).
const HEADER_BYTES: usize = 100;

/// How much of it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// What fits into the start of the daemon.
    Start,
    /// Every page and every event.
    All,
}

/// Refuses a database that is damaged, foreign or too new; answers the version of its layout.
pub(super) fn check(file: &Path, depth: Depth) -> Result<i64, StoreError> {
    let bytes = header(file)?;
    look(file, |db, version| {
        if depth == Depth::All {
            pages(db, "PRAGMA integrity_check(3)")?;
            events(db, u64::MAX)?;
        } else {
            if bytes <= SMALL_BYTES {
                pages(db, "PRAGMA quick_check(3)")?;
            }
            events(db, TAIL)?;
        }
        if version >= AUDITED {
            audit_ends(db)?;
        }
        Ok(version)
    })
}

/// Verifies the audit trail; see [`super::Store::audit_verify_file`].
pub(super) fn audit_trail(file: &Path) -> Result<AuditVerdict, StoreError> {
    header(file)?;
    look(file, |db, version| match version {
        AUDITED.. => verify_all(db),
        _ => Ok(AuditVerdict::Intact { first: 1, last: 0, head: BEGIN.hash }),
    })
}

/// Looks at a database whose layout is one this program knows.
fn look<T>(
    file: &Path,
    at: impl FnOnce(&mut Connection, i64) -> Result<T, Failure>,
) -> Result<T, StoreError> {
    // Whatever SQLite does not like about a file that nobody else uses is damage.
    let damage = |failure| match failure {
        Failure::Sql(cause, _) => damaged(file, cause.to_string()),
        Failure::Row(what) => damaged(file, what),
    };
    let opened = || -> Result<_, Failure> {
        let db = look_at(file)?;
        // Not from the header: the log may know better.
        let version = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok((db, version))
    };
    let (mut db, version) = opened().map_err(damage)?;
    if version > VERSION {
        return Err(StoreError::Newer { file: file.to_owned(), found: version, known: VERSION });
    }
    tables(&db, version).and_then(|()| at(&mut db, version)).map_err(damage)
}

/// Whether the write-ahead log of a crash lies beside the file.
pub(super) fn has_log(file: &Path) -> io::Result<bool> {
    match std::fs::metadata(log_of(file)) {
        Ok(log) => Ok(log.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The write-ahead log of a database.
pub(super) fn log_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push("-wal");
    name.into()
}

pub(super) fn damaged(file: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Damaged { file: file.to_owned(), what: what.into() }
}

/// Reads the header as a file; returns the file's length in bytes.
fn header(file: &Path) -> Result<u64, StoreError> {
    let reading = || format!("read the database {}", file.display());
    let mut opened = File::open(file).map_err(io_error(reading()))?;
    let bytes = opened.metadata().map_err(io_error(reading()))?.len();
    if bytes < HEADER_BYTES as u64 {
        return Err(damaged(file, format!("it has only {bytes} bytes")));
    }
    let mut header = [0; HEADER_BYTES];
    opened.read_exact(&mut header).map_err(io_error(reading()))?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(damaged(file, "it does not begin like an SQLite database"));
    }
    if number(&header, 68) != APPLICATION_ID {
        return Err(StoreError::Foreign { file: file.to_owned() });
    }
    let found = number(&header, 60);
    if found > VERSION {
        return Err(StoreError::Newer { file: file.to_owned(), found, known: VERSION });
    }
    let page = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65_536,
        size => size,
    };
    let claimed = number(&header, 28).cast_unsigned() * page;
    // After a crash the pages at the end may still be in the write-ahead log.
    if bytes < claimed && !has_log(file).map_err(io_error(reading()))? {
        return Err(damaged(file, format!("it is cut short: {bytes} bytes of {claimed}")));
    }
    Ok(bytes)
}

fn number(header: &[u8; HEADER_BYTES], at: usize) -> i64 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]).into()
}

/// A connection that leaves no trace. Only for a file that nobody else uses.
fn look_at(file: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !has_log(file).unwrap_or(false) {
        let uri = format!("file:{}?immutable=1", escaped(file));
        return Ok(Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?);
    }
    // `immutable` would not see what the log holds. In exclusive mode SQLite keeps the index of the
    // log in memory instead of a file (https://sqlite.org/wal.html#noshm); the VFS without locks
    // lets it have that mode on a file opened for reading.
    let db = Connection::open_with_flags_and_vfs(file, flags, c"unix-none")?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    Ok(db)
}

fn escaped(file: &Path) -> String {
    let mut text = String::new();
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                text.push(char::from(*byte));
            }
            // Writing to a string does not fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

fn tables(db: &Connection, version: i64) -> Result<(), Failure> {
    let expected = Connection::open_in_memory()?;
    expected.execute_batch(schema(version).unwrap_or_default())?;
    if definitions(db)? == definitions(&expected)? {
        Ok(())
    } else {
        Err(Failure::Row("its tables are not those sysadmd makes".to_owned()))
    }
}

/// Whether the next record of the audit trail has a place. Whether those that are there are what
/// was recorded is for the one who verifies it: an altered trail must not keep the daemon from
/// starting.
fn audit_ends(db: &Connection) -> Result<(), Failure> {
    let head = Ends::of(db)?.head.seq;
    let beyond = "SELECT min(seq) FROM audit WHERE seq > ?1";
    match db.query_row(beyond, [head.cast_signed()], |row| row.get::<_, Option<i64>>(0))? {
        None => Ok(()),
        Some(seq) => {
            let text = format!("audit record {seq} stands behind the end of the trail ({head})");
            Err(Failure::Row(text))
        }
    }
}

fn pages(db: &Connection, pragma: &str) -> Result<(), Failure> {
    let mut statement = db.prepare(pragma)?;
    let findings = statement.query_map([], |row| row.get(0))?;
    let findings: Vec<String> = findings.collect::<Result<_, _>>()?;
    if findings == ["ok"] { Ok(()) } else { Err(Failure::Row(findings.join("; "))) }
}

/// Whether the newest events can be read and follow one another.
fn events(db: &Connection, most: u64) -> Result<(), Failure> {
    let instances: i64 =
        db.query_row("SELECT count(*) FILTER (WHERE length(id) = 16) FROM instance", [], |row| {
            row.get(0)
        })?;
    if instances != 1 {
        return Err(Failure::Row("it does not say which database it is".to_owned()));
    }
    let sql = format!("SELECT {COLUMNS} FROM events ORDER BY seq DESC LIMIT ?1");
    let mut statement = db.prepare(&sql)?;
    let mut rows = statement.query([i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut later: Option<(u64, u64)> = None;
    while let Some(row) = rows.next()? {
        let event = decode(row)?;
        let (seq, micros) = (event.seq.unwrap_or_default(), event.time.micros());
        if let Some((next, next_micros)) = later {
            if seq + 1 != next {
                let text = format!("after event {seq} comes event {next}: others are missing");
                return Err(Failure::Row(text));
            }
            if micros >= next_micros {
                return Err(Failure::Row(format!("event {next} is not later than event {seq}")));
            }
        }
        later = Some((seq, micros));
    }
    Ok(())
}
