//! All alerts in memory, found by number and by what they are about; how many there may be. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::alert::AlertDeclaration;
use protocol::{Class, Fault, FaultKind, Time};
use serde::{Deserialize, Serialize};

use super::rule::Rule;
use super::state::{Alert, Change, State, Verb, elapsed, later};

/// Alerts that are not over, of all sources and of one: more is a defect of who raises them, and
/// nobody could read them.
const WRONG_MAX: usize = 4_096;
const WRONG_OF_ONE_MAX: usize = 1_024;
/// Alerts that are over are remembered so long, and so many of them.
const REMEMBERED: Duration = Duration::from_hours(30 * 24);
const REMEMBERED_MAX: usize = 1_000;
/// Comings and goings of one alert that are recorded at once, within a time; others of that time are
/// recorded together.
const STEPS_MAX: u32 = 8;
const STEPS_TIME: Duration = Duration::from_mins(1);
/// How soon what is not recorded at once is.
const STEPS_LATER: Duration = Duration::from_secs(10);
const FIGURES_LATER: Duration = Duration::from_mins(1);

/// What one alert is told apart by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) source: String,
    pub(crate) kind: Class,
    pub(crate) subject: String,
}

impl Key {
    fn of(alert: &Alert) -> Self {
        Self {
            source: alert.source.clone(),
            kind: alert.kind.clone(),
            subject: alert.subject.clone(),
        }
    }
}

/// As it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) alert: Alert,
    /// So that it goes on after a restart whether or not its source is there.
    pub(crate) declared: AlertDeclaration,
}

/// An alert and what is known of it besides.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kept: Kept,
    pub(crate) rule: Rule,
    /// What is not recorded yet, and when it is to be.
    pub(crate) unrecorded: Option<(Change, Time)>,
    steps: u32,
    steps_since: Time,
}

/// How soon a change is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    At(Time),
}

impl Entry {
    pub(crate) fn new(kept: Kept, rule: Rule, now: Time) -> Self {
        Self { kept, rule, unrecorded: None, steps: 0, steps_since: now }
    }

    /// How soon this change is to be recorded.
    pub(crate) fn when(&mut self, change: Change, now: Time) -> When {
        let wait = match change.verb {
            Verb::Repeated => FIGURES_LATER,
            Verb::Began | Verb::Easing | Verb::Returned | Verb::Passed if !change.notify => {
                if elapsed(self.steps_since, now) >= STEPS_TIME || self.steps_since > now {
                    (self.steps, self.steps_since) = (0, now);
                }
                self.steps += 1;
                if self.steps <= STEPS_MAX {
                    return When::Now;
                }
                STEPS_LATER
            }
            _ => return When::Now,
        };
        let at = later(now, wait);
        When::At(self.unrecorded.map_or(at, |(_, before)| before.min(at)))
    }

    /// When something has to be done about it.
    fn due(&self) -> Option<Time> {
        let unrecorded = self.unrecorded.map(|(_, at)| at);
        self.kept.alert.due(&self.rule).into_iter().chain(unrecorded).min()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: BTreeMap<u64, Entry>,
    keys: BTreeMap<Key, u64>,
    last: u64,
}

impl Book {
    /// Takes one up.
    pub(crate) fn put(&mut self, entry: Entry) {
        let alert = &entry.kept.alert;
        self.last = self.last.max(alert.id);
        self.keys.insert(Key::of(alert), alert.id);
        self.entries.insert(alert.id, entry);
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(crate) fn find(&self, key: &Key) -> Option<&Entry> {
        self.keys.get(key).and_then(|id| self.entries.get(id))
    }

    pub(crate) fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.entries.values().map(|entry| &entry.kept.alert)
    }

    /// The number of the next new one.
    pub(crate) fn next_id(&self) -> u64 {
        self.last + 1
    }

    /// Whether this source may raise one more.
    pub(crate) fn check_room(&self, source: &str) -> Result<(), Fault> {
        let wrong = || self.alerts().filter(|alert| alert.state != State::Closed);
        let of_one = wrong().filter(|alert| alert.source == source).count();
        if of_one < WRONG_OF_ONE_MAX && wrong().count() < WRONG_MAX {
            return Ok(());
        }
        let sentence = format!(
            "there are too many alerts: {WRONG_OF_ONE_MAX} of one source and {WRONG_MAX} in all at most"
        );
        Err(Fault::new(FaultKind::TooMany, sentence).with_hint("clear some of them first"))
    }

    /// Those of a source that are not over, without these.
    pub(crate) fn others(&self, source: &str, but: &BTreeSet<Key>) -> Vec<Key> {
        let wrong = self.alerts().filter(|it| it.state != State::Closed && it.source == source);
        wrong.map(Key::of).filter(|key| !but.contains(key)).collect()
    }

    /// When something has to be done next.
    pub(crate) fn due(&self) -> Option<Time> {
        self.entries.values().filter_map(Entry::due).min()
    }

    /// Those about which something has to be done by now.
    pub(crate) fn due_by(&self, now: Time) -> Vec<u64> {
        let is_due = |entry: &&Entry| entry.due().is_some_and(|due| due <= now);
        self.entries.values().filter(is_due).map(|entry| entry.kept.alert.id).collect()
    }

    /// Those of which something is not recorded yet.
    pub(crate) fn unrecorded(&self) -> Vec<u64> {
        let open = self.entries.values().filter(|entry| entry.unrecorded.is_some());
        open.map(|entry| entry.kept.alert.id).collect()
    }

    /// What need not be remembered any more: what is over for long, and the oldest of too many. The
    /// newest number stays, so that none is used twice; so does what is silent.
    pub(crate) fn old(&self, now: Time) -> Vec<u64> {
        let mut closed: Vec<(Time, u64)> = self
            .alerts()
            .filter(|alert| alert.silenced.is_none() && alert.id != self.last)
            .filter_map(|alert| Some((alert.closed?, alert.id)))
            .collect();
        closed.sort_unstable();
        let surplus = closed.len().saturating_sub(REMEMBERED_MAX);
        let is_old = |index: usize, at: Time| index < surplus || elapsed(at, now) > REMEMBERED;
        let old = closed.into_iter().enumerate().filter(|(index, (at, _))| is_old(*index, *at));
        old.map(|(_, (_, id))| id).collect()
    }

    pub(crate) fn forget(&mut self, ids: &[u64]) {
        for id in ids {
            if let Some(entry) = self.entries.remove(id) {
                self.keys.remove(&Key::of(&entry.kept.alert));
            }
        }
    }
}
