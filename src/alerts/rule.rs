//! How long something is waited with, and what of it counts: what a kind declares, as the
//! administrator has changed it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::Priority;
use protocol::alert::{AlertDeclaration, Raise};

use crate::config::AlertRule;

/// What holds for one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Whether anybody wants to know.
    pub(crate) enabled: bool,
    /// How long it must last before it is told.
    pub(crate) wait: Duration,
    /// How long it must be over before that is told.
    pub(crate) hold: Duration,
    /// The priority, whatever is said.
    priority: Option<Priority>,
    raise_at: Option<i64>,
    clear_at: Option<i64>,
}

/// What a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measured {
    Bad,
    /// Between the thresholds: whatever it was, it stays.
    Between,
    Good,
}

impl Rule {
    /// What a kind declares, changed by the entry of the configuration that fits it best: its own
    /// name before a family, a longer family before a shorter one.
    pub(crate) fn of(declared: &AlertDeclaration, rules: &BTreeMap<String, AlertRule>) -> Self {
        let kind = declared.kind.as_str();
        let fits = |pattern: &&String| protocol::class::covers(pattern, kind);
        let best =
            rules.keys().filter(fits).max_by_key(|pattern| (*pattern == kind, pattern.len()));
        let own = best.and_then(|pattern| rules.get(pattern)).cloned().unwrap_or_default();
        let thresholds = match own.raise_at {
            Some(at) => (Some(at), own.clear_at),
            None => (declared.raise_at, own.clear_at.or(declared.clear_at)),
        };
        Self {
            enabled: own.enabled,
            wait: Duration::from_secs(own.for_s.unwrap_or(declared.for_s)),
            hold: Duration::from_secs(own.clear_for_s.unwrap_or(declared.clear_for_s)),
            priority: own.priority,
            raise_at: thresholds.0,
            clear_at: thresholds.1,
        }
    }

    /// How urgent it is.
    pub(crate) fn priority(&self, raise: &Raise, declared: &AlertDeclaration) -> Priority {
        let said = raise.priority.unwrap_or(declared.priority_default).min(declared.priority_max);
        self.priority.unwrap_or(said)
    }

    /// What a value means; without one, or without thresholds, what is raised is wrong.
    pub(crate) fn measured(&self, value: Option<i64>) -> Measured {
        let (Some(value), Some(raise_at)) = (value, self.raise_at) else { return Measured::Bad };
        let [value, raise_at, clear_at] =
            [value, raise_at, self.clear_at.unwrap_or(raise_at)].map(i128::from);
        // Where it ends above where it begins, less is worse.
        let sign = if clear_at > raise_at { -1 } else { 1 };
        let [value, raise_at, clear_at] = [value, raise_at, clear_at].map(|it| it * sign);
        match value {
            value if value >= raise_at => Measured::Bad,
            value if value <= clear_at => Measured::Good,
            _ if raise_at == clear_at => Measured::Good,
            _ => Measured::Between,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn declared(text: &str) -> AlertDeclaration {
        serde_json::from_str(text).unwrap()
    }

    fn rules(text: &str) -> BTreeMap<String, AlertRule> {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_entry_that_fits_best_changes_what_is_declared() {
        let disk = declared(r#"{"kind":"system.disk-full","for_s":5,"raise_at":90,"clear_at":85}"#);
        let rules = rules(
            "[\"*\"]\nfor_s = 1\n[\"system.*\"]\nfor_s = 2\npriority = 8\n\
             [\"system.disk-full\"]\nraise_at = 95\n[other]\nenabled = false",
        );
        let rule = Rule::of(&disk, &rules);
        assert_eq!((rule.wait.as_secs(), rule.hold.as_secs(), rule.enabled), (5, 60, true));
        assert_eq!(rule.measured(Some(94)), Measured::Good, "its own end went with its beginning");
        let clock = declared(r#"{"kind":"system.clock"}"#);
        let rule = Rule::of(&clock, &rules);
        assert_eq!((rule.wait.as_secs(), rule.priority.map(Priority::number)), (2, Some(8)));
        assert_eq!(Rule::of(&declared(r#"{"kind":"a.b"}"#), &rules).wait.as_secs(), 1);
        assert!(!Rule::of(&declared(r#"{"kind":"other"}"#), &rules).enabled);
    }

    #[test]
    fn between_the_thresholds_nothing_changes() {
        let more = declared(r#"{"kind":"a.b","raise_at":90,"clear_at":85}"#);
        let rule = Rule::of(&more, &BTreeMap::new());
        let means = |value| rule.measured(Some(value));
        assert_eq!(
            [90, 89, 86, 85].map(means),
            [Measured::Bad, Measured::Between, Measured::Between, Measured::Good]
        );
        assert_eq!(rule.measured(None), Measured::Bad);
        let less = declared(r#"{"kind":"a.b","raise_at":10,"clear_at":15}"#);
        let rule = Rule::of(&less, &BTreeMap::new());
        let means = |value| rule.measured(Some(value));
        assert_eq!([10, 11, 15].map(means), [Measured::Bad, Measured::Between, Measured::Good]);
    }

    proptest! {
        #[test]
        fn a_value_never_means_two_things(value in any::<i64>(), raise in any::<i64>(), clear in any::<i64>()) {
            let text = format!(r#"{{"kind":"a.b","raise_at":{raise},"clear_at":{clear}}}"#);
            let rule = Rule::of(&declared(&text), &BTreeMap::new());
            prop_assert_eq!(rule.measured(Some(raise)), Measured::Bad);
            if raise != clear {
                prop_assert_eq!(rule.measured(Some(clear)), Measured::Good);
            }
            rule.measured(Some(value));
        }
    }
}
