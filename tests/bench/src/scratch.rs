//! The folder of a run, removed at its end however it ends, and the children of a run, ended with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::Res;

/// Everything that must not outlive the run.
#[derive(Debug, Clone)]
pub(crate) struct Scratch(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    dir: PathBuf,
    children: Mutex<Vec<i32>>,
}

impl Scratch {
    /// Makes the folder, and from now on cleans up on interrupt and termination too.
    pub(crate) fn new(parent: Option<&Path>) -> Res<Self> {
        let beside = std::env::current_exe()?;
        let parent = parent.or(beside.parent()).ok_or("this program has no folder")?;
        let dir = parent.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let scratch = Self(Arc::new(Owned { dir, children: Mutex::default() }));
        scratch.watch_signals()?;
        Ok(scratch)
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// A fresh folder in it.
    pub(crate) fn fresh(&self, name: &str) -> Res<PathBuf> {
        let dir = self.0.dir.join(name);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Starts a child with the signals of a shell's child, and ends it too when the run is interrupted.
    pub(crate) fn spawn(&self, command: &mut Command) -> Res<Child> {
        // A child inherits what is blocked here, and would then never hear that it shall stop.
        signals().thread_unblock()?;
        let child = command.spawn();
        signals().thread_block()?;
        let child = child?;
        self.children().push(i32::try_from(child.id())?);
        Ok(child)
    }

    /// The child has ended and its number may be somebody else's soon.
    pub(crate) fn forget(&self, child: &Child) {
        self.children().retain(|pid| u32::try_from(*pid).is_ok_and(|pid| pid != child.id()));
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Vec<i32>> {
        self.0.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocked here, taken by a thread.
    fn watch_signals(&self) -> Res<()> {
        let set = signals();
        set.thread_block()?;
        let mine = self.clone();
        std::thread::spawn(move || {
            if set.wait().is_ok() {
                for pid in mine.children().drain(..) {
                    let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                let _left = std::fs::remove_dir_all(mine.dir());
                std::process::exit(130);
            }
        });
        Ok(())
    }
}

/// What ends a run before its time.
fn signals() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set
}

/// Removes the folder when the measuring ends, well or not.
#[derive(Debug)]
pub(crate) struct Sweep(pub(crate) Scratch);

impl Drop for Sweep {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(self.0.dir());
    }
}
