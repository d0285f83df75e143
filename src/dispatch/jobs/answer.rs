//! `rpc/jobs`: what clients ask of jobs.

use std::pin::pin;
use std::time::Duration;

use protocol::{Cursor, Fault, FaultKind, Json, Request, Role};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::log::Log;
use super::making::TIMEOUT_S;
use super::record::read;
use super::state::{Job, State};
use super::work::{COMMANDS_MAX, Command, Task, Work, check_argv, owner};
use super::{Abort, Jobs, Wanted, make, unreadable};
use crate::access::redact::redact;
use crate::access::{Principal, Wish, login_is_over};
use crate::dispatch::shape::{read as read_args, said};
use crate::dispatch::{Asked, Dispatch};

/// Seconds a job may take at most: a week.
const TIMEOUT_S_MAX: u64 = 7 * 24 * 3_600;
/// Seconds an answer may be waited for: less than what proxies and browsers give up after.
const WAIT_S_MAX: u64 = 60;
/// Jobs in one answer.
const LIMIT_MAX: usize = 4_000;
/// Bytes of a log in one answer.
const LOG_BYTES_MAX: usize = 64 * 1024;
/// Characters of a name that a client chooses.
const NAME_MAX: usize = 128;
/// Locks of one job.
const LOCKS_MAX: usize = 8;

/// Answers one action.
pub(in crate::dispatch) async fn answer(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    action: &str,
) -> Result<Json, Fault> {
    let args = &asked.request.args;
    match action {
        "run" => run(dispatch, asked, args).await,
        "list" => list(dispatch, asked.principal, args).await,
        "show" => show(dispatch, asked.principal, args).await,
        "wait" => wait(dispatch, asked.principal, args).await,
        "log" => log(dispatch, asked.principal, args).await,
        "abort" => abort(dispatch, asked.principal, args).await,
        _ => retry(dispatch, asked, args).await,
    }
}

/// Arguments of `run`: either `method` with `args`, or `commands`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dispatch) struct Run {
    #[serde(rename = "action")]
    #[schemars(skip)]
    _action: IgnoredAny,
    /// What is to be called, as `namespace/name`.
    method: Option<String>,
    /// With what.
    #[serde(default)]
    args: Value,
    /// What is to be run, one after the other until one fails: each a program and its arguments.
    commands: Option<Vec<Vec<String>>>,
    /// With `commands`: what you call them.
    #[schemars(length(min = 1, max = 128))]
    process_id: Option<String>,
    /// Your own name for this job: asking again with it makes no second one.
    #[schemars(length(min = 1, max = 128))]
    key: Option<String>,
    /// In which line it waits; `no_queue`, like nothing: in none.
    #[schemars(length(min = 1, max = 128))]
    queue: Option<String>,
    /// What it must have for itself; jobs that share one run one after the other.
    #[serde(default)]
    #[schemars(length(max = 8))]
    locks: Vec<String>,
    /// Seconds it may take.
    #[serde(default = "default_timeout")]
    #[schemars(range(min = 1, max = 604_800))]
    timeout_s: u64,
}

/// A job at this moment.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Seen {
    #[serde(flatten)]
    job: Job,
    /// How many wait before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_position: Option<usize>,
}

/// Answer to `run` and `retry`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Made {
    /// The job.
    job: Seen,
    /// Whether it was made now; not when its key was used before.
    new: bool,
}

const fn default_timeout() -> u64 {
    TIMEOUT_S
}

async fn run(dispatch: &Dispatch, asked: &Asked<'_>, args: &Value) -> Result<Json, Fault> {
    made(dispatch, asked, wanted(args)?).await
}

async fn made(dispatch: &Dispatch, asked: &Asked<'_>, wanted: Wanted) -> Result<Json, Fault> {
    let (id, new) = make(dispatch, asked, wanted).await?;
    let (job, _, _) = seen(dispatch, asked.principal, id).await?;
    said(&Made { job: overlaid(dispatch, job), new })
}

