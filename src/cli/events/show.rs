//! How an event and a gap look.

use std::borrow::Cow;

use protocol::Priority;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::output::{self, Style};

/// What a line shows of an event.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(default, borrow)]
    time: Cow<'a, str>,
    #[serde(default, borrow)]
    class: Cow<'a, str>,
    #[serde(default, borrow)]
    subject: Cow<'a, str>,
    #[serde(default, borrow)]
    message: Cow<'a, str>,
    #[serde(default, borrow)]
    priority: Cow<'a, str>,
}

/// What a line shows of a gap.
#[derive(Deserialize)]
struct ShownGap {
    #[serde(default)]
    from_seq: u64,
    #[serde(default)]
    to_seq: u64,
    missed: Option<u64>,
    #[serde(default)]
    reason: String,
    resume_from: Option<String>,
}

/// One line with its line break: time, priority, class, message, subject; or the event as JSON.
pub(crate) fn event(style: Style, event: &RawValue) -> String {
    if style.json {
        return format!("{}\n", output::one_line(event.get()));
    }
    let Ok(shown) = serde_json::from_str::<Shown<'_>>(event.get()) else {
        return format!("{}\n", output::one_line(event.get()));
    };
    let number = shown.priority.split(' ').next().and_then(|number| number.parse().ok());
    let priority = Priority::clamped(number.unwrap_or(0));
    let urgency = style.urgency(priority, &format!("{:<16}", priority.to_string()));
    let subject = match shown.subject.as_ref() {
        "" => String::new(),
        subject => style.faint(&format!("  {}", output::clean(subject))),
    };
    format!(
        "{}  {urgency}  {:<20}  {}{subject}\n",
        style.faint(&output::moment(&shown.time)),
        output::clean(&shown.class),
        output::clean(&shown.message),
    )
}

/// One line with its line break that nobody overlooks.
pub(crate) fn gap(style: Style, gap: &RawValue) -> String {
    if style.json {
        return format!("{{\"gap\":{}}}\n", output::one_line(gap.get()));
    }
    let Ok(shown) = serde_json::from_str::<ShownGap>(gap.get()) else {
        return format!("--- gap: {} ---\n", output::one_line(gap.get()));
    };
    let missed = match shown.missed {
        Some(1) => "1 event".to_owned(),
        Some(missed) => format!("{missed} events"),
        None => "an unknown number of events".to_owned(),
    };
    let why = match shown.reason.as_str() {
        "slow" => "they came faster than they were read",
        "coalesced" => "newer ones of the same class and subject took their place",
        "expired" => "the log no longer keeps them",
        "other-instance" => "the daemon has another event log than before",
        "ahead-of-log" => "the event log was restored from an older copy",
        other => other,
    };
    let resume = shown.resume_from.map_or_else(String::new, |cursor| {
        format!("; to see them: sysadmctl events tail --from {}", output::clean(&cursor))
    });
    let numbers = match (shown.from_seq, shown.to_seq) {
        // Of another log no number means anything.
        (_, 0) => String::new(),
        (first, last) => format!(" (numbers {first} to {last})"),
    };
    let text = format!("--- gap: {missed} missing{numbers}: {}{resume} ---", output::clean(why));
    format!("{}\n", style.bold(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { json: false, colour: false };

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let text = r#"{"time":"2026-11-22T10:00:00.123456Z","class":"user.note","subject":"/a",
            "priority":"7 - Critical","message":"two\nlines \u001b[2J","data":1e400}"#;
        assert_eq!(
            event(PLAIN, &raw(text)),
            "2026-11-22 10:00:00.123Z  7 - Critical      user.note             \
             two\\nlines \\u{1b}[2J  /a\n"
        );
        let json = event(Style { json: true, colour: false }, &raw(text));
        assert_eq!(json.matches('\n').count(), 1, "{json}");
        assert!(json.contains("1e400"), "numbers stay as they are: {json}");
    }

    #[test]
    fn a_gap_says_what_is_missing_and_why() {
        let text = r#"{"from_seq":3,"to_seq":9,"missed":4,"reason":"slow","resume_from":"i.2"}"#;
        assert_eq!(
            gap(PLAIN, &raw(text)),
            "--- gap: 4 events missing (numbers 3 to 9): they came faster than they were read; \
             to see them: sysadmctl events tail --from i.2 ---\n"
        );
        let unknown = gap(PLAIN, &raw(r#"{"from_seq":0,"to_seq":0,"reason":"other-instance"}"#));
        assert_eq!(
            unknown,
            "--- gap: an unknown number of events missing: the daemon has another event log than \
             before ---\n"
        );
    }
}
