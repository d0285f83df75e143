//! How far a job is, how fast, and how much longer: pure.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::link::Progress;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Over how long the rate is taken.
const WINDOW: Duration = Duration::from_secs(30);
/// Looks that are kept of it.
const LOOKS_MAX: usize = 60;
/// Looks closer together than this tell nothing of a rate.
const APART: Duration = Duration::from_millis(500);
/// Bytes of a text that are kept.
const TEXT_MAX: usize = 256;

/// How far a job is, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Shown {
    /// Which part of the work it is; empty: there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) phase: String,
    /// What is done of this part, in `unit`.
    pub(crate) done: u64,
    /// All of this part, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    /// What is counted: `bytes`, `files`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) unit: String,
    /// `done` of `total` in hundredths; absent when there is no total. Its basis is `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) percent: Option<u8>,
    /// `unit` a second, lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate_per_s: Option<u64>,
    /// Seconds until this part is done, at this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_s: Option<u64>,
    /// What is going on, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
}

/// Looks at progress as it is told.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    newest: Option<Shown>,
    /// When, since the job began, and what was done then; of the present part only.
    looks: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// It was told at `at`, counted from the beginning of the job.
    pub(crate) fn look(&mut self, told: &Progress, at: Duration) {
        let goes_on = self.newest.as_ref().is_some_and(|before| {
            before.phase == told.phase && before.unit == told.unit && before.done <= told.done
        });
        if !goes_on {
            self.looks.clear();
        }
        if self.looks.back().is_none_or(|(last, _)| at.saturating_sub(*last) >= APART) {
            self.looks.push_back((at, told.done));
        }
        while self.looks.len() > LOOKS_MAX
            || self.looks.len() > 1
                && self.looks.front().is_some_and(|(first, _)| at.saturating_sub(*first) > WINDOW)
        {
            self.looks.pop_front();
        }
        let rate_per_s = self.rate(told.done, at);
        let missing = told.total.map(|total| total.saturating_sub(told.done));
        let left_s = match (missing, rate_per_s) {
            (Some(missing), Some(rate @ 1..)) => Some(missing.div_ceil(rate)),
            _ => None,
        };
        self.newest = Some(Shown {
            phase: kept(&told.phase),
            done: told.done,
            total: told.total,
            unit: kept(&told.unit),
            percent: told.total.map(|total| percent(told.done, total)),
            rate_per_s,
            left_s,
            message: kept(&told.message),
        });
    }

    /// What was told last.
    pub(crate) fn newest(&self) -> Option<&Shown> {
        self.newest.as_ref()
    }

    fn rate(&self, done: u64, at: Duration) -> Option<u64> {
        let (first, then) = self.looks.front()?;
        let span = at.saturating_sub(*first);
        if span < APART {
            return None;
        }
        let gained = u128::from(done.saturating_sub(*then)) * 1_000 / span.as_millis().max(1);
        Some(u64::try_from(gained).unwrap_or(u64::MAX))
    }
}

/// Only what is all done is 100.
fn percent(done: u64, total: u64) -> u8 {
    if done >= total {
        return 100;
    }
    u8::try_from(u128::from(done) * 100 / u128::from(total.max(1))).unwrap_or(100)
}

fn kept(text: &str) -> String {
    let end = (0..=TEXT_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(done: u64, total: Option<u64>) -> Progress {
        Progress { done, total, unit: "bytes".to_owned(), ..Progress::default() }
    }

    #[test]
    fn a_steady_job_has_a_rate_and_a_time_left() {
        let mut meter = Meter::default();
        for second in 0..=10 {
            meter.look(&told(second * 100, Some(4000)), Duration::from_secs(second));
        }
        let shown = meter.newest().unwrap();
        assert_eq!(
            (shown.rate_per_s, shown.left_s, shown.percent),
            (Some(100), Some(30), Some(25))
        );
    }

    #[test]
    fn another_part_begins_anew_and_nothing_is_said_that_is_not_known() {
        let mut meter = Meter::default();
        meter.look(&told(0, None), Duration::ZERO);
        meter.look(&told(500, None), Duration::from_secs(1));
        let shown = meter.newest().unwrap();
        assert_eq!((shown.rate_per_s, shown.left_s, shown.percent), (Some(500), None, None));
        let next = Progress { phase: "second".to_owned(), ..told(0, Some(10)) };
        meter.look(&next, Duration::from_secs(2));
        let shown = meter.newest().unwrap();
        assert_eq!((shown.rate_per_s, shown.left_s, shown.percent), (None, None, Some(0)));
    }

    proptest! {
        #[test]
        fn whatever_is_told_is_shown_within_bounds(
            looks in proptest::collection::vec(
                (any::<u64>(), proptest::option::of(any::<u64>()), 0u64..100_000, ".{0,300}"), 1..200,
            ),
        ) {
            let mut meter = Meter::default();
            let mut at = 0;
            for (done, total, later, message) in looks {
                at += later;
                let told = Progress { message, ..told(done, total) };
                meter.look(&told, Duration::from_millis(at));
                let shown = meter.newest().unwrap();
                prop_assert_eq!(shown.percent.is_some(), total.is_some());
                prop_assert!(shown.percent.is_none_or(|percent| percent <= 100));
                prop_assert!(shown.message.len() <= TEXT_MAX);
                prop_assert!(meter.looks.len() <= LOOKS_MAX);
            }
        }
    }
}
