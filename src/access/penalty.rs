//! What failed logins cost, and whom: pure arithmetic over moments that are passed in.
//!
//! Only failures count. A source (an address, an IPv6 network of 64 bits, or a local user) that
//! fails five times within a minute waits 15 seconds, then twice as long for each further failure,
//! at most ten minutes; a quiet quarter of an hour or a success ends that. Besides, a source has
//! twelve failures, and one more each minute, which nothing gives back: so nobody buys guesses at
//! one account with successes at another.
//!
//! An account on which many fail is never closed to anybody: strangers wait a moment longer for it
//! and share the slow lane. Where somebody has logged in within 30 days they are no stranger: of
//! what fails there only what fails on their own account makes them wait, and nobody who has not
//! logged in stands in their lane.
//!
//! What is remembered has a bound; `ledger` says who is forgotten when it is reached.

mod account;
mod known;
mod ledger;
mod record;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use protocol::Time;

use account::Heat;
pub(super) use known::GOOD as KNOWN_FOR;
use known::Known;
use ledger::Ledger;
use record::Record;

/// Sources that are remembered (OpenSSH's default): about 15 MB when all of them have failed.
const SOURCES_MAX: usize = 65_536;
/// Accounts that are remembered for failures: also names that do not exist.
const ACCOUNTS_MAX: usize = 16_384;
/// The longest that an attempt is made to wait before it is looked at.
const DELAY_MAX: Duration = Duration::from_millis(500);
/// A clock that is set back further than this makes every remembered moment meaningless.
const JUMP: Duration = Duration::from_mins(1);
/// The user who may do anything on this machine anyway.
const ROOT: u32 = 0;

/// Where attempts come from: what an attacker has few of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(Origin);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Origin {
    V4([u8; 4]),
    /// The first 64 bits: whoever has one such address usually has them all.
    V6([u16; 4]),
    Uid(u32),
}

impl Source {
    /// A user of this machine. Being let in by the kernel is no attempt and never asks here; this
    /// is for a password that is tried over the unix socket. Root is exempt.
    pub const fn local(uid: u32) -> Self {
        Self(Origin::Uid(uid))
    }

    fn is_exempt(self) -> bool {
        self.0 == Origin::Uid(ROOT)
    }
}

impl From<IpAddr> for Source {
    /// An IPv4 address that is written as IPv6 counts as what it is.
    fn from(address: IpAddr) -> Self {
        let network = |address: Ipv6Addr| {
            let [a, b, c, d, ..] = address.segments();
            Origin::V6([a, b, c, d])
        };
        Self(match address {
            IpAddr::V4(address) => Origin::V4(address.octets()),
            IpAddr::V6(address) => {
                address.to_ipv4_mapped().map_or(network(address), |v4| Origin::V4(v4.octets()))
            }
        })
    }
}

/// Which queue a password check waits in, so that guesses hold up nobody who is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// This source has logged in to this account before.
    Known,
    /// Nothing is held against either: anybody once, so a lane that many sources can fill.
    Fresh,
    /// Everybody else.
    Unknown,
}

/// What an attempt to log in may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Look at the password, and then say [`Penalties::failed`] or [`Penalties::succeeded`].
    Go {
        /// Where to wait for the check.
        lane: Lane,
        /// How long to wait before it, at most 500 ms.
        delay: Duration,
    },
    /// Do not even look.
    Refuse {
        /// When to come back, at most ten minutes: for the asker's `retry_after_ms`.
        retry_after: Duration,
    },
}

/// Remembers failures.
#[derive(Debug)]
pub struct Penalties {
    sources: Ledger<Source, Record>,
    accounts: Ledger<u64, Heat>,
    known: Known,
    /// Accounts are kept as keyed hashes: what is typed as a name may be a password.
    names: RandomState,
    /// The newest moment that was passed in.
    newest: Time,
}

impl Default for Penalties {
    fn default() -> Self {
        Self::with_bounds(SOURCES_MAX, ACCOUNTS_MAX)
    }
}

