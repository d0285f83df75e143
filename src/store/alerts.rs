//! Alerts: what is wrong, or was. `alerts` decides what that means.

use protocol::{Json, Time};
use rusqlite::{Connection, params};

use super::error::Failure;
use super::{Store, StoreError};

/// One alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAlert {
    /// Its number.
    pub id: u64,
    /// When it was over; `None` while it is not.
    pub closed: Option<Time>,
    /// All of it, in the form `alerts` gives it.
    pub alert: Json,
}

impl StoredAlert {
    /// Roughly the bytes it holds in memory.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.alert.text().len()
    }
}

impl Store {
    /// Every alert, by number.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn alert_list(&self) -> Result<Vec<StoredAlert>, StoreError> {
        self.shared.history.run(|db| list(db)).await
    }

    /// Keeps alerts of which only figures have changed, which no event tells of; durable when this
    /// returns.
    ///
    /// # Errors
    /// Then nothing was changed.
    pub async fn alert_put(&self, alerts: Vec<StoredAlert>) -> Result<(), StoreError> {
        self.change(move |db| {
            let transaction = db.transaction()?;
            alerts.iter().try_for_each(|stored| put(&transaction, stored))?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// Forgets these.
    ///
    /// # Errors
    /// Then all of them are still there.
    pub async fn alert_forget(&self, ids: Vec<u64>) -> Result<(), StoreError> {
        self.change(move |db| {
            let transaction = db.transaction()?;
            {
                let mut statement =
                    transaction.prepare_cached("DELETE FROM alerts WHERE id = ?1")?;
                for id in ids {
                    statement.execute([id.cast_signed()])?;
                }
            }
            Ok(transaction.commit()?)
        })
        .await
    }
}

/// Keeps an alert; within the transaction of the writer.
pub(super) fn put(db: &Connection, stored: &StoredAlert) -> Result<(), Failure> {
    let StoredAlert { id, closed, alert } = stored;
    let closed = closed.map(|closed| closed.micros().cast_signed());
    db.prepare_cached(
        "INSERT INTO alerts (id, closed, alert) VALUES (?1, ?2, ?3) ON CONFLICT (id) \
         DO UPDATE SET closed = excluded.closed, alert = excluded.alert",
    )?
    .execute(params![id.cast_signed(), closed, alert.text()])?;
    Ok(())
}

fn list(db: &Connection) -> Result<Vec<StoredAlert>, Failure> {
    let mut statement = db.prepare_cached("SELECT id, closed, alert FROM alerts ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut alerts = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, closed, text): (i64, Option<i64>, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let alert = Json::parse(text).map_err(|cause| {
            Failure::Row(format!("what is kept of an alert is no JSON: {cause}"))
        })?;
        let closed = closed.map(|micros| Time::from_micros(micros.cast_unsigned()));
        alerts.push(StoredAlert { id: id.cast_unsigned(), closed, alert });
    }
    Ok(alerts)
}
