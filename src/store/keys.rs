//! The public keys clients log in with by a signature; `access` checks it.

use protocol::Time;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::error::Failure;
use super::{Store, StoreError};

const COLUMNS: &str = "id, account, pem, nickname, email, created";

/// A public key of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Names it, also in the audit trail.
    pub id: Uuid,
    /// Who logs in with it.
    pub account: String,
    /// The key.
    pub pem: String,
    /// What its owner calls it.
    pub nickname: String,
    /// How its owner can be reached.
    pub email: String,
    /// When it was registered.
    pub created: Time,
}

impl Store {
    /// Keeps a key; durable when this returns. Where the account has the same `pem`, that key keeps
    /// its `id` and `created` and takes the rest. Answers what is kept.
    ///
    /// # Errors
    /// Also when there is another key with the same `id`.
    pub async fn key_put(&self, key: StoredKey) -> Result<StoredKey, StoreError> {
        self.change(move |db| put(db, &key)).await
    }

    /// All keys, oldest first.
    pub async fn key_list(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.shared.replay.run(|db| list(db)).await
    }

    /// Forgets a key; `false` when the account has none with this `pem`.
    pub async fn key_delete(&self, account: &str, pem: &str) -> Result<bool, StoreError> {
        let key = [account.to_owned(), pem.to_owned()];
        let sql = "DELETE FROM ssl_keys WHERE account = ?1 AND pem = ?2";
        self.change(move |db| Ok(db.execute(sql, key)? > 0)).await
    }
}

fn put(db: &Connection, key: &StoredKey) -> Result<StoredKey, Failure> {
    let sql = format!(
        "INSERT INTO ssl_keys ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (account, pem) DO UPDATE \
         SET nickname = excluded.nickname, email = excluded.email RETURNING {COLUMNS}"
    );
    let id = key.id.as_bytes();
    let created = key.created.micros().cast_signed();
    let values = params![id, key.account, key.pem, key.nickname, key.email, created];
    Ok(db.prepare_cached(&sql)?.query_row(values, decode)?)
}

fn list(db: &Connection) -> Result<Vec<StoredKey>, Failure> {
    let mut statement =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM ssl_keys ORDER BY created, id"))?;
    let keys = statement.query_map([], decode)?;
    Ok(keys.collect::<Result<_, _>>()?)
}

fn decode(row: &Row<'_>) -> Result<StoredKey, rusqlite::Error> {
    Ok(StoredKey {
        id: Uuid::from_bytes(row.get(0)?),
        account: row.get(1)?,
        pem: row.get(2)?,
        nickname: row.get(3)?,
        email: row.get(4)?,
        created: Time::from_micros(row.get::<_, i64>(5)?.cast_unsigned()),
    })
}
