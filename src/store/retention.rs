//! What is removed, when, and in how small steps.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::audit::prune;
use super::error::Failure;
use super::{Bounds, StoreSettings};

/// Recorded bytes between two looks at the limits: small against any sensible limit, large against
/// the cost of a look.
const LOOK_BYTES: usize = 256 << 10;
/// The longest time between two looks.
pub(super) const LOOK_AFTER: Duration = Duration::from_mins(1);
/// The smallest step: a few milliseconds, the most an append waits for it.
const STEP_EVENTS: usize = 256;
const STEP_BYTES: usize = 1 << 20;
/// What a row costs besides its texts: its numbers and its entries in the indexes.
const ROW_BYTES: u64 = 100;
/// By how much the file may exceed its limit before its end is cut off: pages that retention frees
/// are used again, so this happens after the limit was lowered.
const SLACK_BYTES: u64 = 4 << 20;
/// Pages cut off in one step.
const CUT_PAGES: usize = 256;

/// Removes the oldest events and records of the audit trail, step by step.
#[derive(Debug)]
pub(super) struct Retention {
    settings: StoreSettings,
    /// Recorded since the last step.
    events: usize,
    bytes: usize,
    /// Whether the last step left something to do.
    due: bool,
    /// When the last step was: age has to be looked at even when little is recorded.
    looked: Instant,
}

/// What one step did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The oldest event that is left.
    pub(super) oldest: u64,
}

impl Retention {
    pub(super) fn new(settings: StoreSettings) -> Self {
        // The limits may have been lowered while the daemon was away.
        Self { settings, events: 0, bytes: 0, due: true, looked: Instant::now() }
    }

    /// Counts what was recorded.
    pub(super) fn recorded(&mut self, events: usize, bytes: usize) {
        self.events += events;
        self.bytes += bytes;
    }

    /// Whether there is reason for a step before the next idle moment.
    pub(super) fn is_due(&self) -> bool {
        self.due || self.bytes >= LOOK_BYTES || self.looked.elapsed() >= LOOK_AFTER
    }

    /// One step at the time `now`, in microseconds since 1970. It removes at most a few hundred
    /// events and records of the audit trail, or twice what was recorded since the last step, so
    /// that it keeps up; and never the newest event, so that numbers never begin again.
    pub(super) fn step(
        &mut self,
        db: &mut Connection,
        bounds: Bounds,
        now: u64,
    ) -> Result<Step, Failure> {
        let most = (STEP_EVENTS.max(2 * self.events), STEP_BYTES.max(2 * self.bytes));
        (self.events, self.bytes, self.due, self.looked) = (0, 0, false, Instant::now());
        let excess = self.excess(db)?;
        let cutoff = |age: Option<_>| age.map_or(0, |age| now.saturating_sub(micros(age)));
        let audit_cutoff = cutoff(self.settings.audit_max_age);
        let pruned = unhurried(db, |db| prune(db, audit_cutoff, most.0))?;
        let cutoff = cutoff(self.settings.max_age);
        let upto = overdue(db, bounds, &Overdue { excess, cutoff, most })?;
        if upto >= bounds.oldest {
            // A removal need not be durable at once: after a power cut it is done again.
            unhurried(db, |db| remove(db, upto))?;
            self.due = true;
        } else {
            self.due = unhurried(db, |db| self.cut(db))?;
        }
        self.due |= pruned;
        Ok(Step { oldest: bounds.oldest.max(upto + 1) })
    }

    /// The bytes in use above the limit.
    fn excess(&self, db: &Connection) -> Result<u64, Failure> {
        let Some(limit) = self.settings.max_bytes else { return Ok(0) };
        let used = (number(db, "page_count")? - number(db, "freelist_count")?)
            .saturating_mul(number(db, "page_size")?);
        Ok(used.saturating_sub(limit))
    }

    /// Gives unused pages at the end of a file that is too large back to the file system; whether
    /// there may be more.
    fn cut(&self, db: &mut Connection) -> Result<bool, Failure> {
        let Some(limit) = self.settings.max_bytes else { return Ok(false) };
        let size = number(db, "page_count")?.saturating_mul(number(db, "page_size")?);
        let free = number(db, "freelist_count")?;
        if free == 0 || size <= limit.saturating_add(SLACK_BYTES) {
            return Ok(false);
        }
        let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({CUT_PAGES})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(true)
    }
}

/// What makes events overdue, and how many may go at once.
struct Overdue {
    excess: u64,
    cutoff: u64,
    most: (usize, usize),
}

/// The last event to remove now; less than `bounds.oldest` when there is none.
fn overdue(db: &Connection, bounds: Bounds, reasons: &Overdue) -> Result<u64, Failure> {
    let mut statement = db.prepare_cached(
        "SELECT seq, time, octet_length(class) * 2 + octet_length(source) + octet_length(subject) \
         + octet_length(message) + coalesce(octet_length(data), 0) \
         FROM events WHERE seq < ?1 ORDER BY seq LIMIT ?2",
    )?;
    let most = i64::try_from(reasons.most.0).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![bounds.head.cast_signed(), most])?;
    let (mut upto, mut bytes) = (bounds.oldest.saturating_sub(1), 0);
    while let Some(row) = rows.next()? {
        let [seq, time, size] = [row.get(0)?, row.get(1)?, row.get(2)?].map(i64::cast_unsigned);
        let overdue = bytes < reasons.excess || time < reasons.cutoff;
        if !overdue || bytes >= reasons.most.1 as u64 {
            break;
        }
        bytes += size + ROW_BYTES;
        upto = seq;
    }
    Ok(upto)
}

fn remove(db: &mut Connection, upto: u64) -> Result<(), Failure> {
    let transaction = db.transaction()?;
    for sql in ["DELETE FROM events WHERE seq <= ?1", "DELETE FROM newest WHERE seq <= ?1"] {
        transaction.prepare_cached(sql)?.execute([upto.cast_signed()])?;
    }
    transaction.commit()?;
    Ok(())
}

/// Does something whose loss in a power cut does no harm, without waiting for the disk.
fn unhurried<T>(
    db: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    db.execute_batch("PRAGMA synchronous = NORMAL")?;
    let result = work(db);
    db.execute_batch("PRAGMA synchronous = FULL")?;
    result
}

fn number(db: &Connection, pragma: &str) -> Result<u64, Failure> {
    let mut statement = db.prepare_cached(&format!("PRAGMA {pragma}"))?;
    let number: i64 = statement.query_row([], |row| row.get(0))?;
    Ok(number.cast_unsigned())
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
