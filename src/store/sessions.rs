//! Sessions that can be resumed, by the SHA-256 of their token; `access` decides for how long.

use protocol::{Json, Time};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::Failure;
use super::{Store, StoreError};

const COLUMNS: &str = "hash, who, peer, created, used";

/// A session, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// SHA-256 of the session token's text.
    pub hash: [u8; 32],
    /// Whose it is, in the form `access` gives it.
    pub who: Json,
    /// From where it was begun.
    pub peer: String,
    /// When it was begun.
    pub created: Time,
    /// When it was last used, as far as that was stored.
    pub used: Time,
}

impl Store {
    /// Keeps a session in the place of one with the same hash; durable when this returns.
    pub async fn session_put(&self, session: StoredSession) -> Result<(), StoreError> {
        self.change(move |db| put(db, &session)).await
    }

    /// Stores when a session was last used, if it is still there.
    pub async fn session_refresh(&self, session: StoredSession) -> Result<(), StoreError> {
        let used = session.used.micros().cast_signed();
        let sql = "UPDATE sessions SET used = ?2 WHERE hash = ?1";
        self.change(move |db| Ok(db.execute(sql, params![session.hash, used])?)).await.map(|_| ())
    }

    /// The session with this SHA-256.
    pub async fn session_by_hash(
        &self,
        hash: &[u8; 32],
    ) -> Result<Option<StoredSession>, StoreError> {
        let hash = *hash;
        self.shared.replay.run(move |db| by_hash(db, &hash)).await
    }

    /// All sessions, the one unused for longest first.
    pub async fn session_list(&self) -> Result<Vec<StoredSession>, StoreError> {
        self.shared.replay.run(|db| list(db)).await
    }

    /// Forgets a session; `false` when there is none with this hash.
    pub async fn session_delete(&self, hash: [u8; 32]) -> Result<bool, StoreError> {
        let sql = "DELETE FROM sessions WHERE hash = ?1";
        self.change(move |db| Ok(db.execute(sql, [hash])? > 0)).await
    }

    /// Forgets all sessions last used before this time; answers how many.
    pub async fn sessions_delete_before(&self, used: Time) -> Result<u64, StoreError> {
        let used = i64::try_from(used.micros()).unwrap_or(i64::MAX);
        let sql = "DELETE FROM sessions WHERE used < ?1";
        self.change(move |db| Ok(db.execute(sql, [used])? as u64)).await
    }
}

fn put(db: &Connection, session: &StoredSession) -> Result<(), Failure> {
    db.prepare_cached(&format!(
        "INSERT OR REPLACE INTO sessions ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5)"
    ))?
    .execute(params![
        session.hash,
        session.who.text(),
        session.peer,
        session.created.micros().cast_signed(),
        session.used.micros().cast_signed(),
    ])?;
    Ok(())
}

fn by_hash(db: &Connection, hash: &[u8; 32]) -> Result<Option<StoredSession>, Failure> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE hash = ?1"))?
        .query_row([hash], |row| Ok(decode(row)))
        .optional()?
        .transpose()
}

fn list(db: &Connection) -> Result<Vec<StoredSession>, Failure> {
    let mut statement =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM sessions ORDER BY used, hash"))?;
    let mut rows = statement.query([])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        sessions.push(decode(row)?);
    }
    Ok(sessions)
}

fn decode(row: &Row<'_>) -> Result<StoredSession, Failure> {
    let time = |micros: i64| Time::from_micros(micros.cast_unsigned());
    let who = Json::parse(row.get(1)?);
    Ok(StoredSession {
        hash: row.get(0)?,
        who: who
            .map_err(|cause| Failure::Row(format!("whose a session is is no JSON: {cause}")))?,
        peer: row.get(2)?,
        created: time(row.get(3)?),
        used: time(row.get(4)?),
    })
}
