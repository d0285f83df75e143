//! Why a back end said no: one kind for programs, one sentence for people, the cause for the log.

use std::fmt;

/// What went wrong, in the words a caller decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request itself is wrong; repeating it unchanged cannot work.
    BadRequest,
    /// The dataset or snapshot does not exist (any more).
    NotFound,
    /// There is already something of that name.
    AlreadyExists,
    /// Held, mounted, cloned or worked on by somebody else; the same request may work later.
    Busy,
    /// The snapshot was not made by this project, so it is not ours to destroy.
    Foreign,
    /// The back end cannot work here at all: tool, kernel support or privilege is missing.
    Unavailable,
    /// The operation was tried and failed.
    Failed,
    /// Nobody wanted it any more, and nothing is left of it.
    Cancelled,
}

/// A back end's refusal or failure.
///
/// `Display` is the sentence for the person who asked. [`std::error::Error::source`] carries the
/// cause, which belongs into the log only.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What every back end method returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` that tells the asker `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: None }
    }

    /// Adds the cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The kind, to decide by.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRequest, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub(crate) fn exists(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::AlreadyExists, message)
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "The snapshot was given up; nothing is left of it.")
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Busy, message)
    }

    pub(crate) fn foreign(name: &str) -> Self {
        Self::new(
            ErrorKind::Foreign,
            format!(
                "The snapshot {name} was not made by sysadmd and is never destroyed by it. \
                 Use the tool that made it."
            ),
        )
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// Turns a failed system call into an error: `what` names the thing done, in a form that fits
    /// "Could not …".
    pub(crate) fn io(what: impl fmt::Display, cause: impl Into<std::io::Error>) -> Self {
        use std::io::ErrorKind as Io;
        let cause = cause.into();
        let (kind, reason) = match cause.kind() {
            Io::NotFound => (ErrorKind::NotFound, "it does not exist".to_owned()),
            Io::PermissionDenied => (
                ErrorKind::Unavailable,
                "the daemon's user is not allowed to. Run the daemon as root, or give it the right"
                    .to_owned(),
            ),
            Io::StorageFull | Io::QuotaExceeded => (
                ErrorKind::Failed,
                "no space is left there. Destroy old snapshots or make room".to_owned(),
            ),
            Io::ReadOnlyFilesystem => {
                (ErrorKind::Failed, "the file system is read-only".to_owned())
            }
            Io::ResourceBusy => (ErrorKind::Busy, "it is in use".to_owned()),
            _ => (ErrorKind::Failed, cause.to_string()),
        };
        Self::new(kind, format!("Could not {what}: {reason}.")).because(cause)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as &(dyn std::error::Error + 'static))
    }
}
