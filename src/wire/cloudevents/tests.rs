//! Events of any kind, in and out.

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::Json;
use serde_json::{Value, json};

use super::*;

const JSON: &[&str] =
    &[r#"{"a": 1.0 ,"message":"m"}"#, "null", "[]", r#""\u00e4 text""#, "-0.0", "false"];
const TIMES: &[&str] =
    &["2026-11-26T17:00:00Z", "2026-11-26T17:00:00.123456789+02:00", "1970-01-01T00:00:00Z"];
const KINDS: &[&str] =
    &["application/json", "text/xml; charset=utf-8", "image/png", "application/x+json"];

/// Texts that an attribute may hold.
fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| {
        let allowed: String = text.chars().filter(|c| envelope::is_allowed(*c)).collect();
        if allowed.is_empty() { "x".to_owned() } else { allowed }
    })
}

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        any::<bool>().prop_map(Attribute::Boolean),
        any::<i32>().prop_map(Attribute::Integer),
        text().prop_map(Attribute::Text),
        Just(Attribute::Text(String::new())),
    ]
}

fn data() -> impl Strategy<Value = Option<Data>> {
    prop_oneof![
        Just(None),
        proptest::sample::select(JSON)
            .prop_map(|text| Some(Data::Json(Json::parse(text.to_owned()).unwrap()))),
        text().prop_map(|text| Some(Data::Json(Json::from(Value::from(text))))),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Some(Data::Bytes(bytes))),
    ]
}

/// Any legal event.
pub(super) fn any_cloud_event() -> impl Strategy<Value = CloudEvent> {
    let optional = (
        proptest::option::of(text()),
        proptest::option::of(proptest::sample::select(TIMES)),
        proptest::option::of(proptest::sample::select(KINDS)),
        proptest::option::of("https://[a-z]{1,8}/[a-z#?]{0,8}"),
    );
    let name = "x[a-z0-9]{0,19}";
    let extensions = proptest::collection::btree_map(name, attribute(), 0..5);
    let source = "(//|/|urn:)[a-z0-9%/?#äö-]{1,20}";
    (text(), source, text(), optional, extensions, data()).prop_map(
        |(id, source, kind, (subject, time, datacontenttype, dataschema), extensions, data)| {
            CloudEvent {
                id,
                source,
                kind,
                subject,
                time: time.map(str::to_owned),
                datacontenttype: datacontenttype.map(str::to_owned),
                dataschema,
                extensions,
                data,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_written_the_same(event in any_cloud_event()) {
        let text = event.text();
        let read = parse(&text).unwrap();
        prop_assert_eq!(&read, &event);
        prop_assert_eq!(read.text(), text);
    }

    #[test]
    fn a_batch_is_its_events(events in proptest::collection::vec(any_cloud_event(), 0..5)) {
        let texts: Vec<String> = events.iter().map(CloudEvent::text).collect();
        prop_assert_eq!(parse_batch(&format!("[{}]", texts.join(" ,\n"))).unwrap(), events);
    }
}

fn least() -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"})
}

fn refusal(event: &Value) -> String {
    parse(&event.to_string()).unwrap_err().message
}

#[test]
fn every_attribute_that_is_missing_or_wrong_is_named() {
    assert!(parse(&least().to_string()).is_ok());
    for name in ["specversion", "id", "source", "type"] {
        let mut event = least();
        event.as_object_mut().unwrap().remove(name);
        assert!(refusal(&event).contains(name), "{name}");
        event[name] = Value::Null;
        assert!(refusal(&event).contains(name), "{name} null");
    }
    let long = "x".repeat(4097);
    let names =
        ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];
    for name in names {
        for bad in
            [json!(1), json!(true), json!([]), json!({}), json!(""), json!("a\u{7}b"), json!(long)]
        {
            let mut event = least();
            event[name] = bad.clone();
            assert!(refusal(&event).contains(name), "{name}: {bad}");
        }
    }
    for (name, bad) in [
        ("specversion", json!("0.3")),
        ("source", json!("a b")),
        ("dataschema", json!("<x>")),
        ("time", json!("2026-11-26")),
        ("x", json!(1.5)),
        ("x", json!(2_147_483_648_i64)),
        ("x", json!([1])),
        ("x", json!("\u{FFFF}")),
        ("data_base64", json!("?")),
        ("data_base64", json!(1)),
        ("Upper", json!("1")),
        ("with_line", json!("1")),
    ] {
        let mut event = least();
        event[name] = bad.clone();
        assert!(refusal(&event).contains(name), "{name}: {bad}");
    }
}

#[test]
fn what_is_no_event_is_refused() {
    for bad in ["", "null", "[]", "1", "{", "{}{}", "\u{feff}{}"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    let twice = r#"{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t"}"#;
    assert!(parse(twice).unwrap_err().message.contains("twice"));
    let mut both = least();
    both["data"] = json!(1);
    both["data_base64"] = json!("");
    assert!(refusal(&both).contains("not both"));
    let mut many = least();
    for number in 0..200 {
        many[format!("x{number}")] = json!(1);
    }
    assert!(parse(&many.to_string()).is_err());
}

#[test]
fn a_batch_names_the_element_at_fault() {
    assert_eq!(parse_batch(" [ ] ").unwrap(), []);
    let mut wrong = least();
    wrong["id"] = json!(7);
    let fault = parse_batch(&json!([least(), wrong, least()]).to_string()).unwrap_err();
    assert_eq!(fault.details, json!({"element": 1}));
    assert!(fault.message.contains("element 1") && fault.message.contains("\"id\""), "{fault}");
    for bad in ["", "{}", "[1]", "[{}", "[[]]", "null"] {
        assert!(parse_batch(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_absent_attribute_may_be_null_and_data_may_be_null() {
    let mut event = least();
    event["subject"] = Value::Null;
    event["x"] = Value::Null;
    event["data"] = Value::Null;
    let read = parse(&event.to_string()).unwrap();
    assert_eq!((read.subject, read.extensions), (None, BTreeMap::new()));
    assert_eq!(read.data, Some(Data::Json(Json::default())));
}
