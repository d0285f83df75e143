//! The limit on open files, and what it leaves for connections.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Limits;

/// Files that are kept for everything else: the log, plugins, the certificate, connections that
/// are closing.
const RESERVE: u64 = 128;

/// Raises the limit as far as it goes, and bounds the connections by what it leaves.
pub(super) fn fit(mut limits: Limits) -> Limits {
    let Some(files) = raise() else { return limits };
    let room = room(files);
    if room < limits.connections {
        tracing::warn!(files, connections = room, "the limit on open files bounds connections");
        limits.connections = room;
    }
    limits
}

/// The limit that holds now.
fn raise() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => Some(hard),
        Err(error) => {
            tracing::debug!(%error, soft, "the limit on open files cannot be raised");
            Some(soft)
        }
    }
}

fn room(files: u64) -> usize {
    let room = files.saturating_sub(RESERVE).max(files / 4).max(1);
    usize::try_from(room).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_kept_for_the_rest() {
        assert_eq!(room(20_000), 19_872);
        assert_eq!(room(256), 128);
        assert_eq!(room(64), 16);
        assert_eq!(room(0), 1);
    }
}