/// What the arguments of `run` ask for.
///
/// # Errors
/// `bad-request` with what is wrong.
pub(crate) fn wanted(args: &Value) -> Result<Wanted, Fault> {
    let Run { method, args, commands, process_id, key, queue, locks, timeout_s, .. } =
        read_args(args)?;
    let task = match (method, commands) {
        (Some(method), None) => Task::Call(request(&method, args)?),
        (None, Some(commands)) => Task::Commands(checked(commands)?),
        _ => {
            let sentence = "a job needs either \"method\" with \"args\", or \"commands\"";
            return Err(Fault::bad_request(sentence));
        }
    };
    if process_id.is_some() && matches!(task, Task::Call(_)) {
        return Err(Fault::bad_request("\"process_id\" belongs to \"commands\""));
    }
    if !(1..=TIMEOUT_S_MAX).contains(&timeout_s) {
        let sentence = format!("\"timeout_s\" must be from 1 to {TIMEOUT_S_MAX}");
        return Err(Fault::bad_request(sentence));
    }
    if locks.len() > LOCKS_MAX {
        return Err(Fault::bad_request(format!("a job has at most {LOCKS_MAX} locks")));
    }
    let named = [("process_id", &process_id), ("key", &key), ("queue", &queue)];
    for (member, name) in named {
        name.as_deref().map_or(Ok(()), |name| check_name(member, name))?;
    }
    locks.iter().try_for_each(|lock| check_name("locks", lock))?;
    let queue = queue.filter(|queue| queue != "no_queue");
    Ok(Wanted { process_id, key, queue, locks, timeout_s, ..Wanted::new(task) })
}

fn request(method: &str, args: Value) -> Result<Request, Fault> {
    let args = if args.is_null() { json!({}) } else { args };
    match method.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(Request::new(namespace, name, args))
        }
        _ => {
            Err(Fault::bad_request(format!("{method:?} is no method: expected \"namespace/name\"")))
        }
    }
}

fn checked(commands: Vec<Vec<String>>) -> Result<Vec<Command>, Fault> {
    if commands.len() > COMMANDS_MAX {
        return Err(Fault::bad_request(format!("a job runs at most {COMMANDS_MAX} commands")));
    }
    let command = |argv: Vec<String>| {
        check_argv(&argv)?;
        Ok(Command { text: argv.join(" "), argv })
    };
    commands.into_iter().map(command).collect()
}

/// Checks a name that a client chooses.
pub(in crate::dispatch) fn check_name(member: &str, name: &str) -> Result<(), Fault> {
    let fits = (1..=NAME_MAX).contains(&name.chars().count()) && !name.contains(char::is_control);
    if fits {
        return Ok(());
    }
    let sentence = format!("{member:?} must have 1 to {NAME_MAX} characters, none of them control");
    Err(Fault::bad_request(sentence))
}

/// Arguments of `list`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dispatch) struct List {
    #[serde(rename = "action")]
    #[schemars(skip)]
    _action: IgnoredAny,
    /// In one of these states; none: in any.
    #[serde(default)]
    states: Vec<State>,
    /// Asked for by them.
    actor: Option<String>,
    /// The most jobs of the answer.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 4000))]
    limit: usize,
}

/// Answer to `list`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Listed {
    /// The newest first.
    jobs: Vec<Seen>,
    /// Whether there are older ones.
    more: bool,
    /// From here on events tell what changes.
    cursor: Cursor,
    /// The newest event that is in it.
    head_seq: u64,
}

const fn default_limit() -> usize {
    200
}

