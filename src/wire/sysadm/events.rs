//! Events in the `SysAdm` protocol: the three classic classes, and what opted-in clients get.

use protocol::{Cursor, Event, Fault, Gap, Json, Time};
use serde_json::{Map, Value, json};

use super::super::pieces::{self, quote};
use super::super::subscription::{self, Asked};
use super::frame;
use crate::bus::{Standing, Wording};
use crate::dispatch::classic;
use crate::dispatch::talk::{Replay, Subscribed};

/// One of the classic classes.
#[derive(Debug, Clone, Copy)]
pub struct Classic {
    /// What clients call it.
    pub name: &'static str,
    /// The event classes behind it.
    pub patterns: &'static [&'static str],
    /// How its events are worded.
    pub wording: &'static Wording,
}

/// The three classes of the original server.
pub static CLASSIC: [Classic; 3] = [
    Classic { name: "life-preserver", patterns: classic::LIFE_PRESERVER, wording: &LIFE_PRESERVER },
    Classic { name: "dispatcher", patterns: classic::DISPATCHER, wording: &DISPATCHER },
    Classic { name: "system-state", patterns: &["system.state"], wording: &SYSTEM_STATE },
];

/// The classic class of this name, also in the spelling of the original's documentation.
pub fn classic_class(name: &str) -> Option<&'static Classic> {
    CLASSIC.iter().find(|class| class.name == name || class.name.replace('-', "_") == name)
}

static LIFE_PRESERVER: Wording = Wording {
    name: "sysadm/life-preserver",
    event: |event, _, _, frames| {
        let mut args = additions(event);
        args.extend(classic::life_preserver(event));
        notice("life-preserver", "", &args.into(), frames);
    },
    gap: no_gap,
};

static DISPATCHER: Wording = Wording {
    name: "sysadm/dispatcher",
    event: |event, _, _, frames| {
        let mut args = additions(event);
        args.extend(classic::dispatcher(event));
        notice("dispatcher", "", &args.into(), frames);
    },
    gap: no_gap,
};

static SYSTEM_STATE: Wording = Wording {
    name: "sysadm/system-state",
    event: |event, _, _, frames| {
        let mut args = additions(event);
        args.extend(members(event));
        args.insert("priority".to_owned(), event.priority.to_string().into());
        notice("system-state", "", &args.into(), frames);
    },
    gap: no_gap,
};

/// What classic clients ignore and newer ones may use.
fn additions(event: &Event) -> Map<String, Value> {
    let mut args = Map::new();
    args.insert("event_id".to_owned(), event.id.to_string().into());
    args.insert("time".to_owned(), event.time.to_string().into());
    if let Some(seq) = event.seq {
        args.insert("seq".to_owned(), seq.into());
    }
    args
}

fn members(event: &Event) -> Map<String, Value> {
    event.data.read().unwrap_or_default()
}

/// Classic clients know no gaps. They have none either: their subscriptions are lossless.
fn no_gap(_: &Gap, _: &Cursor, _: &str, _: &mut Vec<u8>) {}

/// Messages of subscriptions that opted in; the tag is the client's name for the subscription.
pub static OPTED_IN: Wording =
    Wording { name: "sysadm/event", event: opted_in_event, gap: opted_in_gap };

fn opted_in_event(event: &Event, cursor: &Cursor, sub: &str, frames: &mut Vec<u8>) {
    frame::text(frames, |out| {
        out.extend_from_slice(b"{\"args\":{");
        pieces::event_members(event, cursor, out);
        out.extend_from_slice(b"},\"id\":");
        quote(sub, out);
        out.extend_from_slice(b",\"name\":\"event\",\"namespace\":\"events\"}");
    });
}

fn opted_in_gap(gap: &Gap, cursor: &Cursor, sub: &str, frames: &mut Vec<u8>) {
    let mut args = serde_json::to_value(gap).unwrap_or_default();
    args["cursor"] = cursor.to_string().into();
    notice("gap", sub, &args, frames);
}

