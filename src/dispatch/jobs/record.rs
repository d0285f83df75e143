//! Putting jobs on record, each change in one step with the event that tells of it; and finding
//! them again after a restart.

use std::sync::Arc;
use std::time::Duration;

use protocol::{Draft, Fault, FaultKind, Json, Priority};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::log::Log;
use super::plan::Place;
use super::state::{Ending, Impossible, Job, State, Step};
use super::work::{Task, Work};
use super::{Ended, Jobs, Live, locked, unreadable};
use crate::access::{Origin, Peer};
use crate::bus::own_class;
use crate::dispatch::Dispatch;
use crate::store::{JobChange, StoredJob};

/// The source of events about jobs.
const SOURCE: &str = "sysadmd";
/// How long until an end that could not be recorded is tried again.
const AGAIN: Duration = Duration::from_secs(2);

impl Jobs {
    /// Records that a job waits.
    pub(super) async fn record_new(&self, live: &Live) -> Result<(), Fault> {
        let job = live.job.lock().await;
        self.put("job.queued", &job, live, Json::default()).await
    }

    /// Takes a step that is not the last one, on record first.
    pub(super) async fn record_step(
        &self,
        job: &mut Job,
        step: Step,
        live: &Live,
    ) -> Result<(), Fault> {
        let class = if step == Step::Start { "job.started" } else { "job.abort-asked" };
        let mut next = job.clone();
        next.step(step, self.now()).map_err(|Impossible| Fault::internal())?;
        self.put(class, &next, live, Json::default()).await?;
        *job = next;
        Ok(())
    }

    /// Records an end. It has happened, so this goes on trying for as long as the daemon lives; who
    /// dies before finds the job interrupted.
    pub(super) async fn record_end(&self, live: &Live, ending: Ending, result: Json) {
        let mut job = live.job.lock().await;
        let mut next = job.clone();
        next.progress = live.shown();
        next.log_bytes = live.said();
        if next.step(Step::End(ending), self.now()).is_err() {
            tracing::error!(id = %job.id, state = ?job.state, "a job cannot end from here");
            return;
        }
        let stop = self.0.tasks.stop_signal();
        while let Err(fault) = self.put("job.finished", &next, live, result.clone()).await {
            tracing::warn!(id = %job.id, %fault, "the end of a job is not recorded yet");
            if fault.kind == FaultKind::BadRequest || stop.is_set() {
                break;
            }
            sleep(AGAIN).await;
        }
        *job = next;
    }

    pub(super) async fn record_forgotten(&self, ids: Vec<Uuid>) -> Result<(), Fault> {
        let data = json!({ "forgotten": ids });
        let message = format!("{} jobs that ended long ago are forgotten", ids.len());
        let draft = draft("job.forgotten", String::new(), &message, data)?;
        self.0.bus.publish_job(SOURCE, draft, JobChange::Forget(ids)).await.map(|_| ())
    }

    async fn put(&self, class: &str, job: &Job, live: &Live, result: Json) -> Result<(), Fault> {
        let log = job.state.is_end().then(|| locked(&live.log).parts());
        let draft = telling(class, job)?;
        let stored = Box::new(stored(job, &live.work)?);
        let change = JobChange::Put { job: stored, result, log };
        self.0.bus.publish_job(SOURCE, draft, change).await.map(|_| ())
    }

    /// Finds what an earlier life of the daemon has left: what ended is kept, what ran was
    /// interrupted, what waited waits again.
    pub(in crate::dispatch) async fn resume(&self, dispatch: &Dispatch) -> Result<(), Fault> {
        let page = self.0.store.job_list().await.map_err(|error| unreadable(&error))?;
        let mut ended = Vec::new();
        for kept in page.jobs {
            let Some((job, work)) = read(&kept) else { continue };
            if let Some(key) = &job.key {
                self.book().keys.insert((work.owner(&job.actor), key.clone()), job.id);
            }
            match kept.ended {
                Some(at) => {
                    let key = job.key.clone().map(|key| (work.owner(&job.actor), key));
                    ended.push(Ended { id: job.id, at, key });
                }
                None => self.take_up(dispatch, job, work).await,
            }
        }
        ended.sort_by_key(|ended| ended.at);
        let later = std::mem::take(&mut self.book().ended);
        self.book().ended = ended.into_iter().chain(later).collect();
        self.forget().await;
        self.pump(dispatch);
        Ok(())
    }

    async fn take_up(&self, dispatch: &Dispatch, job: Job, work: Work) {
        let uid = nix::unistd::geteuid().as_raw();
        let origin = Origin { peer: Peer::Local(uid), face: "job" };
        let live = Arc::new(Live::new(job.clone(), work, origin, self));
        let ending = match job.state {
            State::Queued if live.work.secret => Ending::Failed(forgotten_secrets()),
            State::Queued => {
                super::tell::waits(self, &live).await;
                let place = place(dispatch, &job, &live.work);
                let mut book = self.book();
                book.live.insert(live.id, live);
                book.plan.push(place);
                return;
            }
            _ => Ending::Interrupted(cut_off(&job)),
        };
        if let Ok(kept) = self.0.store.job_log(job.id).await {
            *locked(&live.log) = Log::of(self.keep(), kept);
        }
        if let Task::Commands(commands) = &live.work.task {
            super::tell::interrupted(self, &job, commands).await;
        }
        self.record_end(&live, ending, Json::default()).await;
        let job = live.job.lock().await.clone();
        self.note_end(&live, &job);
    }
}

