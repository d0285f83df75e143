//! How long to wait before the next try.

use std::time::Duration;

/// The bound of the first wait.
const FIRST: Duration = Duration::from_millis(200);
/// The bound no wait exceeds, unless the daemon asked for more.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait the daemon can ask for.
const ASKED_MAX: Duration = Duration::from_mins(5);

/// Waits that grow, each drawn evenly between nothing and its bound ("full jitter"), so that a
/// thousand clients do not come back in the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait; `asked` is what the daemon wants at least.
    pub(crate) fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let drawn = jitter(bound(self.tries), getrandom::u64().unwrap_or(u64::MAX));
        self.tries = self.tries.saturating_add(1);
        asked.unwrap_or_default().min(ASKED_MAX) + drawn
    }

    /// It worked: begin anew next time.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

fn bound(tries: u32) -> Duration {
    FIRST.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX)).min(LONGEST)
}

/// The share of the bound that the random number stands for.
fn jitter(bound: Duration, random: u64) -> Duration {
    let share = u128::from(random) * bound.as_nanos() / u128::from(u64::MAX);
    Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_longest() {
        let bounds: Vec<u128> = (0..10).map(|tries| bound(tries).as_millis()).collect();
        assert_eq!(bounds, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(bound(u32::MAX), LONGEST);
    }

    #[test]
    fn a_wait_is_drawn_from_the_whole_bound() {
        assert_eq!(jitter(LONGEST, 0), Duration::ZERO);
        assert_eq!(jitter(LONGEST, u64::MAX), LONGEST);
        let middle = jitter(LONGEST, u64::MAX / 2);
        assert!(middle > LONGEST * 49 / 100 && middle < LONGEST * 51 / 100);
    }

    #[test]
    fn what_the_daemon_asks_for_is_waited_at_least() {
        let mut backoff = Backoff::default();
        let asked = Duration::from_secs(7);
        let wait = backoff.wait(Some(asked));
        assert!(wait >= asked && wait <= asked + FIRST);
        assert!(backoff.wait(Some(Duration::from_hours(24))) <= ASKED_MAX + 2 * FIRST);
        backoff.reset();
        assert!(backoff.wait(None) <= FIRST);
    }
}
