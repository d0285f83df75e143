//! Lengths of time and moments, as people type them.

use std::str::FromStr;
use std::time::Duration;

use protocol::Time;

/// The longest length of time: a hundred years, far from every overflow.
const SECONDS_MAX: u64 = 100 * 365 * 86_400;

/// A moment: so long ago, or a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Before the daemon's now.
    Ago(Duration),
    /// This moment.
    At(Time),
}

impl When {
    /// The moment, given what time the daemon has. Its clock counts, because its clock stamped
    /// the events.
    pub(crate) fn resolve(self, now: Time) -> Time {
        match self {
            Self::At(time) => time,
            Self::Ago(length) => {
                let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
                Time::from_micros(now.micros().saturating_sub(micros))
            }
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = text.parse::<Time>().map(Self::At).ok();
        at.or_else(|| length(text).ok().map(Self::Ago)).ok_or_else(|| {
            "expected a length of time such as 90s, 1h30m or 7d, or a time such as \
             2026-11-22T10:00:00Z"
                .to_owned()
        })
    }
}

/// Reads a length of time: numbers with a unit (`s`, `m`, `h`, `d`, `w`), one after the other.
pub fn length(text: &str) -> Result<Duration, String> {
    let expected =
        || "expected a length of time such as 90s, 15m, 1h30m, 7d or 2w, at most 100 years".into();
    seconds(text)
        .filter(|seconds| *seconds <= SECONDS_MAX)
        .map_or_else(|| Err(expected()), |seconds| Ok(Duration::from_secs(seconds)))
}

fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_with_their_units() {
        let cases =
            [("90s", 90), ("15m", 900), ("1h30m", 5_400), ("7d", 604_800), ("2w", 1_209_600)];
        for (text, seconds) in cases {
            assert_eq!(length(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in
            ["", "5", "h", "1x", "-1h", "1.5h", "1h 2m", "99999999999999999999d", "101w5200w", "1ü"]
        {
            assert!(length(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        let now: Time = "2026-11-22T10:00:00Z".parse().unwrap();
        let resolve = |text: &str| text.parse::<When>().unwrap().resolve(now).to_string();
        assert_eq!(resolve("1h"), "2026-11-22T09:00:00.000000Z");
        assert_eq!(resolve("2026-11-22T11:00:00+02:00"), "2026-11-22T09:00:00.000000Z");
        assert_eq!(resolve("5200w"), "1970-01-01T00:00:00.000000Z", "no moment is before 1970");
        assert!("yesterday".parse::<When>().is_err());
    }
}