/// Where a job stands in line.
pub(super) fn place(dispatch: &Dispatch, job: &Job, work: &Work) -> Place {
    let plugin = match &work.task {
        Task::Call(request) => {
            dispatch.0.host.method(&job.method, request.action(), 1).map(|m| (m.plugin, m.jobs))
        }
        Task::Commands(_) => None,
    };
    let queue = job.queue.iter().map(|queue| format!("queue/{queue}"));
    let locks = job.locks.iter().map(|lock| format!("lock/{lock}")).chain(queue).collect();
    Place { id: job.id, client: job.actor.clone(), locks, plugin }
}

/// The event that tells how a job is now.
fn telling(class: &str, job: &Job) -> Result<Draft, Fault> {
    let title = job.title();
    let (message, priority) = match (job.state, &job.error) {
        (State::Queued, _) => (format!("{title} waits for its turn"), 0),
        (State::Running, _) if job.abort_asked => (format!("{title} was asked to end"), 1),
        (State::Running, _) => (format!("{title} has begun"), 0),
        (State::Done, _) => (format!("{title} is done"), 1),
        (State::Aborted, _) => (format!("{title} was aborted"), 3),
        (State::Failed, Some(fault)) => (format!("{title} failed: {}", fault.message), 5),
        (State::Failed, None) => (format!("{title} failed"), 5),
        (State::Interrupted, _) => {
            let next =
                if job.resumable { "; it can be retried" } else { "; look before you retry" };
            (format!("{title} was interrupted{next}"), 6)
        }
    };
    let mut draft =
        draft(class, format!("/jobs/{}", job.id), &message, json!({ "job": shown(job) }))?;
    draft.priority = Some(Priority::clamped(priority));
    Ok(draft)
}

/// A draft of one of the daemon's own classes.
pub(in crate::dispatch) fn draft(
    class: &str,
    subject: String,
    message: &str,
    data: Value,
) -> Result<Draft, Fault> {
    let declared = own_class(class).ok_or_else(Fault::internal)?;
    let mut draft = Draft::new(declared.declared.class.clone());
    draft.priority = Some(declared.declared.priority_default);
    draft.subject = subject;
    let end = (0..=message.len().min(1024)).rev().find(|end| message.is_char_boundary(*end));
    message[..end.unwrap_or_default()].clone_into(&mut draft.message);
    draft.data = Json::from(data);
    Ok(draft)
}

/// A job as everybody who may see it sees it.
pub(super) fn shown(job: &Job) -> Value {
    // A job has only texts and numbers, so it always has a JSON form.
    serde_json::to_value(job).unwrap_or_default()
}

/// As much of a job as says who may hear of it: `sight` reads it in every event about one.
pub(super) fn about(job: &Job) -> Value {
    let Job { id, method, action, resource, process_id, actor, role, .. } = job;
    let mut about = json!({ "id": id, "method": method, "actor": actor, "role": role });
    for (name, text) in [("action", action), ("resource", resource), ("process_id", process_id)] {
        if let Some(text) = text {
            about[name] = text.as_str().into();
        }
    }
    about
}

pub(crate) fn stored(job: &Job, work: &Work) -> Result<StoredJob, Fault> {
    let unwritable = |error| {
        tracing::error!(%error, "a job has no JSON form");
        Fault::internal()
    };
    Ok(StoredJob {
        id: job.id,
        created: job.created,
        ended: job.ended,
        job: Json::of(job).map_err(unwritable)?,
        work: Json::of(&work.kept()).map_err(unwritable)?,
    })
}

/// A job as it was kept; one that cannot be read is passed over, so that it spoils no other.
pub(crate) fn read(kept: &StoredJob) -> Option<(Job, Work)> {
    match (kept.job.read(), kept.work.read()) {
        (Ok(job), Ok(work)) => Some((job, work)),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(id = %kept.id, %error, "a job that was kept is not understood");
            None
        }
    }
}

fn forgotten_secrets() -> Fault {
    let sentence = "its arguments held secrets, which are not kept while the daemon is away";
    Fault::new(FaultKind::Failed, sentence).with_hint("nothing was done; ask for it again")
}

fn cut_off(job: &Job) -> Fault {
    let sentence = "the daemon ended while it ran; what it has done is not known";
    let hint = if job.resumable {
        "it goes on where it stopped when it is retried"
    } else {
        "look what there is before you retry it"
    };
    Fault::new(FaultKind::Unavailable, sentence).with_hint(hint)
}
