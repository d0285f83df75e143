//! Durations as Go writes them: `10s`, `1m30s`, `500ms`, `1.5h`.

use std::time::Duration;

/// Reads a duration that is not negative; `None` when it is none, or longer than 292 years.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (part, after) = next(rest)?;
        nanos = nanos.checked_add(part).filter(|nanos| i64::try_from(*nanos).is_ok())?;
        rest = after;
    }
    Some(Duration::from_nanos(nanos))
}

/// The nanoseconds of the first number with its unit, and what follows.
fn next(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let unit: u64 = match unit {
        "ns" => 1,
        // Two characters look the same: the micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    // A twentieth digit is below a nanosecond in every unit.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = match fraction.parse::<u128>() {
        Ok(digits) => digits * u128::from(unit) / 10u128.pow(u32::try_from(fraction.len()).ok()?),
        Err(_) => 0,
    };
    whole.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?).map(|nanos| (nanos, rest))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_reads_what_go_reads_and_nothing_else() {
        let millis = |text| parse(text).map(|duration| duration.as_millis());
        for (text, expected) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("0", 0),
            ("0s", 0),
            ("+2s", 2_000),
            ("1h1m1s1ms1us1ns", 3_661_001),
            ("2\u{b5}s998\u{3bc}s", 1),
            ("2562047h", 9_223_369_200_000),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for bad in [
            "", "2", "abc", "-1s", "60foo", "s", ".s", "1 s", "1e3s", "--1s", "1d", "2562048h", "+",
        ] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn sums_are_sums(hours in 0u64..1000, seconds in 0u64..1000, millis in 0u64..1000) {
            let text = format!("{hours}h{seconds}s{millis}ms");
            let expected = Duration::from_millis(hours * 3_600_000 + seconds * 1_000 + millis);
            prop_assert_eq!(parse(&text), Some(expected));
        }

        #[test]
        fn any_text_is_read_or_refused(text in r"[-+0-9.nuµmsh]{0,60}") {
            let _ = parse(&text);
        }
    }
}
