//! What the daemon reads from its own files, which somebody else may have written.

use std::cell::RefCell;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value;
use sysadmd::config::{File, Overrides, Runner};
use sysadmd::fuzzing::event_in;

use crate::utf8;

/// The configuration.
pub fn config(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    let file = match File::parse(text, Path::new("sysadmd.toml")) {
        Ok(file) => file,
        Err(error) => return assert!(error.to_string().starts_with("sysadmd.toml: ")),
    };
    for is_root in [true, false] {
        let runner = Runner { is_root, state_home: Some("/s".into()) };
        match file.clone().complete(Overrides::default(), &runner) {
            Ok(config) => {
                assert!(config.listen_plain.iter().all(|address| address.ip().is_loopback()));
                assert!(config.log_max_bytes >= 8 * 1024 * 1024);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A row of the event log: first which columns are not what the daemon writes, then these.
pub fn event_row(data: &[u8]) {
    thread_local! {
        static DB: RefCell<Connection> = RefCell::new(Connection::open_in_memory().unwrap());
    }
    let Some((columns, mut rest)) = data.split_first_chunk::<2>() else { return };
    let odd = u16::from_le_bytes(*columns);
    let mut values = usual();
    for (place, value) in values.iter_mut().enumerate() {
        if odd & 1 << place != 0 {
            *value = any(&mut rest);
        }
    }
    let event = DB.with_borrow(|db| {
        let mut statement = db.prepare_cached("SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9").unwrap();
        let mut rows = statement.query(rusqlite::params_from_iter(&values)).unwrap();
        event_in(rows.next().unwrap().unwrap())
    });
    match (event, &values[..]) {
        (None, _) => assert_ne!(odd & 0x1ff, 0, "what the daemon writes is read"),
        (
            Some(event),
            [Value::Integer(seq), Value::Integer(time), _, Value::Integer(priority), ..],
        ) => {
            assert_eq!(event.seq.map(u64::cast_signed), Some(*seq));
            assert_eq!(event.time.micros().cast_signed(), *time);
            assert_eq!(i64::from(event.priority.number()), *priority);
            let (high, low) = event.id.as_u64_pair();
            assert_eq!(high ^ low, event.time.micros());
            assert!(!event.data.text().is_empty());
        }
        (Some(event), _) => panic!("{event:?} was read from {values:?}"),
    }
}

fn usual() -> [Value; 9] {
    let text = |text: &str| Value::Text(text.to_owned());
    [
        Value::Integer(7),
        Value::Integer(1_795_297_689_000_000),
        Value::Integer(-3),
        Value::Integer(4),
        text("snapshot.created"),
        text("snapshot"),
        text("/datasets/a"),
        text("New snapshot"),
        text("{\"n\":1}"),
    ]
}

/// A value of any of SQLite's types, taken from the front.
fn any(data: &mut &[u8]) -> Value {
    let Some((kind, rest)) = data.split_first() else { return Value::Null };
    *data = rest;
    let number = rest.first_chunk().map(|bytes| i64::from_le_bytes(*bytes));
    let take = |data: &mut &[u8], count: usize| {
        let (taken, rest) = data.split_at(count.min(data.len()));
        *data = rest;
        taken.to_vec()
    };
    match (kind % 5, number) {
        (0, _) => Value::Null,
        (1, Some(number)) => {
            *data = &rest[8..];
            Value::Integer(number)
        }
        (2, Some(number)) => {
            *data = &rest[8..];
            Value::Real(f64::from_bits(number.cast_unsigned()))
        }
        (3, _) => Value::Blob(take(data, usize::from(kind / 5))),
        _ => Value::Text(String::from_utf8_lossy(&take(data, usize::from(kind / 5))).into_owned()),
    }
}
