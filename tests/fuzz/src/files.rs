//! What the daemon reads from its own files, which somebody else may have written.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use protocol::Time;
use protocol::sandbox::Rights;
use rusqlite::Connection;
use rusqlite::types::Value;
use sysadmd::config::{File, Overrides, Runner};
use sysadmd::fuzzing::{audit_page as audit_page_of, event_in};
use sysadmd::store::AuditQuery;

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

/// Rights as a plugin asks for them, and the line that grants them.
pub fn grants(data: &[u8]) {
    let Ok(rights) = serde_json::from_slice::<Rights>(data) else { return };
    assert!(rights.cover(&rights));
    assert!(!Rights::default().cover(&rights) || rights.is_nothing());
    if rights.check().is_err() {
        return;
    }
    let text = format!("[plugins]\n{}\n", rights.grant("disk-watch"));
    let runner = Runner { is_root: true, state_home: None };
    let file = File::parse(&text, Path::new("x")).unwrap_or_else(|error| panic!("{error}"));
    let config = file.complete(Overrides::default(), &runner).unwrap();
    assert_eq!(config.plugin_grants.get("disk-watch"), Some(&rights), "{text}");
}

/// A question about an audit trail that somebody has spoilt: which parts are asked for, four numbers,
/// then the number and the time of each record.
pub fn audit_page(data: &[u8]) {
    thread_local! {
        static DB: RefCell<Connection> = RefCell::new(trail());
    }
    let Some((&[parts, limit], rest)) = data.split_first_chunk() else { return };
    let (numbers, _) = rest.as_chunks::<8>();
    let mut numbers = numbers.iter().map(|bytes| i64::from_le_bytes(*bytes));
    let mut asked = |bit: u8| {
        let number = numbers.next().unwrap_or_default().cast_unsigned();
        (parts & 1 << bit != 0).then_some(number)
    };
    let query = AuditQuery {
        after_seq: asked(0),
        before_seq: asked(1),
        since: asked(2).map(Time::from_micros),
        until: asked(3).map(Time::from_micros),
        limit: usize::from(limit),
        newest_first: parts & 16 != 0,
        ..AuditQuery::default()
    };
    let records: BTreeMap<i64, i64> =
        std::iter::from_fn(|| Some((numbers.next()?, numbers.next()?))).take(8).collect();
    let page = DB.with_borrow_mut(|db| {
        write(db, &records);
        audit_page_of(db, &query).expect("what is spoilt hides nothing else")
    });
    let found: Vec<u64> = page.records.iter().map(|record| record.seq).collect();
    assert!(!(page.more && found.is_empty()), "no progress");
    // Of a record at the end of all numbers there is no "after", and times that do not grow with the
    // numbers cannot be searched.
    let ends = [i64::MIN, i64::MAX].iter().any(|end| records.contains_key(end));
    let times_grow = records.values().is_sorted_by(|a, b| a < b);
    if !ends && (times_grow || query.since.is_none() && query.until.is_none()) {
        assert_eq!(found, expected(&records, &query), "{query:?} of {records:?}");
    }
}

/// What a look at every record finds.
fn expected(records: &BTreeMap<i64, i64>, query: &AuditQuery) -> Vec<u64> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let wanted = |(seq, time): &(&i64, &i64)| {
        query.after_seq.is_none_or(|after| **seq > signed(after))
            && query.before_seq.is_none_or(|before| **seq < signed(before))
            && query.since.is_none_or(|since| **time >= signed(since.micros()))
            && query.until.is_none_or(|until| **time < signed(until.micros()))
    };
    let mut found: Vec<u64> = records
        .iter()
        .filter(wanted)
        .map(|(seq, _)| u64::try_from(*seq).unwrap_or_default())
        .collect();
    if query.newest_first {
        found.reverse();
    }
    found.truncate(query.limit.max(1));
    found
}

fn trail() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE audit (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, actor TEXT NOT NULL,
         origin TEXT NOT NULL, method TEXT NOT NULL, outcome TEXT NOT NULL, details TEXT NOT NULL,
         hash BLOB NOT NULL) STRICT",
    )
    .unwrap();
    db
}

fn write(db: &Connection, records: &BTreeMap<i64, i64>) {
    const INSERT: &str = "INSERT INTO audit VALUES (?1, ?2, 'a', 'b', 'c', 'd', '{', x'00')";
    db.prepare_cached("DELETE FROM audit").unwrap().execute([]).unwrap();
    let mut insert = db.prepare_cached(INSERT).unwrap();
    for record in records {
        insert.execute(record).unwrap();
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
