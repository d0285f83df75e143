//! Pieces of messages that several protocols word alike: written by hand where every delivery
//! passes.

use std::borrow::Cow;
use std::io::Write;

use protocol::{Cursor, Event};
use serde_json::value::RawValue;

/// Appends a JSON string.
pub(super) fn quote(text: &str, out: &mut Vec<u8>) {
    // Writing a string into memory cannot fail.
    serde_json::to_writer(out, text).ok();
}

/// The text of a JSON string; `None` when it is something else.
pub(super) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    let plain = text.strip_prefix('"')?.strip_suffix('"')?;
    if plain.contains('\\') {
        return serde_json::from_str(text).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(plain))
}

/// Appends text that needs no escaping.
pub(super) fn plain(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into memory cannot fail.
    out.write_fmt(text).ok();
}

/// Appends the members of an event in alphabetical order, without the braces around them. This is
/// the path every delivery takes; a test compares it with serde.
pub(super) fn event_members(event: &Event, cursor: &Cursor, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"class\":\"");
    out.extend_from_slice(event.class.as_str().as_bytes());
    plain(out, format_args!("\",\"cursor\":\"{cursor}\""));
    if !event.data.is_null() {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(event.data.text().as_bytes());
    }
    plain(out, format_args!(",\"event_id\":\"{}\",\"message\":", event.id));
    quote(&event.message, out);
    let (words, number) = (event.priority, event.priority.number());
    plain(out, format_args!(",\"priority\":\"{words}\",\"priority_num\":{number}"));
    if let Some(seq) = event.seq {
        plain(out, format_args!(",\"seq\":{seq}"));
    }
    out.extend_from_slice(b",\"source\":");
    quote(&event.source, out);
    out.extend_from_slice(b",\"subject\":");
    quote(&event.subject, out);
    plain(out, format_args!(",\"time\":\"{}\"", event.time));
}
