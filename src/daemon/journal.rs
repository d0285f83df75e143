//! What is logged and what happens, for systemd's journal: log lines with the priority in front,
//! events as records with fields of their own.
//!
//! Only where standard error leads to the journal, as in a service.

use std::io::{self, Stderr, Write};
use std::os::unix::fs::MetadataExt as _;

use protocol::{Cursor, Event, Filter, Overflow, Priority, Start};
use tokio::net::UnixDatagram;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::bus::{Bell, Bus, Subscribe};
use crate::lifecycle::Tasks;
use crate::sight::Interest;

/// Where the journal takes records (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).
const SOCKET: &str = "/run/systemd/journal/socket";
/// Events read from the log in one go.
const READ_EVENTS: usize = 256;
/// Bytes of events read in one go; one event may exceed them.
const READ_BYTES: usize = 128 * 1024;
/// Whether standard error leads to the journal: it says which file that is.
pub(super) fn is_there() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Some((device, inode)) = stream.split_once(':') else { return false };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|it| device.parse() == Ok(it.dev()) && inode.parse() == Ok(it.ino()))
}

/// The number of syslog(3) for a priority. 0, which goes to every terminal, is nothing of ours.
fn syslog(priority: Priority) -> u8 {
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

/// Writes lines to standard error with their priority in front, as sd-daemon(3) has it.
#[derive(Debug)]
pub(super) struct Lines;

/// Where one line goes.
#[derive(Debug)]
pub(super) struct Line {
    number: u8,
    stderr: Stderr,
}

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { number: 6, stderr: io::stderr() }
    }

    fn make_writer_for(&self, line: &Metadata<'_>) -> Line {
        let number = match *line.level() {
            tracing::Level::ERROR => 3,
            tracing::Level::WARN => 4,
            tracing::Level::INFO => 6,
            _ => 7,
        };
        Line { number, stderr: io::stderr() }
    }
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut line = format!("<{}>", self.number).into_bytes();
        line.extend_from_slice(text);
        self.stderr.write_all(&line)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stderr.flush()
    }
}

/// Hands on every event that is recorded from now on, until the daemon stops.
pub(super) fn begin(bus: Bus, tasks: &Tasks) {
    if !is_there() {
        return;
    }
    let stop = tasks.stop_signal();
    tasks.spawn(async move {
        tokio::select! {
            () = stop.wait() => {}
            () = hand_on(&bus) => {}
        }
    });
}

async fn hand_on(bus: &Bus) {
    let journal = match UnixDatagram::unbound().and_then(|it| it.connect(SOCKET).map(|()| it)) {
        Ok(journal) => journal,
        Err(error) => return tracing::warn!(%error, "events do not go to the journal"),
    };
    let mut read = bus.log().bounds().head;
    loop {
        // Before the look, so that nothing is recorded in between unnoticed.
        let bell = Bell::default();
        let at = Cursor::after(bus.instance(), read);
        let wanted = Subscribe {
            interest: Interest::from(Filter::default()),
            start: Start::After(at),
            overflow: Overflow::Lossless,
            face: Bell::face(),
            outlet: bell.outlet(),
        };
        let Ok(_subscription) = bus.subscribe(wanted, |_| Vec::new()).await else { return };
        bell.rung().await;
        match bus.log().read(read, READ_EVENTS, READ_BYTES).await {
            Ok(events) => {
                for event in &events {
                    if let Err(error) = journal.send(&record(event)).await {
                        tracing::debug!(%error, "an event did not go to the journal");
                    }
                }
                read = events.last().and_then(|event| event.seq).unwrap_or(read);
            }
            Err(error) => return tracing::error!(%error, "events go to the journal no more"),
        }
    }
}

/// An event as the journal takes it: each field with its length, so that it may hold anything. Without
/// its data: others read the journal than those who may hear of everything.
fn record(event: &Event) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(event.weight() + 512);
    let priority = event.priority;
    let mut field = |name: &str, value: &str| {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    };
    field("MESSAGE", &event.message);
    field("PRIORITY", &syslog(priority).to_string());
    field("SYSLOG_IDENTIFIER", "sysadmd");
    field("SYSADM_PRIORITY", &priority.number().to_string());
    field("SYSADM_CLASS", event.class.as_str());
    field("SYSADM_SOURCE", &event.source);
    field("SYSADM_ID", &event.id.to_string());
    if let Some(seq) = event.seq {
        field("SYSADM_SEQ", &seq.to_string());
    }
    if !event.subject.is_empty() {
        field("SYSADM_SUBJECT", &event.subject);
    }
    bytes
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
        let numbers: Vec<u8> = (0..=10).map(|it| syslog(Priority::new(it).unwrap())).collect();
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
