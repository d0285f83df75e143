//! Making a job: may its client, is there room, is it on record.

use std::sync::Arc;

use futures_util::future::join_all;
use protocol::manifest::Kind;
use protocol::{Fault, FaultKind, Request, Role};
use serde_json::json;
use uuid::Uuid;

use super::record::{place, read};
use super::state::{Job, State};
use super::work::{Task, Work, is_secret, token_of};
use super::{Jobs, Live, tell, unreadable};
use crate::access::{Wish, resource_of};
use crate::dispatch::{Asked, Dispatch, Found, Needs};

/// Seconds a job may take unless its client says otherwise: a day.
pub(super) const TIMEOUT_S: u64 = 24 * 3_600;

/// What somebody wants to be done as a job.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// What.
    pub(crate) task: Task,
    /// Of commands: the client's name for them.
    pub(crate) process_id: Option<String>,
    /// The client's name for the job.
    pub(crate) key: Option<String>,
    /// In which line.
    pub(crate) queue: Option<String>,
    /// What it must have for itself.
    pub(crate) locks: Vec<String>,
    /// Seconds it may take.
    pub(crate) timeout_s: u64,
    /// The job that it does again, and which attempt that was.
    pub(crate) again: Option<(Uuid, u32)>,
}

impl Wanted {
    /// Without any wishes.
    pub(in crate::dispatch) fn new(task: Task) -> Self {
        Self {
            task,
            process_id: None,
            key: None,
            queue: None,
            locks: Vec::new(),
            timeout_s: TIMEOUT_S,
            again: None,
        }
    }

    /// The request whose rights are needed.
    fn request(&self) -> Request {
        match &self.task {
            Task::Call(request) => request.clone(),
            Task::Commands(_) => Request::new("rpc", "dispatcher", json!({ "action": "run" })),
        }
    }
}

/// Makes one job; its id, and whether it is new: with a key that was used before, it is not.
///
/// # Errors
/// What its client may not, what is wrong with it, `too-many`, `conflict` when the key belongs to
/// another request, `unavailable` when it cannot be recorded.
pub(in crate::dispatch) async fn make(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    wanted: Wanted,
) -> Result<(Uuid, bool), Fault> {
    let jobs = &dispatch.0.jobs;
    let live = prepare(dispatch, asked, wanted).await?;
    let key = live.job.lock().await.key.clone();
    let _alone = match key {
        None => None,
        Some(key) => {
            let alone = jobs.0.making.lock().await;
            if let Some(id) = jobs.with_key(asked, &key, &live.work).await? {
                return Ok((id, false));
            }
            Some(alone)
        }
    };
    let id = live.id;
    enter(dispatch, &asked.principal.name, vec![live]).await?;
    Ok((id, true))
}

/// Makes several jobs, or none when one of them is wrong.
///
/// # Errors
/// As [`make`].
pub(in crate::dispatch) async fn make_all(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    all: Vec<Wanted>,
) -> Result<(), Fault> {
    let mut lives = Vec::with_capacity(all.len());
    for wanted in all {
        lives.push(prepare(dispatch, asked, wanted).await?);
    }
    enter(dispatch, &asked.principal.name, lives).await
}

/// A job that is nowhere yet, of a client that may ask for it.
async fn prepare(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    wanted: Wanted,
) -> Result<Arc<Live>, Fault> {
    let request = wanted.request();
    let method = request.method().to_ascii_lowercase();
    // A job is done in the first version of its method.
    let inner = Asked { method: &method, version: 1, request: &request, ..*asked };
    let found = dispatch.find(&inner)?;
    if found.plugin.is_none() && matches!(wanted.task, Task::Call(_)) {
        let sentence = format!("{method} is answered by the daemon itself and cannot be a job");
        return Err(Fault::bad_request(sentence).with_hint("call it as it is"));
    }
    if let Err(fault) = dispatch.permit(&inner, &found) {
        dispatch.refuse(&inner, &found.secrets, &fault).await;
        return Err(fault);
    }
    if !wanted.locks.is_empty() || wanted.queue.is_some() {
        may_hold_up(&inner, &found)?;
    }
    let work = work_of(&inner, &found, &wanted);
    let job = job_of(dispatch, &inner, &found, wanted);
    let mut live = Live::new(job, work, asked.origin, &dispatch.0.jobs);
    live.credentials.clone_from(&asked.principal.credentials);
    Ok(Arc::new(live))
}

