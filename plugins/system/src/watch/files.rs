//! Files that others write: what asks for a restart, and the package lists.

use std::path::Path;
use std::sync::Arc;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::{News, Source};

/// A directory, how the names begin that matter in it (all of them, if empty), and what they tell.
const WATCHED: [(&str, &str, Source); 8] = [
    ("/run", "reboot-required", Source::Reboot),
    ("/boot", "vmlinuz", Source::Reboot),
    ("/var/lib/dpkg", "status", Source::Updates),
    ("/var/lib/apt/lists", "", Source::Updates),
    ("/var/lib/rpm", "rpmdb.sqlite", Source::Updates),
    ("/var/lib/pacman/local", "", Source::Updates),
    ("/var/lib/pacman/sync", "", Source::Updates),
    ("/lib/apk/db", "installed", Source::Updates),
];

/// Watches as long as what it returns lives. Directories that are not there are left out.
pub(super) fn begin(news: Arc<News>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event| heard(&news, event))?;
    for (dir, ..) in WATCHED {
        if Path::new(dir).is_dir() {
            watcher.watch(Path::new(dir), RecursiveMode::NonRecursive)?;
        }
    }
    Ok(watcher)
}

/// What is told to us. When the kernel's queue has overflowed, or anything else is wrong, nobody
/// knows what was lost: all that files tell is looked at again.
fn heard(news: &News, event: notify::Result<Event>) {
    match event {
        Ok(event) if event.need_rescan() => news.mark_all(WATCHED.map(|(.., source)| source)),
        Ok(event) if event.kind.is_access() => {}
        Ok(event) => {
            for path in &event.paths {
                if let Some(source) = source_of(path) {
                    news.mark(source);
                }
            }
        }
        Err(_) => news.mark_all(WATCHED.map(|(.., source)| source)),
    }
}

fn source_of(path: &Path) -> Option<Source> {
    let (dir, name) = (path.parent()?, path.file_name()?.to_string_lossy());
    let watched = WATCHED.iter().find(|(watched, ..)| Path::new(watched) == dir)?;
    // The shared memory of a database changes when somebody reads it, such as those who are asked.
    (name.starts_with(watched.1) && !name.ends_with("-shm")).then_some(watched.2)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

    use notify::EventKind;
    use notify::event::{CreateKind, Flag};

    use super::*;

    fn told(event: notify::Result<Event>) -> BTreeSet<Source> {
        let news = News::default();
        heard(&news, event);
        news.wait_until(Instant::now())
    }

    fn created(path: &str) -> Event {
        Event::new(EventKind::Create(CreateKind::File)).add_path(path.into())
    }

    #[test]
    fn only_what_matters_is_told() {
        assert_eq!(told(Ok(created("/run/reboot-required"))), [Source::Reboot].into());
        assert_eq!(told(Ok(created("/var/lib/apt/lists/x_Packages"))), [Source::Updates].into());
        assert_eq!(told(Ok(created("/var/lib/rpm/rpmdb.sqlite"))), [Source::Updates].into());
        assert!(told(Ok(created("/var/lib/rpm/rpmdb.sqlite-shm"))).is_empty());
        assert!(told(Ok(created("/run/utmp"))).is_empty());
        assert!(told(Ok(created("/var/lib/dpkg/lock"))).is_empty());
    }

    #[test]
    fn an_overflow_means_that_everything_is_read_again() {
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(told(Ok(overflow)), [Source::Reboot, Source::Updates].into());
        let broken = notify::Error::generic("broken");
        assert_eq!(told(Err(broken)), [Source::Reboot, Source::Updates].into());
    }
}
