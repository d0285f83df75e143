//! What is wrong with the machine, and since when. Pure: looks and the time in, changes out.
//!
//! A condition is *raised* once, when it has been seen for long enough; it is *repeated* with a
//! count when it gets worse and as a reminder; it is *cleared* when it has been away for long
//! enough. Between two thresholds nothing changes, so a figure on the edge makes no noise.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What somebody should know and do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// 0 to 10.
    pub(crate) priority: u8,
    /// One sentence about what is wrong.
    pub(crate) message: String,
    /// One sentence about what to do.
    pub(crate) advice: String,
}

/// How one thing looks at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// As it should.
    Good,
    /// Neither: whatever it was, it stays.
    Between,
    /// Not as it should.
    Bad(Trouble),
}

/// Which thing: what kind of condition, and about what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    /// Such as `disk-full`.
    pub(crate) kind: String,
    /// The resource, such as `/disks/%2Fsrv`.
    pub(crate) subject: String,
}

/// How long something must last, in milliseconds, before anybody is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Bad before it is raised.
    pub(crate) raise_after: u64,
    /// Good before it is cleared.
    pub(crate) clear_after: u64,
    /// Between two reminders.
    pub(crate) remind_every: u64,
}

/// A condition that has been raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Raised {
    /// What is wrong, as it was seen last.
    #[serde(flatten)]
    pub(crate) trouble: Trouble,
    /// When it was seen first, in milliseconds of the caller's clock.
    pub(crate) since_ms: u64,
    /// When it was seen last.
    pub(crate) seen_ms: u64,
    /// How often it has been told.
    pub(crate) count: u64,
    told_ms: u64,
    /// Since when it has been good, while it is.
    good_ms: Option<u64>,
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Which one.
    pub(crate) key: Key,
    /// What happened to it.
    pub(crate) verb: Verb,
    /// As it is now; of a cleared one, as it was.
    pub(crate) raised: Raised,
}

/// What happened to a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// It is there.
    Raised,
    /// It still is, or it is worse.
    Repeated,
    /// It is over.
    Cleared,
}

/// All conditions.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    raised: BTreeMap<Key, Raised>,
    /// Bad, but not for long enough yet: since when.
    pending: BTreeMap<Key, u64>,
}

impl Conditions {
    /// Those that had been raised when an earlier life ended.
    pub(crate) fn resumed(raised: impl IntoIterator<Item = (Key, Raised)>) -> Self {
        Self { raised: raised.into_iter().collect(), pending: BTreeMap::new() }
    }

    /// Those that are raised.
    pub(crate) fn raised(&self) -> &BTreeMap<Key, Raised> {
        &self.raised
    }

    /// Kinds that are to be looked at again although nothing may have changed, and when.
    pub(crate) fn waits(&self, patience: impl Fn(&str) -> Patience) -> Vec<(String, u64)> {
        let raising = self.pending.iter();
        let raising = raising.map(|(key, since)| (key, since + patience(&key.kind).raise_after));
        let clearing = self
            .raised
            .iter()
            .filter_map(|(key, it)| Some((key, it.good_ms? + patience(&key.kind).clear_after)));
        raising.chain(clearing).map(|(key, at)| (key.kind.clone(), at)).collect()
    }

    /// Whether anything of this kind is raised, or about to be.
    pub(crate) fn knows(&self, kind: &str) -> bool {
        self.raised.keys().chain(self.pending.keys()).any(|key| key.kind == kind)
    }

    /// Takes one look at everything of one kind. What is not in it any more is good: a disk that is
    /// not mounted is not full.
    pub(crate) fn look(
        &mut self,
        kind: &str,
        now_ms: u64,
        patience: Patience,
        looks: BTreeMap<String, Look>,
    ) -> Vec<Change> {
        let known = self.raised.keys().chain(self.pending.keys());
        let mut all: BTreeMap<String, Look> = known
            .filter(|key| key.kind == kind)
            .map(|key| (key.subject.clone(), Look::Good))
            .collect();
        all.extend(looks);
        let mut changes = Vec::new();
        for (subject, look) in all {
            let key = Key { kind: kind.to_owned(), subject };
            changes.extend(match look {
                Look::Between => None,
                Look::Good => self.good(key, now_ms, patience),
                Look::Bad(trouble) => self.bad(key, now_ms, patience, trouble),
            });
        }
        changes
    }

    fn good(&mut self, key: Key, now_ms: u64, patience: Patience) -> Option<Change> {
        self.pending.remove(&key);
        let raised = self.raised.get_mut(&key)?;
        let since = *raised.good_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since) < patience.clear_after {
            return None;
        }
        let raised = self.raised.remove(&key)?;
        Some(Change { key, verb: Verb::Cleared, raised })
    }

    fn bad(
        &mut self,
        key: Key,
        now_ms: u64,
        patience: Patience,
        trouble: Trouble,
    ) -> Option<Change> {
        if let Some(raised) = self.raised.get_mut(&key) {
            let worse = trouble.priority > raised.trouble.priority;
            let reminder = now_ms.saturating_sub(raised.told_ms) >= patience.remind_every;
            (raised.good_ms, raised.seen_ms) = (None, now_ms);
            // One that gets better without being over keeps its urgency until it is.
            let priority = raised.trouble.priority.max(trouble.priority);
            raised.trouble = Trouble { priority, ..trouble };
            if !(worse || reminder) {
                return None;
            }
            raised.count += 1;
            raised.told_ms = now_ms;
            return Some(Change { key, verb: Verb::Repeated, raised: raised.clone() });
        }
        let since_ms = *self.pending.entry(key.clone()).or_insert(now_ms);
        if now_ms.saturating_sub(since_ms) < patience.raise_after {
            return None;
        }
        self.pending.remove(&key);
        let (seen_ms, told_ms) = (now_ms, now_ms);
        let raised = Raised { trouble, since_ms, seen_ms, count: 1, told_ms, good_ms: None };
        self.raised.insert(key.clone(), raised.clone());
        Some(Change { key, verb: Verb::Raised, raised })
    }
}

/// How a percentage looks that is bad from `high` on and good below `low`.
pub(crate) fn level(percent: u64, high: u64, low: u64, bad: impl FnOnce() -> Trouble) -> Look {
    if percent >= high {
        Look::Bad(bad())
    } else if percent < low {
        Look::Good
    } else {
        Look::Between
    }
}

#[cfg(test)]
mod tests;
