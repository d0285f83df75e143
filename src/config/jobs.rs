//! `[jobs]`: how many there may be, and what is kept of them.

use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use super::limits::{MIB, count, within};

/// `[jobs]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jobs {
    /// Jobs that run at once: what one machine does with some sense.
    pub running: usize,
    /// The same of one client: a quarter, so that nobody takes all the places.
    pub running_per_client: usize,
    /// Jobs that wait.
    pub waiting: usize,
    /// The same of one client: one that starts two hundred in one request is known.
    pub waiting_per_client: usize,
    /// Jobs that have ended and are kept.
    pub kept: usize,
    /// Days they are kept; 0: until there are too many.
    pub kept_days: u32,
    /// Bytes of the beginning of each log that are kept.
    pub log_first_bytes: usize,
    /// Bytes of its end that are kept.
    pub log_last_bytes: usize,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            running: 64,
            running_per_client: 16,
            waiting: 2_048,
            waiting_per_client: 256,
            kept: 1_000,
            kept_days: 30,
            log_first_bytes: 64 * 1024,
            log_last_bytes: 192 * 1024,
        }
    }
}

impl Jobs {
    /// See [`Jobs::kept_days`].
    pub const fn kept_age(&self) -> Option<Duration> {
        match self.kept_days {
            0 => None,
            days => Some(Duration::from_secs(days as u64 * 86_400)),
        }
    }

    /// Refuses what would let nothing run or bound nothing.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        within(
            "jobs",
            &[
                ("running", count(self.running), 1, 10_000),
                ("running_per_client", count(self.running_per_client), 1, 10_000),
                ("waiting", count(self.waiting), 1, 100_000),
                ("waiting_per_client", count(self.waiting_per_client), 1, 100_000),
                ("kept", count(self.kept), 1, 100_000),
                ("kept_days", u64::from(self.kept_days), 0, 36_500),
                ("log_first_bytes", count(self.log_first_bytes), 1_024, 16 * MIB),
                ("log_last_bytes", count(self.log_last_bytes), 1_024, 16 * MIB),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lets_nothing_run_or_bounds_nothing_is_refused_with_its_range() {
        assert_eq!(Jobs::default().check(), Ok(()));
        for wrong in [
            "running = 0",
            "running_per_client = 10_001",
            "waiting = 0",
            "waiting_per_client = 0",
            "kept = 100_001",
            "kept_days = 36_501",
            "log_first_bytes = 1_023",
            "log_last_bytes = 16_777_217",
        ] {
            let jobs: Jobs = toml::from_str(wrong).unwrap();
            let refusal = jobs.check().unwrap_err().to_string();
            let key = wrong.split(' ').next().unwrap();
            assert!(refusal.contains(&format!("jobs.{key} is")), "{refusal}");
            assert!(refusal.contains("must be between"), "{refusal}");
        }
        let forever = Jobs { kept_days: 0, ..Jobs::default() };
        assert_eq!((forever.check(), forever.kept_age()), (Ok(()), None));
    }
}
