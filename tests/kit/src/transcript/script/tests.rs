use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn script(lines: &str) -> Script {
    let mut conversation = Conversation::empty(Path::new("t/x-v1/a.jsonl"));
    for (index, line) in lines.lines().enumerate() {
        conversation.add(index + 1, line.trim()).unwrap();
    }
    Script::new(conversation)
}

fn open(script: &mut Script) -> (Websocket, mpsc::Receiver<Out>) {
    match script.opened("/", None) {
        Ok(Opened::Websocket(websocket, _, out)) => (websocket, out),
        other => panic!("{other:?}"),
    }
}

fn heard(out: &mut mpsc::Receiver<Out>) -> Value {
    match out.try_recv() {
        Ok(Out::Text(text)) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

const LOGIN: &str = r#"{"needs": {"tokens": {"VIEWER": {"role": "viewer"}}}}
    {"connect": "tls"}
    {"client": {"name": "auth_token", "id": "1", "args": {"token": "$VIEWER"}}}
    {"server": {"args": [{"=SESSION": "s"}, 900], "id": "1", "name": "response"}}
    {"elsewhere": {"namespace": "events", "name": "fire"}}
    {"server": {"id": "1", "name": "event", "namespace": "events"}}
    {"client": {"name": "auth_token", "id": "2", "args": {"token": "$SESSION"}}}
    {"closed": 4001}"#;

#[test]
fn a_client_that_keeps_to_it_is_answered_with_its_own_ids() {
    let mut script = script(LOGIN);
    let token = script.given()["VIEWER"].clone();
    for run in 1..=2 {
        let (on, mut out) = open(&mut script);
        let login = json!({"id": 77, "args": {"token": token}, "name": "auth_token"});
        script.said(&on, &login.to_string()).unwrap();
        assert_eq!(heard(&mut out), json!({"args": ["s", 900], "id": 77, "name": "response"}));
        assert_eq!(heard(&mut out)["id"], "1", "the id of a subscription is not the client's");
        assert!(script.unfinished().unwrap().starts_with("t/x-v1/a.jsonl:7: the message"));
        script.said(&on, r#"{"id":78,"args":{"token":"s"},"name":"auth_token"}"#).unwrap();
        assert_eq!(out.try_recv().unwrap(), Out::Close(4001));
        script.closed(&on, 1000).unwrap();
        assert_eq!((script.had(), script.unfinished()), (run, None));
    }
}

#[test]
fn a_departure_names_file_line_and_path() {
    let cases = [
        (
            r#"{"name":"auth_token","id":1,"args":{"token":"x"}}"#,
            ":3: /args/token: expected \"sad_",
        ),
        (r#"{"name":"auth_token","id":1,"args":{"tokn":"x"}}"#, ":3: /args/token is missing"),
        (r#"{"name":"auth","id":1,"args":{"token":"x"}}"#, ":3: /args/token"),
        ("hello", ":3: /: expected {"),
    ];
    for (text, at) in cases {
        let mut script = script(LOGIN);
        let (on, _out) = open(&mut script);
        let Departure(departure) = script.said(&on, text).unwrap_err();
        assert!(departure.starts_with(&format!("t/x-v1/a.jsonl{at}")), "{departure}");
        assert_eq!(script.departures().len(), 1);
    }
    let mut script = script(LOGIN);
    let asked = Asked { method: "GET".into(), path: "/x".into(), ..Asked::default() };
    let Departure(departure) = script.asked(&asked).unwrap_err();
    assert_eq!(departure, "t/x-v1/a.jsonl:2: a websocket at / comes next, not GET /x");
    let (on, _out) = open(&mut script);
    assert!(script.closed(&on, 1000).unwrap_err().0.ends_with("but the client has gone"));
}

#[test]
fn what_may_come_in_any_order_may() {
    let lines = r#"{"connect": "unix"}
        {"client-in-any-order": [{"id": 1, "a": 1}, {"id": 2, "a": 2}]}
        {"server-in-any-order": [{"id": 1}, {"id": 2}]}"#;
    let mut any = script(lines);
    let (on, mut out) = open(&mut any);
    any.said(&on, r#"{"id":"x","a":2}"#).unwrap();
    assert!(out.try_recv().is_err());
    any.said(&on, r#"{"id":"y","a":1}"#).unwrap();
    assert_eq!([heard(&mut out), heard(&mut out)], [json!({"id": "y"}), json!({"id": "x"})]);
    let mut once = script(lines);
    let (on, _out) = open(&mut once);
    once.said(&on, r#"{"id":"x","a":2}"#).unwrap();
    assert!(once.said(&on, r#"{"id":"x","a":2}"#).is_err(), "each once");
}

#[test]
fn the_late_end_of_a_replaced_websocket_is_nobodys() {
    let mut script = script(
        r#"{"connect": "tls"}
           {"connect": "tls"}
           {"client": {"id": 1}}"#,
    );
    let (old, _out) = open(&mut script);
    let (new, _out) = open(&mut script);
    script.closed(&old, 1006).unwrap();
    script.said(&new, r#"{"id":1}"#).unwrap();
    assert_eq!(script.had(), 1);
}

#[test]
fn a_request_waits_for_its_answer() {
    let mut script = script(
        r#"{"request": {"method": "GET", "path": "/v1/event/list?name=a b&index=5"}, "on": "w"}
           {"request": {"method": "PUT", "path": "/v1/event/fire/a", "headers": {"x-consul-token": "$TOKEN"}, "text": "x"}}
           {"response": {"status": 200, "json": {"ID": {"=ID": "7"}}}}
           {"response": {"status": 200, "headers": {"x-consul-index": {"*": "9"}, "x": null}, "json": [{"ID": "$ID"}]}, "on": "w"}"#,
    );
    let list = "/v1/event/list?index=5&name=a%20b".to_owned();
    let list = Asked { method: "GET".into(), path: list, ..Asked::default() };
    let mut waiting = script.asked(&list).unwrap();
    let mut fire = Asked { method: "PUT".into(), path: "/v1/event/fire/a".into(), ..list };
    fire.headers = vec![("X-Consul-Token".into(), script.given()["TOKEN"].clone())];
    assert!(waiting.try_recv().is_err());
    fire.body = b"x".to_vec();
    let mut fired = script.asked(&fire).unwrap();
    assert_eq!(fired.try_recv().unwrap().body, br#"{"ID":"7"}"#);
    let answer = waiting.try_recv().unwrap();
    assert_eq!(answer.body, br#"[{"ID":"7"}]"#);
    assert_eq!(answer.headers, BTreeMap::from([("x-consul-index".into(), "9".into())]));
    assert_eq!(script.had(), 1);
}

#[test]
fn a_body_that_is_a_text_in_json_is_no_text() {
    let lines = r#"{"request": {"method": "POST", "path": "/kit/echo", "json": "text"}}
        {"response": {"status": 200}}"#;
    let asked = |body: &[u8]| {
        let (method, path) = ("POST".to_owned(), "/kit/echo".to_owned());
        Asked { method, path, body: body.to_vec(), ..Asked::default() }
    };
    script(lines).asked(&asked(br#""text""#)).unwrap();
    let Departure(departure) = script(lines).asked(&asked(b"text")).unwrap_err();
    assert!(departure.starts_with("t/x-v1/a.jsonl:1: /json: expected"), "{departure}");
}