/// Whether a job of this call may keep those that share a name with it waiting. Whoever can only
/// look may not: for as long as their question takes, a week at most, nobody's change would begin.
fn may_hold_up(inner: &Asked<'_>, found: &Found) -> Result<(), Fault> {
    let resource = resource_of(found.resource.as_deref(), &inner.request.args);
    let wish = Wish {
        method: inner.method,
        action: inner.request.action(),
        least: least(found).max(Role::Operator),
        resource: resource.as_deref(),
    };
    if found.kind == Kind::Mutate || inner.principal.rights.may_call(&wish) {
        return Ok(());
    }
    let sentence =
        "a job that changes nothing takes no \"locks\" and no \"queue\": others wait for them";
    Err(Fault::new(FaultKind::Forbidden, sentence)
        .with_hint("ask for it without them, or as an operator"))
}

fn least(found: &Found) -> Role {
    match found.needs {
        Needs::Role(least) => least,
        Needs::Nothing | Needs::Login => Role::Viewer,
    }
}

fn work_of(inner: &Asked<'_>, found: &Found, wanted: &Wanted) -> Work {
    let secret = match &wanted.task {
        Task::Call(request) => is_secret(request, &found.secrets),
        Task::Commands(_) => false,
    };
    let mut task = wanted.task.clone();
    if let Task::Call(request) = &mut task {
        request.namespace.make_ascii_lowercase();
        request.name.make_ascii_lowercase();
    }
    Work {
        task,
        secret,
        role: inner.principal.rights.role_for(least(found)),
        token: token_of(inner.principal),
        timeout_s: wanted.timeout_s,
    }
}

fn job_of(dispatch: &Dispatch, inner: &Asked<'_>, found: &Found, wanted: Wanted) -> Job {
    let jobs = &dispatch.0.jobs;
    let id = jobs.0.clock.stamp().id;
    let Wanted { task, process_id, key, queue, locks, again, .. } = wanted;
    let is_commands = matches!(task, Task::Commands(_));
    let resumable = match &task {
        Task::Call(request) => {
            let method = dispatch.0.host.method(inner.method, request.action(), inner.version);
            method.is_some_and(|method| method.resumable)
        }
        Task::Commands(_) => false,
    };
    Job {
        id,
        state: State::Queued,
        method: inner.method.to_owned(),
        action: inner.request.action().filter(|_| !is_commands).map(str::to_owned),
        resource: resource_of(found.resource.as_deref(), &inner.request.args),
        process_id: is_commands.then(|| process_id.unwrap_or_else(|| id.to_string())),
        actor: inner.principal.name.clone(),
        role: least(found),
        key,
        queue,
        locks,
        created: jobs.now(),
        started: None,
        ended: None,
        abort_asked: false,
        resumable,
        attempt: again.map_or(1, |(_, attempt)| attempt.saturating_add(1)),
        retry_of: again.map(|(id, _)| id),
        progress: None,
        log_bytes: 0,
        error: None,
    }
}

/// Puts jobs on record and into line.
async fn enter(dispatch: &Dispatch, client: &str, lives: Vec<Arc<Live>>) -> Result<(), Fault> {
    let jobs = &dispatch.0.jobs;
    if jobs.is_stopping() {
        return Err(
            Fault::new(FaultKind::Unavailable, "the daemon is stopping").with_retry_after_ms(1_000)
        );
    }
    jobs.book().plan.reserve(client, lives.len())?;
    // All at once, so that they share one transaction, and in their order.
    let recorded = join_all(lives.iter().map(|live| jobs.record_new(live))).await;
    let mut first_fault = None;
    for (live, recorded) in lives.into_iter().zip(recorded) {
        if recorded.is_ok() {
            tell::waits(jobs, &live).await;
        }
        let job = live.job.lock().await.clone();
        let mut book = jobs.book();
        match recorded {
            Ok(()) => {
                if let Some(key) = job.key.clone() {
                    book.keys.insert((live.work.owner(&job.actor), key), job.id);
                }
                let place = place(dispatch, &job, &live.work);
                book.live.insert(job.id, live);
                book.plan.push(place);
            }
            Err(fault) => {
                book.plan.give_back(client);
                first_fault.get_or_insert(fault);
            }
        }
    }
    jobs.pump(dispatch);
    first_fault.map_or(Ok(()), Err)
}

impl Jobs {
    /// The job of this client and key, when it was asked for the same.
    async fn with_key(
        &self,
        asked: &Asked<'_>,
        key: &str,
        work: &Work,
    ) -> Result<Option<Uuid>, Fault> {
        let known = (work.owner(&asked.principal.name), key.to_owned());
        let Some(id) = self.book().keys.get(&known).copied() else { return Ok(None) };
        let kept = self.0.store.job(id).await.map_err(|error| unreadable(&error))?;
        let Some((_, before)) = kept.as_ref().and_then(|(kept, _)| read(kept)) else {
            return Ok(None);
        };
        if before.asks_for_the_same(work) {
            return Ok(Some(id));
        }
        let sentence =
            format!("the key {key:?} belongs to the job {id}, which does something else");
        Err(Fault::new(FaultKind::Conflict, sentence).with_hint("use another key"))
    }
}
