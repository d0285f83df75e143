//! Orders (what is done later in somebody's name), their runs, and what was signed and came already.
//! `dispatch` decides what that means.

use protocol::{Json, Time};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::error::Failure;
use super::{Store, StoreError};

/// Runs that have ended and are kept.
const ENDED_KEPT: u32 = 10_000;
/// Of so many ends one tidies up after the others.
const TIDY_EVERY: u8 = 64;

/// One order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOrder {
    /// Its identity; no secret.
    pub id: Uuid,
    /// SHA-256 of the secret in its URL, if it has one.
    pub hash: Option<[u8; 32]>,
    /// Its secrets, as [`super::Vault`] has sealed them.
    pub sealed: Option<Vec<u8>>,
    /// All else, in the form `dispatch` gives it.
    pub body: Json,
}

/// One run of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRun {
    /// Its identity.
    pub id: Uuid,
    /// The order.
    pub owner: Uuid,
    /// When it was asked for.
    pub created: Time,
    /// When it ended; `None` before.
    pub ended: Option<Time>,
    /// All else, in the form `dispatch` gives it.
    pub body: Json,
}

/// Something signed that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSeen {
    /// SHA-256 of what was signed.
    pub key: [u8; 32],
    /// Until when it is remembered.
    pub until: Time,
    /// What was run because of it.
    pub run: Uuid,
}

/// A change of orders that is recorded in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderChange {
    /// It is new, or like this now.
    pub order: Option<StoredOrder>,
    /// It is there no more; its runs stay until they are old.
    pub gone: Option<Uuid>,
    /// Runs that are new, or like this now.
    pub runs: Vec<StoredRun>,
    /// What came.
    pub seen: Option<StoredSeen>,
}

impl OrderChange {
    /// Roughly the bytes it holds in memory.
    pub(super) fn weight(&self) -> usize {
        let order = self.order.as_ref().map_or(0, |order| order.body.text().len() + 512);
        let runs: usize = self.runs.iter().map(|run| run.body.text().len() + 128).sum();
        size_of::<Self>() + order + runs
    }
}

impl Store {
    /// Every order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn order_list(&self) -> Result<Vec<StoredOrder>, StoreError> {
        self.shared.history.run(|db| list(db)).await
    }

    /// Makes a change that no event tells of; durable when this returns.
    ///
    /// # Errors
    /// Then nothing was changed.
    pub async fn order_change(&self, wanted: OrderChange) -> Result<(), StoreError> {
        self.change(move |db| {
            let transaction = db.transaction()?;
            change(&transaction, &wanted)?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// One run.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn run(&self, id: Uuid) -> Result<Option<StoredRun>, StoreError> {
        self.shared.replay.run(move |db| one(db, id)).await
    }

    /// The newest runs of one order, or of all, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn run_list(
        &self,
        owner: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<StoredRun>, StoreError> {
        self.shared.history.run(move |db| newest(db, owner, limit)).await
    }

    /// The runs that have not ended, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn run_open(&self) -> Result<Vec<StoredRun>, StoreError> {
        self.shared.history.run(|db| open(db)).await
    }

    /// What was run because of this, when it came before and is still remembered; and how much is
    /// remembered in all.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn run_seen(
        &self,
        key: [u8; 32],
        now: Time,
    ) -> Result<(Option<Uuid>, u64), StoreError> {
        self.shared.replay.run(move |db| seen(db, &key, now)).await
    }
}

/// Makes a change within the transaction of the writer.
pub(super) fn change(db: &Connection, change: &OrderChange) -> Result<(), Failure> {
    let OrderChange { order, gone, runs, seen } = change;
    if let Some(StoredOrder { id, hash, sealed, body }) = order {
        db.prepare_cached(
            "INSERT INTO orders (id, hash, sealed, body) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) \
             DO UPDATE SET hash = excluded.hash, sealed = excluded.sealed, body = excluded.body",
        )?
        .execute(params![id.as_bytes(), hash.as_ref(), sealed, body.text()])?;
    }
    if let Some(id) = gone {
        db.execute("DELETE FROM orders WHERE id = ?1", [id.as_bytes()])?;
    }
    if let Some(StoredSeen { key, until, run }) = seen {
        db.prepare_cached("INSERT OR REPLACE INTO seen (key, until, run) VALUES (?1, ?2, ?3)")?
            .execute(params![key, until.micros().cast_signed(), run.as_bytes()])?;
    }
    runs.iter().try_for_each(|run| put_run(db, run))
}

