//! What is held against one source.

use std::time::Duration;

use protocol::Time;

use super::ledger::Fading;
use super::{after, until};

/// Failures at once, before a source has to wait for the next.
pub(super) const ALLOWANCE: u32 = 12;
/// How long it takes to be allowed one failure more. With [`ALLOWANCE`], 22 in ten minutes.
pub(super) const REFILL: Duration = Duration::from_mins(1);
/// Failures within [`WINDOW`] that bring the first penalty.
pub(super) const FAILURES: usize = 5;
/// See [`FAILURES`].
pub(super) const WINDOW: Duration = Duration::from_mins(1);
/// The first penalty; each further one is twice as long.
pub(super) const PENALTY: Duration = Duration::from_secs(15);
/// The longest penalty.
pub(super) const PENALTY_MAX: Duration = Duration::from_mins(10);
/// How long after a penalty the next failure begins anew. Longer than anything else is remembered,
/// so that a penalty that holds is always the last thing a full ledger would forget.
pub(super) const QUIET: Duration = Duration::from_mins(15);
/// How long an attempt may take; then it counts as failed.
const ATTEMPT: Duration = Duration::from_mins(1);
/// When to come back if only attempts that are not decided yet stand in the way.
const SHORTLY: Duration = Duration::from_secs(1);

/// One source's failures.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Record {
    /// When the whole allowance will be there again: each failure puts it off by [`REFILL`].
    replete: Time,
    /// The last failures but the newest, oldest first; 1970 stands for none.
    recent: [Time; FAILURES - 1],
    /// Penalties so far.
    penalties: u32,
    /// The end of the newest penalty.
    penalty_end: Time,
    /// Attempts that are being looked at.
    pending: u32,
    /// When the newest of them began.
    asked: Time,
}

impl Record {
    /// Begins an attempt; whether nothing at all is held against the source.
    ///
    /// # Errors
    /// When it may not: how long to wait.
    pub(super) fn ask(&mut self, now: Time) -> Result<bool, Duration> {
        self.settle(now);
        let penalty = until(self.penalty_end, now);
        if !penalty.is_zero() {
            return Err(penalty);
        }
        let is_clean = self.ends() <= now;
        let full = after(now, REFILL * ALLOWANCE);
        let one_more = after(self.replete.max(now), REFILL);
        if one_more > full {
            return Err(until(one_more, full));
        }
        if after(one_more, REFILL * self.pending) > full {
            return Err(SHORTLY);
        }
        self.pending += 1;
        self.asked = now;
        Ok(is_clean)
    }

    /// An attempt has failed.
    pub(super) fn fail(&mut self, now: Time) {
        self.settle(now);
        self.pending = self.pending.saturating_sub(1);
        self.count(now);
    }

    /// Nothing was found out about an attempt: it counts neither way.
    pub(super) fn withdraw(&mut self, now: Time) {
        self.settle(now);
        self.pending = self.pending.saturating_sub(1);
    }

    /// An attempt was right. What the allowance has lost stays lost.
    pub(super) fn forgive(&mut self, now: Time) {
        self.settle(now);
        let Self { replete, pending, asked, .. } = *self;
        *self = Self { replete, pending: pending.saturating_sub(1), asked, ..Self::default() };
    }

    fn count(&mut self, now: Time) {
        self.replete = after(self.replete.max(now), REFILL).min(after(now, REFILL * ALLOWANCE));
        if self.penalties > 0 && after(self.penalty_end, QUIET) <= now {
            self.penalties = 0;
        }
        let [first, others @ ..] = self.recent;
        let is_fast = first != Time::default() && after(first, WINDOW) >= now;
        self.recent[..FAILURES - 2].copy_from_slice(&others);
        self.recent[FAILURES - 2] = now;
        if self.penalties > 0 || is_fast {
            let penalty = PENALTY.saturating_mul(1 << self.penalties.min(16));
            self.penalty_end = after(now, penalty.min(PENALTY_MAX));
            self.penalties += 1;
        }
    }

    /// Counts attempts of which nothing was heard, and forgets a future that a clock set back has
    /// left behind.
    fn settle(&mut self, now: Time) {
        self.replete = self.replete.min(after(now, REFILL * ALLOWANCE));
        self.penalty_end = self.penalty_end.min(after(now, PENALTY_MAX));
        self.asked = self.asked.min(now);
        self.recent = self.recent.map(|failure| failure.min(now));
        if after(self.asked, ATTEMPT) <= now {
            for _ in 0..std::mem::take(&mut self.pending) {
                self.count(self.asked);
            }
        }
    }
}

impl Fading for Record {
    fn ends(&self) -> Time {
        let mut ends = self.replete;
        if self.pending > 0 {
            // Then it will have failed.
            ends = ends.max(after(self.asked, ATTEMPT + WINDOW));
        }
        if let [.., newest] = self.recent
            && newest != Time::default()
        {
            ends = ends.max(after(newest, WINDOW));
        }
        if self.penalties > 0 {
            ends = ends.max(after(self.penalty_end, QUIET));
        }
        ends
    }

    fn holds(&self, now: Time) -> bool {
        self.penalty_end > now
    }
}
