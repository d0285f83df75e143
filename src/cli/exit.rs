//! Why a command ended, and with which number.

use std::fmt;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use protocol::{Fault, FaultKind};

/// The numbers, as the help and `docs/guide/sysadmctl.md` print them.
pub(crate) const EXIT_TABLE: &str = "\
Exit codes:
    0  it is done
    1  the daemon tried, or refused the request, and says why
    2  the command line is wrong
   65  the audit trail is not as it was recorded
   69  the daemon cannot be reached
   74  a file of yours cannot be read or written
   75  not now: try again later
   76  the daemon's certificate is not the one that is trusted
   77  you are not logged in, or not allowed
  130  interrupted by Ctrl-C";

/// How a command ended; see [`EXIT_TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The call failed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// What is recorded was altered.
    Data,
    /// The daemon cannot be reached, or the connection broke.
    Unreachable,
    /// A local file.
    File,
    /// The daemon says: later.
    TryAgain,
    /// Another certificate than the trusted one.
    Certificate,
    /// Not logged in or not allowed.
    NotAllowed,
    /// SIGINT.
    Interrupted,
    /// Whoever read our output is gone, as after `| head`.
    OutputClosed,
    /// SIGTERM.
    Terminated,
}

impl Exit {
    /// The number for the shell.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Data => 65,
            Self::Unreachable => 69,
            Self::File => 74,
            Self::TryAgain => 75,
            Self::Certificate => 76,
            Self::NotAllowed => 77,
            Self::Interrupted => 130,
            Self::OutputClosed => 141,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not succeed, for the person who gave it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The number it ends with.
    pub(crate) exit: Exit,
    /// One sentence; empty when there is nothing left to say.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// When the daemon said to come back.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// A failure with a sentence.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, retry_after: None }
    }

    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A local file could not be read or written.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &io::Error) -> Self {
        Self::new(Exit::File, format!("cannot {what} {}: {error}", path.display()))
    }

    /// Our output could not be written. A closed pipe is no news to anybody.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::new(Exit::OutputClosed, "")
        } else {
            Self::new(Exit::File, format!("cannot write to standard output: {error}"))
        }
    }

    /// The same with a next step.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it may be gone in a moment, so that trying again makes sense.
    pub(crate) fn passes(&self) -> bool {
        matches!(self.exit, Exit::Unreachable | Exit::TryAgain)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let exit = match fault.kind {
            FaultKind::Unauthorized | FaultKind::Forbidden => Exit::NotAllowed,
            FaultKind::Unavailable | FaultKind::TooMany | FaultKind::Timeout => Exit::TryAgain,
            _ => Exit::Failed,
        };
        let retry_after = fault.retry_after_ms.map(Duration::from_millis);
        Self { exit, message: fault.message, hint: fault.hint, retry_after }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fault_has_its_number() {
        let code = |kind| Failure::from(Fault::new(kind, "m")).exit.code();
        for kind in [FaultKind::BadRequest, FaultKind::NotFound, FaultKind::Internal] {
            assert_eq!(code(kind), 1);
        }
        for kind in [FaultKind::Unauthorized, FaultKind::Forbidden] {
            assert_eq!(code(kind), 77);
        }
        for kind in [FaultKind::Unavailable, FaultKind::TooMany, FaultKind::Timeout] {
            assert_eq!(code(kind), 75);
        }
    }

    #[test]
    fn the_guide_has_the_same_table() {
        let guide = include_str!("../../docs/guide/sysadmctl.md");
        let rows = EXIT_TABLE.lines().skip(1).filter_map(|line| line.trim().split_once("  "));
        for (code, meaning) in rows {
            assert!(guide.contains(&format!("| {code} | {meaning} |\n")), "{code} {meaning}");
        }
    }

    #[test]
    fn the_table_names_the_numbers_that_are_used() {
        for exit in [
            Exit::Failed,
            Exit::Usage,
            Exit::Data,
            Exit::Unreachable,
            Exit::File,
            Exit::TryAgain,
            Exit::Certificate,
            Exit::NotAllowed,
            Exit::Interrupted,
        ] {
            let number = format!("{:>5}  ", exit.code());
            assert!(EXIT_TABLE.lines().any(|line| line.starts_with(&number)), "{number}");
        }
    }
}
