//! One container as the model knows it, and the word for its state. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a container does, as far as the engine tells; the engine's own words are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Made, and not started yet.
    Created,
    /// It was to be started, and that did not work.
    Failed,
    /// It runs.
    Running,
    /// It runs, and was asked to end.
    Stopping,
    /// Its processes stand still.
    Paused,
    /// It has ended, and the engine will start it again.
    Restarting,
    /// It has ended.
    Exited,
    /// The engine is taking it away.
    Removing,
    /// It is no more.
    Gone,
}

impl Phase {
    /// Whether its processes are there.
    pub(crate) const fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Stopping | Self::Paused)
    }
}

/// What a container's own check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// It has not said yet.
    Starting,
    /// All is well.
    Healthy,
    /// It is not.
    Unhealthy,
}

/// The state in the words of Docker Cloud, which this product has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Starting,
    Running,
    Stopping,
    Stopped,
    #[serde(rename = "Stopped with errors")]
    StoppedWithErrors,
    #[serde(rename = "Start failed")]
    StartFailed,
    Terminating,
    Terminated,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::StoppedWithErrors => "Stopped with errors",
            Self::StartFailed => "Start failed",
            Self::Terminating => "Terminating",
            Self::Terminated => "Terminated",
        }
    }
}

/// A port, and where it is on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Port {
    pub(crate) protocol: String,
    pub(crate) inner: u16,
    pub(crate) outer: Option<u16>,
}

/// A directory of elsewhere that it sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// A path of the machine, or the name of a volume.
    pub(crate) source: String,
    pub(crate) path: String,
    pub(crate) writable: bool,
}

/// What only an inspection tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Details {
    pub(crate) command: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) user: String,
    pub(crate) directory: String,
    pub(crate) hostname: String,
    pub(crate) ports: Vec<Port>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) address: String,
    pub(crate) network: String,
    /// Whose volumes it has, too, by name or id, with `:ro` behind it perhaps.
    pub(crate) volumes_from: Vec<String>,
    /// Whom it knows by name, as the engine writes it: `/db:/web/alias`.
    pub(crate) links: Vec<String>,
    /// `no`, `always`, `unless-stopped` or `on-failure`.
    pub(crate) restart: String,
    pub(crate) privileged: bool,
    pub(crate) read_only: bool,
    pub(crate) tty: bool,
    /// Bytes; 0 without a limit.
    pub(crate) memory: i64,
    pub(crate) cpu_shares: i64,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Container {
    /// The engine's id, 64 hexadecimal digits.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) phase: Phase,
    pub(crate) exit_code: Option<i64>,
    /// What the engine says of a start that failed.
    pub(crate) error: String,
    /// `None` without a check of its own.
    pub(crate) health: Option<Health>,
    /// Whether its check has been content since it started.
    pub(crate) was_healthy: bool,
    /// Whether it was made long enough ago that its start would have followed.
    #[serde(default)]
    pub(crate) settled: bool,
    /// Whether somebody has asked for its last end.
    pub(crate) requested: bool,
    pub(crate) oom: bool,
    pub(crate) created: Option<String>,
    pub(crate) started: Option<String>,
    pub(crate) finished: Option<String>,
    pub(crate) details: Details,
}

/// The label by which a container that was made here is found again: what it was made for.
pub(crate) const ACTION: &str = "io.sysadmd.action";
/// The label of one that was made to do the same as a lone one: its name.
pub(crate) const REPLICA_OF: &str = "io.sysadmd.service";
/// The label by which somebody says that a container is to run once and end.
pub(crate) const ONE_SHOT: &str = "io.sysadmd.oneshot";

