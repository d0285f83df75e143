//! Whether it is time. Pure: a schedule, the moment up to which it is done, and now.
//!
//! A slot is a moment that a schedule names. Slots are found in the policy's time zone and are then
//! moments of the world: a daily slot is there once on every day, also on those with 23 and 25 hours.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use super::model::{CatchUp, Schedule, Window};
use crate::backend::{Error, Result};

/// The shortest `every_s`, in seconds, as short as a cron pattern gets.
const EVERY_S_MIN: u64 = 60;
/// The longest `every_s`: a year.
const EVERY_S_MAX: u64 = 366 * 86_400;
/// The longest jitter: twelve hours.
const JITTER_S_MAX: u32 = 43_200;
/// Missed slots are counted up to here; beyond it there are "many".
pub const MISSED_MAX: u32 = 1000;
/// Slots outside of a window that are passed over in search of one within: more than a day of
/// minutes has, and a window is there every day.
const STEPS_MAX: u32 = 3000;
/// A slot that is no longer ago than this is on time.
const ON_TIME: TimeDelta = TimeDelta::seconds(120);

/// A schedule that was read and can be asked.
#[derive(Debug, Clone)]
pub struct Timetable {
    slots: Slots,
    zone: Tz,
    window: Option<(NaiveTime, NaiveTime)>,
    jitter_s: u32,
    catch_up: CatchUp,
    max_lateness: Option<TimeDelta>,
}

#[derive(Debug, Clone)]
enum Slots {
    Cron(Box<Cron>),
    Every(i64),
}

/// What a schedule says at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The slot to take a snapshot for now.
    pub slot: Option<DateTime<Utc>>,
    /// Slots that have passed and for which there will be none, at most [`MISSED_MAX`].
    pub missed: u32,
    /// Up to here all slots are done once this is.
    pub until: DateTime<Utc>,
    /// When to ask again at the latest; absent: the schedule names no more moments.
    pub next: Option<DateTime<Utc>>,
}

impl Timetable {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(schedule: &Schedule, zone: Tz) -> Result<Self> {
        let slots = match (&schedule.cron, schedule.every_s) {
            (Some(pattern), None) => Slots::Cron(Box::new(cron(pattern, zone)?)),
            (None, Some(every)) if (EVERY_S_MIN..=EVERY_S_MAX).contains(&every) => {
                Slots::Every(i64::try_from(every).unwrap_or(i64::MAX))
            }
            (None, Some(_)) => {
                return wrong(format!("`every_s` is {EVERY_S_MIN} to {EVERY_S_MAX}."));
            }
            _ => return wrong("A schedule has either `cron` or `every_s`.".to_owned()),
        };
        if schedule.jitter_s > JITTER_S_MAX {
            return wrong(format!("`jitter_s` is at most {JITTER_S_MAX}."));
        }
        let lateness = schedule.max_lateness_s.map(|s| s.min(EVERY_S_MAX * 100));
        let max_lateness =
            lateness.and_then(|s| TimeDelta::try_seconds(i64::try_from(s).unwrap_or(i64::MAX)));
        let read = Self {
            slots,
            zone,
            window: schedule.window.as_ref().map(window).transpose()?,
            jitter_s: schedule.jitter_s,
            catch_up: schedule.catch_up,
            max_lateness,
        };
        if read.after(DateTime::UNIX_EPOCH + TimeDelta::days(365 * 50)).is_none() {
            return wrong("The schedule names no moment at all.".to_owned());
        }
        Ok(read)
    }

    /// The first slot after a moment.
    pub fn after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.seek(moment, |from| match &self.slots {
            Slots::Every(every) => {
                let next =
                    from.timestamp().div_euclid(*every).checked_add(1)?.checked_mul(*every)?;
                DateTime::from_timestamp(next, 0)
            }
            Slots::Cron(cron) => {
                let from = from.with_timezone(&self.zone);
                Some(cron.find_next_occurrence(&from, false).ok()?.with_timezone(&Utc))
            }
        })
    }

    /// The last slot that is not after a moment.
    pub fn at_or_before(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // A slot is a whole second: the one before the next second is the one wanted.
        let above = DateTime::from_timestamp(moment.timestamp().checked_add(1)?, 0)?;
        self.seek(above, |from| match &self.slots {
            Slots::Every(every) => {
                let last = from.timestamp().checked_sub(1)?.div_euclid(*every);
                DateTime::from_timestamp(last.checked_mul(*every)?, 0)
            }
            Slots::Cron(cron) => {
                let from = from.with_timezone(&self.zone);
                Some(cron.find_previous_occurrence(&from, false).ok()?.with_timezone(&Utc))
            }
        })
    }

    /// Steps from slot to slot until one is within the window.
    fn seek(
        &self,
        from: DateTime<Utc>,
        step: impl Fn(DateTime<Utc>) -> Option<DateTime<Utc>>,
    ) -> Option<DateTime<Utc>> {
        let mut slot = step(from)?;
        for _ in 0..STEPS_MAX {
            if self.is_open(slot) {
                return Some(slot);
            }
            slot = step(slot)?;
        }
        None
    }

    fn is_open(&self, slot: DateTime<Utc>) -> bool {
        let time = slot.with_timezone(&self.zone).time();
        self.window.is_none_or(|(begin, end)| {
            if begin <= end { begin <= time && time < end } else { begin <= time || time < end }
        })
    }

    /// How many slots lie after `from` and not after `until`, counted up to [`MISSED_MAX`].
    fn count(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> u32 {
        let mut moment = from;
        for count in 0..MISSED_MAX {
            match self.after(moment) {
                Some(slot) if slot <= until => moment = slot,
                _ => return count,
            }
        }
        MISSED_MAX
    }

    /// What `salt` makes of the jitter for a slot.
    fn jitter(&self, slot: DateTime<Utc>, salt: &[u8]) -> TimeDelta {
        let mut hasher = blake3::Hasher::new();
        hasher.update(salt).update(&slot.timestamp().to_le_bytes());
        let mut number = [0; 8];
        hasher.finalize_xof().fill(&mut number);
        let within = u64::from_le_bytes(number) % (u64::from(self.jitter_s) + 1);
        TimeDelta::seconds(i64::try_from(within).unwrap_or(0))
    }
}