/// The frame that says a subscription lives, and how far it is.
pub fn heartbeat(sub: &str, cursor: &Cursor, now: Time) -> Vec<u8> {
    let mut frames = Vec::new();
    notice("heartbeat", sub, &json!({"cursor": cursor, "time": now}), &mut frames);
    frames
}

fn notice(name: &str, id: &str, args: &Value, frames: &mut Vec<u8>) {
    frame::text(frames, |out| {
        let message = json!({"args": args, "id": id, "name": name, "namespace": "events"});
        out.extend_from_slice(message.to_string().as_bytes());
    });
}

/// The arguments of the answer to a subscription that opted in.
pub fn standing(sub: &str, standing: &Standing) -> Json {
    let Standing { cursor, oldest_seq, head_seq, replay, gap } = standing.clone();
    let replay = replay.map(|(from_seq, to_seq)| Replay { from_seq, to_seq });
    let (sub, subscribe) = (sub.to_owned(), sub.to_owned());
    let told = Subscribed { sub, subscribe, cursor, oldest_seq, head_seq, replay, gap };
    // Every part has a JSON form, so `null` is never reached.
    Json::from(serde_json::to_value(told).unwrap_or_default())
}

/// What `events/subscribe` and `events/unsubscribe` ask for.
#[derive(Debug)]
pub enum Wanted {
    /// Classic classes, unknown ones left out.
    Classic(Vec<&'static Classic>),
    /// One subscription of a client that opted in, by the name it gave it.
    OptedIn(String, Asked),
}

/// Reads the arguments of `events/subscribe` and `events/unsubscribe`.
///
/// # Errors
/// `bad-request` with the member at fault.
pub fn subscription(args: &Value) -> Result<Wanted, Fault> {
    match args {
        Value::String(class) => Ok(Wanted::Classic(classic_class(class).into_iter().collect())),
        Value::Array(classes) if !classes.is_empty() => {
            let mut known: Vec<&'static Classic> = Vec::new();
            for class in classes.iter().filter_map(Value::as_str).filter_map(classic_class) {
                if known.iter().all(|other| other.name != class.name) {
                    known.push(class);
                }
            }
            Ok(Wanted::Classic(known))
        }
        Value::Object(members) if members.contains_key("sub") => {
            let mut asked = subscription::read(args)?;
            let sub = asked
                .sub
                .take()
                .ok_or_else(|| Fault::bad_request("\"sub\" must have 1 to 64 characters"))?;
            Ok(Wanted::OptedIn(sub, asked))
        }
        _ => Err(Fault::bad_request(
            "expected a class, an array of classes, or an object with a member \"sub\"",
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::{Class, Priority};
    use uuid::Uuid;

    use super::*;

    fn payload(frames: &[u8]) -> Value {
        let header = match frames[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        serde_json::from_slice(&frames[header..]).unwrap()
    }

    fn event(class: &str, priority: u8, data: &Value) -> Event {
        Event {
            seq: Some(12),
            id: Uuid::nil(),
            time: Time::from_micros(0),
            source: "snapshot".to_owned(),
            class: Class::parse(class).unwrap(),
            subject: "/datasets/a".to_owned(),
            priority: Priority::clamped(priority),
            message: "Fri Nov 21 22:20:00 UTC 2026: New snapshot of tank/Data".to_owned(),
            data: Json::from(data.clone()),
        }
    }

    fn worded(class: &str, event: &Event) -> Value {
        let mut frames = Vec::new();
        let cursor = Cursor::after(Uuid::nil(), 12);
        (classic_class(class).unwrap().wording.event)(event, &cursor, "", &mut frames);
        payload(&frames)
    }

    #[test]
    fn life_preserver_messages_are_the_original_ones() {
        let message = worded("life_preserver", &event("replication.failed", 7, &Value::Null));
        assert_eq!(message["id"], "");
        assert_eq!(message["name"], "life-preserver");
        assert_eq!(message["namespace"], "events");
        assert_eq!(message["args"]["class"], "replication");
        assert_eq!(message["args"]["priority"], "7 - Critical");
        let text = "Fri Nov 21 22:20:00 UTC 2026: New snapshot of tank/Data";
        assert_eq!(message["args"]["message"], text);
    }

    #[test]
    fn dispatcher_and_system_state_carry_their_data_as_arguments() {
        let data = json!({"process_id": "p", "state": "running"});
        let message = worded("dispatcher", &event("job.state", 0, &data));
        assert_eq!(message["args"]["process_id"], "p");
        assert_eq!(message["args"]["state"], "running");
        let data = json!({"hostname": "h", "zpools": {}});
        let message = worded("system-state", &event("system.state", 9, &data));
        assert_eq!(message["args"]["hostname"], "h");
        assert_eq!(message["args"]["priority"], "9 - Urgent");
    }

    #[test]
    fn the_end_of_a_process_is_told_as_the_original_tells_it() {
        let command = |text, output, code| json!({"text": text, "output": output, "code": code});
        let data = json!({
            "process_id": "p", "job_id": "j", "state": "finished",
            "time_started": "s", "time_finished": "f",
            "commands": [
                command("/bin/echo a", "a\n", "0"), command("/bin/echo a", "a\n", "0"),
                command("state", "!", "3"), json!({"text": "/bin/never"}),
            ],
        });
        let args = worded("dispatcher", &event("job.process", 0, &data))["args"].clone();
        for (member, value) in [
            ("cmd_list", json!(["/bin/echo a", "/bin/echo a", "state", "/bin/never"])),
            ("process_id", json!("p")),
            ("state", json!("finished")),
            ("time_started", json!("s")),
            ("time_finished", json!("f")),
            ("/bin/echo a", json!("a\na\n")),
            ("return_codes//bin/echo a", json!("0")),
            ("return_codes/state", json!("3")),
        ] {
            assert_eq!(args[member], value, "{member}");
        }
        assert_eq!(args["/bin/never"], Value::Null);
    }

    #[test]
    fn subscriptions_are_read_as_clients_send_them() {
        let classic = |value: Value| -> Vec<&str> {
            match subscription(&value) {
                Ok(Wanted::Classic(classes)) => classes.iter().map(|class| class.name).collect(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(classic(json!("life-preserver")), ["life-preserver"]);
        let some = json!(["dispatcher", "x", "dispatcher", "system_state"]);
        assert_eq!(classic(some), ["dispatcher", "system-state"]);
        assert!(classic(json!("nothing")).is_empty());
        let bad = [json!([]), json!(7), json!(null), json!({}), json!({"sub": ""})];
        for bad in bad.into_iter().chain([json!({"sub": "a", "x": 1})]) {
            assert!(subscription(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_hand_written_event_is_the_json_it_should_be(
            message in ".*", subject in ".*", sub in ".{1,64}", number in any::<i64>(),
        ) {
            let mut event = event("snapshot.created", 7, &json!({"n": number}));
            event.message.clone_from(&message);
            event.subject.clone_from(&subject);
            let cursor = Cursor { instance: Uuid::nil(), seq: 12, ahead: vec![14] };
            let mut frames = Vec::new();
            opted_in_event(&event, &cursor, &sub, &mut frames);
            let expected = json!({
                "args": {
                    "class": "snapshot.created", "cursor": cursor, "data": {"n": number},
                    "event_id": event.id, "message": message, "priority": "7 - Critical",
                    "priority_num": 7, "seq": 12, "source": "snapshot", "subject": subject,
                    "time": event.time,
                },
                "id": sub, "name": "event", "namespace": "events",
            });
            let said = payload(&frames);
            prop_assert_eq!(&said, &expected);
            // And nothing of the record is lost on the way.
            let args = &said["args"];
            let text = |name: &str| args[name].as_str().unwrap();
            let again = Event {
                seq: args["seq"].as_u64(),
                id: text("event_id").parse().unwrap(),
                time: text("time").parse().unwrap(),
                source: text("source").to_owned(),
                class: Class::parse(text("class")).unwrap(),
                subject: text("subject").to_owned(),
                priority: serde_json::from_value(args["priority_num"].clone()).unwrap(),
                message: text("message").to_owned(),
                data: Json::from(args["data"].clone()),
            };
            prop_assert_eq!(again, event);
        }
    }
}
