//! What a message looks like to each server, and how to count the ones that matter.
//!
//! Knows bytes and words; opens nothing.

use serde_json::json;

use crate::Res;
use crate::frame::{self, BINARY, TEXT};

/// Bytes of text in a published event; about 330 bytes reach a subscriber.
const MESSAGE: usize = 200;
/// Bytes the anchors without an event record carry instead.
const RECORD: usize = 330;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The raw and the tungstenite anchor: a hello, then payloads.
    Plain,
    /// Our daemon: `SysAdm` messages.
    Sysadm,
    /// nats-server: its text protocol inside binary frames.
    Nats,
    /// JSON-RPC 2.0.
    Jsonrpc,
}

/// Where the events of a work go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Recorded before it is delivered.
    Durable,
    /// Delivered and forgotten.
    Volatile,
}

impl Class {
    /// Our class name.
    fn name(self) -> &'static str {
        match self {
            Self::Durable => "user.bench",
            Self::Volatile => "user.volatile.bench",
        }
    }
}

/// One message of ours: `namespace`, `name`, `id`, `args`.
pub(crate) fn sysadm(namespace: &str, name: &str, id: &str, args: &serde_json::Value) -> Vec<u8> {
    json!({"namespace": namespace, "name": name, "id": id, "args": args}).to_string().into_bytes()
}

/// One request in JSON-RPC. Every one has the same id: what comes back is counted.
pub(crate) fn jsonrpc(method: &str, params: &serde_json::Value) -> Vec<u8> {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    request.to_string().into_bytes()
}

/// Our `events fire`.
pub(crate) fn fire(class: Class) -> Vec<u8> {
    let args = json!({"class": class.name(), "message": "x".repeat(MESSAGE)});
    sysadm("events", "fire", "3", &args)
}

/// Our `events subscribe`.
pub(crate) fn subscribe(class: Class, from: &str) -> Vec<u8> {
    let args = json!({"sub": "b", "filter": {"classes": [class.name()]}, "from": from});
    sysadm("events", "subscribe", "2", &args)
}

/// The subject on which the NATS caller of this number hears its replies.
pub(crate) fn inbox(caller: usize) -> String {
    format!("inbox.{caller}")
}

