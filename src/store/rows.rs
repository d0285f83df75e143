//! Events as rows, and back.

use std::sync::Arc;

use protocol::{Class, Event, Json, Priority, Time};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::error::Failure;

/// The columns of an event, in the order [`decode`] expects.
pub(super) const COLUMNS: &str = "seq, time, salt, priority, class, source, subject, message, data";

const INSERT: &str = "INSERT INTO events (seq, time, salt, priority, class, source, subject, \
                      message, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

const READ: &str = "SELECT seq, time, salt, priority, class, source, subject, message, data \
                    FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3";

/// Writes one event that has its `seq`.
pub(super) fn insert(db: &Connection, seq: u64, event: &Event) -> Result<(), rusqlite::Error> {
    let (_, salt) = event.id.as_u64_pair();
    let data = (!event.data.is_null()).then(|| event.data.text());
    db.prepare_cached(INSERT)?.execute(params![
        seq.cast_signed(),
        event.time.micros().cast_signed(),
        salt.cast_signed(),
        event.priority.number(),
        event.class.as_str(),
        event.source,
        event.subject,
        event.message,
        data,
    ])?;
    Ok(())
}

/// Which stretch of the log to read.
pub(super) struct Limits {
    /// Everything after this number,
    pub(super) after: u64,
    /// up to and with this one,
    pub(super) upto: u64,
    /// so many at most,
    pub(super) max_events: usize,
    /// and so much at most, but at least one.
    pub(super) max_bytes: usize,
}

/// A stretch of the log, in order.
pub(super) fn read(db: &Connection, limits: &Limits) -> Result<Vec<Arc<Event>>, Failure> {
    let mut statement = db.prepare_cached(READ)?;
    let most = i64::try_from(limits.max_events).unwrap_or(i64::MAX);
    let range = params![limits.after.cast_signed(), limits.upto.cast_signed(), most];
    let mut rows = statement.query(range)?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let event = decode(row)?;
        bytes += event.weight();
        if bytes > limits.max_bytes && !events.is_empty() {
            break;
        }
        events.push(Arc::new(event));
    }
    Ok(events)
}

/// The place in the log of a row with [`COLUMNS`].
pub(super) fn seq_of(row: &Row<'_>) -> Result<u64, Failure> {
    let seq: i64 = row.get(0)?;
    u64::try_from(seq).map_err(|_| Failure::Row(format!("event {seq} has a negative number")))
}

/// The priority and class of a row with [`COLUMNS`], without building the event.
pub(super) fn kind_of<'r>(row: &'r Row<'_>) -> Result<(Priority, &'r str), Failure> {
    let seq = seq_of(row)?;
    let priority: u8 = row.get(3)?;
    let priority =
        Priority::new(priority).ok_or_else(|| unreadable(seq, "a priority above 10", &priority))?;
    Ok((priority, text(row, 4)?))
}

/// Reads a row with [`COLUMNS`]; anything the daemon would not have written is refused.
pub(crate) fn decode(row: &Row<'_>) -> Result<Event, Failure> {
    let seq = seq_of(row)?;
    let (priority, class) = kind_of(row)?;
    let time: i64 = row.get(1)?;
    let micros = u64::try_from(time).map_err(|_| unreadable(seq, "a time before 1970", &time))?;
    let salt = row.get::<_, i64>(2)?.cast_unsigned();
    let data = match row.get_ref(8)? {
        ValueRef::Null => Json::default(),
        _ => Json::parse(text(row, 8)?.to_owned())
            .map_err(|error| unreadable(seq, "data that is no JSON", &error))?,
    };
    Ok(Event {
        seq: Some(seq),
        id: Uuid::from_u64_pair(salt ^ micros, salt),
        time: Time::from_micros(micros),
        source: text(row, 5)?.to_owned(),
        class: Class::parse(class).map_err(|error| unreadable(seq, "a class", &error))?,
        subject: text(row, 6)?.to_owned(),
        priority,
        message: text(row, 7)?.to_owned(),
        data,
    })
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, Failure> {
    row.get_ref(column)?.as_str().map_err(|error| Failure::Row(format!("column {column}: {error}")))
}

fn unreadable(seq: u64, what: &str, found: &dyn std::fmt::Display) -> Failure {
    Failure::Row(format!("event {seq} has {what}: {found}"))
}
