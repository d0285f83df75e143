//! Files of the kernel that can be waited on: the mount table, software RAIDs, the host's name, and
//! pressure on memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, Builder};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{News, Source};

/// Tell when tasks waited for memory for 200 ms within 2 s. Windows of 2 s need no privilege since
/// Linux 6.5; older kernels want `SYS_RESOURCE`, without which the interval must do.
const TRIGGER: &[u8] = b"some 200000 2000000\0";
/// After a poll that failed, such as for want of memory.
const PAUSE: Duration = Duration::from_secs(1);

/// A file, how it is opened, and what it tells of.
type Told = (fn() -> io::Result<File>, Source);

const TOLD: [Told; 4] = [
    (|| read_once("/proc/self/mounts"), Source::Storage),
    (|| read_once("/proc/mdstat"), Source::Storage),
    (|| read_once("/proc/sys/kernel/hostname"), Source::Host),
    (pressure, Source::Memory),
];

/// Waits for them in a thread of its own. What this kernel does not have is left out.
pub(super) fn begin(news: Arc<News>) -> io::Result<()> {
    let opened = TOLD.iter().filter_map(|told| Some((told, told.0().ok()?)));
    let mut files: Vec<(&Told, File)> = opened.collect();
    let wait = move || {
        while !files.is_empty() {
            wait_once(&mut files, &news);
        }
    };
    Builder::new().name("kernel".to_owned()).spawn(wait)?;
    Ok(())
}

fn wait_once(files: &mut Vec<(&Told, File)>, news: &News) {
    let mut polled: Vec<PollFd<'_>> =
        files.iter().map(|(_, file)| PollFd::new(file.as_fd(), PollFlags::POLLPRI)).collect();
    if poll(&mut polled, PollTimeout::NONE).is_err() {
        // Interrupted, or no memory: neither says anything about the files.
        return thread::sleep(PAUSE);
    }
    let told: Vec<bool> =
        polled.iter().map(|it| it.revents().is_some_and(|events| !events.is_empty())).collect();
    drop(polled);
    let mut told = told.into_iter();
    files.retain_mut(|((open, source), file)| {
        if !told.next().unwrap_or(false) {
            return true;
        }
        // Opened anew before it is told, since some files tell again and again otherwise: what
        // happens from here on is told anew, and what happened before is seen by the look.
        let again = open();
        news.mark(*source);
        again.map(|again| *file = again).is_ok()
    });
    // The kernel tells of pressure twice a window at most; nothing else is worth being told faster.
    thread::sleep(Duration::from_millis(50));
}

fn read_once(path: &str) -> io::Result<File> {
    let mut file = File::open(path)?;
    // Some tell of changes since they were read.
    file.read_to_end(&mut Vec::new())?;
    Ok(file)
}

fn pressure() -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).open("/proc/pressure/memory")?;
    file.write_all(TRIGGER)?;
    Ok(file)
}
