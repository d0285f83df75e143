//! Cores: the servers on one, the client on the other, so that they do not take turns on a small machine.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crate::Res;

/// The two cores, when the machine lets us have two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores(Option<(usize, usize)>);

impl Cores {
    /// Picks the first two cores this process may use and takes the second for itself.
    pub(crate) fn pick() -> Res<Self> {
        let allowed = sched_getaffinity(Pid::this())?;
        let mut cores =
            (0..CpuSet::count()).filter(|core| allowed.is_set(*core).is_ok_and(|set| set));
        let cores = Self(cores.next().zip(cores.next()));
        if let Some((_, client)) = cores.0 {
            only(client)?;
        }
        Ok(cores)
    }

    /// Runs `start` on the servers' core: what it starts inherits the core and never sees the other.
    pub(crate) fn as_server<T>(self, start: impl FnOnce() -> Res<T>) -> Res<T> {
        let Some((server, client)) = self.0 else { return start() };
        only(server)?;
        let started = start();
        only(client)?;
        started
    }

    /// For the table's footer.
    pub(crate) fn text(self) -> &'static str {
        match self.0 {
            Some(_) => "servers on one core, client on another",
            None => "one core for servers and client: figures include their turns",
        }
    }
}

fn only(core: usize) -> Res<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Raises the soft limit of open files to the hard one, for this process and its children. Returns it.
pub(crate) fn raise_open_files() -> Res<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
