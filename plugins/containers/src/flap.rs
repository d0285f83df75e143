//! Whether a container ends again and again. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// When that is so: so many ends within this time; it is over when this time passes without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) count: usize,
    pub(crate) window: Duration,
}

/// The ends of one container that nobody has asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Milliseconds of a steady clock; never more than the rule's count.
    at: VecDeque<u64>,
    /// Whether it has been told that it flaps.
    pub(crate) flaps: bool,
}

impl Ends {
    /// It has ended; whether it flaps from now on.
    pub(crate) fn note(&mut self, now_ms: u64, rule: Rule) -> bool {
        self.at.push_back(now_ms);
        while self.at.len() > rule.count {
            self.at.pop_front();
        }
        let window = millis(rule.window);
        let is_many = self.at.len() == rule.count
            && self.at.front().is_some_and(|first| now_ms.saturating_sub(*first) <= window);
        let begins = is_many && !self.flaps;
        self.flaps |= is_many;
        begins
    }

    /// Whether it has ended before, not long ago.
    pub(crate) fn is_repeated(&self, now_ms: u64, rule: Rule) -> bool {
        let window = millis(rule.window);
        let mut before = self.at.iter().rev().skip(1);
        before.next().is_some_and(|last| now_ms.saturating_sub(*last) <= window)
    }

    /// When it will be over, unless it ends again.
    pub(crate) fn over_at(&self, rule: Rule) -> Option<u64> {
        let last = self.flaps.then(|| self.at.back().copied()).flatten();
        last.map(|last| last.saturating_add(millis(rule.window)))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: Rule = Rule { count: 5, window: Duration::from_mins(5) };

    #[test]
    fn five_ends_within_five_minutes_are_told_once() {
        let mut ends = Ends::default();
        let told: Vec<bool> = (0..9).map(|n| ends.note(n * 1_000, RULE)).collect();
        assert_eq!(told, [false, false, false, false, true, false, false, false, false]);
        assert_eq!(ends.over_at(RULE), Some(308_000));
    }

    #[test]
    fn rare_ends_are_none() {
        let mut ends = Ends::default();
        assert!((0..50).all(|n| !ends.note(n * 80_000, RULE)));
        assert_eq!(ends.over_at(RULE), None);
    }

    proptest! {
        #[test]
        fn it_begins_at_most_once_and_only_with_enough_ends(gaps in prop::collection::vec(0_u64..200_000, 0..40)) {
            let (mut ends, mut now, mut all) = (Ends::default(), 0, Vec::new());
            let mut begun = 0;
            for gap in gaps {
                now += gap;
                all.push(now);
                let begins = ends.note(now, RULE);
                let recent = all.iter().filter(|at| now - **at <= 300_000).count();
                prop_assert!(!begins || recent >= 5);
                begun += usize::from(begins);
            }
            prop_assert!(begun <= 1 && ends.at.len() <= 5);
        }
    }
}
