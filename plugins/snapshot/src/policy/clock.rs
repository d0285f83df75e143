//! Whether the clock can be believed. Pure: what it says, and how long the machine has been up.
//!
//! Ages are told by the clock, and whoever destroys by age destroys what a wrong clock makes old. So
//! the clock is held against the time since the start of the machine, which nobody can set.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// How far the two may be apart.
const DRIFT: TimeDelta = TimeDelta::seconds(60);
/// A jump up to this long is what machines do that find out the time after their start.
const ORDINARY: TimeDelta = TimeDelta::days(1);
/// How long the clock must run evenly after such a jump.
const SETTLED: Duration = Duration::from_hours(1);

/// What is thought of the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// What the clock should say at `up`.
    expected: DateTime<Utc>,
    up: Duration,
    doubt: Option<Doubt>,
}

/// Why the clock is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Since when, by the time since the start of the machine.
    since: Duration,
    /// What the clock said then, and what it should have.
    pub said: DateTime<Utc>,
    /// What it should have said.
    pub expected: DateTime<Utc>,
    /// How far it is from the time that was expected, as it runs on.
    offset: TimeDelta,
    /// Only somebody, or the return of the clock, ends the doubt.
    is_grave: bool,
}

/// What a look at the clock found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It has jumped.
    Doubted,
    /// It is believed again.
    Believed,
}

impl Watch {
    /// Begins to watch. `seen` is the latest moment the clock ever said, when that is known: a clock
    /// that is behind it was set back while nobody looked.
    pub fn new(now: DateTime<Utc>, up: Duration, seen: Option<DateTime<Utc>>) -> Self {
        let expected = seen.map_or(now, |seen| seen.max(now));
        let doubt = (expected - now > DRIFT).then(|| Doubt::new(now, expected, up));
        Self { expected, up, doubt }
    }

    /// Looks at the clock; says when that changes what is thought of it.
    pub fn look(&mut self, now: DateTime<Utc>, up: Duration) -> Option<Change> {
        let passed = TimeDelta::from_std(up.saturating_sub(self.up)).unwrap_or(TimeDelta::MAX);
        let expected = self.expected.checked_add_signed(passed).unwrap_or(self.expected);
        self.up = up;
        let offset = now - expected;
        match &mut self.doubt {
            None if offset.abs() <= DRIFT => {
                self.expected = now;
                None
            }
            None => {
                self.expected = expected;
                self.doubt = Some(Doubt::new(now, expected, up));
                Some(Change::Doubted)
            }
            Some(doubt) => {
                self.expected = expected;
                if (offset - doubt.offset).abs() > DRIFT {
                    // It has jumped again: the count begins anew.
                    doubt.since = up;
                    doubt.offset = offset;
                    doubt.is_grave |= offset.abs() > ORDINARY;
                }
                let settled = !doubt.is_grave && up.saturating_sub(doubt.since) >= SETTLED;
                let believed = offset.abs() <= DRIFT || settled;
                believed.then(|| {
                    self.believe(now);
                    Change::Believed
                })
            }
        }
    }

    /// Somebody says that the clock is right.
    pub fn believe(&mut self, now: DateTime<Utc>) {
        self.expected = now;
        self.doubt = None;
    }

    /// Why it is not believed, if it is not.
    pub fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }
}

impl Doubt {
    fn new(said: DateTime<Utc>, expected: DateTime<Utc>, since: Duration) -> Self {
        let offset = said - expected;
        Self { since, said, expected, offset, is_grave: offset.abs() > ORDINARY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_299_600 + seconds, 0).unwrap()
    }

    fn up(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const YEAR: i64 = 366 * 86_400;

    #[test]
    fn a_clock_that_runs_and_is_slewed_is_believed() {
        let mut watch = Watch::new(at(0), up(0), None);
        for minute in 1..10_000 {
            // A second a minute too fast, as no clock is.
            assert_eq!(watch.look(at(minute * 61), up(minute.unsigned_abs() * 60)), None);
        }
        // A machine that slept: both have gone on.
        assert_eq!(watch.look(at(YEAR + 610_000), up(YEAR.unsigned_abs() + 600_000)), None);
    }

    #[test]
    fn a_jump_by_years_is_doubted_until_somebody_says_so_or_it_comes_back() {
        for jump in [-YEAR, 10 * YEAR] {
            let mut watch = Watch::new(at(0), up(0), None);
            assert_eq!(watch.look(at(jump + 60), up(60)), Some(Change::Doubted));
            for hour in 1..1000 {
                assert_eq!(
                    watch.look(at(jump + hour * 3600), up(hour.unsigned_abs() * 3600)),
                    None
                );
                assert!(watch.doubt().is_some());
            }
            assert_eq!(watch.look(at(3_600_000), up(3_600_000)), Some(Change::Believed));
            assert_eq!(watch.look(at(3_600_010), up(3_600_010)), None);
            assert_eq!(watch.look(at(jump), up(3_600_020)), Some(Change::Doubted));
            watch.believe(at(jump));
            assert_eq!(watch.look(at(jump + 10), up(3_600_030)), None);
            assert!(watch.doubt().is_none());
        }
    }

    #[test]
    fn a_small_jump_is_believed_after_an_hour_of_quiet() {
        let mut watch = Watch::new(at(0), up(0), None);
        assert_eq!(watch.look(at(600), up(10)), Some(Change::Doubted));
        assert_eq!(watch.look(at(3600), up(3010)), None);
        // It jumps once more.
        assert_eq!(watch.look(at(5000), up(3020)), None);
        assert_eq!(watch.look(at(8500), up(6520)), None);
        assert_eq!(watch.look(at(8700), up(6720)), Some(Change::Believed));
    }

    #[test]
    fn a_clock_behind_what_was_seen_is_doubted_until_it_is_set() {
        let mut watch = Watch::new(at(-YEAR), up(20), Some(at(0)));
        assert!(watch.doubt().is_some());
        assert_eq!(watch.look(at(-YEAR + 10), up(30)), None);
        assert_eq!(watch.look(at(10), up(30)), Some(Change::Believed));
        assert!(Watch::new(at(YEAR), up(0), Some(at(0))).doubt().is_none(), "it was switched off");
    }
}
