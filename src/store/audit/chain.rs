//! The chain: what a record's hash covers, and the row that holds both ends.

use protocol::Time;
use rusqlite::{Connection, Row, params};
use sha2::{Digest, Sha256};

use super::{AuditEntry, AuditRecord};
use crate::store::error::Failure;

/// The place of a record in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Link {
    pub(in crate::store) seq: u64,
    pub(in crate::store) hash: [u8; 32],
}

/// Before the first record.
pub(in crate::store) const BEGIN: Link = Link { seq: 0, hash: [0; 32] };

impl Link {
    /// The next record.
    pub(in crate::store) fn next(&self, time: Time, entry: AuditEntry) -> AuditRecord {
        let seq = self.seq + 1;
        let hash = hash(&self.hash, [seq, time.micros()], entry.fields());
        AuditRecord { seq, time, entry, hash }
    }
}

impl AuditRecord {
    pub(in crate::store) fn link(&self) -> Link {
        Link { seq: self.seq, hash: self.hash }
    }
}

/// SHA-256 of the hash before, the number and the time as eight bytes each, the lowest first, and
/// each text after its length in bytes in the same form.
pub(super) fn hash(previous: &[u8; 32], numbers: [u64; 2], texts: [&[u8]; 5]) -> [u8; 32] {
    let mut sha = Sha256::new_with_prefix(previous);
    for number in numbers {
        sha.update(number.to_le_bytes());
    }
    for text in texts {
        sha.update((text.len() as u64).to_le_bytes());
        sha.update(text);
    }
    sha.finalize().into()
}

/// What stands before the oldest record, and the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Ends {
    pub(in crate::store) anchor: Link,
    pub(in crate::store) head: Link,
}

impl Ends {
    /// `None` when there is not exactly one such row, or it makes no sense.
    pub(in crate::store) fn read(db: &Connection) -> Result<Option<Self>, Failure> {
        let mut statement = db.prepare_cached(
            "SELECT anchor_seq, anchor_hash, head_seq, head_hash FROM audit_ends LIMIT 2",
        )?;
        let found = statement.query_map([], |row| Ok((link(row, 0)?, link(row, 2)?)))?;
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let [(Some(anchor), Some(head))] = found[..] else { return Ok(None) };
        Ok((anchor.seq <= head.seq).then_some(Self { anchor, head }))
    }

    /// The ends of a database that was found good.
    pub(in crate::store) fn of(db: &Connection) -> Result<Self, Failure> {
        let nothing = "it does not say where its audit trail begins and ends";
        Self::read(db)?.ok_or_else(|| Failure::Row(nothing.to_owned()))
    }

    /// In a new database.
    pub(in crate::store) fn insert(db: &Connection) -> Result<(), rusqlite::Error> {
        let sql = "INSERT INTO audit_ends (one, anchor_seq, anchor_hash, head_seq, head_hash) \
                   VALUES (1, ?1, ?2, ?1, ?2)";
        db.execute(sql, params![BEGIN.seq.cast_signed(), BEGIN.hash]).map(drop)
    }
}

fn link(row: &Row<'_>, at: usize) -> Result<Option<Link>, rusqlite::Error> {
    let seq = u64::try_from(row.get::<_, i64>(at)?);
    let hash = row.get_ref(at + 1)?.as_blob().ok().and_then(|hash| hash.try_into().ok());
    Ok(seq.ok().zip(hash).map(|(seq, hash)| Link { seq, hash }))
}

/// Writes records that follow one another, and the new end.
pub(in crate::store) fn extend(
    db: &Connection,
    records: &[AuditRecord],
) -> Result<(), rusqlite::Error> {
    let Some(newest) = records.last() else { return Ok(()) };
    let mut insert = db.prepare_cached(
        "INSERT INTO audit (seq, time, actor, origin, method, outcome, details, hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for AuditRecord { seq, time, entry, hash } in records {
        insert.execute(params![
            seq.cast_signed(),
            time.micros().cast_signed(),
            entry.actor,
            entry.origin,
            entry.method,
            entry.outcome,
            entry.details.text(),
            hash,
        ])?;
    }
    db.prepare_cached("UPDATE audit_ends SET head_seq = ?1, head_hash = ?2")?
        .execute(params![newest.seq.cast_signed(), newest.hash])
        .map(drop)
}