impl Container {
    /// One of which nothing but its names is known.
    pub(crate) fn new(id: &str, name: &str, image: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            image: image.to_owned(),
            labels: BTreeMap::new(),
            phase: Phase::Created,
            exit_code: None,
            error: String::new(),
            health: None,
            was_healthy: false,
            settled: false,
            requested: false,
            oom: false,
            created: None,
            started: None,
            finished: None,
            details: Details::default(),
        }
    }

    /// The word for its state.
    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Created if !self.settled => State::Starting,
            Phase::Created | Phase::Paused => State::Stopped,
            Phase::Failed => State::StartFailed,
            Phase::Running if self.health.is_some() && !self.was_healthy => State::Starting,
            Phase::Running => State::Running,
            Phase::Stopping => State::Stopping,
            Phase::Restarting => State::Starting,
            Phase::Exited if self.ended_well() => State::Stopped,
            Phase::Exited => State::StoppedWithErrors,
            Phase::Removing => State::Terminating,
            Phase::Gone => State::Terminated,
        }
    }

    fn ended_well(&self) -> bool {
        self.requested || self.exit_code.unwrap_or(0) == 0
    }

    /// Whether it has done what it was there for, so that nobody misses it.
    pub(crate) fn is_done(&self) -> bool {
        let ended = self.phase == Phase::Exited && self.exit_code == Some(0);
        let is_one_shot = self.labels.contains_key(ONE_SHOT);
        ended && (is_one_shot || self.details.restart == "no" && !self.requested)
    }

    /// Whether the engine starts it again by itself.
    pub(crate) fn is_kept_up(&self) -> bool {
        matches!(self.details.restart.as_str(), "always" | "unless-stopped")
    }

    /// Whether the engine starts it again after the end that it has come to; of those it starts only
    /// so many times, an inspection knows better.
    pub(crate) fn will_be_restarted(&self) -> bool {
        let failed = self.exit_code != Some(0);
        !self.requested && (self.is_kept_up() || failed && self.details.restart == "on-failure")
    }

    /// The label, when it says anything.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_the_word_that_docker_cloud_has_for_it() {
        let mut it = Container::new("id", "web", "image");
        assert_eq!(it.state(), State::Starting);
        it.settled = true;
        assert_eq!(it.state(), State::Stopped);
        for (phase, code, requested, state) in [
            (Phase::Failed, None, false, State::StartFailed),
            (Phase::Running, None, false, State::Running),
            (Phase::Stopping, None, false, State::Stopping),
            (Phase::Paused, None, false, State::Stopped),
            (Phase::Restarting, Some(1), false, State::Starting),
            (Phase::Exited, Some(0), false, State::Stopped),
            (Phase::Exited, Some(137), true, State::Stopped),
            (Phase::Exited, Some(5), false, State::StoppedWithErrors),
            (Phase::Removing, None, false, State::Terminating),
            (Phase::Gone, None, false, State::Terminated),
        ] {
            (it.phase, it.exit_code, it.requested) = (phase, code, requested);
            assert_eq!(it.state(), state, "{phase:?}");
        }
    }

    #[test]
    fn with_a_check_it_starts_until_the_check_is_content_and_then_runs() {
        let mut it = Container::new("id", "web", "image");
        it.phase = Phase::Running;
        it.health = Some(Health::Starting);
        assert_eq!(it.state(), State::Starting);
        (it.health, it.was_healthy) = (Some(Health::Healthy), true);
        assert_eq!(it.state(), State::Running);
        it.health = Some(Health::Unhealthy);
        assert_eq!(it.state(), State::Running, "it runs, and is not well");
    }

    #[test]
    fn a_job_that_ended_well_is_missed_by_nobody() {
        let mut it = Container::new("id", "migrate", "image");
        (it.phase, it.exit_code) = (Phase::Exited, Some(0));
        it.details.restart = "no".to_owned();
        assert!(it.is_done());
        it.requested = true;
        assert!(!it.is_done(), "somebody has stopped it");
        it.labels.insert(ONE_SHOT.to_owned(), "true".to_owned());
        assert!(it.is_done());
        it.exit_code = Some(1);
        assert!(!it.is_done());
    }
}