fn put_run(db: &Connection, run: &StoredRun) -> Result<(), Failure> {
    let StoredRun { id, owner, created, ended, body } = run;
    let ended = ended.map(|time| time.micros().cast_signed());
    db.prepare_cached(
        "INSERT INTO runs (id, owner, created, ended, body) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, body = excluded.body",
    )?
    .execute(params![
        id.as_bytes(),
        owner.as_bytes(),
        created.micros().cast_signed(),
        ended,
        body.text()
    ])?;
    // Ids are random, so this is one end of so many.
    match ended {
        Some(now) if id.as_bytes()[15].is_multiple_of(TIDY_EVERY) => tidy(db, now),
        _ => Ok(()),
    }
}

/// Forgets the oldest runs beyond what is kept, and what need not be remembered any more.
fn tidy(db: &Connection, now: i64) -> Result<(), Failure> {
    db.execute("DELETE FROM seen WHERE until < ?1", [now])?;
    db.execute(
        "DELETE FROM runs WHERE ended <= \
         (SELECT ended FROM runs WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT 1 OFFSET ?1)",
        [ENDED_KEPT],
    )?;
    Ok(())
}

fn list(db: &Connection) -> Result<Vec<StoredOrder>, Failure> {
    let mut statement =
        db.prepare_cached("SELECT id, hash, sealed, body FROM orders ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut orders = Vec::new();
    while let Some(row) = rows.next()? {
        orders.push(StoredOrder {
            id: Uuid::from_bytes(row.get(0)?),
            hash: row.get(1)?,
            sealed: row.get(2)?,
            body: json(row.get(3)?)?,
        });
    }
    Ok(orders)
}

const RUN: &str = "SELECT id, owner, created, ended, body FROM runs";

fn one(db: &Connection, id: Uuid) -> Result<Option<StoredRun>, Failure> {
    db.prepare_cached(&format!("{RUN} WHERE id = ?1"))?
        .query_row([id.as_bytes()], |row| Ok(decode(row)))
        .optional()?
        .transpose()
}

fn newest(db: &Connection, owner: Option<Uuid>, limit: u32) -> Result<Vec<StoredRun>, Failure> {
    let sql = format!("{RUN} WHERE ?1 IS NULL OR owner = ?1 ORDER BY created DESC, id LIMIT ?2");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query(params![owner.map(Uuid::into_bytes), limit])?;
    all(rows)
}

fn open(db: &Connection) -> Result<Vec<StoredRun>, Failure> {
    let mut statement =
        db.prepare_cached(&format!("{RUN} WHERE ended IS NULL ORDER BY created, id"))?;
    let rows = statement.query([])?;
    all(rows)
}

fn all(mut rows: rusqlite::Rows<'_>) -> Result<Vec<StoredRun>, Failure> {
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(decode(row)?);
    }
    Ok(runs)
}

fn seen(db: &Connection, key: &[u8; 32], now: Time) -> Result<(Option<Uuid>, u64), Failure> {
    let run: Option<[u8; 16]> = db
        .prepare_cached("SELECT run FROM seen WHERE key = ?1 AND until >= ?2")?
        .query_row(params![key, now.micros().cast_signed()], |row| row.get(0))
        .optional()?;
    let all: i64 =
        db.prepare_cached("SELECT count(*) FROM seen")?.query_row([], |row| row.get(0))?;
    Ok((run.map(Uuid::from_bytes), all.cast_unsigned()))
}

fn decode(row: &Row<'_>) -> Result<StoredRun, Failure> {
    let time = |micros: i64| Time::from_micros(micros.cast_unsigned());
    Ok(StoredRun {
        id: Uuid::from_bytes(row.get(0)?),
        owner: Uuid::from_bytes(row.get(1)?),
        created: time(row.get(2)?),
        ended: row.get::<_, Option<i64>>(3)?.map(time),
        body: json(row.get(4)?)?,
    })
}

fn json(text: String) -> Result<Json, Failure> {
    Json::parse(text)
        .map_err(|cause| Failure::Row(format!("what is kept of an order is no JSON: {cause}")))
}
