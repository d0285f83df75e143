//! A moment, as the wire writes it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// The last moment that RFC 3339 can write: the end of the year 9999.
const LAST: u64 = 253_402_300_799_999_999;

/// A moment in UTC, counted in microseconds since 1970; written as RFC 3339 with microseconds. Moments
/// after the year 9999 are written as its end.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("format" = "date-time")))]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Time(u64);

impl Time {
    /// A moment from microseconds since 1970.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// As `date` prints it in the C locale and UTC, for example `Fri Nov 21 22:20:00 UTC 2026`:
    /// the form in which the classic `life-preserver` messages begin.
    pub fn unix_date(self) -> String {
        self.utc().format("%a %b %e %H:%M:%S UTC %Y").to_string()
    }

    fn utc(self) -> DateTime<Utc> {
        i64::try_from(self.0.min(LAST))
            .ok()
            .and_then(DateTime::from_timestamp_micros)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.utc().to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || TimeError(text.chars().take(64).collect());
        let moment = DateTime::parse_from_rfc3339(text).map_err(|_| refuse())?;
        let micros = u64::try_from(moment.timestamp_micros()).ok();
        // A leap second or an offset leads beyond the last year.
        micros.filter(|micros| *micros <= LAST).map(Self).ok_or_else(refuse)
    }
}

impl TryFrom<String> for Time {
    type Error = TimeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}

/// A text that is no moment from 1970 to 9999 in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: expected RFC 3339, such as \"2026-11-22T10:00:00Z\"")]
pub struct TimeError(String);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_reads_back_as_written(micros in 0u64..4_102_444_800_000_000) {
            let time = Time::from_micros(micros);
            prop_assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        }
    }

    #[test]
    fn the_last_moment_is_the_last_that_can_be_written() {
        let last = Time::from_micros(u64::MAX).to_string();
        assert_eq!(last, "9999-12-31T23:59:59.999999Z");
        assert!(last.parse::<Time>().is_ok());
        for beyond in ["9999-12-31T23:59:60Z", "9999-12-31T23:59:59-01:00"] {
            assert!(beyond.parse::<Time>().is_err(), "{beyond}");
        }
    }

    #[test]
    fn the_unix_date_is_the_one_classic_messages_begin_with() {
        let time: Time = "2026-11-21T22:20:00Z".parse().unwrap();
        assert_eq!(time.unix_date(), "Sat Nov 21 22:20:00 UTC 2026");
    }
}
