//! One call in flight: who asks, until when, and whether anybody still waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::link::CallContext;

use crate::link::locked;

/// Progress of one call is told at most this often; the daemon keeps only the latest anyway.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// What is known about a running call.
pub(crate) struct Running {
    pub(crate) who: CallContext,
    pub(crate) deadline: Instant,
    cancelled: AtomicBool,
    told: Mutex<Option<Instant>>,
}

impl Running {
    pub(crate) fn new(who: CallContext, now: Instant) -> Self {
        // A deadline beyond the clock's range is as good as none: a year.
        let deadline = now
            .checked_add(Duration::from_millis(who.deadline_ms))
            .unwrap_or(now + Duration::from_hours(365 * 24));
        Self { who, deadline, cancelled: AtomicBool::new(false), told: Mutex::new(None) }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Whether progress may be told now; the first and the last of a call always may.
    pub(crate) fn may_tell(&self, now: Instant, last: bool) -> bool {
        let mut told = locked(&self.told);
        let due = told.is_none_or(|before| now.duration_since(before) >= PROGRESS_EVERY);
        if due || last {
            *told = Some(now);
        }
        due || last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(deadline_ms: u64) -> Running {
        let who = CallContext {
            request_id: "1".into(),
            actor: "local:root".into(),
            role: protocol::Role::Viewer,
            deadline_ms,
            version: 1,
        };
        Running::new(who, Instant::now())
    }

    #[test]
    fn progress_is_thinned_out_but_its_end_is_told() {
        let call = running(1000);
        let now = Instant::now();
        assert!(call.may_tell(now, false));
        assert!(!call.may_tell(now, false));
        assert!(call.may_tell(now, true));
        assert!(!call.may_tell(now, false));
        assert!(call.may_tell(now + PROGRESS_EVERY, false));
    }

    #[test]
    fn a_deadline_beyond_the_clock_is_survived() {
        let call = running(u64::MAX);
        assert!(call.deadline > Instant::now() + Duration::from_hours(1));
    }
}
