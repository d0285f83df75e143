//! A moment, as the wire writes it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A moment in UTC, counted in microseconds since 1970; written as RFC 3339 with microseconds.
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
        i64::try_from(self.0)
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
        u64::try_from(moment.timestamp_micros()).map(Self).map_err(|_| refuse())
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

/// A text that is no moment after 1970 in RFC 3339.
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
    fn the_unix_date_is_the_one_classic_messages_begin_with() {
        let time: Time = "2026-11-21T22:20:00Z".parse().unwrap();
        assert_eq!(time.unix_date(), "Sat Nov 21 22:20:00 UTC 2026");
    }
}
