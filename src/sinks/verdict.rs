//! What an answer means, and how long to wait for the next try: pure.

use std::time::{Duration, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use protocol::Time;

/// The first wait; it doubles.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait that a receiver can ask for.
const ASKED_MAX: Duration = Duration::from_hours(1);

/// Whose deliveries a receiver of webhooks takes, and how many requests a minute.
const ALLOWED_ORIGIN: &str = "webhook-allowed-origin";
const ALLOWED_RATE: &str = "webhook-allowed-rate";

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has what was sent.
    Taken,
    /// It will never take anything again.
    Gone,
    /// It does not take this, and will not next time.
    Refused(String),
    /// It takes nothing now: for this reason, and perhaps not before so long.
    Later(String, Option<Duration>),
}

/// Judges an answer.
pub fn judge(status: StatusCode, headers: &HeaderMap, now: Time) -> Verdict {
    let said = || format!("it answers {status}");
    match status.as_u16() {
        200..=299 => Verdict::Taken,
        410 => Verdict::Gone,
        300..=399 => {
            let sentence = format!("{}, and redirects are not followed", said());
            Verdict::Later(sentence, None)
        }
        // About what was sent; everything else is about the sink.
        400 | 406 | 411 | 413..=415 | 417 | 422 | 431 => Verdict::Refused(said()),
        _ => Verdict::Later(said(), retry_after(headers, now)),
    }
}

/// `EX_DATAERR` of sysexits.h: what was given is wrong.
const EX_DATAERR: i32 = 65;

/// Judges how a program ended. All that an administrator or time can mend is tried again: also that
/// a mail server is away, which programs that hand mail over say in several ways.
pub(super) fn judge_exit(code: i32) -> Verdict {
    let said = format!("it exited with status {code}");
    match code {
        0 => Verdict::Taken,
        EX_DATAERR => Verdict::Refused(said),
        _ => Verdict::Later(said, None),
    }
}

/// What a sink has consented to: the least time between two requests, if it has said one.
///
/// # Errors
/// The sentence, when it has not consented to deliveries from this host.
pub fn consent(
    status: StatusCode,
    headers: &HeaderMap,
    host: &str,
) -> Result<Option<Duration>, String> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let allowed = text(ALLOWED_ORIGIN).map(str::trim);
    if !status.is_success() || !allowed.is_some_and(|it| it == "*" || it.eq_ignore_ascii_case(host))
    {
        let sentence =
            format!("it does not consent to deliveries from {host}: it answers {status}");
        return Err(sentence);
    }
    // A number of requests a minute; a star, nothing and nonsense are no limit.
    let rate = text(ALLOWED_RATE).and_then(|rate| rate.trim().parse::<u32>().ok());
    Ok(rate.filter(|rate| *rate > 0).map(|rate| Duration::from_mins(1) / rate))
}

/// What `Retry-After` asks for, in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: Time) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let dated = || {
        let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(since.saturating_sub(Duration::from_micros(now.micros())))
    };
    let asked = text.parse().map(Duration::from_secs).ok().or_else(dated)?;
    Some(asked.min(ASKED_MAX))
}

/// How long to wait after so many failures in a row: between half of it and all of it, as `chance`
/// says, so that many senders do not come back together.
pub(super) fn wait(failures: u32, most: Duration, chance: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let full = doubled.min(most);
    full / 2 + (full / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whoever_does_not_consent_gets_nothing() {
        let answer = |status: u16, origin: &'static str, rate: &'static str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(ALLOWED_ORIGIN, origin), (ALLOWED_RATE, rate)] {
                if !value.is_empty() {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            consent(StatusCode::from_u16(status).unwrap(), &headers, "nas.example")
        };
        assert_eq!(answer(200, "nas.example", "120"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(answer(204, "*", "*"), Ok(None));
        assert_eq!(answer(200, "NAS.example", "many"), Ok(None));
        assert_eq!(answer(200, "*", "0"), Ok(None));
        for (status, origin) in [(200, ""), (200, "other"), (404, "*"), (405, ""), (302, "*")] {
            assert!(answer(status, origin, "").is_err(), "{status} {origin}");
        }
    }

    #[test]
    fn only_a_program_that_says_so_refuses_what_it_was_given() {
        assert_eq!(judge_exit(0), Verdict::Taken);
        assert!(matches!(judge_exit(65), Verdict::Refused(_)));
        for code in [1, 2, 64, 66, 67, 69, 75, 78, 127, 255, -1] {
            assert!(matches!(judge_exit(code), Verdict::Later(_, None)), "{code}");
        }
    }

    fn judged(status: u16, retry: &'static str) -> Verdict {
        let mut headers = HeaderMap::new();
        if !retry.is_empty() {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(retry));
        }
        let now: Time = "2026-11-26T17:00:00Z".parse().unwrap();
        judge(StatusCode::from_u16(status).unwrap(), &headers, now)
    }

    #[test]
    fn an_answer_is_about_the_event_or_about_the_sink() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status, ""), Verdict::Taken, "{status}");
        }
        assert_eq!(judged(410, ""), Verdict::Gone);
        for status in [400, 413, 415, 422] {
            assert!(matches!(judged(status, ""), Verdict::Refused(_)), "{status}");
        }
        for status in [301, 307, 401, 403, 404, 405, 408, 425, 429, 500, 502, 503, 599] {
            assert!(matches!(judged(status, ""), Verdict::Later(_, None)), "{status}");
        }
    }

    #[test]
    fn a_receiver_may_ask_for_patience_but_not_for_ever() {
        let asked = |retry| match judged(429, retry) {
            Verdict::Later(_, asked) => asked.map(|asked| asked.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(asked("7"), Some(7));
        assert_eq!(asked("Thu, 26 Nov 2026 17:00:30 GMT"), Some(30));
        assert_eq!(asked("Thu, 26 Nov 2026 16:00:00 GMT"), Some(0));
        assert_eq!(asked("99999999"), Some(3_600));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }

    proptest! {
        #[test]
        fn waits_grow_to_their_bound_and_never_beyond(
            failures in any::<u32>(), most in 1u64..3_600, chance in any::<u32>(),
        ) {
            let most = Duration::from_secs(most);
            let waited = wait(failures, most, chance);
            prop_assert!(waited <= most && waited >= FIRST.min(most) / 2);
            prop_assert!(waited <= wait(failures.saturating_add(1), most, u32::MAX));
        }
    }
}
