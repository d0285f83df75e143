//! `CloudEvents` 1.0: `docs/protocols/cloudevents.md` is the normative page.
//!
//! What the daemon says is wholly its own: `id`, `source` and `type` of an event are those of its
//! record. What a client brings is kept whole as the `data` of the event that is recorded for it,
//! so nothing it says can pass for something the daemon has seen.

mod binary;
mod envelope;
mod ingest;
mod notice;
mod question;
mod record;
#[cfg(test)]
mod tests;

use crate::bus::Wording;

use super::frame;

pub use binary::{Binary, PREFIX, binary, read as read_binary};
pub use envelope::{Attribute, CloudEvent, Data, parse, parse_batch};
pub use ingest::{at, fire_args};
pub use notice::{accepted, gap, heartbeat, refused, standing, test};
pub use question::{Batch, Question, Stream};
pub use record::{event_of, of, priority_of_severity, severity, write};

/// The websocket subprotocol: one event in JSON a text message.
pub const SUBPROTOCOL: &str = "cloudevents.json";
/// The content type of one event in structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The content type of a batch.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// Messages of a stream; the tag is the name of this machine.
pub static STREAM: Wording = Wording {
    name: "cloudevents/json",
    event: |event, cursor, host, frames| {
        frame::text(frames, |out| write(event, cursor, host, out));
    },
    gap: |missing, cursor, host, frames| {
        frames.extend(frame::of(gap(missing, cursor, host)));
    },
};

/// Appends a JSON string.
fn quote(text: &str, out: &mut Vec<u8>) {
    // Writing a string into memory cannot fail.
    serde_json::to_writer(out, text).ok();
}
