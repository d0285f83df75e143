//! A message of electronic mail (RFC 5322), as a local mail system takes it: lines end with `\n`.
//!
//! Whatever somebody could put into a text of an alert is encoded; it cannot become a header, nor
//! end the message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use email_encoding::headers::rfc2047;
use email_encoding::headers::writer::EmailWriter;
use protocol::Time;

use super::Notice;
use crate::sinks::Route;

/// Characters of a line of the body.
const LINE: usize = 76;
/// The longest title, in bytes: subjects are shown in one line.
const TITLE_BYTES_MAX: usize = 200;

/// A notice as a message.
pub(super) fn message(notice: &Notice<'_>, route: &Route<'_>) -> Vec<u8> {
    let host = domain(route.host);
    let sender = route.settings.sender.clone().unwrap_or_else(|| format!("root@{host}"));
    let title = super::shortened(&notice.title, TITLE_BYTES_MAX);
    let mut text = String::new();
    let mut header = |name: &str, value: &str| {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push('\n');
    };
    header("From", &format!("sysadmd <{sender}>"));
    header("To", &route.settings.to.join(", "));
    header("Subject", &encoded("Subject: ", &format!("[{}] {title}", route.host)));
    if let Some((event, alert)) = &notice.event {
        header("Date", &date(event.time));
        // The same when it is sent again, so that a mail system can see that it has it.
        header("Message-ID", &format!("<{}@{host}>", event.id));
        let began = alert.first_seen.micros();
        header("References", &format!("<alert-{}-{began}@{host}>", alert.id));
        header("X-Sysadmd-Kind", alert.kind.as_str());
    }
    header("X-Sysadmd-Priority", &notice.priority.to_string());
    header(
        "Importance",
        if notice.priority.is_critical() && !notice.is_over { "high" } else { "normal" },
    );
    header("Auto-Submitted", "auto-generated");
    header("MIME-Version", "1.0");
    header("Content-Type", "text/plain; charset=utf-8");
    header("Content-Transfer-Encoding", "base64");
    text.push('\n');
    let body = STANDARD.encode(notice.page());
    for line in body.as_bytes().chunks(LINE) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.into_bytes()
}

/// A header's text in encoded words, folded; `name` stands before it in its line.
fn encoded(name: &str, text: &str) -> String {
    let is_plain = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    // Nothing in it can be taken for an encoded word.
    if is_plain && !text.contains("=?") && name.len() + text.len() <= LINE {
        return text.to_owned();
    }
    let mut words = String::new();
    // Writing into memory cannot fail.
    rfc2047::encode(text, &mut EmailWriter::new(&mut words, name.len(), 0, false)).ok();
    words.replace("\r\n", "\n")
}

/// A host's name as it can stand behind an `@`.
fn domain(host: &str) -> String {
    let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let name: String = host.chars().filter(legal).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

fn date(time: Time) -> String {
    let moment = i64::try_from(time.micros()).ok().and_then(DateTime::from_timestamp_micros);
    moment.unwrap_or_default().format("%a, %d %b %Y %H:%M:%S +0000").to_string()
}
