//! Questions about the past: pages, the newest event, the newest of each.
//!
//! SQL narrows by what has an index; what matches is decided by [`Interest::matches`] alone, so that
//! history, replay and live delivery can never disagree.

use std::sync::Arc;

use protocol::{Event, Filter, Priority, Time};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::error::Failure;
use super::rows::{COLUMNS, decode, kind_of, seq_of};
use crate::sight::Interest;

/// The most events in one page.
pub const PAGE_MAX: usize = 1000;
/// The most events [`newest_each`] gives.
const EACH_MAX: usize = 10_000;
/// The rows one question looks at before it answers with what it has: a tenth of a second or two.
pub(super) const SCAN_MAX: usize = 100_000;
/// The classes for which a walk along the class index beats a walk along the log.
const CLASSES_MAX: usize = 16;
/// The classes of a log that are looked through for those a pattern covers.
const CLASSES_KNOWN_MAX: usize = 1000;

/// What is asked of history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Which events, of those the asker may hear.
    pub interest: Interest,
    /// Only events recorded at or after this time.
    pub since: Option<Time>,
    /// Only events recorded before this time.
    pub until: Option<Time>,
    /// Only events with a higher number than this.
    pub after_seq: Option<u64>,
    /// Only events with a lower number than this.
    pub before_seq: Option<u64>,
    /// The most events to answer with; 1 to [`PAGE_MAX`], other numbers count as the nearest.
    pub limit: usize,
    /// Backwards from the newest instead of forwards from the oldest.
    pub newest_first: bool,
}

/// A page of history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// What was found, in the order asked for.
    pub events: Vec<Arc<Event>>,
    /// Whether the end was not reached. The page may then be short, even empty.
    pub more: bool,
    /// With `more`: the `after_seq`, or with `newest_first` the `before_seq`, that asks for the
    /// next page.
    pub resume: Option<u64>,
}

/// Answers a query; see [`super::EventLog::page`].
pub(super) fn page(db: &mut Connection, query: &Query, scan_max: usize) -> Result<Page, Failure> {
    // One transaction, so that retention cannot move the ground between two statements.
    let db = db.transaction()?;
    let Some((after, before)) = window(&db, query)? else { return Ok(Page::default()) };
    let route = Route::of(&db, &query.interest.filter)?;
    let mut statement = db.prepare_cached(&route.sql(query.newest_first))?;
    let mut rows = statement.query(params_from_iter(route.values(after, before)))?;
    let (mut page, mut scanned) = (Page::default(), 0);
    let limit = query.limit.clamp(1, PAGE_MAX);
    while let Some(row) = rows.next()? {
        if page.events.len() == limit || scanned == scan_max {
            page.more = true;
            return Ok(page);
        }
        scanned += 1;
        page.resume = Some(seq_of(row)?);
        page.events.extend(wanted(row, &query.interest)?);
    }
    page.resume = None;
    Ok(page)
}

/// See [`super::EventLog::newest_each`].
pub(super) fn newest_each(
    db: &mut Connection,
    interest: &Interest,
    limit: usize,
) -> Result<Vec<Arc<Event>>, Failure> {
    let db = db.transaction()?;
    let (narrowing, classes) = match narrowed(&db, &interest.filter)? {
        Some(classes) => (format!("WHERE class IN ({})", places(classes.len())), classes),
        None => (String::new(), Vec::new()),
    };
    let newest = format!("SELECT seq FROM newest {narrowing} ORDER BY seq DESC LIMIT {SCAN_MAX}");
    let mut newest = db.prepare_cached(&newest)?;
    let mut newest = newest.query(params_from_iter(classes))?;
    let mut event = db.prepare_cached(&format!("SELECT {COLUMNS} FROM events WHERE seq = ?1"))?;
    let mut found = Vec::new();
    while found.len() < limit.min(EACH_MAX) {
        let Some(row) = newest.next()? else { break };
        let mut event = event.query([row.get::<_, i64>(0)?])?;
        if let Some(row) = event.next()? {
            found.extend(wanted(row, interest)?);
        }
    }
    found.reverse();
    Ok(found)
}

/// The way along which the rows of a query are found, always in the order of the log.
pub(super) enum Route {
    /// The log itself.
    All,
    /// The index of events of priority 6 and above.
    Urgent,
    /// The class index, once per class; SQLite merges them.
    Classes(Vec<String>),
}

impl Route {
    fn of(db: &Connection, filter: &Filter) -> Result<Self, Failure> {
        if filter.min_priority >= Priority::CRITICAL {
            return Ok(Self::Urgent);
        }
        Ok(narrowed(db, filter)?.map_or(Self::All, Self::Classes))
    }

