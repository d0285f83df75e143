//! How often, how long and how close after each other may be called.

use std::time::Duration;

use protocol::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What somebody has bounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// After this it is worth nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// How often in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_calls: Option<u64>,
    /// Seconds between two that begin something.
    #[serde(default)]
    pub min_interval_s: u64,
}

/// What has been until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Used {
    /// How often something was begun.
    pub calls: u64,
    /// When last.
    pub last: Option<Time>,
}

/// Whether one more may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Open,
    /// Never again.
    Over,
    /// Not before this has passed.
    Later(Duration),
}

impl Bounds {
    /// Judges at this moment. A clock that was set back does not lock anybody out for longer than the
    /// interval.
    pub fn judge(&self, used: &Used, now: Time) -> Verdict {
        let is_over = self.expires.is_some_and(|expires| expires <= now)
            || self.max_calls.is_some_and(|most| used.calls >= most);
        if is_over {
            return Verdict::Over;
        }
        let interval = self.min_interval_s.saturating_mul(1_000_000);
        let since = used.last.map_or(interval, |last| now.micros().saturating_sub(last.micros()));
        match interval.saturating_sub(since) {
            0 => Verdict::Open,
            left => Verdict::Later(Duration::from_micros(left)),
        }
    }
}

impl Used {
    /// After one more.
    #[must_use]
    pub fn once_more(self, now: Time) -> Self {
        Self { calls: self.calls.saturating_add(1), last: Some(now) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn what_has_expired_or_is_used_up_is_over() {
        let used = Used { calls: 3, last: Some(at(100)) };
        let bounds = |expires, max_calls, min_interval_s| Bounds {
            expires: Some(at(expires)),
            max_calls: Some(max_calls),
            min_interval_s,
        };
        assert_eq!(bounds(200, 4, 0).judge(&used, at(101)), Verdict::Open);
        assert_eq!(bounds(101, 4, 0).judge(&used, at(101)), Verdict::Over);
        assert_eq!(bounds(200, 3, 0).judge(&used, at(101)), Verdict::Over);
        let wait = Verdict::Later(Duration::from_secs(9));
        assert_eq!(bounds(200, 4, 10).judge(&used, at(101)), wait);
        assert_eq!(bounds(200, 4, 10).judge(&used, at(110)), Verdict::Open);
    }

    proptest! {
        #[test]
        fn never_more_than_allowed_and_never_closer(
            most in 1u64..6, interval in 0u64..10, steps in proptest::collection::vec(0u64..8, 1..60),
        ) {
            let bounds = Bounds { expires: None, max_calls: Some(most), min_interval_s: interval };
            let (mut used, mut now, mut last) = (Used::default(), 1_000, None);
            for step in steps {
                now += step;
                if bounds.judge(&used, at(now)) == Verdict::Open {
                    prop_assert!(last.is_none_or(|last| now - last >= interval));
                    last = Some(now);
                    used = used.once_more(at(now));
                }
            }
            prop_assert!(used.calls <= most);
        }
    }
}
