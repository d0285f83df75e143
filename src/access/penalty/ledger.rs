//! A bounded memory in which everything fades by itself.
//!
//! When it is full, what would be forgotten soonest goes first; what holds at the moment never
//! goes. So nobody sheds a penalty by failing elsewhere: whoever wants to displace a record must
//! earn heavier ones for every place there is. And nobody shuts out others by filling it: when
//! every place holds a penalty (a third of a million failures within minutes), newcomers are let
//! through unremembered, and are told apart by the caller.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use protocol::Time;

/// Something that means less and less.
pub(super) trait Fading: Default {
    /// From when on it means nothing.
    fn ends(&self) -> Time;

    /// Whether it may not be forgotten now.
    fn holds(&self, now: Time) -> bool;
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger<K, R> {
    most: usize,
    records: HashMap<K, (Time, R)>,
    /// By the end each record had when it was written.
    by_end: BTreeSet<(Time, K)>,
}

impl<K: Copy + Ord + Hash, R: Fading> Ledger<K, R> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, records: HashMap::new(), by_end: BTreeSet::new() }
    }

    pub(super) fn get(&self, key: &K) -> Option<&R> {
        self.records.get(key).map(|(_, record)| record)
    }

    /// Changes a record, or a new one; `None` when there is no place for a new one.
    pub(super) fn change<T>(
        &mut self,
        key: K,
        now: Time,
        change: impl FnOnce(&mut R) -> T,
    ) -> Option<T> {
        let mut record = match self.records.remove(&key) {
            Some((end, record)) => {
                self.by_end.remove(&(end, key));
                record
            }
            None if self.has_place(now) => R::default(),
            None => return None,
        };
        let changed = change(&mut record);
        let end = record.ends();
        if end > now {
            self.by_end.insert((end, key));
            self.records.insert(key, (end, record));
        }
        Some(changed)
    }

    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.by_end.clear();
    }

    /// Whether one more fits, after what means little is forgotten.
    fn has_place(&mut self, now: Time) -> bool {
        while let Some((end, key)) = self.by_end.first().copied() {
            let is_over = end <= now;
            let is_full = self.records.len() >= self.most;
            let holds = self.get(&key).is_some_and(|record| record.holds(now));
            if !is_over && (!is_full || holds) {
                return !is_full;
            }
            self.by_end.pop_first();
            self.records.remove(&key);
        }
        self.records.len() < self.most
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.records.len(), self.by_end.len());
        self.records.len()
    }
}
