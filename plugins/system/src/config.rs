//! The plugin's section of the daemon's configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use sdk::{Fault, Value};
use serde::Deserialize;

use crate::kind::{Kind, Rule};

/// The longest time that can be configured: a year.
const SECONDS_MAX: u64 = 365 * 24 * 3600;

/// What can be configured. All of it may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Seconds between two events `system.state` without a change.
    state_s: u64,
    /// Seconds between two looks at what the kernel does not tell.
    look_s: u64,
    /// What holds for a kind of condition instead of its default.
    conditions: BTreeMap<Kind, Override>,
    /// Where the system's message bus is.
    pub(crate) bus: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Override {
    raise: Option<u64>,
    clear: Option<u64>,
    for_s: Option<u64>,
    clear_s: Option<u64>,
    repeat_s: Option<u64>,
    off: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_s: 900,
            look_s: 60,
            conditions: BTreeMap::new(),
            bus: "unix:path=/run/dbus/system_bus_socket".to_owned(),
        }
    }
}

impl Config {
    /// Reads the section; `null` means the defaults.
    pub(crate) fn read(section: &Value) -> Result<Self, Fault> {
        if section.is_null() {
            return Ok(Self::default());
        }
        let wrong = |what: String| {
            Fault::bad_request(format!("the configuration of the system plugin: {what}"))
                .with_hint("docs/guide/system.md lists what it knows")
        };
        let config = Self::deserialize(section).map_err(|error| wrong(error.to_string()))?;
        config.check().map_err(wrong)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let overrides = self.conditions.values();
        let seconds = overrides.flat_map(|it| [it.for_s, it.clear_s, it.repeat_s]).flatten();
        let mut seconds = seconds.chain([self.state_s, self.look_s]);
        if seconds.any(|seconds| seconds > SECONDS_MAX) {
            return Err(format!("no time may be above {SECONDS_MAX} seconds"));
        }
        if self.state_s == 0 || self.look_s == 0 {
            return Err("`state_s` and `look_s` must be at least 1".to_owned());
        }
        for kind in Kind::ALL {
            let rule = self.rule(kind);
            if rule.clear > rule.raise || rule.raise > 100 {
                let name = kind.as_str();
                return Err(format!("{name}: expected `clear` up to `raise` up to 100"));
            }
        }
        Ok(())
    }

    /// Between two events `system.state` without a change.
    pub(crate) fn state_every(&self) -> Duration {
        Duration::from_secs(self.state_s)
    }

    /// Between two looks at what the kernel does not tell.
    pub(crate) fn look_every(&self) -> Duration {
        Duration::from_secs(self.look_s)
    }

    /// What holds for a kind of condition.
    pub(crate) fn rule(&self, kind: Kind) -> Rule {
        let default = kind.rule();
        let Some(it) = self.conditions.get(&kind) else { return default };
        Rule {
            raise: it.raise.unwrap_or(default.raise),
            clear: it.clear.unwrap_or(default.clear),
            for_s: it.for_s.unwrap_or(default.for_s),
            clear_s: it.clear_s.unwrap_or(default.clear_s),
            repeat_s: it.repeat_s.unwrap_or(default.repeat_s),
            off: it.off,
        }
    }
}

#[cfg(test)]
mod tests {
    use sdk::json;

    use super::*;

    #[test]
    fn absent_means_defaults_and_what_is_wrong_is_named() {
        assert_eq!(Config::read(&Value::Null), Ok(Config::default()));
        assert_eq!(Config::read(&json!({})), Ok(Config::default()));
        let config = json!({"conditions": {"disk-full": {"raise": 50, "clear": 40}}});
        let rule = Config::read(&config).unwrap().rule(Kind::DiskFull);
        assert_eq!((rule.raise, rule.clear, rule.clear_s), (50, 40, 10));
        for (bad, named) in [
            (json!({"stat_s": 5}), "stat_s"),
            (json!({"look_s": 0}), "look_s"),
            (json!({"state_s": u64::MAX}), "seconds"),
            (json!({"conditions": {"disk-full": {"raise": 80}}}), "disk-full"),
            (json!({"conditions": {"disk-empty": {}}}), "disk-empty"),
            (json!({"conditions": {"disk-full": {"rise": 80}}}), "rise"),
        ] {
            let fault = Config::read(&bad).unwrap_err();
            assert!(fault.message.contains(named), "{bad}: {}", fault.message);
        }
    }
}
