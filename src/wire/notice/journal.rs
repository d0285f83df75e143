//! Records of systemd's journal (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>), and lines of the
//! system log.

use protocol::{Event, Priority};

use super::Notice;

/// What we are called there.
const NAME: &str = "sysadmd";
/// The facility `daemon` of syslog(3), where its number stands in a line.
const DAEMON: u8 = 3 << 3;

/// The number of syslog(3) for a priority. 0, which goes to every terminal, is nothing of ours.
fn severity(priority: Priority) -> u8 {
    match priority.number() {
        0 => 7,
        1 => 6,
        2 => 5,
        3..=5 => 4,
        6 => 3,
        7 | 8 => 2,
        _ => 1,
    }
}

/// Fields, each with its length, so that it may hold anything.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn put(&mut self, name: &str, value: &str) {
        let Self(bytes) = self;
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    }

    fn head(&mut self, message: &str, priority: Priority) {
        self.put("MESSAGE", message);
        self.put("PRIORITY", &severity(priority).to_string());
        self.put("SYSLOG_IDENTIFIER", NAME);
        self.put("SYSADM_PRIORITY", &priority.number().to_string());
    }

    fn event(&mut self, event: &Event) {
        self.put("SYSADM_CLASS", event.class.as_str());
        self.put("SYSADM_SOURCE", &event.source);
        self.put("SYSADM_ID", &event.id.to_string());
        if let Some(seq) = event.seq {
            self.put("SYSADM_SEQ", &seq.to_string());
        }
        if !event.subject.is_empty() {
            self.put("SYSADM_SUBJECT", &event.subject);
        }
    }
}

/// An event as the journal takes it. Without its data: others read the journal than those who may
/// hear of everything.
pub(crate) fn record(event: &Event) -> Vec<u8> {
    let mut fields = Fields(Vec::with_capacity(event.weight() + 512));
    fields.head(&event.message, event.priority);
    fields.event(event);
    fields.0
}

/// A notice as the journal takes it.
pub(super) fn notice(notice: &Notice<'_>) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.head(&notice.title, notice.shown());
    if let Some((event, alert)) = &notice.event {
        fields.event(event);
        fields.put("SYSADM_ALERT", &alert.id.to_string());
        fields.put("SYSADM_ALERT_KIND", alert.kind.as_str());
        fields.put("SYSADM_ALERT_STATE", alert.state.as_str());
        fields.put("SYSADM_ALERT_SUBJECT", &alert.subject);
        fields.put("SYSADM_ADVICE", &alert.advice);
    }
    fields.0
}

/// A notice as a line of the system log: what could begin another line is a blank there.
pub(super) fn line(notice: &Notice<'_>) -> Vec<u8> {
    let number = DAEMON | severity(notice.shown());
    let title = notice.title.replace(|c: char| c.is_control(), " ");
    format!("<{number}>{NAME}[{}]: {title}", std::process::id()).into_bytes()
}

impl Notice<'_> {
    /// How urgent it is to whoever reads it in a log: that something is over is a notice.
    fn shown(&self) -> Priority {
        if self.is_over { Priority::clamped(2) } else { self.priority }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Class, Json, Time};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn event(priority: u8) -> Event {
        Event {
            seq: Some(7),
            id: Uuid::nil(),
            time: Time::from_micros(0),
            source: "plugin".to_owned(),
            class: Class::parse("snapshot.created").unwrap(),
            subject: "/datasets/tank".to_owned(),
            priority: Priority::new(priority).unwrap(),
            message: "two\nlines".to_owned(),
            data: Json::from(json!({"secret": "xyzzy"})),
        }
    }

    #[test]
    fn every_priority_has_its_number_in_the_journal() {
        let numbers: Vec<u8> = (0..=10).map(|it| severity(Priority::new(it).unwrap())).collect();
        assert_eq!(numbers, [7, 6, 5, 4, 4, 4, 3, 2, 2, 1, 1]);
    }

    #[test]
    fn fields_have_lengths_and_data_stays_away() {
        let record = record(&event(7));
        let has = |bytes: &[u8]| record.windows(bytes.len()).any(|part| part == bytes);
        assert!(has(b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\n"));
        assert!(has(b"PRIORITY\n\x01\0\0\0\0\0\0\x002\n"));
        assert!(has(b"SYSADM_PRIORITY\n\x01\0\0\0\0\0\0\x007\n"));
        assert!(!has(b"xyzzy"));
    }
}