/// The newest first, and the cursor from which on events tell what changes.
async fn list(dispatch: &Dispatch, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let List { states, actor, limit, .. } = read_args(args)?;
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Fault::bad_request(format!("\"limit\" must be from 1 to {LIMIT_MAX}")));
    }
    let jobs = &dispatch.0.jobs;
    let page = jobs.0.store.job_list().await.map_err(|error| unreadable(&error))?;
    let cursor = Cursor::after(jobs.0.bus.instance(), page.head);
    let newest_first = page.jobs.iter().rev().filter_map(read);
    let wanted = newest_first.filter(|(job, work)| {
        (states.is_empty() || states.contains(&job.state))
            && actor.as_ref().is_none_or(|actor| *actor == job.actor)
            && may_see(principal, job, work)
    });
    let mut wanted = wanted.map(|(job, _)| job);
    let jobs = wanted.by_ref().take(limit).map(|job| overlaid(dispatch, job)).collect();
    let more = wanted.next().is_some();
    said(&Listed { jobs, more, cursor, head_seq: page.head })
}

/// Arguments of what is about one job.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dispatch) struct One {
    #[serde(rename = "action")]
    #[schemars(skip)]
    _action: IgnoredAny,
    /// The job.
    id: Uuid,
}

/// Answer to `show`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Whole {
    /// The job.
    job: Seen,
    /// What it is to do: `method` and `args`, without secrets and cut where they are long, or
    /// `commands`.
    work: Value,
    /// What came of it; `null`: nothing yet, or nothing at all.
    result: Json,
}

async fn show(dispatch: &Dispatch, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let One { id, .. } = read_args(args)?;
    let (job, work, result) = seen(dispatch, principal, id).await?;
    said(&Whole { job: overlaid(dispatch, job), work: work_shown(&work), result })
}

/// Arguments of `wait`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dispatch) struct AwaitEnd {
    #[serde(rename = "action")]
    #[schemars(skip)]
    _action: IgnoredAny,
    /// The job.
    id: Uuid,
    /// Seconds until the answer at the latest.
    #[serde(default = "default_wait")]
    #[schemars(range(max = 60))]
    wait_s: u64,
}

/// Answer to `wait`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Waited {
    /// The job.
    job: Seen,
    /// Whether it has ended; if not, ask again.
    ended: bool,
    /// What came of it; `null`: nothing yet, or nothing at all.
    result: Json,
}

const fn default_wait() -> u64 {
    30
}

async fn wait(dispatch: &Dispatch, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let AwaitEnd { id, wait_s, .. } = read_args(args)?;
    let wait = check_wait(wait_s)?;
    let (mut job, _, mut result) = seen(dispatch, principal, id).await?;
    if !job.state.is_end() {
        // None of them lives that has ended since the look.
        if let Some(live) = dispatch.0.jobs.live(id) {
            let mut changed = live.changed.subscribe();
            drop(live);
            let ended = changed.wait_for(|change| change.has_ended);
            patiently(dispatch, principal, wait, ended).await?;
        }
        (job, _, result) = seen(dispatch, principal, id).await?;
    }
    let ended = job.state.is_end();
    said(&Waited { job: overlaid(dispatch, job), ended, result })
}

/// Waits for something, so long at most, and only while the login of whoever waits is good.
async fn patiently<T>(
    dispatch: &Dispatch,
    principal: &Principal,
    wait: Duration,
    something: impl Future<Output = T>,
) -> Result<(), Fault> {
    let access = &dispatch.0.access;
    let mut revocations = access.revocations();
    let left = principal.time_left(dispatch.0.clock.now());
    let over = sleep(left.map_or(wait, |left| left.min(wait)));
    let (mut over, mut something) = (pin!(over), pin!(something));
    loop {
        if !access.still_counts(principal) {
            return Err(login_is_over());
        }
        tokio::select! {
            // An error means that it has ended between the look and the wait.
            _ = &mut something => return Ok(()),
            () = &mut over => break,
            Ok(()) = revocations.changed() => {}
        }
    }
    if access.still_counts(principal) { Ok(()) } else { Err(login_is_over()) }
}

