use jsonrpsee_core::middleware::BatchEntry;
use jsonrpsee_types::{ErrorObjectOwned, Response, ResponsePayload, SubscriptionResponse};
use proptest::prelude::*;
use protocol::{Class, Cursor, Event, Fault, FaultKind, Gap, GapReason, Json, Priority, Time};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const KINDS: [FaultKind; 12] = [
    FaultKind::BadRequest,
    FaultKind::Unauthorized,
    FaultKind::Forbidden,
    FaultKind::NotFound,
    FaultKind::Conflict,
    FaultKind::TooLarge,
    FaultKind::TooMany,
    FaultKind::Cancelled,
    FaultKind::Failed,
    FaultKind::Unavailable,
    FaultKind::Timeout,
    FaultKind::Internal,
];

/// Any JSON of a few levels. Numbers are whole: others print in more than one way.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_id() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Quarters are the same however often they are read and printed.
        any::<i32>().prop_map(|it| Value::from(f64::from(it) / 4.0)),
        ".*".prop_map(Value::from),
    ]
}

/// What was read, as it would be sent.
fn rendered(entry: &BatchEntry<'_>) -> Value {
    let (method, params, id) = match entry {
        BatchEntry::Call(it) => (&it.method, &it.params, Some(id(it))),
        BatchEntry::Notification(it) => (&it.method, &it.params, None),
    };
    let mut message = json!({"jsonrpc": "2.0", "method": method});
    if let Some(id) = id {
        message["id"] = serde_json::from_str(&id).unwrap();
    }
    if let Some(params) = params {
        message["params"] = serde_json::from_str(params.get()).unwrap();
    }
    message
}

fn payload(frame: &[u8]) -> &[u8] {
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    &frame[header..]
}

/// The fault an error object was made of.
fn fault_of(error: &ErrorObjectOwned) -> Fault {
    let mut fault: Value = serde_json::from_str(error.data().unwrap().get()).unwrap();
    fault["message"] = error.message().into();
    serde_json::from_value(fault).unwrap()
}

