//! What makes the plugin look: the kernel, files, the message bus, or the time.

pub(crate) mod bus;
mod files;
mod kernel;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use sdk::{Context, Fault, FaultKind, Level};

use crate::machine::Machine;

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Storage,
    Host,
    Memory,
    Units,
    Clock,
    Reboot,
    Updates,
}

impl Source {
    pub(crate) const ALL: [Self; 7] = [
        Self::Storage,
        Self::Host,
        Self::Memory,
        Self::Units,
        Self::Clock,
        Self::Reboot,
        Self::Updates,
    ];
}

/// One change is often many: look when this has passed since the first.
const SETTLE: Duration = Duration::from_millis(100);
/// Package lists are written for a while.
const UPDATES_SETTLE: Duration = Duration::from_secs(5);
/// While memory is short.
const PRESSURE_EVERY: Duration = Duration::from_secs(5);
/// What something tells of is looked at unasked too, in case it has not.
const SELDOM: Duration = Duration::from_mins(15);
const CLOCK_EVERY: Duration = Duration::from_hours(1);
const UPDATES_EVERY: Duration = Duration::from_hours(6);

/// What is to be looked at again. Whoever notices a change names the source; naming it twice is
/// naming it once, so that this never grows, and nothing that was noticed is lost.
#[derive(Debug, Default)]
pub(crate) struct News {
    sources: Mutex<BTreeSet<Source>>,
    more: Condvar,
}

impl News {
    /// Something about this has changed, or may have.
    pub(crate) fn mark(&self, source: Source) {
        self.mark_all([source]);
    }

    /// Somebody has lost count: everything may have changed.
    pub(crate) fn mark_all(&self, sources: impl IntoIterator<Item = Source>) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).extend(sources);
        self.more.notify_all();
    }

    /// Waits until there is something, or until then, and takes all there is.
    fn wait_until(&self, end: Instant) -> BTreeSet<Source> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        while sources.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.more.wait_timeout(sources, left);
            sources = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut *sources)
    }
}

/// Begins to watch. The threads end with the process.
pub(crate) fn begin(machine: &Arc<Machine>, ctx: &Context) -> Result<(), Fault> {
    kernel::begin(machine.news()).map_err(|error| cannot(&error))?;
    let files = files::begin(machine.news());
    if let Err(error) = &files {
        ctx.log(Level::Warn, &format!("files are not watched, only read now and then: {error}"));
    }
    let (machine, ctx) = (Arc::clone(machine), ctx.clone());
    let look = move || {
        // Watches as long as it lives.
        let _files = files;
        Look::new(&machine, &ctx).go_on();
    };
    Builder::new().name("look".to_owned()).spawn(look).map_err(|error| cannot(&error))?;
    Ok(())
}

fn cannot(error: &std::io::Error) -> Fault {
    Fault::new(FaultKind::Unavailable, format!("the machine cannot be watched: {error}"))
}

struct Look<'a> {
    machine: &'a Machine,
    ctx: &'a Context,
    /// When each source is looked at next, unless it tells before.
    due: BTreeMap<Source, Instant>,
    state_due: Instant,
}

impl<'a> Look<'a> {
    fn new(machine: &'a Machine, ctx: &'a Context) -> Self {
        let now = Instant::now();
        let mut due: BTreeMap<_, _> = Source::ALL.map(|source| (source, now)).into();
        due.insert(Source::Updates, now + UPDATES_SETTLE);
        Self { machine, ctx, due, state_due: now }
    }

    fn go_on(&mut self) {
        while !self.ctx.cancelled() {
            self.look_at(Instant::now());
            let now = Instant::now();
            if self.machine.tell_state(self.ctx, now >= self.state_due) {
                self.state_due = now + self.machine.config().state_every();
            }
            let mut noticed = self.machine.news().wait_until(self.next(now));
            if !noticed.is_empty() && self.ctx.pause(SETTLE) {
                noticed.extend(self.machine.news().wait_until(Instant::now()));
            }
            let now = Instant::now();
            for source in noticed {
                let at = if source == Source::Updates { now + UPDATES_SETTLE } else { now };
                self.due.insert(source, at);
            }
        }
    }

    /// The next moment at which something is due.
    fn next(&self, now: Instant) -> Instant {
        let due = self.due.values().copied().chain([self.state_due]);
        due.min().unwrap_or(now)
    }

    fn look_at(&mut self, now: Instant) {
        let due: Vec<Source> =
            self.due.iter().filter(|(_, at)| **at <= now).map(|(source, _)| *source).collect();
        for source in due {
            self.machine.look(self.ctx, source);
            self.due.insert(source, Instant::now() + self.every(source));
        }
        // Something lasts, and is raised or cleared when it has lasted long enough.
        for (source, wait) in self.machine.unsettled() {
            let at = Instant::now() + wait;
            let due = self.due.entry(source).or_insert(at);
            *due = at.min(*due);
        }
    }

    fn every(&self, source: Source) -> Duration {
        let look = self.machine.config().look_every();
        match source {
            Source::Memory if self.machine.is_short_of_memory() => PRESSURE_EVERY.min(look),
            Source::Memory | Source::Storage => look,
            Source::Updates => UPDATES_EVERY,
            // Asking starts systemd's time service for half a minute.
            Source::Clock => CLOCK_EVERY,
            Source::Host | Source::Units | Source::Reboot => SELDOM,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naming_a_source_twice_is_naming_it_once() {
        let news = News::default();
        news.mark(Source::Host);
        news.mark(Source::Host);
        news.mark_all(Source::ALL);
        let soon = Instant::now() + Duration::from_secs(10);
        assert_eq!(news.wait_until(soon).len(), Source::ALL.len());
        assert!(news.wait_until(Instant::now()).is_empty());
    }
}
