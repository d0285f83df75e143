//! Questions about the trail.

use protocol::{Json, Time};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{AuditEntry, AuditRecord};
use crate::store::error::Failure;
use crate::store::history::PAGE_MAX;

/// What is asked of the trail. What is not given takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// In whose name, or with a trailing `*` what the name begins with.
    pub actor: Option<String>,
    /// The method, or with a trailing `*` what it begins with.
    pub method: Option<String>,
    /// What came of it.
    pub outcome: Option<String>,
    /// Only records from this time on.
    pub since: Option<Time>,
    /// Only records before this time.
    pub until: Option<Time>,
    /// Only records with a higher number than this.
    pub after_seq: Option<u64>,
    /// Only records with a lower number than this.
    pub before_seq: Option<u64>,
    /// The most records to answer with; 1 to 1000, other numbers count as the nearest.
    pub limit: usize,
    /// Backwards from the newest instead of forwards from the oldest.
    pub newest_first: bool,
}

impl AuditQuery {
    fn wants(&self, entry: &AuditEntry) -> bool {
        self.actor.as_ref().is_none_or(|pattern| matches(pattern, &entry.actor))
            && self.method.as_ref().is_none_or(|pattern| matches(pattern, &entry.method))
            && self.outcome.as_ref().is_none_or(|outcome| *outcome == entry.outcome)
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    }
}

/// A page of the trail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// What was found, in the order asked for.
    pub records: Vec<AuditRecord>,
    /// Whether the end was not reached. The page may then be short, even empty.
    pub more: bool,
    /// With `more`: the `after_seq`, or with `newest_first` the `before_seq`, that asks for the
    /// next page.
    pub resume: Option<u64>,
}

/// Answers a query; see [`super::AuditTrail::page`].
pub(crate) fn page(
    db: &mut Connection,
    query: &AuditQuery,
    scan_max: usize,
) -> Result<AuditPage, Failure> {
    // One transaction, so that retention cannot move the ground between two statements.
    let db = db.transaction()?;
    let Some((after, before)) = window(&db, query)? else { return Ok(AuditPage::default()) };
    let order = if query.newest_first { "DESC" } else { "ASC" };
    let mut statement = db.prepare_cached(&format!(
        "SELECT seq, time, actor, origin, method, outcome, details, hash FROM audit \
         WHERE seq > ?1 AND seq < ?2 ORDER BY seq {order}"
    ))?;
    let mut rows = statement.query(params![after, before])?;
    let (mut page, mut scanned) = (AuditPage::default(), 0);
    let limit = query.limit.clamp(1, PAGE_MAX);
    while let Some(row) = rows.next()? {
        if page.records.len() == limit || scanned == scan_max {
            page.more = true;
            return Ok(page);
        }
        scanned += 1;
        let record = decode(row)?;
        page.resume = Some(record.seq);
        page.records.extend(query.wants(&record.entry).then_some(record));
    }
    page.resume = None;
    Ok(page)
}

/// Reads a row as well as it can be read: what somebody has spoilt must not hide the rest.
fn decode(row: &Row<'_>) -> Result<AuditRecord, Failure> {
    let text = |column| Ok::<_, Failure>(lossy(row.get_ref(column)?));
    let number = |column| Ok::<_, Failure>(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0));
    let details = text(6)?;
    let entry = AuditEntry {
        actor: text(2)?,
        origin: text(3)?,
        method: text(4)?,
        outcome: text(5)?,
        details: Json::parse(details.clone()).or_else(|_| Json::of(&details)).unwrap_or_default(),
    };
    let hash = row.get_ref(7)?.as_blob().ok().and_then(|hash| hash.try_into().ok());
    let time = Time::from_micros(number(1)?);
    Ok(AuditRecord { seq: number(0)?, time, entry, hash: hash.unwrap_or_default() })
}

fn lossy(value: ValueRef<'_>) -> String {
    String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()
}

/// The open interval of numbers a query is about; `None` when it is empty.
fn window(db: &Connection, query: &AuditQuery) -> Result<Option<(i64, i64)>, Failure> {
    let bounds = "SELECT min(seq), (SELECT max(seq) FROM audit) FROM audit";
    let (Some(oldest), Some(newest)) = db.query_row(bounds, [], |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
    })?
    else {
        return Ok(None);
    };
    let signed = |seq| i64::try_from(seq).unwrap_or(i64::MAX);
    // Somebody may have put a record below the first number.
    let mut after = query.after_seq.map_or(oldest.saturating_sub(1), signed);
    let mut before = newest.saturating_add(1).min(query.before_seq.map_or(i64::MAX, signed));
    if let Some(since) = query.since {
        after = after.max(first_at(db, (oldest, newest), since)?.saturating_sub(1));
    }
    if let Some(until) = query.until {
        before = before.min(first_at(db, (oldest, newest), until)?);
    }
    Ok((after.saturating_add(1) < before).then_some((after, before)))
}

/// Where the records from `time` on begin: times grow with numbers, so a few look-ups find it. A
/// record that somebody has removed does not disturb it.
fn first_at(db: &Connection, (oldest, newest): (i64, i64), time: Time) -> Result<i64, Failure> {
    let time = i64::try_from(time.micros()).unwrap_or(i64::MAX);
    let mut next =
        db.prepare_cached("SELECT seq, time FROM audit WHERE seq >= ?1 ORDER BY seq LIMIT 1")?;
    let (mut low, mut high) = (oldest, newest.saturating_add(1));
    while low < high {
        // Somebody may have put records at the ends of what a number can be.
        let middle = low.saturating_add_unsigned(high.abs_diff(low) / 2);
        let found =
            next.query_row([middle], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        match found.optional()? {
            Some((seq, at)) if at < time => low = seq.saturating_add(1),
            _ => high = middle,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests;
