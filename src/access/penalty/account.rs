//! How many fail on one account, wherever they come from.

use std::time::Duration;

use protocol::Time;

use super::ledger::Fading;
use super::{DELAY_MAX, after, until};

/// How long one failure is remembered: five in a minute make an account hot.
const COOLING: Duration = Duration::from_secs(12);
/// Failures that are nothing special.
const LUKEWARM: u32 = 4;
/// The delay for each failure beyond.
const STEP: Duration = Duration::from_millis(100);
/// An account is hot for so long at most after the last failure.
const HOT_MAX: Duration = Duration::from_mins(10);

/// One account's failures by strangers.
#[derive(Debug, Default)]
pub(super) struct Heat {
    /// When it will be cold again: each failure puts it off by [`COOLING`].
    cold: Time,
}

impl Heat {
    /// A stranger has failed on it.
    pub(super) fn fail(&mut self, now: Time) {
        self.cold = after(self.cold.max(now), COOLING).min(after(now, HOT_MAX));
    }

    /// How long strangers wait; zero when it is not hot.
    pub(super) fn delay(&self, now: Time) -> Duration {
        let failures = until(self.cold, now).as_micros().div_ceil(COOLING.as_micros());
        let beyond = u32::try_from(failures).unwrap_or(u32::MAX).saturating_sub(LUKEWARM);
        STEP.saturating_mul(beyond).min(DELAY_MAX)
    }
}

impl Fading for Heat {
    fn ends(&self) -> Time {
        self.cold
    }

    fn holds(&self, now: Time) -> bool {
        !self.delay(now).is_zero()
    }
}
