//! Who has logged in from where.

use std::collections::HashMap;
use std::time::Duration;

use protocol::Time;

use super::{Source, after};

/// How long a login is remembered.
const GOOD: Duration = Duration::from_hours(30 * 24);
/// Sources for one account, so that its owner cannot push out anybody else's.
const SOURCES_MAX: usize = 64;
/// Accounts. Only who logs in gets here, and a machine has fewer administrators.
const ACCOUNTS_MAX: usize = 1_024;

/// Pairs of account and source that were good lately; bounded.
#[derive(Debug, Default)]
pub(super) struct Known {
    accounts: HashMap<u64, Vec<(Source, Time)>>,
}

impl Known {
    /// Whether this account was logged in to from there within 30 days.
    pub(super) fn contains(&self, source: Source, account: u64, now: Time) -> bool {
        let sources = self.accounts.get(&account).map_or(&[][..], Vec::as_slice);
        sources.iter().any(|(known, at)| *known == source && after(*at, GOOD) > now)
    }

    /// It was, just now. The one unused for longest makes room.
    pub(super) fn insert(&mut self, source: Source, account: u64, now: Time) {
        if !self.accounts.contains_key(&account) && self.accounts.len() >= ACCOUNTS_MAX {
            let newest = |sources: &[(Source, Time)]| sources.iter().map(|(_, at)| *at).max();
            let stalest = self.accounts.iter().min_by_key(|(_, sources)| newest(sources));
            if let Some(stalest) = stalest.map(|(account, _)| *account) {
                self.accounts.remove(&stalest);
            }
        }
        let sources = self.accounts.entry(account).or_default();
        sources.retain(|(known, at)| *known != source && after(*at, GOOD) > now);
        if sources.len() >= SOURCES_MAX {
            // In the order of their last use.
            sources.remove(0);
        }
        sources.push((source, now));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.values().map(Vec::len).sum()
    }
}