impl Penalties {
    /// Nobody has failed. Remembers at most so many sources and accounts.
    fn with_bounds(sources: usize, accounts: usize) -> Self {
        Self {
            sources: Ledger::new(sources),
            accounts: Ledger::new(accounts),
            known: Known::default(),
            names: RandomState::new(),
            newest: Time::default(),
        }
    }

    /// Whether a password that comes from here may be looked at. An attempt that may go counts as
    /// failed when nothing more is said of it within a minute.
    ///
    /// A made token needs no question: look it up, and only tell when it is worth nothing.
    pub fn may_try(&mut self, source: &Source, account: Option<&str>, now: Time) -> Attempt {
        if source.is_exempt() {
            return Attempt::Go { lane: Lane::Known, delay: Duration::ZERO };
        }
        self.notice(now);
        let account = account.map(|name| self.names.hash_one(name));
        if let Some(known) = account.and_then(|account| self.known.record(*source, account, now)) {
            return match known.ask(now) {
                Ok(_) => Attempt::Go { lane: Lane::Known, delay: Duration::ZERO },
                Err(retry_after) => Attempt::Refuse { retry_after },
            };
        }
        let asked = self.sources.change(*source, now, |record| record.ask(now));
        let is_clean = match asked {
            Some(Err(retry_after)) => return Attempt::Refuse { retry_after },
            Some(Ok(is_clean)) => Some(is_clean),
            None => None,
        };
        let heat = account.and_then(|account| self.accounts.get(&account));
        let heat = heat.map_or(Duration::ZERO, |heat| heat.delay(now));
        // Of whom nothing can be remembered because so many have failed, nothing good is assumed.
        let delay = if is_clean.is_none() { DELAY_MAX } else { heat };
        let is_clean = is_clean == Some(true) && heat.is_zero();
        let lane = if is_clean { Lane::Fresh } else { Lane::Unknown };
        Attempt::Go { lane, delay }
    }

    /// The credentials were wrong.
    pub fn failed(&mut self, source: &Source, account: Option<&str>, now: Time) {
        if source.is_exempt() {
            return;
        }
        self.notice(now);
        let account = account.map(|name| self.names.hash_one(name));
        if let Some(known) = account.and_then(|account| self.known.record(*source, account, now)) {
            known.fail(now);
            return;
        }
        self.sources.change(*source, now, |record| record.fail(now));
        if let Some(account) = account {
            self.accounts.change(account, now, |heat| heat.fail(now));
        }
    }

    /// It could not be found out whether the credentials are right: for example because too many
    /// ask at once, which is not the fault of whoever is right.
    pub fn undecided(&mut self, source: &Source, account: &str, now: Time) {
        if source.is_exempt() {
            return;
        }
        let account = self.names.hash_one(account);
        if let Some(known) = self.known.record(*source, account, now) {
            known.withdraw(now);
        } else if self.sources.get(source).is_some() {
            self.sources.change(*source, now, |record| record.withdraw(now));
        }
    }

    /// The credentials were right: the source is forgiven and, where an account is named, known.
    pub fn succeeded(&mut self, source: &Source, account: Option<&str>, now: Time) {
        if source.is_exempt() {
            return;
        }
        if self.sources.get(source).is_some() {
            self.sources.change(*source, now, |record| record.forgive(now));
        }
        if let Some(account) = account {
            self.known.insert(*source, self.names.hash_one(account), now, now);
        }
    }

    /// The account was logged in to from there at that time, before this began to be kept.
    pub fn recall(&mut self, source: &Source, account: &str, at: Time, now: Time) {
        if !source.is_exempt() {
            self.known.insert(*source, self.names.hash_one(account), at, now);
        }
    }

    /// Begins anew when somebody has set the clock back: no stranger can.
    fn notice(&mut self, now: Time) {
        if after(now, JUMP) < self.newest {
            self.sources.clear();
            self.accounts.clear();
        }
        self.newest = now;
    }
}

/// `time` and so much later.
fn after(time: Time, span: Duration) -> Time {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Time::from_micros(time.micros().saturating_add(micros))
}

/// From `now` until then; zero when it is over.
fn until(then: Time, now: Time) -> Duration {
    Duration::from_micros(then.micros().saturating_sub(now.micros()))
}
