//! When a plugin is asked for its health, and what a missing answer means.
//!
//! Pure: the caller passes the moments in.

use std::time::Duration;

use tokio::time::Instant;

/// So many answers missed in a row, and the plugin is started anew.
const MISSES_MAX: u32 = 2;
/// Asking more often than this would be work, not a question.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The questions to one process.
#[derive(Debug)]
pub(crate) struct Health {
    interval: Duration,
    timeout: Duration,
    next: Instant,
    /// The question that waits for its answer.
    asked: Option<Question>,
    missed: u32,
    /// The plugin's pipe has stood still since the question.
    was_paused: bool,
}

#[derive(Debug)]
struct Question {
    number: u64,
    until: Instant,
}

/// What to do when the moment of [`Health::due`] has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing yet.
    Wait,
    /// Ask, and say so with [`Health::asked`].
    Ask,
    /// One answer is missing.
    Missed,
    /// Too many are missing.
    GiveUp,
}

impl Health {
    pub(crate) fn new(manifest: &protocol::manifest::Health, now: Instant) -> Self {
        let interval = Duration::from_millis(manifest.interval_ms).max(INTERVAL_MIN);
        let timeout = Duration::from_millis(manifest.timeout_ms).max(INTERVAL_MIN);
        Self { interval, timeout, next: now + interval, asked: None, missed: 0, was_paused: false }
    }

    /// When to look again.
    pub(crate) fn due(&self) -> Instant {
        self.asked.as_ref().map_or(self.next, |question| question.until)
    }

    /// The plugin's pipe is not being read for the moment: its answer may stand in it behind other
    /// lines, so it gets more time.
    pub(crate) fn pause(&mut self) {
        self.was_paused = true;
    }

    /// Looks at the clock.
    pub(crate) fn look(&mut self, now: Instant) -> Beat {
        match &mut self.asked {
            None if now < self.next => Beat::Wait,
            None => Beat::Ask,
            Some(question) if now < question.until => Beat::Wait,
            Some(question) if self.was_paused => {
                self.was_paused = false;
                question.until = now + self.timeout;
                Beat::Wait
            }
            Some(_) => {
                self.asked = None;
                self.missed += 1;
                self.next = now;
                if self.missed >= MISSES_MAX { Beat::GiveUp } else { Beat::Missed }
            }
        }
    }

    /// The question has been sent under this number.
    pub(crate) fn asked(&mut self, number: u64, now: Instant) {
        self.asked = Some(Question { number, until: now + self.timeout });
        self.next = now + self.interval;
        self.was_paused = false;
    }

    /// Whether that was the answer, and if so whether it had been missed before.
    pub(crate) fn answered(&mut self, number: u64) -> Option<bool> {
        self.asked.take_if(|question| question.number == number)?;
        Some(std::mem::take(&mut self.missed) > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_missed_answers_end_it_and_one_answer_forgives() {
        let now = Instant::now();
        let manifest = protocol::manifest::Health { interval_ms: 1000, timeout_ms: 100 };
        let mut health = Health::new(&manifest, now);
        let at = |ms| now + Duration::from_millis(ms);
        assert_eq!(health.look(at(500)), Beat::Wait);
        assert_eq!(health.look(at(1000)), Beat::Ask);
        health.asked(1, at(1000));
        health.pause();
        assert_eq!(health.look(at(1100)), Beat::Wait, "it may have answered");
        assert_eq!(health.look(at(1200)), Beat::Missed);
        assert_eq!(health.look(at(1200)), Beat::Ask);
        health.asked(2, at(1200));
        assert_eq!(health.answered(1), None);
        assert_eq!(health.answered(2), Some(true));
        assert_eq!(health.due(), at(2200));
        for number in [3, 4] {
            health.asked(number, at(2200));
            let beat = health.look(at(2300));
            assert_eq!(beat, if number == 3 { Beat::Missed } else { Beat::GiveUp });
        }
    }
}
