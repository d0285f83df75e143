//! Times as classic clients write them. Pure.

use std::time::Duration;

use chrono::{DateTime, Months, NaiveDate, NaiveDateTime, NaiveTime};
use protocol::Time;
use schemars::JsonSchema;
use serde::Deserialize;

/// A time as a client writes it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a time must be a text or a whole number")]
pub(super) enum Written {
    /// In one of the forms.
    Text(String),
    /// The same as its digits.
    Number(u64),
}

/// The time that lies so long before another.
pub(super) fn before(time: Time, span: Duration) -> Time {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Time::from_micros(time.micros().saturating_sub(micros))
}

/// The moment that a client means.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub(super) fn moment(format: Option<&str>, written: &Written, now: Time) -> Result<Time, String> {
    let text = match written {
        Written::Text(text) => text.trim().to_owned(),
        Written::Number(number) => number.to_string(),
    };
    let number = || text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    let ago = |span: Duration| before(now, span);
    Ok(match format {
        // Qt writes ISO times of its own zone without saying which.
        None | Some("") => text.parse().or_else(|error| {
            by_pattern("yyyy-MM-dd'T'hh:mm:ss", &text).map_err(|_| format!("{error}"))
        })?,
        Some("time_t_seconds") => Time::from_micros(number()?.saturating_mul(1_000_000)),
        Some("epoch_mseconds") => Time::from_micros(number()?.saturating_mul(1_000)),
        Some("relative_second") => ago(Duration::from_secs(number()?)),
        Some("relative_day") => ago(Duration::from_secs(number()?.saturating_mul(86_400))),
        Some("relative_month") => months_ago(now, number()?),
        Some(pattern) => by_pattern(pattern, &text)?,
    })
}

fn months_ago(now: Time, months: u64) -> Time {
    let months = Months::new(u32::try_from(months).unwrap_or(u32::MAX));
    let micros = i64::try_from(now.micros()).unwrap_or(i64::MAX);
    let then =
        DateTime::from_timestamp_micros(micros).and_then(|now| now.checked_sub_months(months));
    Time::from_micros(then.map_or(0, |then| u64::try_from(then.timestamp_micros()).unwrap_or(0)))
}

/// Reads a time by a pattern as Qt writes it: `yyyy`, `yy`, `M`, `d`, `h` or `H`, `m`, `s`, `zzz`,
/// single or doubled; quoted and other characters stand for themselves.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn by_pattern(pattern: &str, text: &str) -> Result<Time, String> {
    let expected = || format!("{text:?} is not written as {pattern:?}");
    let mut century = 0;
    let [mut year, mut month, mut day] = [1970, 1, 1];
    let [mut hour, mut minute, mut second, mut millisecond] = [0; 4];
    let (mut rest, mut pattern_rest) = (text, pattern);
    while let Some(c) = pattern_rest.chars().next() {
        if c == '\'' {
            let (literal, after) = pattern_rest[1..].split_once('\'').ok_or_else(expected)?;
            // Two of them are one that stands for itself.
            let literal = if literal.is_empty() { "'" } else { literal };
            rest = rest.strip_prefix(literal).ok_or_else(expected)?;
            pattern_rest = after;
            continue;
        }
        let length = pattern_rest.chars().take_while(|next| *next == c).count();
        let place: Option<(&mut u32, usize)> = match (c, length) {
            ('y', 4) => Some((&mut year, 4)),
            ('y', 2) => {
                century = 2000;
                Some((&mut year, 2))
            }
            ('M', 1 | 2) => Some((&mut month, 2)),
            ('d', 1 | 2) => Some((&mut day, 2)),
            ('h' | 'H', 1 | 2) => Some((&mut hour, 2)),
            ('m', 1 | 2) => Some((&mut minute, 2)),
            ('s', 1 | 2) => Some((&mut second, 2)),
            ('z', 1 | 3) => Some((&mut millisecond, 3)),
            (letter, _) if letter.is_ascii_alphabetic() => {
                return Err(format!(
                    "the pattern {pattern:?} holds {letter:?}, which is not known"
                ));
            }
            _ => None,
        };
        let Some((place, most)) = place else {
            rest = rest.strip_prefix(c).ok_or_else(expected)?;
            pattern_rest = &pattern_rest[c.len_utf8()..];
            continue;
        };
        let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let fits = digits > 0 && (length == 1 || digits == most);
        *place = number.parse().ok().filter(|_| fits).ok_or_else(expected)?;
        rest = after;
        pattern_rest = &pattern_rest[length..];
    }
    if !rest.is_empty() {
        return Err(expected());
    }
    let date =
        i32::try_from(century + year).ok().and_then(|y| NaiveDate::from_ymd_opt(y, month, day));
    let time = NaiveTime::from_hms_milli_opt(hour, minute, second, millisecond);
    let moment = date.zip(time).map(|(date, time)| NaiveDateTime::new(date, time).and_utc());
    let micros = moment.and_then(|moment| u64::try_from(moment.timestamp_micros()).ok());
    micros.map(Time::from_micros).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: &str = "2026-11-26T12:00:00Z";

    fn at(format: &str, text: &str) -> Result<String, String> {
        let format = Some(format).filter(|format| !format.is_empty());
        let now = NOW.parse().unwrap();
        moment(format, &Written::Text(text.to_owned()), now).map(|time| time.to_string())
    }

    #[test]
    fn times_are_read_in_every_classic_form() {
        for (format, text, expected) in [
            ("time_t_seconds", "1795694400", "2026-11-26T12:00:00.000000Z"),
            ("epoch_mseconds", "1795694400123", "2026-11-26T12:00:00.123000Z"),
            ("relative_second", "90", "2026-11-26T11:58:30.000000Z"),
            ("relative_day", "2", "2026-11-24T12:00:00.000000Z"),
            ("relative_month", "9", "2026-02-26T12:00:00.000000Z"),
            ("yyyy-MM-dd hh:mm:ss", "2026-01-02 03:04:05", "2026-01-02T03:04:05.000000Z"),
            ("d.M.yy 'at' H:m:s.zzz", "2.1.26 at 3:4:5.678", "2026-01-02T03:04:05.678000Z"),
            ("yy-MM", "69-03", "2069-03-01T00:00:00.000000Z"),
            ("hh''mm", "03'04", "1970-01-01T03:04:00.000000Z"),
            ("", "2026-01-02T03:04:05", "2026-01-02T03:04:05.000000Z"),
            ("yyyyMMdd", "20260102", "2026-01-02T00:00:00.000000Z"),
            ("", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000Z"),
        ] {
            assert_eq!(at(format, text).as_deref(), Ok(expected), "{format}");
        }
        let number = Written::Number(1_795_694_400);
        let read = moment(Some("time_t_seconds"), &number, Time::from_micros(0)).unwrap();
        assert_eq!(read.to_string(), "2026-11-26T12:00:00.000000Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (format, text) in [
            ("time_t_seconds", "yesterday"),
            ("relative_day", "-1"),
            ("yyyy-MM-dd", "2026-13-01"),
            ("yyyy-MM-dd", "2026-01-01x"),
            ("yyyy-MM-dd", "26-01-01"),
            ("yyyy-MM-dd", "0050-01-01"),
            ("epoch_mseconds", ""),
            ("dddd", "Monday"),
            ("'open", "open"),
            ("", "12:00"),
        ] {
            assert!(at(format, text).is_err(), "{format} {text}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_and_no_text_break_it(format in "[yMdhHmsz':. \\-a-zä]{0,12}", text in ".{0,20}") {
            at(&format, &text).ok();
        }
    }
}
