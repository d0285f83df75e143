//! When a plugin that ended may start again, and when it is given up.
//!
//! Pure: the caller passes the moments in.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::manifest::Restart;
use tokio::time::Instant;

/// The memory of one plugin's ends.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    /// Ends within the window, oldest first; never more than `max`.
    ends: VecDeque<Instant>,
    /// Ends in a row, without a good run between them.
    streak: u32,
}

/// What follows an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start again after this long.
    Wait(Duration),
    /// Too many ends: leave it until somebody asks for it.
    Quarantine,
}

impl BackOff {
    /// Records an end after the plugin had been ready for `ran`.
    pub(crate) fn ended(&mut self, policy: &Restart, ran: Duration, now: Instant) -> Verdict {
        let window = Duration::from_secs(policy.window_s);
        if ran >= window {
            *self = Self::default();
        }
        self.ends.push_back(now);
        while self.ends.front().is_some_and(|end| now.duration_since(*end) > window) {
            self.ends.pop_front();
        }
        let most = usize::try_from(policy.max.max(1)).unwrap_or(usize::MAX);
        if self.ends.len() >= most {
            return Verdict::Quarantine;
        }
        let doubled = policy.backoff_min_ms.saturating_mul(1u64 << self.streak.min(32));
        self.streak += 1;
        Verdict::Wait(Duration::from_millis(doubled.min(policy.backoff_max_ms)))
    }

    /// Forgets everything: somebody asked for a start.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> Restart {
        Restart { backoff_min_ms: 100, backoff_max_ms: 1000, max: 8, window_s: 60 }
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_then_comes_quarantine() {
        let (mut backoff, now) = (BackOff::default(), Instant::now());
        let waits: Vec<Verdict> =
            (0..8).map(|_| backoff.ended(&policy(), Duration::ZERO, now)).collect();
        let wait = |ms| Verdict::Wait(Duration::from_millis(ms));
        assert_eq!(waits[..5], [wait(100), wait(200), wait(400), wait(800), wait(1000)]);
        assert_eq!(waits[7], Verdict::Quarantine);
    }

    #[test]
    fn a_good_run_or_a_wish_forgives() {
        let (mut backoff, now) = (BackOff::default(), Instant::now());
        for _ in 0..7 {
            backoff.ended(&policy(), Duration::ZERO, now);
        }
        let good = backoff.ended(&policy(), Duration::from_mins(1), now);
        assert_eq!(good, Verdict::Wait(Duration::from_millis(100)));
        backoff.forget();
        let first = backoff.ended(&policy(), Duration::ZERO, now);
        assert_eq!(first, Verdict::Wait(Duration::from_millis(100)));
    }

    proptest! {
        #[test]
        fn ends_further_apart_than_the_window_allows_never_quarantine(
            ends in proptest::collection::vec(9u64..100, 1..60),
        ) {
            let (mut backoff, mut now) = (BackOff::default(), Instant::now());
            for seconds in ends {
                now += Duration::from_secs(seconds);
                // Eight ends at least nine seconds apart span more than the sixty-second window.
                let verdict = backoff.ended(&policy(), Duration::ZERO, now);
                prop_assert_ne!(verdict, Verdict::Quarantine);
            }
        }
    }
}
