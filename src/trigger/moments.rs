//! Moments of a schedule: cron's fields in a time zone, as croner reads them.

use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use protocol::Time;

use super::rule::Schedule;

/// Bytes of the fields.
const TEXT_MAX: usize = 128;

/// A schedule that was read.
#[derive(Debug, Clone)]
pub struct Moments {
    cron: Cron,
    zone: Tz,
}

impl Moments {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(schedule: &Schedule) -> Result<Self, String> {
        let Schedule { cron: text, zone } = schedule;
        if text.len() > TEXT_MAX {
            return Err(format!("\"cron\" has at most {TEXT_MAX} bytes"));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).build();
        let cron =
            parser.parse(text).map_err(|error| format!("{text:?} is no schedule: {error}"))?;
        let zone = Tz::from_str(zone).map_err(|_| {
            format!("{zone:?} is no time zone: expected a name such as \"Europe/Zurich\"")
        })?;
        let moments = Self { cron, zone };
        // One that never comes is a mistake.
        if moments.after(Time::default()).is_none() {
            return Err(format!("{text:?} never comes"));
        }
        Ok(moments)
    }

    /// The first moment after this one.
    pub fn after(&self, time: Time) -> Option<Time> {
        let from = DateTime::<Utc>::from_timestamp_micros(i64::try_from(time.micros()).ok()?)?;
        let next = self.cron.find_next_occurrence(&from.with_timezone(&self.zone), false).ok()?;
        u64::try_from(next.timestamp_micros()).ok().map(Time::from_micros)
    }

    /// The last moment after `since` and not after `now`, if there was one: of several that were
    /// missed, one is made up for.
    pub fn missed(&self, since: Time, now: Time) -> Option<Time> {
        let first = self.after(since).filter(|first| *first <= now)?;
        let from = DateTime::<Utc>::from_timestamp_micros(i64::try_from(now.micros()).ok()?)?;
        let last = self.cron.find_previous_occurrence(&from.with_timezone(&self.zone), true).ok();
        let last = last.and_then(|last| u64::try_from(last.timestamp_micros()).ok());
        Some(last.map_or(first, Time::from_micros).max(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(cron: &str, zone: &str) -> Result<Moments, String> {
        Moments::read(&Schedule { cron: cron.to_owned(), zone: zone.to_owned() })
    }

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn a_schedule_keeps_the_time_of_its_zone_also_when_the_clocks_change() {
        let nightly = moments("30 2 * * *", "Europe/Zurich").unwrap();
        let next = |from: &str| nightly.after(at(from)).unwrap().to_string();
        assert_eq!(next("2026-01-10T00:00:00Z"), at("2026-01-10T01:30:00Z").to_string());
        assert_eq!(next("2026-07-10T00:00:00Z"), at("2026-07-10T00:30:00Z").to_string());
        // 02:30 is twice on the night on which summer ends, and once is enough.
        let first = nightly.after(at("2026-10-24T12:00:00Z")).unwrap();
        let second = nightly.after(first).unwrap();
        assert!(second.micros() - first.micros() > 20 * 3_600 * 1_000_000, "{first} {second}");
    }

    #[test]
    fn of_those_that_were_missed_the_last_is_made_up_for() {
        let hourly = moments("0 * * * *", "UTC").unwrap();
        let missed = |since: &str, now: &str| hourly.missed(at(since), at(now));
        assert_eq!(missed("2026-01-01T00:10:00Z", "2026-01-01T00:50:00Z"), None);
        let last = Some(at("2026-01-01T05:00:00Z"));
        assert_eq!(missed("2026-01-01T00:10:00Z", "2026-01-01T05:30:00Z"), last);
        assert_eq!(missed("2026-01-01T04:10:00Z", "2026-01-01T05:00:00Z"), last);
    }

    #[test]
    fn what_never_comes_or_means_nothing_is_refused() {
        for (cron, zone) in [
            ("0 0 30 2 *", "UTC"),
            ("61 * * * *", "UTC"),
            ("", "UTC"),
            ("* * * *", "UTC"),
            ("0 0 * * *", "Mars/Olympus"),
        ] {
            assert!(moments(cron, zone).is_err(), "{cron} {zone}");
        }
        assert!(moments("*/10 * * * * *", "UTC").is_ok(), "seconds may stand before");
    }
}
