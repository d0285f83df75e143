//! What can go wrong with the store, in sentences for the administrator.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};

use super::errno;

/// Why the store could not be opened or could not do what was asked.
///
/// The sentences are for the administrator; causes, where there are any, hang at
/// [`std::error::Error::source`] for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be trusted any more. Nothing in it was changed.
    #[error(
        "the database {file} is damaged: {what}. It was left as it is: move it away (with the \
         files of the same name ending in -wal and -shm) or restore a copy, then start again",
        file = file.display()
    )]
    Damaged {
        /// The database file.
        file: PathBuf,
        /// What was found.
        what: String,
    },
    /// A later sysadmd wrote it.
    #[error(
        "the database {file} was written by a newer sysadmd (layout {found}; this one knows \
         {known}). It was left as it is: start that version again, or move the file away",
        file = file.display()
    )]
    Newer {
        /// The database file.
        file: PathBuf,
        /// The layout it has.
        found: i64,
        /// The newest layout this program reads.
        known: i64,
    },
    /// Somebody else's SQLite database stands where ours belongs.
    #[error(
        "{file} is a database of another program. It was left as it is: move it away or choose \
         another --state-dir",
        file = file.display()
    )]
    Foreign {
        /// The database file.
        file: PathBuf,
    },
    /// Another daemon works on the same state directory.
    #[error(
        "another sysadmd{who} already uses {dir}: stop it, or choose another --state-dir",
        who = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        dir = dir.display()
    )]
    InUse {
        /// The state directory.
        dir: PathBuf,
        /// The other daemon, when it said.
        pid: Option<u32>,
    },
    /// Nothing more can be recorded until there is room again.
    #[error(
        "there is no room left in the state directory to record events: free some space, or lower \
         the limits of the event log; recording goes on by itself as soon as there is room"
    )]
    Full,
    /// The file system refused.
    #[error("cannot {doing}: {cause}")]
    Io {
        /// What was tried, as the rest of a sentence.
        doing: String,
        /// What the system said.
        #[source]
        cause: Arc<io::Error>,
    },
    /// SQLite refused.
    #[error("the database {file} did not do its work; the log says why", file = file.display())]
    Sql {
        /// The database file.
        file: PathBuf,
        /// What SQLite said.
        #[source]
        cause: Arc<rusqlite::Error>,
    },
    /// The store was closed, or its thread has died.
    #[error("the event log is closed: the daemon is stopping")]
    Stopped,
}

/// What went wrong inside a piece of work, before it is known in which file.
#[derive(Debug)]
pub(crate) enum Failure {
    /// SQLite refused; the second part says whether the file system had no room.
    Sql(rusqlite::Error, bool),
    /// A row holds what the daemon never writes.
    Row(String),
}

impl Failure {
    /// Asks the connection it happened on whether it was for want of room.
    pub(super) fn on(self, db: &Connection) -> Self {
        match self {
            Self::Sql(cause, full) => Self::Sql(cause, full || errno::no_room(db)),
            row @ Self::Row(_) => row,
        }
    }

    pub(super) fn in_file(self, file: &Path) -> StoreError {
        match self {
            Self::Row(what) => StoreError::Damaged { file: file.to_owned(), what },
            Self::Sql(cause, full) if full || code(&cause) == Some(ErrorCode::DiskFull) => {
                StoreError::Full
            }
            Self::Sql(cause, _) if is_damage(&cause) => {
                StoreError::Damaged { file: file.to_owned(), what: cause.to_string() }
            }
            Self::Sql(cause, _) => {
                StoreError::Sql { file: file.to_owned(), cause: Arc::new(cause) }
            }
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Sql(cause, false)
    }
}

fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    error.sqlite_error_code()
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(code(error), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

pub(super) fn io_error(doing: impl Into<String>) -> impl FnOnce(io::Error) -> StoreError {
    let doing = doing.into();
    |cause| StoreError::Io { doing, cause: Arc::new(cause) }
}