/// Whether it is time, when everything up to `last` is done. `salt` chooses the moment within the
/// jitter. When `last` is after `now`, the clock was set back: everything up to now is done then, or
/// nothing would be taken until the clock is there again.
pub fn due(table: &Timetable, salt: &[u8], last: DateTime<Utc>, now: DateTime<Utc>) -> Due {
    let last = last.min(now);
    let jitter = |slot| table.jitter(slot, salt);
    let wait = |until: DateTime<Utc>, missed| {
        let next = table.after(until).map(|slot| slot + jitter(slot));
        Due { slot: None, missed, until, next }
    };
    let Some(newest) = table.at_or_before(now).filter(|slot| *slot > last) else {
        return wait(last, 0);
    };
    // Within its jitter the newest slot is still to come; whatever lies before it has passed.
    let begins = newest + jitter(newest);
    if begins > now {
        let before = newest - TimeDelta::seconds(1);
        let passed = table.at_or_before(before).filter(|slot| *slot > last);
        return match passed {
            Some(slot) => settle(table, slot, last, now, Some(begins)),
            None => Due { slot: None, missed: 0, until: last, next: Some(begins) },
        };
    }
    let next = table.after(newest).map(|slot| slot + jitter(slot));
    settle(table, newest, last, now, next)
}

/// A slot has passed: is a snapshot taken for it, and what was missed before?
fn settle(
    table: &Timetable,
    slot: DateTime<Utc>,
    last: DateTime<Utc>,
    now: DateTime<Utc>,
    next: Option<DateTime<Utc>>,
) -> Due {
    let earlier = table.count(last, slot).saturating_sub(1);
    let late = now - slot - TimeDelta::seconds(i64::from(table.jitter_s));
    let too_late = table.max_lateness.is_some_and(|most| late > most);
    let given_up = too_late || table.catch_up == CatchUp::None && late > ON_TIME;
    if given_up {
        return Due { slot: None, missed: earlier.saturating_add(1), until: slot, next };
    }
    Due { slot: Some(slot), missed: earlier, until: slot, next }
}

fn cron(pattern: &str, zone: Tz) -> Result<Cron> {
    if pattern.len() > 200 {
        return wrong("A cron pattern has at most 200 bytes.".to_owned());
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let parsed = parser.parse(pattern).map_err(|error| {
        Error::bad_request(format!(
            "\"{}\" is no cron pattern of five fields (minute hour day month weekday): {error}",
            pattern.escape_debug()
        ))
    })?;
    let start = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(365 * 50);
    parsed.find_next_occurrence(&start.with_timezone(&zone), false).map_err(|_| {
        Error::bad_request(format!(
            "The cron pattern \"{}\" names no moment at all.",
            pattern.escape_debug()
        ))
    })?;
    Ok(parsed)
}

fn window(window: &Window) -> Result<(NaiveTime, NaiveTime)> {
    let read = |text: &str| {
        NaiveTime::parse_from_str(text, "%H:%M").map_err(|_| {
            Error::bad_request(format!(
                "\"{}\" is no time of the day. Write it as 22:30.",
                text.escape_debug()
            ))
        })
    };
    let (begin, end) = (read(&window.begin)?, read(&window.end)?);
    if begin == end {
        return wrong(
            "A window begins and ends at the same time. Leave it out instead.".to_owned(),
        );
    }
    Ok((begin, end))
}

fn wrong<T>(sentence: String) -> Result<T> {
    Err(Error::bad_request(sentence))
}

#[cfg(test)]
mod tests;