fn check_wait(wait_s: u64) -> Result<Duration, Fault> {
    if wait_s <= WAIT_S_MAX {
        return Ok(Duration::from_secs(wait_s));
    }
    Err(Fault::bad_request(format!("\"wait_s\" must be from 0 to {WAIT_S_MAX}"))
        .with_hint("ask again when the answer says that it has not ended"))
}

/// Arguments of `log`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dispatch) struct ReadLog {
    #[serde(rename = "action")]
    #[schemars(skip)]
    _action: IgnoredAny,
    /// The job.
    id: Uuid,
    /// Bytes of its log that are passed over.
    #[serde(default)]
    from: u64,
    /// The most bytes of the answer.
    #[serde(default = "default_bytes")]
    #[schemars(range(min = 16, max = 65536))]
    limit: usize,
    /// Seconds to wait for more when there is none.
    #[serde(default)]
    #[schemars(range(max = 60))]
    wait_s: u64,
}

/// Answer to `log`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Said {
    /// The job.
    id: Uuid,
    /// Where this piece begins.
    from: u64,
    /// Bytes before it that are not kept.
    left_out: u64,
    /// What was said.
    text: String,
    /// Where the next piece begins.
    next: u64,
    /// Whether nothing more will come.
    ended: bool,
}

const fn default_bytes() -> usize {
    LOG_BYTES_MAX
}

async fn log(dispatch: &Dispatch, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let ReadLog { id, from, limit, wait_s, .. } = read_args(args)?;
    let wait = check_wait(wait_s)?;
    if !(16..=LOG_BYTES_MAX).contains(&limit) {
        return Err(Fault::bad_request(format!("\"limit\" must be from 16 to {LOG_BYTES_MAX}")));
    }
    let (job, _, _) = seen(dispatch, principal, id).await?;
    let live = dispatch.0.jobs.live(id);
    let (piece, ended) = if let Some(live) = live {
        let mut changed = live.changed.subscribe();
        let more = changed.wait_for(|change| change.has_ended || live.said() > from);
        patiently(dispatch, principal, wait, more).await?;
        let has_ended = live.changed.borrow().has_ended;
        let piece = live.read(from, limit);
        let ended = has_ended && piece.next >= live.said();
        (piece, ended)
    } else {
        let kept = dispatch.0.jobs.0.store.job_log(id).await;
        let log = Log::of(dispatch.0.jobs.keep(), kept.map_err(|error| unreadable(&error))?);
        let piece = log.read(from, limit);
        let ended = job.state.is_end() && piece.next >= log.said();
        (piece, ended)
    };
    said(&Said {
        id,
        from: piece.from,
        left_out: piece.from.saturating_sub(from),
        text: String::from_utf8_lossy(&piece.bytes).into_owned(),
        next: piece.next,
        ended,
    })
}

/// Answer to `abort`.
#[derive(Serialize, JsonSchema)]
pub(in crate::dispatch) struct Aborted {
    /// What asking for its end means.
    abort: Abort,
    /// The same for people.
    why: String,
    /// The job.
    job: Seen,
}

async fn abort(dispatch: &Dispatch, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let One { id, .. } = read_args(args)?;
    let (job, work, _) = seen(dispatch, principal, id).await?;
    if !may_end(principal, &job, &work) {
        let sentence = format!("the job {id} is somebody else's");
        return Err(Fault::new(FaultKind::Forbidden, sentence)
            .with_hint("others than its client need the role operator to end it"));
    }
    let abort = dispatch.0.jobs.abort(dispatch, id).await?;
    let (job, _, _) = seen(dispatch, principal, id).await?;
    let why = match abort {
        Abort::Refused => format!("it has ended before: {}", job.state.as_str()),
        Abort::Asked => "it runs and was told to end; its state will tell".to_owned(),
        Abort::Done => "it was waiting, and never begins".to_owned(),
    };
    said(&Aborted { abort, why, job: overlaid(dispatch, job) })
}

