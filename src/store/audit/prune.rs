//! Old records go from the oldest on, and the anchor remembers where the chain goes on.

use rusqlite::Connection;

use crate::store::error::Failure;

/// Removes the oldest records from before `cutoff` (microseconds since 1970; 0: none), at most
/// `most`; whether it removed any.
pub(in crate::store) fn prune(
    db: &mut Connection,
    cutoff: u64,
    most: usize,
) -> Result<bool, Failure> {
    if cutoff == 0 {
        return Ok(false);
    }
    let cutoff = i64::try_from(cutoff).unwrap_or(i64::MAX);
    let db = db.transaction()?;
    let Some(upto) = overdue(&db, cutoff, most)? else { return Ok(false) };
    // From the row itself: also where the chain is broken, this is what its successor refers to.
    db.prepare_cached(
        "UPDATE audit_ends SET (anchor_seq, anchor_hash) = (SELECT seq, hash FROM audit WHERE seq = ?1)",
    )?
    .execute([upto])?;
    db.prepare_cached("DELETE FROM audit WHERE seq <= ?1")?.execute([upto])?;
    db.commit()?;
    Ok(true)
}

/// The last record to remove now.
fn overdue(db: &Connection, cutoff: i64, most: usize) -> Result<Option<i64>, Failure> {
    let mut upto = None;
    let mut statement = db.prepare_cached("SELECT seq, time FROM audit ORDER BY seq LIMIT ?1")?;
    let mut rows = statement.query([i64::try_from(most).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? >= cutoff {
            break;
        }
        upto = Some(row.get(0)?);
    }
    Ok(upto)
}
