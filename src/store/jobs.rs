//! Jobs: what is to be done, how far it is, what came of it. `dispatch` decides what that means.

use protocol::{Json, Time};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::error::Failure;
use super::{Store, StoreError};

const COLUMNS: &str = "id, created, ended, job, work";

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredJob {
    /// Its identity.
    pub id: Uuid,
    /// When it was asked for.
    pub created: Time,
    /// When it ended; `None` while it waits or runs.
    pub ended: Option<Time>,
    /// What is shown of it, in the form `dispatch` gives it.
    pub job: Json,
    /// What is to be done, in the form `dispatch` gives it; `null` when that is not kept.
    pub work: Json,
}

/// A part of what a job has said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobLogPart {
    /// Bytes that were said before it.
    pub start: u64,
    /// What was said; not always UTF-8.
    pub text: Vec<u8>,
}

/// A change of jobs that is recorded together with the event that tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobChange {
    /// It is new, or like this now. A result and a log replace what there was.
    Put {
        /// The job.
        job: Box<StoredJob>,
        /// What came of it; `null`: nothing yet.
        result: Json,
        /// The beginning and the end of its log, when they have changed.
        log: Option<[JobLogPart; 2]>,
    },
    /// These are forgotten.
    Forget(Vec<Uuid>),
}

impl JobChange {
    /// Roughly the bytes it holds in memory.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Put { job, result, log } => {
                let log = log.iter().flatten().map(|part| part.text.len()).sum::<usize>();
                job.job.text().len() + job.work.text().len() + result.text().len() + log
            }
            Self::Forget(ids) => ids.len() * size_of::<Uuid>(),
        }
    }
}

/// All jobs at one moment.
#[derive(Debug, Clone)]
pub struct JobPage {
    /// Oldest first.
    pub jobs: Vec<StoredJob>,
    /// The newest event at that moment: what is later is not in `jobs` yet.
    pub head: u64,
}

impl Store {
    /// Every job, and where the log stood at that moment.
    pub async fn job_list(&self) -> Result<JobPage, StoreError> {
        self.shared.history.run(list).await
    }

    /// A job and its result.
    pub async fn job(&self, id: Uuid) -> Result<Option<(StoredJob, Json)>, StoreError> {
        self.shared.history.run(move |db| one(db, id)).await
    }

    /// What a job has said: the beginning and the end, as far as they were stored.
    pub async fn job_log(&self, id: Uuid) -> Result<[JobLogPart; 2], StoreError> {
        self.shared.history.run(move |db| log(db, id)).await
    }

    /// Keeps what a job has said so far, in the place of what was kept; durable when this returns.
    pub async fn job_log_put(&self, id: Uuid, log: [JobLogPart; 2]) -> Result<(), StoreError> {
        self.change(move |db| {
            let transaction = db.transaction()?;
            put_log(&transaction, id, &log)?;
            Ok(transaction.commit()?)
        })
        .await
    }
}

/// Makes a change within the transaction of the writer.
pub(super) fn change(db: &Connection, change: &JobChange) -> Result<(), Failure> {
    match change {
        JobChange::Put { job, result, log } => {
            put(db, job, result)?;
            log.as_ref().map_or(Ok(()), |log| put_log(db, job.id, log))
        }
        JobChange::Forget(ids) => {
            for sql in ["DELETE FROM jobs WHERE id = ?1", "DELETE FROM job_logs WHERE job = ?1"] {
                let mut statement = db.prepare_cached(sql)?;
                for id in ids {
                    statement.execute([id.as_bytes()])?;
                }
            }
            Ok(())
        }
    }
}

fn put(db: &Connection, job: &StoredJob, result: &Json) -> Result<(), Failure> {
    let text = |json: &Json| (!json.is_null()).then(|| json.text().to_owned());
    db.prepare_cached(
        "INSERT INTO jobs (id, created, ended, job, work, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, job = excluded.job, \
         work = excluded.work, result = excluded.result",
    )?
    .execute(params![
        job.id.as_bytes(),
        job.created.micros().cast_signed(),
        job.ended.map(|ended| ended.micros().cast_signed()),
        job.job.text(),
        text(&job.work),
        text(result),
    ])?;
    Ok(())
}

fn put_log(db: &Connection, id: Uuid, log: &[JobLogPart; 2]) -> Result<(), Failure> {
    let mut statement = db.prepare_cached(
        "INSERT INTO job_logs (job, part, start, text) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (job, part) DO UPDATE SET start = excluded.start, text = excluded.text \
         WHERE start <> excluded.start OR text <> excluded.text",
    )?;
    for (part, JobLogPart { start, text }) in (0i64..).zip(log) {
        statement.execute(params![id.as_bytes(), part, start.cast_signed(), text])?;
    }
    Ok(())
}

/// Rows and the number of the newest event, from one view of the database.
fn list(db: &mut Connection) -> Result<JobPage, Failure> {
    let view = db.transaction()?;
    let head: i64 =
        view.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?;
    let mut jobs = Vec::new();
    {
        let mut statement =
            view.prepare_cached(&format!("SELECT {COLUMNS} FROM jobs ORDER BY created, id"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            jobs.push(decode(row)?);
        }
    }
    Ok(JobPage { jobs, head: head.cast_unsigned() })
}

fn one(db: &Connection, id: Uuid) -> Result<Option<(StoredJob, Json)>, Failure> {
    db.prepare_cached(&format!("SELECT {COLUMNS}, result FROM jobs WHERE id = ?1"))?
        .query_row([id.as_bytes()], |row| Ok(decode(row).and_then(|job| Ok((job, json(row, 5)?)))))
        .optional()?
        .transpose()
}

fn log(db: &Connection, id: Uuid) -> Result<[JobLogPart; 2], Failure> {
    let mut statement =
        db.prepare_cached("SELECT part, start, text FROM job_logs WHERE job = ?1 ORDER BY part")?;
    let mut rows = statement.query([id.as_bytes()])?;
    let mut log = <[JobLogPart; 2]>::default();
    while let Some(row) = rows.next()? {
        let (part, start): (u8, i64) = (row.get(0)?, row.get(1)?);
        if let Some(place) = log.get_mut(usize::from(part)) {
            *place = JobLogPart { start: start.cast_unsigned(), text: row.get(2)? };
        }
    }
    Ok(log)
}

fn decode(row: &Row<'_>) -> Result<StoredJob, Failure> {
    let time = |micros: i64| Time::from_micros(micros.cast_unsigned());
    Ok(StoredJob {
        id: Uuid::from_bytes(row.get(0)?),
        created: time(row.get(1)?),
        ended: row.get::<_, Option<i64>>(2)?.map(time),
        job: json(row, 3)?,
        work: json(row, 4)?,
    })
}

fn json(row: &Row<'_>, column: usize) -> Result<Json, Failure> {
    let text: Option<String> = row.get(column)?;
    let parsed = text.map_or_else(|| Ok(Json::default()), Json::parse);
    parsed.map_err(|cause| Failure::Row(format!("what is kept of a job is no JSON: {cause}")))
}
