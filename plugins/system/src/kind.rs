//! The kinds of conditions, and what of each can be configured.

use serde::{Deserialize, Serialize};

use crate::condition::Patience;

/// What can be wrong with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    DiskFull,
    DiskFaulty,
    MemoryPressure,
    UnitFailed,
    ClockUnsynchronized,
    RebootRequired,
    UpdatesPending,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::DiskFull,
        Self::DiskFaulty,
        Self::MemoryPressure,
        Self::UnitFailed,
        Self::ClockUnsynchronized,
        Self::RebootRequired,
        Self::UpdatesPending,
    ];

    /// Its name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk-full",
            Self::DiskFaulty => "disk-faulty",
            Self::MemoryPressure => "memory-pressure",
            Self::UnitFailed => "unit-failed",
            Self::ClockUnsynchronized => "clock-unsynchronized",
            Self::RebootRequired => "reboot-required",
            Self::UpdatesPending => "updates-pending",
        }
    }

    /// What holds unless the configuration says otherwise: a unit that is started again and again
    /// is one failure, and a clock is given time to find its servers.
    pub(crate) const fn rule(self) -> Rule {
        let (raise, clear, for_s, clear_s) = match self {
            Self::DiskFull => (90, 85, 0, 10),
            Self::MemoryPressure => (20, 5, 30, 60),
            Self::UnitFailed => (0, 0, 0, 60),
            Self::ClockUnsynchronized => (0, 0, 600, 0),
            Self::DiskFaulty | Self::RebootRequired | Self::UpdatesPending => (0, 0, 0, 0),
        };
        Rule { raise, clear, for_s, clear_s, repeat_s: 24 * 3600, off: false }
    }
}

/// When a condition is raised and cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The percentage from which on it is bad, where it is one.
    pub(crate) raise: u64,
    /// The percentage below which it is good again.
    pub(crate) clear: u64,
    /// Seconds it must be bad.
    pub(crate) for_s: u64,
    /// Seconds it must be good.
    pub(crate) clear_s: u64,
    /// Seconds between two reminders.
    pub(crate) repeat_s: u64,
    /// Nobody wants to know.
    pub(crate) off: bool,
}

impl Rule {
    pub(crate) const fn patience(self) -> Patience {
        Patience {
            raise_after: self.for_s * 1000,
            clear_after: self.clear_s * 1000,
            remind_every: self.repeat_s * 1000,
        }
    }
}
