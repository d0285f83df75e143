//! Floor 1: a rate, so many a second on average, so many at once.
//!
//! Pure arithmetic on moments that the caller passes in. Kept as one moment (the generic cell rate
//! algorithm, ITU-T I.371): the time at which the bucket would be full again.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket.
#[derive(Debug)]
pub struct Bucket {
    /// Time one token takes to come back.
    interval: Duration,
    /// How far the bucket may be drawn down: all but one token.
    slack: Duration,
    full_at: Instant,
}

impl Bucket {
    /// A full bucket in which a token comes back after each `interval`.
    pub fn every(interval: Duration, burst: u32, now: Instant) -> Self {
        Self { interval, slack: interval * (burst.max(1) - 1), full_at: now }
    }

    /// A full bucket; rates and bursts below one count as one.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self::every(Duration::from_secs(1) / per_second.max(1), burst, now)
    }

    /// Takes one token, or says when there will be one.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        if let Some(later) = self.ready_at(now) {
            return Err(later);
        }
        self.full_at = self.full_at.max(now) + self.interval;
        Ok(())
    }

    /// Whether nothing has been taken from it lately.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// When there will be a token, if there is none now.
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        // Before the clock's beginning there is always one.
        self.full_at.checked_sub(self.slack).filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_waits_one_interval() {
        let now = Instant::now();
        let mut bucket = Bucket::new(10, 3, now);
        for _ in 0..3 {
            assert_eq!(bucket.take(now), Ok(()));
        }
        let later = bucket.take(now).unwrap_err();
        assert_eq!(later - now, Duration::from_millis(100));
        assert_eq!(bucket.take(later), Ok(()));
        assert!(bucket.take(later).is_err());
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_plus_the_rate(
            rate in 1u32..1000,
            burst in 1u32..50,
            steps in proptest::collection::vec(0u64..20, 1..300),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(rate, burst, start);
            let (mut now, mut passed) = (start, 0u64);
            for step in steps {
                now += Duration::from_millis(step);
                passed += u64::from(bucket.take(now).is_ok());
            }
            let elapsed_ms = u64::try_from((now - start).as_millis()).unwrap();
            prop_assert!(passed <= u64::from(burst) + elapsed_ms * u64::from(rate) / 1000 + 1);
        }
    }
}
