//! A job from its turn to its end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::manifest::{Kind, Retain};
use protocol::{Fault, FaultKind, Json, Request};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::answer::wish;
use super::record::{about, draft};
use super::state::{Ending, Job, Step};
use super::tell::{self, Report};
use super::work::{Command, Task};
use super::{Jobs, Live, locked};
use crate::access::Deed;
use crate::dispatch::Dispatch;
use crate::host::{Caller, CommandEnd, CommandRun, Follower, Watch, is_interrupted};
use crate::sight::Call;

/// How often is told how far a job is.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// How often its log is put on disk.
const KEEP_EVERY: Duration = Duration::from_secs(2);
/// How long a plugin that is just starting is waited for, and between two looks.
const READY_WAIT: Duration = Duration::from_secs(30);
const READY_LOOK: Duration = Duration::from_millis(100);
/// How long a plugin may take to end a call that it was asked to end.
const END_GRACE: Duration = Duration::from_secs(30);
/// How long until a beginning that could not be recorded is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Takes a job whose turn it is to its end.
pub(super) async fn run(dispatch: Dispatch, live: Arc<Live>) {
    let jobs = &dispatch.0.jobs;
    let (ending, result) = match begin(&dispatch, &live).await {
        Err(Some(ending)) => {
            tell::never_begun(jobs, &live).await;
            (ending, Json::default())
        }
        // The daemon stops; the job still waits, on record.
        Err(None) => return,
        Ok(kind) => {
            *locked(&live.began) = Some(Instant::now());
            audited(&dispatch, &live, kind).await
        }
    };
    jobs.record_end(&live, ending, result).await;
    jobs.leave(&dispatch, &live).await;
}

/// Looks whether it may still begin, and puts on record that it does.
async fn begin(dispatch: &Dispatch, live: &Live) -> Result<Kind, Option<Ending>> {
    let jobs = &dispatch.0.jobs;
    let failed = |fault| Some(Ending::Failed(fault));
    may_still(dispatch, live).await.map_err(failed)?;
    let kind = match &live.work.task {
        Task::Commands(_) => Kind::Mutate,
        Task::Call(request) => is_ready(dispatch, live, request).await?,
    };
    loop {
        if jobs.is_stopping() {
            return Err(None);
        }
        if live.end.signal().is_set() {
            return Err(Some(Ending::Aborted(None)));
        }
        let mut job = live.job.lock().await;
        match jobs.record_step(&mut job, Step::Start, live).await {
            Ok(()) => return Ok(kind),
            Err(fault) => tracing::warn!(id = %live.id, %fault, "a job cannot begin yet"),
        }
        drop(job);
        sleep(AGAIN).await;
    }
}

/// Looks whether its client might ask for it today: it may have waited long, also while the daemon
/// was away and its roles were changed.
async fn may_still(dispatch: &Dispatch, live: &Live) -> Result<(), Fault> {
    let job = live.job().await;
    let (access, token) = (&dispatch.0.access, live.work.token.as_ref());
    let rights = access.rights_now(&job.actor, &live.credentials, token).await?;
    if rights.is_none_or(|rights| rights.may_call(&wish(&job, job.role))) {
        return Ok(());
    }
    let sentence = format!("{} may not have it done any more", job.actor);
    Err(Fault::new(FaultKind::Forbidden, sentence))
}

/// Waits for a plugin that is just starting.
async fn is_ready(
    dispatch: &Dispatch,
    live: &Live,
    request: &Request,
) -> Result<Kind, Option<Ending>> {
    let (stop, until) = (live.end.signal(), Instant::now() + READY_WAIT);
    let method = request.method();
    loop {
        let found = dispatch.0.host.method(&method, request.action(), 1);
        if let Some(found) = found.as_ref().filter(|found| found.ready) {
            if found.role > live.work.role {
                let needed = found.role.as_str();
                let sentence = format!("{method} needs the role {needed} by now");
                return Err(Some(Ending::Failed(Fault::new(FaultKind::Forbidden, sentence))));
            }
            return Ok(found.kind);
        }
        if stop.is_set() || Instant::now() >= until {
            let sentence = format!("the plugin that answers {method} is not running");
            let fault = Fault::new(FaultKind::Unavailable, sentence)
                .with_hint("nothing was done; rpc/plugins says why");
            // Asked to end, or the daemon stops: what comes next finds out.
            return if stop.is_set() { Ok(Kind::Query) } else { Err(Some(Ending::Failed(fault))) };
        }
        sleep(READY_LOOK).await;
    }
}

