//! Watches directories, and says when something in them has changed and settled.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// A copy is many changes: look when nothing has changed for this long.
const SETTLE: Duration = Duration::from_millis(300);
/// Look after this long at the latest: somebody who writes into the directory all the time must not
/// keep others from being noticed.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// Directories that are being watched.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    dirs: Vec<PathBuf>,
    depth: RecursiveMode,
    changes: mpsc::Receiver<()>,
}

impl Watch {
    /// Begins to notice changes; do it before the first look, so that none falls between the two.
    /// Without a directory, or where the kernel cannot watch it, nothing is noticed.
    pub(super) fn begin(dirs: Vec<PathBuf>, depth: RecursiveMode) -> Option<Self> {
        // One waiting "something changed" says as much as many.
        let (something, changes) = mpsc::channel(1);
        let heard = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // Full means that a look is due already.
                something.try_send(()).ok();
            }
        };
        match notify::recommended_watcher(heard) {
            Ok(watcher) => {
                let mut watch = Self { watcher, dirs, depth, changes };
                watch.renew();
                Some(watch)
            }
            Err(error) => {
                tracing::debug!(%error, "no directory is watched");
                None
            }
        }
    }

    /// Watches what is under the names now: a directory may have been put in place of another.
    pub(super) fn renew(&mut self) {
        for dir in &self.dirs {
            if let Err(error) = self.watcher.watch(dir, self.depth) {
                tracing::debug!(%error, dir = %dir.display(), "a directory is not watched");
            }
        }
    }

    /// Waits until something has changed and nothing does any more; `false` when nothing will be
    /// noticed again.
    pub(super) async fn settled(&mut self) -> bool {
        if self.changes.recv().await.is_none() {
            return false;
        }
        let latest = Instant::now() + SETTLE_MAX;
        let settled = || latest.min(Instant::now() + SETTLE);
        while let Ok(Some(())) = timeout_at(settled(), self.changes.recv()).await {
            if Instant::now() >= latest {
                break;
            }
        }
        true
    }
}

/// The directory a file lies in.
pub(super) fn dir_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
