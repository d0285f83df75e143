//! A file or directory that is watched: what is there, as a short text, and when to look again.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::access::hex;

/// How long it must be quiet before what is there is looked at: most programs write in pieces.
const QUIET: Duration = Duration::from_millis(200);
/// It is looked at once in so long in any case: not every file system says when something changes.
const LOOK: Duration = Duration::from_secs(20);
/// Names in a directory that are looked at.
const NAMES_MAX: usize = 10_000;

/// Says when to look.
pub(super) struct Watch {
    bell: Arc<Notify>,
    /// Ends with it.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches what is there, or where it will be.
    pub(super) fn begin(path: &str) -> Self {
        let bell = Arc::new(Notify::new());
        let ring = Arc::clone(&bell);
        let watcher = notify::recommended_watcher(move |_| ring.notify_one());
        let path = Path::new(path);
        let watcher = watcher.and_then(|mut watcher| {
            // A file that is replaced is another one, so its directory is watched.
            let place = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
            watcher.watch(place, RecursiveMode::NonRecursive).map(|()| watcher)
        });
        if let Err(error) = &watcher {
            tracing::warn!(path = %path.display(), %error, "it is only looked at from time to time");
        }
        Self { bell, _watcher: watcher.ok() }
    }

    /// Returns when there may be something new, and it is quiet.
    pub(super) async fn changed(&self) {
        timeout(LOOK, self.bell.notified()).await.ok();
        sleep(QUIET).await;
    }
}

/// What is there: of a file its size and times, of a directory its names with theirs.
pub(super) async fn print(path: &str) -> String {
    let path = PathBuf::from(path);
    let looked = tokio::task::spawn_blocking(move || look(&path)).await;
    looked.unwrap_or_default()
}

fn look(path: &Path) -> String {
    let Ok(there) = std::fs::metadata(path) else { return "nothing".to_owned() };
    let mut hash = Sha256::new();
    if there.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.take(NAMES_MAX).collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        for name in names {
            hash.update(name.file_name().as_encoded_bytes());
            hash.update(name.metadata().map(|it| of(&it)).unwrap_or_default());
        }
    } else {
        hash.update(of(&there));
    }
    hex(&hash.finalize())
}

fn of(it: &Metadata) -> String {
    format!("\0{} {} {} {}\0", it.ino(), it.size(), it.mtime(), it.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_changes_looks_otherwise_and_what_does_not_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (place, file) = (dir.path().to_str().unwrap(), dir.path().join("a"));
        let name = file.to_str().unwrap();
        assert_eq!(print(name).await, "nothing");
        let (empty, watch) = (print(place).await, Watch::begin(name));
        std::fs::write(&file, "one").unwrap();
        watch.changed().await;
        let (full, one) = (print(place).await, print(name).await);
        assert_ne!(full, empty);
        assert_eq!((print(place).await, print(name).await), (full, one.clone()));
        std::fs::write(&file, "longer").unwrap();
        assert_ne!(print(name).await, one);
    }
}
