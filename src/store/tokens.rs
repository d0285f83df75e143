//! The tokens clients log in with, as SHA-256; `access` decides what they are worth.

use protocol::{Role, Time};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::error::Failure;

const COLUMNS: &str = "id, name, role, hash, created, expires";

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// By which it is revoked.
    pub id: Uuid,
    /// What its owner calls it; need not be unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the token's text.
    pub hash: [u8; 32],
    /// When it was made.
    pub created: Time,
    /// From when on it is worth nothing; `None`: never. The store gives out expired ones, too.
    pub expires: Option<Time>,
}

pub(super) fn insert(db: &Connection, token: &Token) -> Result<(), Failure> {
    db.execute(
        &format!("INSERT INTO tokens ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
        params![
            token.id.as_bytes(),
            token.name,
            token.role.as_str(),
            token.hash,
            token.created.micros().cast_signed(),
            token.expires.map(|time| time.micros().cast_signed()),
        ],
    )?;
    Ok(())
}

pub(super) fn list(db: &Connection) -> Result<Vec<Token>, Failure> {
    let mut statement =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM tokens ORDER BY created, id"))?;
    let mut rows = statement.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(decode(row)?);
    }
    Ok(tokens)
}

/// Whether there was one.
pub(super) fn delete(db: &Connection, id: Uuid) -> Result<bool, Failure> {
    Ok(db.execute("DELETE FROM tokens WHERE id = ?1", [id.as_bytes()])? > 0)
}

pub(super) fn by_hash(db: &Connection, hash: &[u8; 32]) -> Result<Option<Token>, Failure> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM tokens WHERE hash = ?1"))?
        .query_row([hash], |row| Ok(decode(row)))
        .optional()?
        .transpose()
}

fn decode(row: &Row<'_>) -> Result<Token, Failure> {
    let time = |micros: i64| Time::from_micros(micros.cast_unsigned());
    let role: String = row.get(2)?;
    Ok(Token {
        id: Uuid::from_bytes(row.get(0)?),
        name: row.get(1)?,
        role: Role::parse(&role)
            .ok_or_else(|| Failure::Row(format!("a token has the unknown role {role:?}")))?,
        hash: row.get(3)?,
        created: time(row.get(4)?),
        expires: row.get::<_, Option<i64>>(5)?.map(time),
    })
}
