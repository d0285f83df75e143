//! `[alerts."KIND"]`: what of the alerts is wanted, and when.

use std::collections::BTreeMap;

use protocol::alert::WAIT_S_MAX;
use protocol::{Class, Priority};
use serde::Deserialize;

use super::ConfigError;

/// Entries of one configuration: each kind is looked for among them.
const RULES_MAX: usize = 256;

/// `[alerts."KIND"]`: changes what a plugin declares of a kind, or of a family such as `system.*`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertRule {
    /// Whether it is an alert at all.
    pub enabled: bool,
    /// Seconds it must last before it is told; 0 to 86,400.
    pub for_s: Option<u64>,
    /// Seconds it must be over before that is told; 0 to 86,400.
    pub clear_for_s: Option<u64>,
    /// The priority it has, whatever the plugin says.
    pub priority: Option<Priority>,
    /// For measured alerts: the value at which it begins.
    pub raise_at: Option<i64>,
    /// The value at which it ends; without it, where it begins.
    pub clear_at: Option<i64>,
}

impl Default for AlertRule {
    fn default() -> Self {
        Self {
            enabled: true,
            for_s: None,
            clear_for_s: None,
            priority: None,
            raise_at: None,
            clear_at: None,
        }
    }
}

/// Refuses what fits no kind or lasts too long.
pub(super) fn check(rules: &BTreeMap<String, AlertRule>) -> Result<(), ConfigError> {
    if rules.len() > RULES_MAX {
        return Err(ConfigError(format!("there are more than {RULES_MAX} entries in alerts")));
    }
    for (pattern, rule) in rules {
        let say = |what: &str| Err(ConfigError(format!("alerts.{pattern:?}{what}")));
        if pattern != "*" && Class::parse(pattern.strip_suffix(".*").unwrap_or(pattern)).is_err() {
            return say(": expected a kind such as \"system.disk-full\", or \"system.*\"");
        }
        if rule.for_s.max(rule.clear_for_s) > Some(WAIT_S_MAX) {
            return say(&format!(": for_s and clear_for_s must be between 0 and {WAIT_S_MAX}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_no_kind_or_lasts_too_long_is_refused() {
        let judged = |text: &str| {
            let rules: BTreeMap<String, AlertRule> = toml::from_str(text).unwrap();
            check(&rules).map_err(|error| error.to_string())
        };
        assert_eq!(
            judged("[\"system.*\"]\nfor_s = 5\n[\"*\"]\n[\"a.b\"]\nenabled = false"),
            Ok(())
        );
        for (text, named) in [
            ("[\"Disk\"]", "Disk"),
            ("[\"system.**\"]", "system"),
            ("[\"a.b\"]\nfor_s = 86401", "86400"),
            ("[\"a.b\"]\nclear_for_s = 86401", "clear_for_s"),
        ] {
            assert!(judged(text).unwrap_err().contains(named), "{text}");
        }
    }
}