    pub(super) fn sql(&self, newest_first: bool) -> String {
        let order = if newest_first { "DESC" } else { "ASC" };
        let part = |from: &str, narrowing: &str| {
            format!("SELECT {COLUMNS} FROM {from} WHERE {narrowing} seq > ?1 AND seq < ?2")
        };
        let parts = match self {
            Self::All => part("events", ""),
            // The planner uses a partial index only when its condition stands here as it is there.
            Self::Urgent => part("events INDEXED BY events_urgent", "priority >= 6 AND"),
            // No class of the log is wanted: a statement without rows.
            Self::Classes(classes) if classes.is_empty() => part("events", "FALSE AND"),
            Self::Classes(classes) => (3..classes.len() + 3)
                .map(|n| {
                    let class = format!("class = ?{n} AND");
                    part("events INDEXED BY events_by_class", &class)
                })
                .collect::<Vec<_>>()
                .join(" UNION ALL "),
        };
        format!("{parts} ORDER BY seq {order}")
    }

    pub(super) fn values(self, after: u64, before: u64) -> Vec<Value> {
        let classes = if let Self::Classes(classes) = self { classes } else { Vec::new() };
        let bounds = [after, before].map(|seq| Value::Integer(seq.cast_signed()));
        bounds.into_iter().chain(classes.into_iter().map(Value::Text)).collect()
    }
}

/// The event of this row if it is wanted. The cheap parts of the filter spare building the rest.
fn wanted(row: &Row<'_>, interest: &Interest) -> Result<Option<Arc<Event>>, Failure> {
    let (priority, class) = kind_of(row)?;
    let filter = &interest.filter;
    if priority < filter.min_priority || !filter.wants_class(class) {
        return Ok(None);
    }
    let event = decode(row)?;
    Ok(interest.matches(&event).then(|| Arc::new(event)))
}

/// The classes in the log that the filter wants, when they are few enough to be worth an index.
fn narrowed(db: &Connection, filter: &Filter) -> Result<Option<Vec<String>>, Failure> {
    if filter.classes.is_empty() || filter.classes.iter().any(|pattern| pattern == "*") {
        return Ok(None);
    }
    let mut next = db.prepare_cached(
        "SELECT class FROM events INDEXED BY events_by_class WHERE class > ?1 \
         ORDER BY class LIMIT 1",
    )?;
    let (mut last, mut classes) = (String::new(), Vec::new());
    for _ in 0..CLASSES_KNOWN_MAX {
        let Some(class) = next.query_row([&last], |row| row.get(0)).optional()? else {
            return Ok(Some(classes));
        };
        last = class;
        if filter.wants_class(&last) {
            classes.push(last.clone());
        }
        if classes.len() > CLASSES_MAX {
            break;
        }
    }
    Ok(None)
}

/// The open interval of numbers a query is about; `None` when it is empty.
fn window(db: &Connection, query: &Query) -> Result<Option<(u64, u64)>, Failure> {
    let bounds = "SELECT min(seq), (SELECT max(seq) FROM events) FROM events";
    let (Some(oldest), Some(head)) = db.query_row(bounds, [], |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
    })?
    else {
        return Ok(None);
    };
    let log = (oldest.cast_unsigned(), head.cast_unsigned());
    let mut after = query.after_seq.unwrap_or(0).max(log.0.saturating_sub(1));
    let mut before = query.before_seq.unwrap_or(u64::MAX).min(log.1 + 1);
    if let Some(since) = query.since {
        after = after.max(first_at(db, log, since)?.saturating_sub(1));
    }
    if let Some(until) = query.until {
        before = before.min(first_at(db, log, until)?);
    }
    Ok((after + 1 < before).then_some((after, before)))
}

/// The first event recorded at or after `time`, or one past the newest: times grow with numbers, so
/// a few look-ups find it and no index on time is needed.
fn first_at(db: &Connection, (oldest, head): (u64, u64), time: Time) -> Result<u64, Failure> {
    let mut time_of = db.prepare_cached("SELECT time FROM events WHERE seq = ?1")?;
    let (mut low, mut high) = (oldest, head + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let found = time_of.query_row([middle.cast_signed()], |row| row.get::<_, i64>(0));
        let found = found.optional()?;
        let found = found.ok_or_else(|| Failure::Row(format!("event {middle} is missing")))?;
        if found.cast_unsigned() < time.micros() { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

fn places(count: usize) -> String {
    vec!["?"; count].join(", ")
}