/// A NATS publication, with a reply subject when an acknowledgement is wanted.
pub(crate) fn nats_publish(subject: &str, reply: Option<&str>, payload: &[u8]) -> Vec<u8> {
    let reply = reply.map_or_else(String::new, |r| format!("{r} "));
    let mut out = format!("PUB {subject} {reply}{}\r\n", payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
    out
}

impl Dialect {
    /// The payload of a record this size in a dialect without its own envelope.
    pub(crate) fn record() -> Vec<u8> {
        vec![b'x'; RECORD]
    }

    /// One publication, framed.
    pub(crate) fn publication(self, class: Class) -> Vec<u8> {
        self.framed(&match self {
            Self::Sysadm => fire(class),
            Self::Nats => nats_publish("bench", None, &Self::record()),
            Self::Plain | Self::Jsonrpc => Self::record(),
        })
    }

    /// `payload` in a frame as a client of this server sends it.
    pub(crate) fn framed(self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + 14);
        frame::client(&mut out, if self == Self::Nats { BINARY } else { TEXT }, payload);
        out
    }

    /// Counts deliveries to a subscriber.
    pub(crate) fn deliveries(self) -> Reader {
        match self {
            Self::Plain | Self::Jsonrpc => Reader::Frames,
            Self::Sysadm => Reader::ending(r#""name":"event","namespace":"events"}"#.to_owned()),
            Self::Nats => Reader::Nats(NatsReader::default()),
        }
    }

    /// Counts replies to calls of methods in `namespace`.
    pub(crate) fn replies(self, namespace: &str) -> Reader {
        match self {
            Self::Plain => Reader::Frames,
            Self::Jsonrpc => Reader::Marked {
                mark: r#"{"jsonrpc":"2.0","id":1,"result":"#.to_owned(),
                is_there: |payload, mark| payload.starts_with(mark),
                stray: None,
            },
            Self::Sysadm => {
                Reader::ending(format!(r#""name":"response","namespace":"{namespace}"}}"#))
            }
            Self::Nats => Reader::Nats(NatsReader::default()),
        }
    }
}

/// Counts the messages that matter; keeps the first that does not, to explain a failure.
#[derive(Debug)]
pub(crate) enum Reader {
    /// Every frame is one.
    Frames,
    /// Frames with a mark where its kind has one.
    Marked {
        /// The end, or the beginning.
        mark: String,
        /// Whether a frame has it.
        is_there: fn(&[u8], &[u8]) -> bool,
        /// The first frame without it.
        stray: Option<String>,
    },
    /// A stream of NATS protocol lines and payloads.
    Nats(NatsReader),
}

impl Reader {
    /// Frames of ours end with the mark: the members are in alphabetical order, so the kind stands last.
    fn ending(mark: String) -> Self {
        Self::Marked { mark, is_there: |payload, mark| payload.ends_with(mark), stray: None }
    }

    /// How many of the messages that matter end in this frame.
    pub(crate) fn count(&mut self, payload: &[u8]) -> u32 {
        match self {
            Self::Frames => 1,
            Self::Marked { mark, is_there, stray } => {
                if is_there(payload, mark.as_bytes()) {
                    return 1;
                }
                stray.get_or_insert_with(|| String::from_utf8_lossy(payload).into_owned());
                0
            }
            Self::Nats(nats) => nats.count(payload),
        }
    }

    /// What came that was not counted, for the message of a stalled run.
    pub(crate) fn stray(&self) -> Option<&str> {
        match self {
            Self::Frames => None,
            Self::Marked { stray, .. } => stray.as_deref(),
            Self::Nats(nats) => nats.error.as_deref(),
        }
    }
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

/// Reads NATS's protocol across frames: a message may be cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct NatsReader {
    /// Bytes of payload (with its line end) still to come.
    skip: usize,
    /// The part of a line that has come.
    line: Vec<u8>,
    error: Option<String>,
}

impl NatsReader {
    fn count(&mut self, mut bytes: &[u8]) -> u32 {
        let mut complete = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                bytes = &bytes[step..];
                complete += u32::from(self.skip == 0);
                continue;
            }
            let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
                self.line.extend_from_slice(bytes);
                break;
            };
            if self.line.is_empty() {
                self.skip = self.line(&bytes[..end]);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&bytes[..end]);
                self.skip = self.line(&line);
            }
            bytes = &bytes[end + 1..];
        }
        complete
    }

    /// The bytes that follow this line: a message's payload, or none.
    fn line(&mut self, line: &[u8]) -> usize {
        if line.starts_with(b"-ERR") {
            self.error.get_or_insert_with(|| String::from_utf8_lossy(line).into_owned());
        }
        if !line.starts_with(b"MSG ") {
            return 0;
        }
        let digits = line.trim_ascii_end().rsplit(|b| *b == b' ').next().unwrap_or_default();
        digits.iter().fold(0, |n, d| n * 10 + usize::from(d - b'0')) + 2
    }
}

/// What a reply must hold to be one.
pub(crate) fn expect(reply: &[u8], part: &str) -> Res<()> {
    if contains(reply, part.as_bytes()) {
        return Ok(());
    }
    Err(format!("expected {part} in the reply, got: {}", String::from_utf8_lossy(reply)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nats_messages_are_counted_wherever_the_frames_are_cut() {
        let mut stream = b"PING\r\n".to_vec();
        for _ in 0..3 {
            stream.extend_from_slice(b"MSG bench 1 5\r\nhe\r\no\r\n");
        }
        for size in 1..stream.len() {
            let mut reader = NatsReader::default();
            let total: u32 = stream.chunks(size).map(|chunk| reader.count(chunk)).sum();
            assert_eq!(total, 3, "frames of {size}");
        }
    }

    #[test]
    fn only_events_count_as_deliveries_and_the_first_other_message_is_kept() {
        let mut reader = Dialect::Sysadm.deliveries();
        let event = br#"{"args":{},"id":"b","name":"event","namespace":"events"}"#;
        assert_eq!(reader.count(event), 1);
        assert_eq!(reader.count(br#"{"args":{},"id":"","name":"error","namespace":"error"}"#), 0);
        assert!(reader.stray().unwrap().contains("error"));
    }
}
