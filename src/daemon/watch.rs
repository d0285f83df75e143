//! Watches the plugin directory, so that a plugin starts when it is put there.

use std::path::Path;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::host::Host;
use crate::lifecycle::Tasks;

/// A copy is many changes: look when nothing has changed for this long.
const SETTLE: Duration = Duration::from_millis(300);
/// Look after this long at the latest: a plugin that writes into its directory all the time must
/// not keep others from being found.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// A plugin directory that is being watched.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    looks: mpsc::Receiver<()>,
}

/// Begins to notice changes; before the first look at the directory, so that none falls between
/// the two. Without a directory, or where the kernel cannot watch it, plugins are found at the next
/// start.
pub(super) fn begin(dir: &Path) -> Option<Watch> {
    // One waiting "something changed" says as much as many.
    let (changed, looks) = mpsc::channel(1);
    match watch(dir, changed) {
        Ok(watcher) => Some(Watch { watcher, looks }),
        Err(error) => {
            tracing::debug!(%error, dir = %dir.display(), "the plugin directory is not watched");
            None
        }
    }
}

impl Watch {
    /// Has the host look again whenever something has changed.
    pub(super) fn look_again(self, host: Host, tasks: &Tasks) {
        let Self { watcher, looks } = self;
        let stop = tasks.stop_signal();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = rescan(looks, host) => {}
            }
            drop(watcher);
        });
    }
}

fn watch(dir: &Path, changed: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let heard = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // Full means that a look is due already.
            changed.try_send(()).ok();
        }
    };
    let mut watcher = notify::recommended_watcher(heard)?;
    if !dir.exists() {
        std::fs::create_dir_all(dir).map_err(notify::Error::io)?;
    }
    watcher.watch(dir, RecursiveMode::Recursive)?;
    Ok(watcher)
}

async fn rescan(mut changes: mpsc::Receiver<()>, host: Host) {
    while changes.recv().await.is_some() {
        let latest = Instant::now() + SETTLE_MAX;
        let settled = || latest.min(Instant::now() + SETTLE);
        while let Ok(Some(())) = timeout_at(settled(), changes.recv()).await {
            if Instant::now() >= latest {
                break;
            }
        }
        for refusal in host.rescan().await {
            tracing::warn!(path = %refusal.path.display(), reason = refusal.reason, "not a plugin");
        }
    }
}
