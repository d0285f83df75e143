//! Watches the plugin directory, so that a plugin starts when it is put there.

use std::path::Path;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::host::Host;
use crate::lifecycle::Tasks;

/// A copy is many changes: look when nothing has changed for this long.
const SETTLE: Duration = Duration::from_millis(300);

/// Looks at the directory again whenever something in it has changed. Without a directory, or
/// where the kernel cannot watch it, plugins are found at the next start.
pub(super) fn plugins(dir: &Path, host: Host, tasks: &Tasks) {
    // One waiting "something changed" says as much as many.
    let (changed, looks) = mpsc::channel(1);
    let watcher = match watch(dir, changed) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::debug!(%error, dir = %dir.display(), "the plugin directory is not watched");
            return;
        }
    };
    let stop = tasks.stop_signal();
    tasks.spawn(async move {
        tokio::select! {
            () = stop.wait() => {}
            () = rescan(looks, host) => {}
        }
        drop(watcher);
    });
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
        while let Ok(Some(())) = tokio::time::timeout(SETTLE, changes.recv()).await {}
        for refusal in host.rescan().await {
            tracing::warn!(path = %refusal.path.display(), reason = refusal.reason, "not a plugin");
        }
    }
}
