//! Looks whether there is room for what is recorded, while there still is enough to say so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tokio::time::sleep;

use crate::alarm::Alarm;
use crate::lifecycle::Tasks;

/// The kind of the alert.
const KIND: &str = "daemon.disk-full";
/// How often to look: a full disk is a matter of minutes.
const PERIOD: Duration = Duration::from_secs(15);

/// Looks at the file system of the state directory until the daemon stops.
pub(super) fn begin(state_dir: &Path, alarm: Alarm, tasks: &Tasks) {
    let (dir, stop) = (state_dir.to_path_buf(), tasks.stop_signal());
    tasks.spawn(async move {
        while !stop.is_set() {
            look(dir.clone(), &alarm).await;
            tokio::select! {
                () = stop.wait() => {}
                () = sleep(PERIOD) => {}
            }
        }
    });
}

async fn look(dir: PathBuf, alarm: &Alarm) {
    // A file system in the network may take its time.
    let Ok(Some(free)) = tokio::task::spawn_blocking(move || free_mib(&dir)).await else { return };
    let message = format!("The disk of the daemon's state directory has {free} MiB left");
    alarm.measure(KIND, "", message, Some(free));
}

/// MiB that the daemon may still write there.
fn free_mib(dir: &Path) -> Option<i64> {
    let room = statvfs(dir).ok()?;
    let bytes = room.blocks_available().saturating_mul(room.fragment_size());
    i64::try_from(bytes >> 20).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some_room_here_and_none_where_nothing_is() {
        assert!(free_mib(Path::new("/")).is_some());
        assert_eq!(free_mib(Path::new("/proc/self/nothing")), None);
    }
}
