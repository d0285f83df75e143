//! What a subscription delivers: notifications as `jsonrpsee`'s clients expect them. Their result
//! says in `type` what it is.

use jsonrpsee_types::ErrorObject;
use protocol::{Cursor, Event, Gap, Json, Time};
use serde_json::{Value, json};

use super::super::frame;
use super::super::pieces::{self, quote};
use super::answer;
use crate::bus::{Standing, Wording};

/// Events and gaps; the tag is the subscription's id.
pub static EVENT: Wording = Wording { name: "jsonrpc/event", event, gap };

const BEFORE_ID: &[u8] =
    br#"{"jsonrpc":"2.0","method":"events.subscription","params":{"subscription":"#;

fn event(event: &Event, cursor: &Cursor, sub: &str, frames: &mut Vec<u8>) {
    frame::text(frames, |out| {
        out.extend_from_slice(BEFORE_ID);
        quote(sub, out);
        out.extend_from_slice(b",\"result\":{\"type\":\"event\",");
        pieces::event_members(event, cursor, out);
        out.extend_from_slice(b"}}}");
    });
}

fn gap(gap: &Gap, cursor: &Cursor, sub: &str, frames: &mut Vec<u8>) {
    let mut members = serde_json::to_value(gap).unwrap_or_default();
    members["cursor"] = cursor.to_string().into();
    notice("gap", sub, members, frames);
}

/// The frame that says a subscription lives, and how far it is.
pub fn heartbeat(sub: &str, cursor: &Cursor, now: Time) -> Vec<u8> {
    let mut frames = Vec::new();
    notice("heartbeat", sub, json!({"cursor": cursor, "time": now}), &mut frames);
    frames
}

/// The frames a subscription begins with: its id as the answer to the request with the id
/// `request` (JSON text), if it was one, and where it stands.
pub fn greeting(request: Option<&str>, sub: &str, standing: &Standing) -> Vec<u8> {
    let mut frames = Vec::new();
    if let Some(request) = request {
        let answer = answer::result(request, &Json::from(Value::from(sub)));
        frame::text(&mut frames, |out| out.extend_from_slice(&answer));
    }
    let Standing { cursor, oldest_seq, head_seq, replay, gap } = standing;
    let replay = replay.map(|(from, to)| json!({"from_seq": from, "to_seq": to}));
    let members = json!({"cursor": cursor, "oldest_seq": oldest_seq, "head_seq": head_seq,
                         "replay": replay, "gap": gap});
    notice("standing", sub, members, &mut frames);
    frames
}

/// The frame that says that nothing more comes, and why.
pub fn ended(sub: &str, why: &ErrorObject<'_>) -> Vec<u8> {
    let mut frames = Vec::new();
    frame::text(&mut frames, |out| {
        out.extend_from_slice(BEFORE_ID);
        quote(sub, out);
        out.extend_from_slice(b",\"error\":");
        // Writing numbers and strings into memory cannot fail.
        serde_json::to_writer(&mut *out, why).ok();
        out.extend_from_slice(b"}}");
    });
    frames
}

fn notice(kind: &str, sub: &str, mut members: Value, frames: &mut Vec<u8>) {
    members["type"] = kind.into();
    frame::text(frames, |out| {
        out.extend_from_slice(BEFORE_ID);
        quote(sub, out);
        out.extend_from_slice(b",\"result\":");
        out.extend_from_slice(members.to_string().as_bytes());
        out.extend_from_slice(b"}}");
    });
}
