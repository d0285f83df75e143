//! What people and programs read.

use proptest::prelude::*;
use protocol::{Class, Cursor, Gap, GapReason, Json, Time};
use uuid::Uuid;

use super::*;
use crate::config::Sink;

fn told(message: &str, advice: &str, is_over: bool) -> Event {
    let state = if is_over { "closed" } else { "open" };
    let class = if is_over { "alert.cleared" } else { "alert.raised" };
    let at = Time::from_micros(1_764_000_000_000_000);
    let mut alert = json!({
        "id": 3, "source": "system", "kind": "system.disk-full", "subject": "/disks/root",
        "state": state, "priority": 7, "message": message, "advice": advice, "count": 2,
        "flips": 0, "first_seen": at, "last_seen": at, "since": at, "told": true,
    });
    if is_over {
        alert["closed"] = json!(at);
    }
    Event {
        seq: Some(12),
        id: Uuid::from_u128(5),
        time: at,
        source: "sysadmd".to_owned(),
        class: Class::parse(class).unwrap(),
        subject: "/alerts/3".to_owned(),
        priority: Priority::clamped(7),
        message: message.to_owned(),
        data: Json::from(json!({"alert": alert, "verb": "raised", "notify": true})),
    }
}

fn worded(settings: &str, news: News<'_>) -> String {
    let settings: Sink = toml::from_str(settings).unwrap();
    let cursor = Cursor::after(Uuid::nil(), 12);
    let route = Route { name: "out", settings: &settings, cursor: &cursor, host: "nas.example" };
    String::from_utf8(text(&news, &route).unwrap()).unwrap()
}

const MAIL: &str = "kind = \"mail\"\nto = [\"root\", \"a@b.example\"]\nsender = \"s@b.example\"";
const NTFY: &str = "kind = \"ntfy\"\nurl = \"https://h/base/topic\"";

/// The body of a message, decoded.
fn body(message: &str) -> String {
    use base64::Engine as _;
    let (_, body) = message.split_once("\n\n").unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(body.replace('\n', ""));
    String::from_utf8(bytes.unwrap()).unwrap()
}

#[test]
fn mail_has_what_a_mail_system_and_a_reader_need() {
    let event = told("The disk is full", "Remove something", false);
    let message = worded(MAIL, News::Event(&event));
    for line in [
        "From: sysadmd <s@b.example>",
        "To: root, a@b.example",
        "Subject: [nas.example] 7 - Critical: The disk is full",
        "Date: Mon, 24 Nov 2025 16:00:00 +0000",
        "Message-ID: <00000000-0000-0000-0000-000000000005@nas.example>",
        "References: <alert-3-1764000000000000@nas.example>",
        "Importance: high",
        "Auto-Submitted: auto-generated",
    ] {
        assert!(message.lines().any(|it| it == line), "{line}: {message}");
    }
    let body = body(&message);
    assert!(body.starts_with("The disk is full\n\nWhat to do  Remove something\n"), "{body}");
    assert!(body.contains("sysadmctl alerts show 3"), "{body}");
    let over = told("Over: The disk is full", "Remove something", true);
    let message = worded(MAIL, News::Event(&over));
    assert!(message.contains("\nSubject: [nas.example] Over: The disk is full\n"), "{message}");
    assert!(message.contains("\nImportance: normal\n") && !body.contains("Over  "), "{message}");
}

#[test]
fn ntfy_gets_title_urgency_and_tags() {
    let event = told("The disk is full", "Remove something", false);
    let said: Value = serde_json::from_str(&worded(NTFY, News::Event(&event))).unwrap();
    assert_eq!(said["topic"], "topic");
    assert_eq!(said["title"], "nas.example: 7 - Critical: The disk is full");
    assert_eq!(said["priority"], 4);
    assert_eq!(said["tags"], json!(["rotating_light", "system.disk-full"]));
    let over = told("Over: The disk is full", "", true);
    let said: Value = serde_json::from_str(&worded(NTFY, News::Event(&over))).unwrap();
    assert_eq!((&said["priority"], &said["tags"][0]), (&json!(3), &json!("white_check_mark")));
}

#[test]
fn programs_get_the_whole_alert() {
    let event = told("It is full", "", false);
    let text = worded("kind = \"command\"\ncommand = [\"/bin/cat\"]", News::Event(&event));
    assert!(text.ends_with("}\n"));
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&said["type"], &said["verb"]), (&json!("alert.raised"), &json!("raised")));
    assert_eq!((&said["alert"]["id"], &said["host"]), (&json!(3), &json!("nas.example")));
}

#[test]
fn a_gap_and_a_test_can_be_told_in_every_way() {
    let gap =
        Gap { from_seq: 4, to_seq: 9, missed: None, reason: GapReason::Expired, resume_from: None };
    for settings in [
        "kind = \"webhook\"\nurl = \"https://h\"",
        MAIL,
        NTFY,
        "kind = \"command\"\ncommand = [\"/bin/cat\"]",
        "kind = \"journal\"",
        "kind = \"syslog\"",
    ] {
        let mut lost = worded(settings, News::Gap(&gap));
        let mut test = worded(settings, News::Test(Time::default()));
        if settings == MAIL {
            (lost, test) = (body(&lost), body(&test));
        }
        assert!(lost.contains("Events 4 to 9 are lost"), "{lost}");
        assert!(test.contains("test of the sink out"), "{test}");
    }
}

proptest! {
    #[test]
    fn no_text_can_become_a_header_or_a_line_of_a_log(message in "\\PC{0,80}", dirt in "[\r\n\t =?.A-Za-z:]{0,80}", advice in any::<String>()) {
        let message = format!("{message}{dirt}");
        let event = told(&message, &advice, false);
        let text = worded(MAIL, News::Event(&event));
        let (head, _) = text.split_once("\n\n").unwrap();
        prop_assert!(!head.contains('\r'));
        let names: Vec<&str> = head
            .lines()
            .filter(|line| !line.starts_with(' '))
            .map(|line| line.split_once(": ").unwrap().0)
            .collect();
        prop_assert_eq!(names, [
            "From", "To", "Subject", "Date", "Message-ID", "References", "X-Sysadmd-Kind",
            "X-Sysadmd-Priority", "Importance", "Auto-Submitted", "MIME-Version", "Content-Type",
            "Content-Transfer-Encoding",
        ]);
        prop_assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 200 && line != "."));
        prop_assert!(body(&text).starts_with(&message));
        let line = worded("kind = \"syslog\"", News::Event(&event));
        prop_assert!(!line.contains(|c: char| c.is_control()));
    }
}
