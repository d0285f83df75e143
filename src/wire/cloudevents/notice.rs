//! What the daemon says about a stream, as events of types of its own: a client that knows only
//! `CloudEvents` can read everything that comes.

use protocol::{Cursor, Fault, Gap, Time};
use serde_json::{Value, json};

use super::envelope::{Attribute, CloudEvent, Data};
use super::record::source;
use crate::bus::Standing;
use crate::clock::Stamp;

/// What `source` ends with.
const SOURCE: &str = "cloudevents";

/// Where a stream begins: `cloudevents.subscribed`.
pub fn standing(standing: &Standing, now: Time, host: &str) -> String {
    let Standing { cursor, oldest_seq, head_seq, .. } = standing;
    let replay = standing.replay.map(|(from, to)| json!({"from_seq": from, "to_seq": to}));
    let data = json!({
        "oldest_seq": oldest_seq,
        "head_seq": head_seq,
        "replay": replay,
        "gap": standing.gap,
    });
    let id = format!("{cursor}/subscribed/{}", now.micros());
    said("subscribed", id, host, &data).at(cursor).when(now).0.text()
}

/// A stretch that is left out: `cloudevents.gap`.
pub fn gap(gap: &Gap, cursor: &Cursor, host: &str) -> String {
    let data = serde_json::to_value(gap).unwrap_or_default();
    let reason = data["reason"].as_str().unwrap_or_default();
    let missed = gap.missed.map_or_else(|| "unknown".to_owned(), |missed| missed.to_string());
    let id = format!("{cursor}/gap/{}-{}/{missed}/{reason}", gap.from_seq, gap.to_seq);
    said("gap", id, host, &data).at(cursor).0.text()
}

/// How far a stream is: `cloudevents.heartbeat`.
pub fn heartbeat(cursor: &Cursor, now: Time, host: &str) -> String {
    let id = format!("{cursor}/heartbeat/{}", now.micros());
    said("heartbeat", id, host, &Value::Null).at(cursor).when(now).0.text()
}

/// An event of the client's is durable: `cloudevents.accepted`; `answer` is that of `events/fire`.
pub fn accepted(event: &CloudEvent, answer: &Value, now: Time, host: &str) -> String {
    let id = format!("{}/accepted", answer["event_id"].as_str().unwrap_or_default());
    let mut data = json!({"id": event.id, "source": event.source});
    for name in ["event_id", "seq", "cursor"] {
        if let Some(value) = answer.get(name) {
            data[name] = value.clone();
        }
    }
    said("accepted", id, host, &data).when(now).0.text()
}

/// An event of the client's is refused: `cloudevents.refused`.
pub fn refused(event: Option<&CloudEvent>, fault: &Fault, stamp: Stamp, host: &str) -> String {
    let mut data = json!({ "fault": fault });
    if let Some(event) = event {
        data["id"] = event.id.as_str().into();
        data["source"] = event.source.as_str().into();
    }
    let id = format!("{}/refused", stamp.id);
    said("refused", id, host, &data).when(stamp.time).0.text()
}

/// What a sink is sent when an administrator tries it: `cloudevents.test`.
pub fn test(sink: &str, now: Time, host: &str) -> String {
    let id = format!("{sink}/test/{}", now.micros());
    let data = json!({"message": "sysadmd can reach this sink", "sink": sink});
    said("test", id, host, &data).when(now).0.text()
}

struct Notice(CloudEvent);

fn said(kind: &str, id: String, host: &str, data: &Value) -> Notice {
    let mut event = CloudEvent::new(id, source(host, SOURCE), format!("{SOURCE}.{kind}"));
    if !data.is_null() {
        event.datacontenttype = Some("application/json".to_owned());
        event.data = Some(Data::Json(data.clone().into()));
    }
    Notice(event)
}

impl Notice {
    fn at(mut self, cursor: &Cursor) -> Self {
        let cursor = Attribute::Text(cursor.to_string());
        self.0.extensions.insert("cursor".to_owned(), cursor);
        self
    }

    fn when(mut self, now: Time) -> Self {
        self.0.time = Some(now.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use protocol::GapReason;
    use uuid::Uuid;

    use super::super::parse;
    use super::*;

    #[test]
    fn every_notice_is_a_cloud_event_with_an_id_of_its_own() {
        let cursor = Cursor { instance: Uuid::nil(), seq: 7, ahead: vec![9, 12] };
        let now = Time::from_micros(1_000);
        let missing = |missed| Gap {
            from_seq: 1,
            to_seq: 6,
            missed,
            reason: GapReason::Slow,
            resume_from: Some(Cursor::after(Uuid::nil(), 0)),
        };
        let standing_now = Standing {
            cursor: cursor.clone(),
            oldest_seq: 1,
            head_seq: 12,
            replay: Some((8, 12)),
            gap: Some(missing(None)),
        };
        let fault = Fault::bad_request("no");
        let stamp = |id| Stamp { id: Uuid::from_u128(id), time: now };
        let event = CloudEvent::new("1".to_owned(), "/ci".to_owned(), "t".to_owned());
        let answer = json!({"event_id": Uuid::nil(), "seq": 8, "cursor": cursor});
        let texts = [
            standing(&standing_now, now, "h"),
            gap(&missing(None), &cursor, "h"),
            gap(&missing(Some(3)), &cursor, "h"),
            heartbeat(&cursor, now, "h"),
            accepted(&event, &answer, now, "h"),
            refused(None, &fault, stamp(1), "h"),
            refused(Some(&event), &fault, stamp(2), "h"),
            test("archive", now, "h"),
        ];
        let mut ids: Vec<String> = texts.iter().map(|text| parse(text).unwrap().id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), texts.len());
        for text in &texts[..4] {
            let read = parse(text).unwrap();
            assert_eq!(read.extensions["cursor"], Attribute::Text(cursor.to_string()));
            assert_eq!(read.source, "sysadmd://h/cloudevents");
        }
    }
}
