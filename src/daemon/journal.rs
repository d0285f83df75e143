//! What is logged and what happens, for systemd's journal: log lines with the priority in front,
//! events as records with fields of their own.
//!
//! Only where standard error leads to the journal, as in a service.

use std::io::{self, Stderr, Write};
use std::os::unix::fs::MetadataExt as _;

use protocol::{Cursor, Filter, Overflow, Start};
use tokio::net::UnixDatagram;
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::bus::{Bell, Bus, Subscribe};
use crate::lifecycle::Tasks;
use crate::sight::Interest;
use crate::wire::notice::journal::record;

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
