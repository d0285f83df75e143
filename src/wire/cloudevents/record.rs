//! Recorded events as `CloudEvents` and back, without loss.
//!
//! | record | `CloudEvent` |
//! |---|---|
//! | `id`, `time` | `id`, `time` |
//! | `source` | `source`: `sysadmd://HOST/SOURCE` |
//! | `class` | `type` |
//! | `subject` | `subject`; absent when empty, in `data` when an attribute cannot hold it |
//! | `priority` | `sadpriority`, and `severitynumber` for those who do not know ours |
//! | `seq` | `sequence`, in 20 digits so that texts have the order of numbers |
//! | `message`, `data` | `data.message`, `data.data` |
//! | cursor | `cursor` |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use protocol::{Class, Cursor, Event, Fault, Json, Priority};
use serde::{Deserialize, Serialize};

use super::envelope::{Attribute, CloudEvent, Data, is_allowed};
use super::quote;

/// What RFC 3986 lets stand for itself in any part of a URI.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The scheme of our sources.
const SCHEME: &str = "sysadmd://";

/// The number OpenTelemetry and the severity extension of `CloudEvents` have for each priority.
const SEVERITIES: [u8; 11] = [9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22];

/// What `data` holds of a record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Carried {
    message: String,
    /// Only where the attribute cannot hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Json::is_null")]
    data: Json,
}

/// The severity number of a priority.
pub fn severity(priority: Priority) -> u8 {
    SEVERITIES[usize::from(priority.number())]
}

/// The priority that is nearest to a severity number from below; the least where there is none.
pub fn priority_of_severity(severity: i32) -> Priority {
    let below = SEVERITIES.iter().filter(|number| i32::from(**number) <= severity).count();
    Priority::clamped(u8::try_from(below.saturating_sub(1)).unwrap_or(u8::MAX))
}

/// The `source` of what this source says on this machine.
pub(super) fn source(host: &str, source: &str) -> String {
    let mut text = SCHEME.to_owned();
    // Writing into memory cannot fail.
    write!(text, "{}/", utf8_percent_encode(host, RESERVED)).ok();
    text.extend(utf8_percent_encode(source, RESERVED));
    text
}

/// The `CloudEvent` of a record; `cursor` is where to resume after it, `host` this machine's name.
pub fn of(event: &Event, cursor: &Cursor, host: &str) -> CloudEvent {
    let fits = event.subject.chars().all(is_allowed);
    let carried = Carried {
        message: event.message.clone(),
        subject: (!fits).then(|| event.subject.clone()),
        data: event.data.clone(),
    };
    let mut extensions = BTreeMap::new();
    let mut put = |name: &str, value| extensions.insert(name.to_owned(), value);
    put("cursor", Attribute::Text(cursor.to_string()));
    put("sadpriority", Attribute::Integer(event.priority.number().into()));
    put("severitynumber", Attribute::Integer(severity(event.priority).into()));
    if let Some(seq) = event.seq {
        put("sequence", Attribute::Text(format!("{seq:020}")));
    }
    CloudEvent {
        id: event.id.to_string(),
        source: source(host, &event.source),
        kind: event.class.as_str().to_owned(),
        subject: (fits && !event.subject.is_empty()).then(|| event.subject.clone()),
        time: Some(event.time.to_string()),
        datacontenttype: Some("application/json".to_owned()),
        dataschema: None,
        extensions,
        data: Some(Data::Json(Json::of(&carried).unwrap_or_default())),
    }
}

/// Appends the same as JSON. Written by hand because this is the path every delivery takes; a test
/// compares it with [`of`].
pub fn write(event: &Event, cursor: &Cursor, host: &str, out: &mut Vec<u8>) {
    let fits = event.subject.chars().all(is_allowed);
    plain(out, format_args!("{{\"specversion\":\"1.0\",\"id\":\"{}\"", event.id));
    let (host, source) =
        (utf8_percent_encode(host, RESERVED), utf8_percent_encode(&event.source, RESERVED));
    plain(out, format_args!(",\"source\":\"{SCHEME}{host}/{source}\""));
    plain(out, format_args!(",\"type\":\"{}\"", event.class));
    if fits && !event.subject.is_empty() {
        out.extend_from_slice(b",\"subject\":");
        quote(&event.subject, out);
    }
    plain(out, format_args!(",\"time\":\"{}\"", event.time));
    plain(out, format_args!(",\"datacontenttype\":\"application/json\",\"cursor\":\"{cursor}\""));
    plain(out, format_args!(",\"sadpriority\":{}", event.priority.number()));
    if let Some(seq) = event.seq {
        plain(out, format_args!(",\"sequence\":\"{seq:020}\""));
    }
    plain(out, format_args!(",\"severitynumber\":{}", severity(event.priority)));
    out.extend_from_slice(b",\"data\":{\"message\":");
    quote(&event.message, out);
    if !fits {
        out.extend_from_slice(b",\"subject\":");
        quote(&event.subject, out);
    }
    if !event.data.is_null() {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(event.data.text().as_bytes());
    }
    out.extend_from_slice(b"}}");
}

/// Appends text that needs no escaping.
fn plain(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into memory cannot fail.
    out.write_fmt(text).ok();
}

