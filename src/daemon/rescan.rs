//! Has the host look again when something changes in the plugin directory, so that a plugin starts
//! when it is put there.

use std::path::Path;

use notify::RecursiveMode;

use super::watch::Watch;
use crate::host::Host;
use crate::lifecycle::Tasks;

/// Begins to notice changes. Without it plugins are found at the next start.
pub(super) fn watch(dir: &Path) -> Option<Watch> {
    if let Err(error) = std::fs::create_dir_all(dir) {
        tracing::debug!(%error, dir = %dir.display(), "there is no plugin directory");
    }
    Watch::begin(vec![dir.to_path_buf()], RecursiveMode::Recursive)
}

/// Looks again after each change until the daemon stops.
pub(super) fn begin(mut watch: Watch, host: Host, tasks: &Tasks) {
    let stop = tasks.stop_signal();
    let looks = async move {
        while watch.settled().await {
            for refusal in host.rescan().await {
                let path = refusal.path.display();
                tracing::warn!(%path, reason = refusal.reason, "not a plugin");
            }
        }
    };
    tasks.spawn(async move {
        tokio::select! {
            () = stop.wait() => {}
            () = looks => {}
        }
    });
}
