//! The plugin's section of the daemon's configuration.

use std::time::Duration;

use sdk::{Fault, Value};
use serde::Deserialize;

use crate::change::Rules;
use crate::change::allow::{Adopt, Allowed, own_ids};
use crate::flap;
use crate::gate::Gate;
use crate::redeploy::examine::{Order, Pull};

/// What can be configured. All of it may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The engines; absent: Docker and podman where they usually are, if they are there.
    pub(crate) engine: Vec<EngineConfig>,
    /// Seconds between two comparisons of the model with the engine's list.
    reconcile_s: u64,
    /// How many ends within `flap_s` are too many.
    flap_count: usize,
    flap_s: u64,
    /// Seconds for which containers that are gone are still shown.
    tombstone_s: u64,
    /// Which containers may be changed.
    adopt: Adopt,
    /// Patterns of names that are never changed.
    protect: Vec<String>,
    redeploy: Redeploy,
}

/// How containers are replaced by new ones.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Redeploy {
    /// Seconds that a container's own check may take to be content.
    health_timeout_s: u64,
    /// Seconds that one without a check has to run.
    stable_s: u64,
    /// Which one is started first, or stopped.
    order: Order,
    /// Whether the registry is asked for a newer image.
    pull: Pull,
}

impl Default for Redeploy {
    fn default() -> Self {
        let (order, pull) = (Order::default(), Pull::default());
        Self { health_timeout_s: 120, stable_s: 5, order, pull }
    }
}

/// One engine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EngineConfig {
    /// What it is called: part of its containers' names.
    pub(crate) name: String,
    /// The path of its unix socket.
    pub(crate) socket: String,
    /// Whether it is one that is there only perhaps.
    #[serde(skip)]
    pub(crate) perhaps: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            engine: Vec::new(),
            reconcile_s: 60,
            flap_count: 5,
            flap_s: 300,
            tombstone_s: 300,
            adopt: Adopt::default(),
            protect: Vec::new(),
            redeploy: Redeploy::default(),
        }
    }
}

/// The most engines, and the longest time: a day.
const ENGINES_MAX: usize = 8;
const SECONDS_MAX: u64 = 86_400;
/// The most patterns, and the longest.
const PATTERNS_MAX: usize = 256;
const PATTERN_MAX: usize = 256;

impl Config {
    /// Reads the section; `null` means the defaults.
    pub(crate) fn read(section: &Value) -> Result<Self, Fault> {
        let wrong = |what: String| {
            Fault::bad_request(format!("the configuration of the containers plugin: {what}"))
                .with_hint("docs/guide/containers.md lists what it knows")
        };
        let mut config = match section {
            Value::Null => Self::default(),
            section => Self::deserialize(section).map_err(|error| wrong(error.to_string()))?,
        };
        config.check().map_err(wrong)?;
        if config.engine.is_empty() {
            let usual = [("docker", "/run/docker.sock"), ("podman", "/run/podman/podman.sock")];
            config.engine = usual
                .map(|(name, socket)| EngineConfig {
                    name: name.to_owned(),
                    socket: socket.to_owned(),
                    perhaps: true,
                })
                .to_vec();
        }
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let redeploy = [self.redeploy.health_timeout_s, self.redeploy.stable_s];
        let times = [self.reconcile_s, self.flap_s, self.tombstone_s].into_iter().chain(redeploy);
        if times.into_iter().any(|time| !(1..=SECONDS_MAX).contains(&time)) {
            return Err(format!("every time is from 1 to {SECONDS_MAX} seconds"));
        }
        if !(2..=100).contains(&self.flap_count) {
            return Err("`flap_count` is from 2 to 100".to_owned());
        }
        let is_pattern = |it: &String| (1..=PATTERN_MAX).contains(&it.len());
        if self.protect.len() > PATTERNS_MAX || !self.protect.iter().all(is_pattern) {
            return Err(format!("`protect` has at most {PATTERNS_MAX} patterns of names"));
        }
        if self.engine.len() > ENGINES_MAX {
            return Err(format!("there are at most {ENGINES_MAX} engines"));
        }
        for (place, engine) in self.engine.iter().enumerate() {
            let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            let name = &engine.name;
            if name.is_empty() || name.len() > 32 || !name.bytes().all(is_word) {
                return Err(format!("engine {name:?}: expected `name` of a-z, 0-9 and -"));
            }
            if !engine.socket.starts_with('/') {
                return Err(format!("engine {name:?}: expected the absolute path of a socket"));
            }
            if self.engine[..place].iter().any(|other| other.name == *name) {
                return Err(format!("engine {name:?} is there twice"));
            }
        }
        Ok(())
    }

    pub(crate) fn reconcile_every(&self) -> Duration {
        Duration::from_secs(self.reconcile_s)
    }

    pub(crate) fn flap(&self) -> flap::Rule {
        flap::Rule { count: self.flap_count, window: Duration::from_secs(self.flap_s) }
    }

    /// What holds for every change.
    pub(crate) fn rules(&self) -> Rules {
        let usual = (self.redeploy.order, self.redeploy.pull);
        Rules { allowed: self.allowed(), gate: self.gate(), usual }
    }

    /// What may be changed, by a process that is perhaps in a container itself.
    fn allowed(&self) -> Allowed {
        let read = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
        let own = own_ids(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        Allowed { adopt: self.adopt, protect: self.protect.clone(), own }
    }

    /// What a container that was started has to pass.
    fn gate(&self) -> Gate {
        let Redeploy { health_timeout_s, stable_s, .. } = self.redeploy;
        let [health, stable] = [health_timeout_s, stable_s].map(Duration::from_secs);
        Gate { health, stable }
    }

    pub(crate) fn tombstone_ms(&self) -> u64 {
        self.tombstone_s * 1_000
    }
}

#[cfg(test)]
mod tests {
    use sdk::json;

    use super::*;

    #[test]
    fn absent_means_the_usual_engines_if_they_are_there() {
        let config = Config::read(&Value::Null).unwrap();
        assert_eq!(config, Config::read(&json!({})).unwrap());
        assert!(config.engine.len() == 2 && config.engine.iter().all(|engine| engine.perhaps));
        let config = json!({"engine": [{"name": "a", "socket": "/x"}], "reconcile_s": 5});
        let config = Config::read(&config).unwrap();
        assert_eq!(config.reconcile_every(), Duration::from_secs(5));
        assert!(!config.engine[0].perhaps);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (bad, named) in [
            (json!({"engines": []}), "engines"),
            (json!({"reconcile_s": 0}), "seconds"),
            (json!({"flap_s": u64::MAX}), "seconds"),
            (json!({"flap_count": 1}), "flap_count"),
            (json!({"redeploy": {"stable_s": 0}}), "seconds"),
            (json!({"adopt": "some"}), "some"),
            (json!({"protect": [""]}), "protect"),
            (json!({"engine": [{"name": "A B", "socket": "/x"}]}), "A B"),
            (json!({"engine": [{"name": "a", "socket": "x"}]}), "absolute"),
            (
                json!({"engine": [{"name": "a", "socket": "/x"}, {"name": "a", "socket": "/y"}]}),
                "twice",
            ),
        ] {
            let fault = Config::read(&bad).unwrap_err();
            assert!(fault.message.contains(named), "{bad}: {}", fault.message);
        }
    }
}