/// Does it; a change is in the audit trail before it is made.
async fn audited(dispatch: &Dispatch, live: &Arc<Live>, kind: Kind) -> (Ending, Json) {
    if kind == Kind::Query {
        return do_it(dispatch, live).await;
    }
    let job = live.job().await;
    let (action, args, secrets) = match &live.work.task {
        Task::Call(request) => {
            let found = dispatch.0.host.method(&job.method, request.action(), 1);
            let secrets = found.map(|found| found.secrets).unwrap_or_default();
            (job.action.as_deref(), request.args.clone(), secrets)
        }
        // By their name, so that one that tells of a secret is judged as in the request.
        Task::Commands(commands) => {
            let name = job.process_id.clone().unwrap_or_default();
            let commands: Vec<_> = commands.iter().map(|command| &command.argv).collect();
            (Some("process"), json!({ name: commands }), Arc::default())
        }
    };
    let (origin, method) = (live.origin, job.method.as_str());
    let deed = Deed { actor: &job.actor, origin, method, action, args: &args, secrets: &secrets };
    let journal = dispatch.0.access.journal();
    let begun = match journal.begin(&deed).await {
        Ok(begun) => begun,
        Err(fault) => return (Ending::Failed(fault), Json::default()),
    };
    let (ending, result) = do_it(dispatch, live).await;
    let outcome = match &ending {
        Ending::Done => Ok(()),
        Ending::Failed(fault) | Ending::Interrupted(fault) => Err(fault.kind),
        Ending::Aborted(_) => Err(FaultKind::Cancelled),
    };
    journal.end(begun, outcome).await;
    (ending, result)
}

async fn do_it(dispatch: &Dispatch, live: &Arc<Live>) -> (Ending, Json) {
    let jobs = &dispatch.0.jobs;
    match &live.work.task {
        Task::Call(request) => follow(jobs, live, call(dispatch, live, request)).await,
        Task::Commands(commands) => {
            let started = jobs.now();
            tell::begun(jobs, live).await;
            let work = async {
                tokio::select! {
                    done = run_all(dispatch, live, commands) => done,
                    never = tell::output(jobs, live, commands) => match never {},
                }
            };
            let (ending, reports) = follow(jobs, live, work).await;
            tell::finished(jobs, live, commands, (&reports, started)).await;
            let result = reports.iter().map(Report::result).collect::<Vec<_>>();
            (ending, Json::from(json!({ "commands": result })))
        }
    }
}

/// Waits for the work, and meanwhile tells how far it is.
async fn follow<T>(jobs: &Jobs, live: &Live, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut changed = live.changed.subscribe();
    let (mut is_news, mut due, mut keep_at) = (false, Instant::now(), Instant::now() + KEEP_EVERY);
    let mut kept = 0;
    loop {
        tokio::select! {
            done = &mut work => return done,
            Ok(()) = changed.changed(), if !is_news => is_news = true,
            () = sleep_until(due), if is_news => {
                changed.borrow_and_update();
                jobs.tell(live).await;
                let now = Instant::now();
                if keep_at <= now && kept < live.said() {
                    kept = live.said();
                    jobs.keep_log(live).await;
                    keep_at = now + KEEP_EVERY;
                }
                // Once more when nothing is said any more, so that the last words are on disk, too.
                is_news = kept < live.said();
                due = now + TELL_EVERY;
            }
        }
    }
}

impl Jobs {
    /// Tells how far a job is, to whoever listens now.
    async fn tell(&self, live: &Live) {
        let shown = live.shown();
        let message = shown.as_ref().map(|shown| shown.message.clone()).unwrap_or_default();
        let job = about(&*live.job.lock().await);
        let data =
            json!({ "id": live.id, "progress": shown, "log_bytes": live.said(), "job": job });
        let Ok(draft) = draft("job.progress", format!("/jobs/{}", live.id), &message, data) else {
            return;
        };
        self.0.bus.publish("sysadmd", draft, Retain::Latest).await.ok();
    }

    async fn keep_log(&self, live: &Live) {
        let parts = locked(&live.log).parts();
        if let Err(error) = self.0.store.job_log_put(live.id, parts).await {
            tracing::debug!(id = %live.id, %error, "a job's log is not kept yet");
        }
    }
}

fn called(job: &Job) -> Call {
    let Job { method, action, resource, role, .. } = job;
    Call { method: method.clone(), action: action.clone(), resource: resource.clone(), role: *role }
}