/// The record that a `CloudEvent` of ours was made of, its cursor and the machine it is from.
///
/// # Errors
/// `bad-request` when it is none of ours.
pub fn event_of(cloud: &CloudEvent) -> Result<(Event, Cursor, String), Fault> {
    let none = |what: &str| Fault::bad_request(format!("this is no event of sysadmd: {what}"));
    let (host, source) = cloud
        .source
        .strip_prefix(SCHEME)
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| none("its source"))?;
    let plain = |text| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
    let (host, source) = plain(host)
        .and_then(|host| plain(source).map(|source| (host, source)))
        .map_err(|_| none("its source"))?;
    let text = |name: &str| match cloud.extensions.get(name) {
        Some(Attribute::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let priority = match cloud.extensions.get("sadpriority") {
        Some(Attribute::Integer(number)) => {
            u8::try_from(*number).ok().and_then(Priority::new).ok_or_else(|| none("its priority"))
        }
        _ => Err(none("its priority")),
    }?;
    let seq = text("sequence").map(str::parse).transpose().map_err(|_| none("its sequence"))?;
    let Some(Data::Json(data)) = &cloud.data else { return Err(none("its data")) };
    let carried: Carried = data.read().map_err(|_| none("its data"))?;
    let time = cloud.time.as_deref().unwrap_or_default();
    let event = Event {
        seq,
        id: cloud.id.parse().map_err(|_| none("its id"))?,
        time: time.parse().map_err(|_| none("its time"))?,
        source,
        class: Class::parse(&cloud.kind).map_err(|_| none("its type"))?,
        subject: carried.subject.or_else(|| cloud.subject.clone()).unwrap_or_default(),
        priority,
        message: carried.message,
        data: carried.data,
    };
    let cursor = text("cursor").and_then(|cursor| cursor.parse().ok());
    Ok((event, cursor.ok_or_else(|| none("its cursor"))?, host))
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;
    use protocol::Time;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::super::parse;
    use super::*;

    /// Any JSON, small.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("JSON has no infinity", |n| n.is_finite())
                .prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(Value::from_iter),
            ]
        })
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let texts = (any::<String>(), any::<String>(), any::<String>());
        let numbers =
            (any::<Option<u64>>(), any::<u128>(), 0u64..253_402_300_800_000_000, 0u8..=10);
        let class = "[a-z][a-z0-9_-]{0,8}(\\.[a-z][a-z0-9_-]{0,8}){0,3}";
        (texts, numbers, class, any_json()).prop_map(
            |((source, subject, message), (seq, id, time, priority), class, data)| Event {
                seq,
                id: Uuid::from_u128(id),
                time: Time::from_micros(time),
                source,
                class: Class::parse(&class).unwrap(),
                subject,
                priority: Priority::clamped(priority),
                message,
                data: Json::from(data),
            },
        )
    }

    fn sample() -> Event {
        Event {
            seq: None,
            id: Uuid::nil(),
            time: Time::default(),
            source: "s".to_owned(),
            class: Class::parse("a.b").unwrap(),
            subject: String::new(),
            priority: Priority::MIN,
            message: String::new(),
            data: Json::default(),
        }
    }

    fn any_cursor() -> impl Strategy<Value = Cursor> {
        (any::<u128>(), 0u64..1_000, btree_set(1_001u64..9_999, 0..64)).prop_map(
            |(bits, seq, ahead)| Cursor {
                instance: Uuid::from_u128(bits),
                seq,
                ahead: ahead.into_iter().collect(),
            },
        )
    }

    fn written(event: &Event, cursor: &Cursor, host: &str) -> String {
        let mut out = Vec::new();
        write(event, cursor, host, &mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn a_record_is_the_same_after_the_journey(
            event in any_event(), cursor in any_cursor(), host in any::<String>(),
        ) {
            let text = written(&event, &cursor, &host);
            let read = parse(&text).unwrap();
            prop_assert_eq!(event_of(&read).unwrap(), (event, cursor, host));
            prop_assert_eq!(read.text(), text);
        }

        #[test]
        fn the_hand_written_event_is_what_serde_makes_of_it(
            event in any_event(), cursor in any_cursor(), host in "[a-z0-9.-]{1,20}",
        ) {
            let text = written(&event, &cursor, &host);
            prop_assert_eq!(of(&event, &cursor, &host).text(), text.as_str());
            let mut data = json!({"message": event.message});
            if !event.data.is_null() {
                data["data"] = event.data.read().unwrap();
            }
            let mut expected = json!({
                "specversion": "1.0", "id": event.id, "time": event.time, "type": event.class,
                "datacontenttype": "application/json", "cursor": cursor,
                "sadpriority": event.priority, "severitynumber": severity(event.priority),
            });
            let came: Value = serde_json::from_str(&text).unwrap();
            expected["source"] = came["source"].clone();
            if let Some(seq) = event.seq {
                expected["sequence"] = format!("{seq:020}").into();
            }
            if !event.subject.chars().all(is_allowed) {
                data["subject"] = event.subject.as_str().into();
            } else if !event.subject.is_empty() {
                expected["subject"] = event.subject.as_str().into();
            }
            expected["data"] = data;
            prop_assert_eq!(came, expected);
        }
    }

    #[test]
    fn a_severity_is_one_to_one_and_others_are_taken_for_the_nearest_below() {
        for number in 0..=10 {
            let priority = Priority::clamped(number);
            assert_eq!(priority_of_severity(severity(priority).into()), priority);
        }
        let read = |number| priority_of_severity(number).number();
        assert_eq!(
            [i32::MIN, 0, 1, 12, 16, 20, 24, i32::MAX].map(read),
            [0, 0, 0, 2, 5, 8, 10, 10]
        );
    }

    #[test]
    fn sequences_sort_as_texts() {
        let cursor = Cursor::after(Uuid::nil(), 1);
        let mut event = sample();
        let mut before = String::new();
        for seq in [0, 9, 10, 99, 100, u64::MAX] {
            event.seq = Some(seq);
            let Attribute::Text(sequence) = &of(&event, &cursor, "h").extensions["sequence"] else {
                panic!("no text")
            };
            assert!(*sequence > before);
            before.clone_from(sequence);
        }
    }
}