fn event(message: String, subject: String, data: &Value) -> Event {
    Event {
        seq: Some(12),
        id: Uuid::nil(),
        time: Time::from_micros(0),
        source: "snapshot".to_owned(),
        class: Class::parse("snapshot.created").unwrap(),
        subject,
        priority: Priority::clamped(7),
        message,
        data: Json::from(data.clone()),
    }
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_sent(
        id in prop::option::of(any_id()),
        method in ".*",
        params in prop::option::of(any_json().prop_filter("null is none", |it| !it.is_null())),
    ) {
        let mut sent = json!({"jsonrpc": "2.0", "method": method});
        if let Some(id) = &id {
            sent["id"] = id.clone();
        }
        if let Some(params) = &params {
            sent["params"] = params.clone();
        }
        let text = sent.to_string();
        let entry = one(&text).unwrap();
        prop_assert_eq!(matches!(entry, BatchEntry::Notification(_)), id.is_none());
        prop_assert_eq!(rendered(&entry), sent.clone());
        prop_assert_eq!(rendered(&owned(entry)), sent.clone());
        let batch = format!(" [{text},{text}]\n");
        let Heard::Batch(batch) = read(&batch, 2) else { panic!("no batch") };
        for entry in batch {
            prop_assert_eq!(rendered(&entry.unwrap()), sent.clone());
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_said(id in any_id(), value in any_json()) {
        let id = id.to_string();
        let said = result(&id, &Json::from(value.clone()));
        let read: Value = serde_json::from_slice(&said).unwrap();
        let id: Value = serde_json::from_str(&id).unwrap();
        prop_assert_eq!(&read, &json!({"jsonrpc": "2.0", "id": id, "result": value}));
        if id.is_string() || id.is_u64() {
            let text = std::str::from_utf8(&said).unwrap();
            let response: Response<'_, Value> = serde_json::from_str(text).unwrap();
            let ResponsePayload::Success(read) = response.payload else { panic!("{text}") };
            prop_assert_eq!(read.into_owned(), value);
        }
    }

    #[test]
    fn a_fault_is_read_as_it_was_said(
        kind in prop::sample::select(KINDS.to_vec()),
        message in ".*",
        hint in prop::option::of(".*"),
        retry_after_ms in prop::option::of(any::<u64>()),
        details in any_json(),
    ) {
        let fault = Fault { kind, message, hint, retry_after_ms, details };
        let said = error("7", &error_of(code(kind, false), &fault));
        let read: Value = serde_json::from_slice(&said).unwrap();
        let object: ErrorObjectOwned = serde_json::from_value(read["error"].clone()).unwrap();
        prop_assert_eq!(fault_of(&object), fault);
        prop_assert!(fault_codes(kind).contains(&object.code()));
    }

    #[test]
    fn the_hand_written_event_is_what_a_client_of_jsonrpsee_reads(
        message in ".*", subject in ".*", sub in ".{1,64}", data in any_json(),
    ) {
        let event = event(message, subject, &data);
        let cursor = Cursor { instance: Uuid::nil(), seq: 12, ahead: vec![14] };
        let mut frame = Vec::new();
        (EVENT.event)(&event, &cursor, &sub, &mut frame);
        let text = std::str::from_utf8(payload(&frame)).unwrap();
        let read: SubscriptionResponse<'_, Value> = serde_json::from_str(text).unwrap();
        prop_assert_eq!(&*read.method, "events.subscription");
        prop_assert_eq!(serde_json::to_value(&read.params.subscription).unwrap(), sub);
        let mut expected = json!({
            "type": "event", "class": "snapshot.created", "cursor": cursor, "event_id": event.id,
            "message": event.message, "priority": "7 - Critical", "priority_num": 7, "seq": 12,
            "source": "snapshot", "subject": event.subject, "time": event.time,
        });
        if !data.is_null() {
            expected["data"] = data;
        }
        prop_assert_eq!(read.params.result, expected);
    }

    #[test]
    fn whatever_comes_is_read_or_refused(text in ".*", most in 0usize..3) {
        if let Heard::One(Err(refused)) = read(&text, most) {
            let said: Value = serde_json::from_slice(&wrong(refused)).unwrap();
            prop_assert!(said["error"]["code"].is_i64());
        }
    }
}

#[test]
fn every_code_is_in_the_range_the_specification_has_for_it_and_names_one_kind() {
    let mut seen = std::collections::BTreeMap::new();
    for kind in KINDS {
        for number in fault_codes(kind) {
            assert_eq!(seen.insert(number, kind), None, "{number} is {kind:?} and another");
            assert!((-32_768..=-32_000).contains(&number), "{number}");
        }
        let usual = code(kind, false);
        if (-32_099..=-32_001).contains(&usual) {
            let digits = i32::from(kind.status()) % 100 + if kind.status() >= 500 { 50 } else { 0 };
            assert_eq!(-32_000 - usual, digits, "{kind:?}");
        }
    }
    assert_eq!(code(FaultKind::NotFound, true), -32_601);
}

#[test]
fn a_gap_a_heartbeat_and_an_end_say_which_subscription_they_are_of() {
    let cursor = Cursor::after(Uuid::nil(), 12);
    let gap =
        Gap { from_seq: 1, to_seq: 9, missed: Some(3), reason: GapReason::Slow, resume_from: None };
    let mut frame = Vec::new();
    (EVENT.gap)(&gap, &cursor, "s", &mut frame);
    let read: Value = serde_json::from_slice(payload(&frame)).unwrap();
    assert_eq!(read["params"]["subscription"], "s");
    let result = &read["params"]["result"];
    assert_eq!((&result["type"], &result["cursor"]), (&json!("gap"), &json!(cursor)));
    assert_eq!(serde_json::from_value::<Gap>(result.clone()).unwrap(), gap);
    let beat: Value =
        serde_json::from_slice(payload(&heartbeat("s", &cursor, Time::from_micros(0)))).unwrap();
    assert_eq!(beat["params"]["result"]["type"], "heartbeat");
    let why = error_of(-32_001, &Fault::new(FaultKind::Unauthorized, "over"));
    let end: Value = serde_json::from_slice(payload(&ended("s", &why))).unwrap();
    assert_eq!(
        (&end["params"]["subscription"], &end["params"]["error"]["code"]),
        (&json!("s"), &json!(-32_001))
    );
}

#[test]
fn of_a_batch_that_is_too_long_nothing_is_kept() {
    let long = format!("[{}]", vec!["1"; 10_000].join(","));
    let Heard::One(Err(refused)) = read(&long, 1_000) else { panic!("it was taken") };
    let said: Value = serde_json::from_slice(&wrong(refused)).unwrap();
    assert_eq!(said["error"]["code"], -32_013);
    assert!(said["error"]["message"].as_str().unwrap().contains("10000"), "{said}");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(read(&deep, 10), Heard::Batch(batch) if batch.len() == 1));
}
