//! Computing the chain again.

use rusqlite::{Connection, OptionalExtension, Row};

use super::chain::{Ends, Link, hash};
use crate::store::error::Failure;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditVerdict {
    /// Every record is what was recorded, as far as a chain can tell.
    Intact {
        /// The oldest record that is kept; one more than `last` when there is none.
        first: u64,
        /// The newest record that was looked at; 0 before the first.
        last: u64,
        /// Its hash; also when it is no longer kept.
        head: [u8; 32],
    },
    /// The trail is not what was recorded.
    Broken {
        /// The first record that was altered, is missing or was added; 0 for one that stands below
        /// every number that was ever given. Where only what is noted of an end was altered, the
        /// record at that end; where everything was computed again, the newest.
        seq: u64,
        /// What is wrong there, as a sentence without its full stop.
        what: String,
    },
}

/// How much one piece of a walk looks at: a few milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

pub(super) const PIECE: Piece = Piece { records: 2000, bytes: 4 << 20 };

/// A verification that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    /// The last record found good; `None` at first.
    at: Option<Link>,
    /// Where it ends; `None`: where the trail says it does.
    target: Option<Link>,
}

/// A step of the walk: on, or what ends it.
type Step<T> = Result<T, Stop>;

enum Stop {
    Broken(u64, String),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Failed(cause.into())
    }
}

impl Walk {
    /// Up to a record that is known.
    pub(super) fn upto(target: Link) -> Self {
        Self { at: None, target: Some(target) }
    }

    /// Up to the end.
    pub(super) fn whole() -> Self {
        Self { at: None, target: None }
    }

    /// Goes a piece further; `None` when it is not at the end.
    pub(super) fn piece(
        &mut self,
        db: &mut Connection,
        size: Piece,
    ) -> Result<Option<AuditVerdict>, Failure> {
        // One transaction: retention and appends go on between two pieces, not within one.
        let db = db.transaction()?;
        match self.step(&db, size) {
            Ok(verdict) => Ok(verdict),
            Err(Stop::Broken(seq, what)) => Ok(Some(AuditVerdict::Broken { seq, what })),
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }

    fn step(&mut self, db: &Connection, size: Piece) -> Step<Option<AuditVerdict>> {
        let oldest: Option<i64> =
            db.query_row("SELECT min(seq) FROM audit", [], |row| row.get(0))?;
        let oldest = oldest.map(|seq| u64::try_from(seq).unwrap_or(0));
        let Some(ends) = Ends::read(db)? else {
            let what = "the row that says where the trail begins and ends is missing or spoilt";
            return Err(Stop::Broken(oldest.unwrap_or(1), what.to_owned()));
        };
        let Ends { anchor, head } = ends;
        if let Some(seq) = oldest.filter(|seq| *seq <= anchor.seq) {
            let what = format!("record {seq} stands before the beginning of the trail");
            return Err(Stop::Broken(seq, what));
        }
        let target = *self.target.get_or_insert(head);
        // Retention may have removed what was looked at, and more.
        let mut at = self.at.filter(|at| at.seq > anchor.seq).unwrap_or(anchor);
        follow(db, &mut at, target.seq, size)?;
        self.at = Some(at);
        if at.seq < target.seq {
            return Ok(None);
        }
        end(db, ends)?;
        if at.seq == target.seq && at.hash != target.hash {
            let what = format!("record {} is not the one the daemon remembers", at.seq);
            return Err(Stop::Broken(at.seq, what));
        }
        Ok(Some(AuditVerdict::Intact { first: anchor.seq + 1, last: at.seq, head: at.hash }))
    }
}

/// Follows the chain to the record `upto`, or as far as a piece goes.
fn follow(db: &Connection, at: &mut Link, upto: u64, size: Piece) -> Step<()> {
    let mut statement = db.prepare_cached(
        "SELECT seq, time, actor, origin, method, outcome, details, hash FROM audit \
         WHERE seq > ?1 ORDER BY seq",
    )?;
    let mut rows = statement.query([at.seq.cast_signed()])?;
    let (mut records, mut bytes) = (0, 0);
    while at.seq < upto && records < size.records && bytes < size.bytes {
        let row = rows.next()?.ok_or_else(|| missing(at.seq + 1, upto))?;
        bytes += next(row, at)?;
        records += 1;
    }
    Ok(())
}

/// Goes on to the record in `row`, if it is the right one; answers its size.
fn next(row: &Row<'_>, at: &mut Link) -> Step<usize> {
    let [seq, micros] = [row.get(0)?, row.get(1)?].map(i64::cast_unsigned);
    if seq != at.seq + 1 {
        return Err(missing(at.seq + 1, seq - 1));
    }
    let mut texts = [&[][..]; 5];
    for (column, text) in (2..).zip(&mut texts) {
        *text = row.get_ref(column)?.as_bytes().unwrap_or_default();
    }
    let expected = hash(&at.hash, [seq, micros], texts);
    if blob(row, 7)? != expected {
        let what = format!("record {seq} does not agree with its hash and the record before it");
        return Err(Stop::Broken(seq, what));
    }
    *at = Link { seq, hash: expected };
    Ok(texts.iter().map(|text| text.len()).sum())
}

/// Whether the newest record is the one that was noted as such.
fn end(db: &Connection, Ends { anchor, head }: Ends) -> Step<()> {
    let beyond = "SELECT min(seq) FROM audit WHERE seq > ?1";
    let beyond = db.query_row(beyond, [head.seq.cast_signed()], |row| row.get(0));
    if let Some(seq) = beyond.map(|seq: Option<i64>| seq.map(i64::cast_unsigned))? {
        let what = format!("record {seq} stands behind the end of the trail ({})", head.seq);
        return Err(Stop::Broken(seq, what));
    }
    let newest = "SELECT seq, hash = ?1 FROM audit ORDER BY seq DESC LIMIT 1";
    let newest = db.query_row(newest, [head.hash], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
    let newest = newest.optional()?.map(|(seq, is_head)| (seq.cast_unsigned(), is_head));
    let (newest, is_head) = newest.unwrap_or((anchor.seq, anchor.hash == head.hash));
    if newest < head.seq {
        return Err(missing(newest + 1, head.seq));
    }
    if !is_head {
        let what = format!("record {newest} is not the one noted as the end of the trail");
        return Err(Stop::Broken(newest, what));
    }
    Ok(())
}

fn blob<'r>(row: &'r Row<'_>, column: usize) -> Step<&'r [u8]> {
    Ok(row.get_ref(column)?.as_blob().unwrap_or_default())
}

fn missing(first: u64, last: u64) -> Stop {
    let what = if first == last {
        format!("record {first} is missing")
    } else {
        format!("the records {first} to {last} are missing")
    };
    Stop::Broken(first, what)
}