/// Arguments of `retry`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::dispatch) struct Retry {
    #[serde(rename = "action")]
    #[schemars(skip)]
    _action: IgnoredAny,
    /// The job that is to be done again.
    id: Uuid,
    /// Your own name for the new job.
    #[schemars(length(min = 1, max = 128))]
    key: Option<String>,
}

async fn retry(dispatch: &Dispatch, asked: &Asked<'_>, args: &Value) -> Result<Json, Fault> {
    let Retry { id, key, .. } = read_args(args)?;
    key.as_deref().map_or(Ok(()), |key| check_name("key", key))?;
    let (job, work, _) = seen(dispatch, asked.principal, id).await?;
    if !job.state.is_end() {
        let sentence = format!("the job {id} is still {}", job.state.as_str());
        return Err(
            Fault::new(FaultKind::Conflict, sentence).with_hint("wait for its end, or abort it")
        );
    }
    if work.secret {
        let sentence = format!("the arguments of the job {id} held secrets, which are not kept");
        return Err(Fault::new(FaultKind::Conflict, sentence)
            .with_hint("ask for it again with rpc/jobs run"));
    }
    let Job { process_id, queue, locks, attempt, .. } = job;
    let again = Some((id, attempt));
    let timeout_s = work.timeout_s;
    let wanted = Wanted { task: work.task, process_id, key, queue, locks, timeout_s, again };
    made(dispatch, asked, wanted).await
}

/// A job that this principal may see.
async fn seen(
    dispatch: &Dispatch,
    principal: &Principal,
    id: Uuid,
) -> Result<(Job, Work, Json), Fault> {
    let kept = dispatch.0.jobs.0.store.job(id).await.map_err(|error| unreadable(&error))?;
    let found = kept.and_then(|(kept, result)| {
        let (job, work) = read(&kept)?;
        may_see(principal, &job, &work).then_some((job, work, result))
    });
    found.ok_or_else(|| {
        Fault::not_found(format!("there is no job {id}"))
            .with_hint("rpc/jobs with the action list shows those you may see")
    })
}

/// Its own client sees a job, and whoever might have asked for it.
pub(in crate::dispatch) fn may_see(principal: &Principal, job: &Job, work: &Work) -> bool {
    is_own(principal, job, work) || might_have_asked(principal, job, job.role)
}

/// Its own client ends a job, and of those who see it whoever is more than a viewer.
fn may_end(principal: &Principal, job: &Job, work: &Work) -> bool {
    is_own(principal, job, work) || might_have_asked(principal, job, job.role.max(Role::Operator))
}

fn is_own(principal: &Principal, job: &Job, work: &Work) -> bool {
    owner(&principal.name, principal.token()) == work.owner(&job.actor)
}

fn might_have_asked(principal: &Principal, job: &Job, least: Role) -> bool {
    principal.rights.may_call(&wish(job, least))
}

/// The call that asks for such a job, for somebody of this role at least.
pub(super) fn wish(job: &Job, least: Role) -> Wish<'_> {
    let action = if job.process_id.is_some() { Some("run") } else { job.action.as_deref() };
    Wish { method: &job.method, action, least, resource: job.resource.as_deref() }
}

/// A job with what is not on record: how far it is at this moment, and who is before it.
fn overlaid(dispatch: &Dispatch, mut job: Job) -> Seen {
    let jobs: &Jobs = &dispatch.0.jobs;
    let mut queue_position = None;
    if let Some(live) = jobs.live(job.id).filter(|_| !job.state.is_end()) {
        job.progress = live.shown();
        job.log_bytes = live.said();
        queue_position = jobs.before(job.id);
    }
    Seen { job, queue_position }
}

fn work_shown(work: &Work) -> Value {
    match &work.task {
        Task::Call(request) if work.secret => json!({ "method": request.method() }),
        Task::Call(request) => {
            json!({ "method": request.method(), "args": redact(&request.args, &[]) })
        }
        Task::Commands(commands) => {
            json!({ "commands": commands.iter().map(|command| &command.argv).collect::<Vec<_>>() })
        }
    }
}
