//! Words that clients, plugins and files share.

use protocol::class::{CLASS_BYTES_MAX, covers};
use protocol::cursor::AHEAD_MAX;
use protocol::event::TEXT_BYTES_MAX;
use protocol::filter::PATTERNS_MAX;
use protocol::{Class, Cursor, Event, Filter, Json, Priority, Role, Time};
use uuid::Uuid;

use crate::utf8;

/// A class, a role and a priority.
pub fn class(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    if let Ok(class) = Class::parse(text) {
        assert_eq!(class.as_str(), text);
        assert!(text.len() <= CLASS_BYTES_MAX);
        assert!(covers("*", text) && covers(text, text));
        assert!(covers(&format!("{}.*", class.family()), text));
        let json = serde_json::to_string(&class).unwrap();
        assert_eq!(serde_json::from_str::<Class>(&json).unwrap(), class);
    }
    if let Some(role) = Role::parse(text) {
        assert_eq!(role.as_str(), text);
    }
    if let Ok(priority) = serde_json::from_str::<Priority>(text) {
        assert!(priority <= Priority::MAX);
        assert!(priority.to_string().starts_with(&format!("{} - ", priority.number())));
    }
}

/// A place in the log.
pub fn cursor(data: &[u8]) {
    let Some(Ok(cursor)) = utf8(data).map(str::parse::<Cursor>) else { return };
    assert!(cursor.ahead.len() <= AHEAD_MAX);
    assert!(cursor.ahead.is_sorted());
    assert!(cursor.covers(cursor.seq));
    assert!(cursor.ahead.iter().all(|seq| *seq > cursor.seq && cursor.covers(*seq)));
    assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
    let json = serde_json::to_string(&cursor).unwrap();
    assert_eq!(serde_json::from_str::<Cursor>(&json).unwrap(), cursor);
}

/// What a subscriber wants to hear.
pub fn filter(data: &[u8]) {
    let Ok(filter) = serde_json::from_slice::<Filter>(data) else { return };
    let json = serde_json::to_string(&filter).unwrap();
    assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), filter);
    if filter.check().is_ok() {
        let texts = [&filter.subject, &filter.source, &filter.text].into_iter().flatten();
        assert!(texts.chain(&filter.classes).all(|text| text.len() <= TEXT_BYTES_MAX));
        assert!(filter.classes.len() <= PATTERNS_MAX);
    }
    let mut event = event();
    let wanted = filter.classes.is_empty()
        || filter.classes.iter().any(|pattern| covers(pattern, event.class.as_str()));
    assert_eq!(filter.wants_class(event.class.as_str()), wanted);
    // An event made for the filter.
    let subject = filter.subject.clone().unwrap_or_default();
    let subject = subject.strip_suffix('*').unwrap_or(&subject);
    subject.clone_into(&mut event.subject);
    event.source = filter.source.clone().unwrap_or_default();
    event.message = filter.text.clone().unwrap_or_default();
    assert_eq!(filter.matches(&event), wanted);
    event.priority = Priority::MIN;
    assert_eq!(filter.matches(&event), wanted && filter.min_priority == Priority::MIN);
}

fn event() -> Event {
    Event {
        seq: None,
        id: Uuid::nil(),
        time: Time::default(),
        source: String::new(),
        class: Class::parse("snapshot.created").unwrap(),
        subject: String::new(),
        priority: Priority::MAX,
        message: String::new(),
        data: Json::default(),
    }
}

/// A moment as text, or as eight bytes of microseconds.
pub fn time(data: &[u8]) {
    if let Some(bytes) = data.first_chunk() {
        let time = Time::from_micros(u64::from_le_bytes(*bytes));
        assert!(time.unix_date().contains(" UTC "));
        // What is too late to be written is written as the last moment.
        let written = time.to_string().parse::<Time>().unwrap();
        assert!(written == time || written.to_string() == Time::from_micros(u64::MAX).to_string());
    }
    let Some(Ok(time)) = utf8(data).map(str::parse::<Time>) else { return };
    assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
}