async fn call(dispatch: &Dispatch, live: &Arc<Live>, request: &Request) -> (Ending, Json) {
    let (ask_to_end, end) = oneshot::channel();
    let watch = Watch {
        follower: Arc::clone(live) as Arc<dyn Follower>,
        end: Some(end),
        timeout: Duration::from_secs(live.work.timeout_s),
    };
    let (actor, call) = {
        let job = live.job.lock().await;
        (job.actor.clone(), Arc::new(called(&job)))
    };
    let role = live.work.role;
    let caller = Caller { request_id: live.id.to_string(), actor, role, version: 1, call };
    let stop = live.end.signal();
    let mut answer = pin!(dispatch.0.host.call_watched(&caller, request, watch));
    let answer = tokio::select! {
        answer = &mut answer => Some(answer),
        () = stop.wait() => {
            // It has answered when nobody is there to be asked.
            ask_to_end.send(()).ok();
            timeout(END_GRACE, answer).await.ok()
        }
    };
    let was_asked = stop.is_set() && !dispatch.0.jobs.is_stopping();
    match answer {
        Some(Ok(value)) => (Ending::Done, value),
        Some(Err(fault)) => (ending_of(fault, was_asked, &dispatch.0.jobs), Json::default()),
        None if was_asked => {
            let sentence = "the plugin was asked to end it and did not answer; it was left alone";
            let fault = Fault::new(FaultKind::Timeout, sentence)
                .with_hint("what it has done is not known; look before you retry it");
            (Ending::Aborted(Some(fault)), Json::default())
        }
        None => (Ending::Interrupted(daemon_stopped()), Json::default()),
    }
}

fn ending_of(fault: Fault, was_asked: bool, jobs: &Jobs) -> Ending {
    if is_interrupted(&fault) {
        Ending::Interrupted(fault)
    } else if was_asked && fault.kind == FaultKind::Cancelled {
        Ending::Aborted(None)
    } else if jobs.is_stopping() {
        Ending::Interrupted(daemon_stopped())
    } else {
        Ending::Failed(fault)
    }
}

fn daemon_stopped() -> Fault {
    Fault::new(FaultKind::Unavailable, "the daemon was stopped while it ran")
        .with_hint("look what there is before you retry it")
}

async fn run_all(dispatch: &Dispatch, live: &Live, commands: &[Command]) -> (Ending, Vec<Report>) {
    let is_late = AtomicBool::new(false);
    let mut reports = Vec::new();
    let all = async {
        for command in commands {
            let from = live.said();
            locked(&live.places).push(from);
            let (end, output) = (live.end.signal(), |bytes: &[u8]| live.say(bytes));
            let run = CommandRun {
                argv: &command.argv,
                input: &[],
                spares_rest: false,
                output: &output,
                end,
            };
            let end = dispatch.0.host.run_command(run).await;
            let is_done = end == CommandEnd::Exited(0);
            reports.push(Report { end, output: (from, live.said()) });
            if !is_done || live.end.signal().is_set() {
                break;
            }
        }
    };
    let late = async {
        sleep(Duration::from_secs(live.work.timeout_s)).await;
        is_late.store(true, Ordering::SeqCst);
        live.end.set();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = all => {}
        () = late => {}
    }
    let is_late = is_late.load(Ordering::SeqCst);
    (ending_of_commands(dispatch, live, commands.len(), (&reports, is_late)), reports)
}

fn ending_of_commands(
    dispatch: &Dispatch,
    live: &Live,
    wanted: usize,
    (reports, is_late): (&[Report], bool),
) -> Ending {
    let failed = reports.last().filter(|report| report.end != CommandEnd::Exited(0));
    if failed.is_none() && reports.len() == wanted {
        return Ending::Done;
    }
    if is_late {
        let sentence = format!("it took longer than {} s and was ended", live.work.timeout_s);
        return Ending::Failed(Fault::new(FaultKind::Timeout, sentence));
    }
    if dispatch.0.jobs.is_stopping() {
        return Ending::Interrupted(daemon_stopped());
    }
    if live.end.signal().is_set() {
        return Ending::Aborted(None);
    }
    let which = format!("command {} of {wanted}", reports.len());
    let sentence = match failed.map(|report| &report.end) {
        Some(CommandEnd::Exited(status)) => format!("{which} exited with status {status}"),
        Some(CommandEnd::Signalled(signal)) => format!("{which} was ended by signal {signal}"),
        Some(CommandEnd::NotStarted(why)) => format!("{which} could not be started: {why}"),
        None => format!("{which} was not reached"),
    };
    Ending::Failed(Fault::new(FaultKind::Failed, sentence).with_hint("its log says more"))
}
