//! The tokens clients log in with, as SHA-256; `access` decides what they are worth.

use protocol::{Json, Time};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::error::Failure;
use super::{Store, StoreError};

const COLUMNS: &str = "id, name, role, hash, created, expires, scope";

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// By which it is revoked.
    pub id: Uuid,
    /// What its owner calls it; need not be unique.
    pub name: String,
    /// The name of the role it has. The store does not know which there are.
    pub role: String,
    /// SHA-256 of the token's text.
    pub hash: [u8; 32],
    /// When it was made.
    pub created: Time,
    /// From when on it is worth nothing; `None`: never. The store gives out expired ones, too.
    pub expires: Option<Time>,
    /// What narrows its role down, in the form `access` gives it; `null` when nothing does.
    pub scope: Json,
}

impl Store {
    /// Keeps a token; durable when this returns.
    ///
    /// # Errors
    /// Also when there is one with the same `id` or `hash`.
    pub async fn token_insert(&self, token: Token) -> Result<(), StoreError> {
        self.change(move |db| insert(db, &token)).await
    }

    /// All tokens, oldest first.
    pub async fn token_list(&self) -> Result<Vec<Token>, StoreError> {
        self.shared.replay.run(|db| list(db)).await
    }

    /// Forgets a token; `false` when there is none with this id.
    pub async fn token_delete(&self, id: Uuid) -> Result<bool, StoreError> {
        self.change(move |db| delete(db, id)).await
    }

    /// Gives a token another secret, by its SHA-256; answers the token as it is now, or `None` when
    /// there is none with this id. The old secret is worth nothing when this returns.
    ///
    /// # Errors
    /// Also when another token has this hash.
    pub async fn token_rehash(
        &self,
        id: Uuid,
        hash: [u8; 32],
    ) -> Result<Option<Token>, StoreError> {
        self.change(move |db| rehash(db, id, &hash)).await
    }

    /// The token with this SHA-256.
    pub async fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        let hash = *hash;
        self.shared.replay.run(move |db| by_hash(db, &hash)).await
    }
}

fn insert(db: &Connection, token: &Token) -> Result<(), Failure> {
    db.execute(
        &format!("INSERT INTO api_tokens ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
        params![
            token.id.as_bytes(),
            token.name,
            token.role,
            token.hash,
            token.created.micros().cast_signed(),
            token.expires.map(|time| time.micros().cast_signed()),
            (!token.scope.is_null()).then(|| token.scope.text()),
        ],
    )?;
    Ok(())
}

fn list(db: &Connection) -> Result<Vec<Token>, Failure> {
    let mut statement =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM api_tokens ORDER BY created, id"))?;
    let mut rows = statement.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(decode(row)?);
    }
    Ok(tokens)
}

/// Whether there was one.
fn delete(db: &Connection, id: Uuid) -> Result<bool, Failure> {
    Ok(db.execute("DELETE FROM api_tokens WHERE id = ?1", [id.as_bytes()])? > 0)
}

fn rehash(db: &Connection, id: Uuid, hash: &[u8; 32]) -> Result<Option<Token>, Failure> {
    let sql = format!("UPDATE api_tokens SET hash = ?2 WHERE id = ?1 RETURNING {COLUMNS}");
    db.prepare_cached(&sql)?
        .query_row(params![id.as_bytes(), hash], |row| Ok(decode(row)))
        .optional()?
        .transpose()
}

fn by_hash(db: &Connection, hash: &[u8; 32]) -> Result<Option<Token>, Failure> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM api_tokens WHERE hash = ?1"))?
        .query_row([hash], |row| Ok(decode(row)))
        .optional()?
        .transpose()
}

fn decode(row: &Row<'_>) -> Result<Token, Failure> {
    let time = |micros: i64| Time::from_micros(micros.cast_unsigned());
    let scope: Option<String> = row.get(6)?;
    let scope = scope.map(Json::parse).transpose();
    let no_json = |cause| Failure::Row(format!("a token has a scope that is no JSON: {cause}"));
    Ok(Token {
        id: Uuid::from_bytes(row.get(0)?),
        name: row.get(1)?,
        role: row.get(2)?,
        hash: row.get(3)?,
        created: time(row.get(4)?),
        expires: row.get::<_, Option<i64>>(5)?.map(time),
        scope: scope.map_err(no_json)?.unwrap_or_default(),
    })
}
