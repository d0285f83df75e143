//! Who has logged in from where, and what is held against them there.
//!
//! What others do at the same address costs those who are known there nothing; only who fails on
//! their account from there makes them wait.

use std::collections::HashMap;
use std::time::Duration;

use protocol::Time;

use super::record::Record;
use super::{Source, after};

/// How long a login is remembered.
pub(in crate::access) const GOOD: Duration = Duration::from_hours(30 * 24);
/// Sources for one account, so that its owner cannot push out anybody else's.
const SOURCES_MAX: usize = 64;
/// Accounts. Only who logs in gets here, and a machine has fewer administrators.
const ACCOUNTS_MAX: usize = 1_024;

/// Pairs of account and source that were good lately; bounded.
#[derive(Debug, Default)]
pub(super) struct Known {
    accounts: HashMap<u64, Vec<Pair>>,
}

#[derive(Debug)]
struct Pair {
    source: Source,
    /// The last login.
    at: Time,
    record: Record,
}

impl Known {
    /// What is held against this account there, if it was logged in to from there within 30 days.
    pub(super) fn record(
        &mut self,
        source: Source,
        account: u64,
        now: Time,
    ) -> Option<&mut Record> {
        let pairs = self.accounts.get_mut(&account)?;
        let known = |pair: &&mut Pair| pair.source == source && after(pair.at, GOOD) > now;
        pairs.iter_mut().find(known).map(|pair| &mut pair.record)
    }

    /// It was logged in to, at that time. The one unused for longest makes room.
    pub(super) fn insert(&mut self, source: Source, account: u64, at: Time, now: Time) {
        if !self.accounts.contains_key(&account) && self.accounts.len() >= ACCOUNTS_MAX {
            let newest = |pairs: &[Pair]| pairs.iter().map(|pair| pair.at).max();
            let stalest = self.accounts.iter().min_by_key(|(_, pairs)| newest(pairs));
            if let Some(stalest) = stalest.map(|(account, _)| *account) {
                self.accounts.remove(&stalest);
            }
        }
        let pairs = self.accounts.entry(account).or_default();
        pairs.retain(|pair| after(pair.at, GOOD) > now);
        let before = pairs.iter().position(|pair| pair.source == source);
        let before = before.map(|place| pairs.remove(place));
        if pairs.len() >= SOURCES_MAX {
            // In the order of their last use.
            pairs.remove(0);
        }
        let at = before.as_ref().map_or(at, |before| before.at.max(at));
        let mut record = before.map_or_else(Record::default, |before| before.record);
        record.forgive(now);
        pairs.push(Pair { source, at, record });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.values().map(Vec::len).sum()
    }
}
