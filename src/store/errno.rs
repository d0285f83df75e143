//! The one thing SQLite knows and rusqlite does not pass on: the system's error number.
#![allow(unsafe_code, reason = "sqlite3_system_errno has no safe wrapper in rusqlite")]

use nix::errno::Errno;
use rusqlite::{Connection, ffi};

/// Whether the last failure of the file system on this connection was for want of room: the disk
/// (`ENOSPC`), the quota (`EDQUOT`) or the largest file allowed (`EFBIG`).
///
/// SQLite itself calls only the first `SQLITE_FULL`; the others are plain write errors to it.
pub(super) fn no_room(db: &Connection) -> bool {
    // SAFETY: the handle is valid as long as the connection is borrowed, and the call only reads a
    // number kept in it (https://sqlite.org/c3ref/system_errno.html).
    let number = unsafe { ffi::sqlite3_system_errno(db.handle()) };
    matches!(Errno::from_raw(number), Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG)
}
