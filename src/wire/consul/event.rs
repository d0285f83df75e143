//! An event as Consul's clients see it.

use protocol::Event;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::dispatch::consul::UserEvent;

/// One event, its members in Consul's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ConsulEvent {
    /// Names it; its two halves XOR to the index of a list that ends with it.
    #[serde(rename = "ID")]
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// In base64.
    pub payload: Option<String>,
    /// For which nodes.
    pub node_filter: String,
    /// For nodes with which services.
    pub service_filter: String,
    /// With which tags.
    pub tag_filter: String,
    /// Of the format.
    pub version: u64,
    /// Its place among all events; 0 in the answer to whoever fires it.
    #[serde(rename = "LTime")]
    pub l_time: u64,
}

impl ConsulEvent {
    /// An event with its id and place.
    pub fn new(id: Uuid, event: UserEvent, l_time: u64) -> Self {
        let UserEvent { name, payload, node, service, tag, version } = event;
        Self {
            id,
            name,
            payload,
            node_filter: node,
            service_filter: service,
            tag_filter: tag,
            version,
            l_time,
        }
    }

    /// The event of a record; `None` when the record is none of Consul's.
    pub fn of(record: &Event) -> Option<Self> {
        let event = UserEvent::of(record)?;
        Some(Self::new(record.id, event, record.seq.unwrap_or_default()))
    }

    /// What is recorded of it.
    pub fn event(self) -> UserEvent {
        UserEvent {
            name: self.name,
            payload: self.payload,
            node: self.node_filter,
            service: self.service_filter,
            tag: self.tag_filter,
            version: self.version,
        }
    }
}

/// The JSON of a value, with the characters escaped that Go escapes for the sake of HTML.
pub fn object<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut escaped = Vec::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Outside of strings none of these occurs.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => escaped.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    escaped
}

/// The JSON array of these texts.
pub fn array<'a, I>(parts: I) -> Vec<u8>
where
    I: ExactSizeIterator<Item = &'a [u8]> + Clone,
{
    let length: usize = parts.clone().map(|part| part.len() + 1).sum();
    let mut joined = Vec::with_capacity(length + 2);
    joined.push(b'[');
    for (at, part) in parts.enumerate() {
        if at > 0 {
            joined.push(b',');
        }
        joined.extend_from_slice(part);
    }
    joined.push(b']');
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::{Class, Json, Priority, Time};

    use super::*;
    use crate::clock::id_of;

    fn record(event: &ConsulEvent) -> Event {
        Event {
            seq: Some(event.l_time),
            id: event.id,
            time: Time::default(),
            source: "client".to_owned(),
            class: Class::parse("consul.event").unwrap(),
            subject: format!("/consul/{}", event.name),
            priority: Priority::default(),
            message: String::new(),
            data: Json::of(&event.clone().event()).unwrap(),
        }
    }

    #[test]
    fn it_looks_as_consul_writes_it() {
        let event = ConsulEvent {
            id: id_of(1_000, 7),
            name: "a<b>&\u{2028}".to_owned(),
            payload: None,
            node_filter: String::new(),
            service_filter: "x".to_owned(),
            tag_filter: String::new(),
            version: 1,
            l_time: 3,
        };
        let expected = format!(
            r#"{{"ID":"{}","Name":"a\u003cb\u003e\u0026\u2028","Payload":null,"NodeFilter":"","ServiceFilter":"x","TagFilter":"","Version":1,"LTime":3}}"#,
            event.id
        );
        assert_eq!(String::from_utf8(object(&event)).unwrap(), expected);
        let parts = [&b"1"[..], b"2"];
        assert_eq!(array(parts.into_iter()), b"[1,2]");
        assert_eq!(array([].into_iter()), b"[]");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_on_the_way_there_and_back(
            name in "\\PC{1,40}", payload in proptest::option::of("([A-Za-z0-9+/]{4}){1,8}"),
            filters in ["\\PC{0,20}", "\\PC{0,20}", "\\PC{0,20}"],
            micros in 1u64..(1 << 53), random in any::<u64>(), l_time in 1u64..(1 << 60),
        ) {
            let [node_filter, service_filter, tag_filter] = filters;
            let event = ConsulEvent {
                id: id_of(micros, random), name, payload, node_filter, service_filter, tag_filter,
                version: 1, l_time,
            };
            let wire = object(&event);
            let parsed: ConsulEvent = serde_json::from_slice(&wire).unwrap();
            let again = ConsulEvent::of(&record(&parsed)).unwrap();
            prop_assert_eq!(object(&again), wire);
            prop_assert_eq!(again, event);
        }
    }
}
