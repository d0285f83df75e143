//! What classic clients are told of commands: the event `dispatcher`.
//!
//! Of most jobs they hear when they begin and when they have ended. Of some, which the original's
//! pages for packages and updates follow, also that they wait and what they print meanwhile.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use protocol::Time;
use protocol::manifest::Retain;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::record::{about, draft};
use super::state::{Job, State};
use super::work::{Command, Task};
use super::{Jobs, Live, locked};
use crate::dispatch::classic;
use crate::host::CommandEnd;

/// Bytes of output of one command that the event at its end holds, shared among the commands.
const OUTPUT_BYTES: usize = 96 * 1024;
/// Bytes of all of them as JSON, below what an event may hold.
const EVENT_BYTES: usize = 200 * 1024;
/// How often is told that a job waits whose page follows it, and how often what it prints: as often
/// as the original does.
const PENDING_EVERY: Duration = Duration::from_secs(2);
const OUTPUT_EVERY: Duration = Duration::from_secs(1);

/// What came of one command.
pub(super) struct Report {
    /// How it ended.
    pub(super) end: CommandEnd,
    /// Where in the log its output is.
    pub(super) output: (u64, u64),
}

impl Report {
    /// The classic return code: -1 when it was never there, a signal's number when one ended it.
    fn code(&self) -> i32 {
        match self.end {
            CommandEnd::Exited(code) | CommandEnd::Signalled(code) => code,
            CommandEnd::NotStarted(_) => -1,
        }
    }

    /// For the job's result.
    pub(super) fn result(&self) -> Value {
        match &self.end {
            CommandEnd::Exited(status) => json!({ "status": status }),
            CommandEnd::Signalled(signal) => json!({ "signal": signal }),
            CommandEnd::NotStarted(why) => json!({ "not_started": why }),
        }
    }
}

/// It has begun.
pub(super) async fn begun(jobs: &Jobs, live: &Live) {
    let job = live.job.lock().await.clone();
    process(jobs, &job, json!({ "state": "running" })).await;
}

/// It has ended.
pub(super) async fn finished(
    jobs: &Jobs,
    live: &Live,
    commands: &[Command],
    (reports, started): (&[Report], Time),
) {
    let job = live.job.lock().await.clone();
    let listed = whole(live, commands, reports);
    let mut data = json!({ "state": "finished", "time_finished": jobs.now(), "commands": listed });
    if !commands.is_empty() {
        data["time_started"] = started.to_string().into();
    }
    process(jobs, &job, data).await;
}

/// It has ended without having begun. Only who was told that it waits need know.
pub(super) async fn never_begun(jobs: &Jobs, live: &Live) {
    let job = live.job.lock().await.clone();
    if let (true, Task::Commands(commands)) = (is_followed(&job), &live.work.task) {
        let data = json!({ "state": "finished", "time_finished": jobs.now(), "commands": texts(commands) });
        process(jobs, &job, data).await;
    }
}

/// Tells classic clients of commands that the end of the daemon has cut off.
pub(super) async fn interrupted(jobs: &Jobs, job: &Job, commands: &[Command]) {
    let mut listed = texts(commands);
    if let Some(first) = listed.first_mut() {
        first["code"] = "-1".into();
        first["output"] = "".into();
    }
    let data = json!({
        "state": "finished",
        "time_started": job.started,
        "time_finished": jobs.now(),
        "commands": listed,
    });
    process(jobs, job, data).await;
}

/// Tells that it waits, at once and for as long as it does, where somebody follows that.
pub(super) async fn waits(jobs: &Jobs, live: &Arc<Live>) {
    if !is_followed(&*live.job.lock().await) || !still_waits(jobs, live).await {
        return;
    }
    let (own, live, stop) = (jobs.clone(), Arc::clone(live), jobs.0.tasks.stop_signal());
    jobs.0.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = sleep(PENDING_EVERY) => {}
                () = stop.wait() => return,
            }
            if !still_waits(&own, &live).await {
                return;
            }
        }
    });
}

async fn still_waits(jobs: &Jobs, live: &Live) -> bool {
    // Held until it is told, so that nobody hears that it waits after it has begun.
    let job = live.job.lock().await;
    if job.state != State::Queued {
        return false;
    }
    if let Task::Commands(commands) = &live.work.task {
        meanwhile(jobs, &job, json!({ "state": "pending", "commands": texts(commands) })).await;
    }
    true
}

/// Tells what it prints, for as long as it runs, where somebody follows that.
pub(super) async fn output(jobs: &Jobs, live: &Live, commands: &[Command]) -> Infallible {
    let job = live.job.lock().await.clone();
    if !is_followed(&job) {
        return std::future::pending().await;
    }
    let mut told = 0;
    loop {
        sleep(OUTPUT_EVERY).await;
        let said = live.said();
        if said > told {
            let listed = news(live, commands, (told, said));
            let current = listed.iter().rfind(|command| command["output"].is_string());
            let current = current.map(|command| command["text"].clone());
            let data = json!({
                "state": "running",
                "time_started": job.started,
                "current_cmd": current,
                "commands": listed,
            });
            meanwhile(jobs, &job, data).await;
            told = said;
        }
    }
}

/// The commands, each with what it has printed between two places of the log.
fn news(live: &Live, commands: &[Command], (from, to): (u64, u64)) -> Vec<Value> {
    let places = locked(&live.places).clone();
    let log = locked(&live.log);
    fitting(OUTPUT_BYTES, |most| {
        let of = |(at, command): (usize, &Command)| {
            let begin = places.get(at).map(|begin| from.max(*begin));
            let end = places.get(at + 1).map_or(to, |next| to.min(*next));
            match begin.filter(|begin| *begin < end) {
                None => json!({ "text": command.text }),
                Some(begin) => {
                    json!({ "text": command.text, "output": log.excerpt(begin, end, most) })
                }
            }
        };
        commands.iter().enumerate().map(of).collect()
    })
}

/// Whether a page of the original follows a job of this name.
fn is_followed(job: &Job) -> bool {
    job.process_id.as_deref().and_then(classic::system).is_some()
}

fn texts(commands: &[Command]) -> Vec<Value> {
    commands.iter().map(|command| json!({ "text": command.text })).collect()
}

async fn process(jobs: &Jobs, job: &Job, data: Value) {
    publish(jobs, job, ("job.process", Retain::Log), data).await;
}

/// Of worth only while it happens: the end tells it all.
async fn meanwhile(jobs: &Jobs, job: &Job, data: Value) {
    publish(jobs, job, ("job.output", Retain::None), data).await;
}

async fn publish(jobs: &Jobs, job: &Job, (class, retain): (&str, Retain), mut data: Value) {
    let process_id = job.process_id.clone().unwrap_or_default();
    let state = data["state"].as_str().unwrap_or_default();
    let message = format!("process {process_id} is {state}");
    data["process_id"] = process_id.into();
    data["job_id"] = job.id.to_string().into();
    data["job"] = about(job);
    let Ok(draft) = draft(class, format!("/jobs/{}", job.id), &message, data) else {
        return;
    };
    if let Err(fault) = jobs.0.bus.publish("sysadmd", draft, retain).await {
        tracing::warn!(%fault, "an event of the dispatcher is lost");
    }
}

/// The commands with all that they have printed, as far as an event holds it.
fn whole(live: &Live, commands: &[Command], reports: &[Report]) -> Vec<Value> {
    let log = locked(&live.log);
    fitting(OUTPUT_BYTES / reports.len().max(1), |most| {
        let of = |(at, command): (usize, &Command)| match reports.get(at) {
            None => json!({ "text": command.text }),
            Some(report) => json!({
                "text": command.text,
                "output": log.excerpt(report.output.0, report.output.1, most),
                "code": report.code().to_string(),
            }),
        };
        commands.iter().enumerate().map(of).collect()
    })
}

/// What is listed with at most so many bytes of each output, or fewer, so that an event holds it:
/// what is printed may grow sixfold as JSON.
fn fitting(mut most: usize, list: impl Fn(usize) -> Vec<Value>) -> Vec<Value> {
    loop {
        let listed = list(most);
        let bytes: usize = listed.iter().map(|command| command.to_string().len()).sum();
        if most < 64 || bytes <= EVENT_BYTES {
            return listed;
        }
        most /= 2;
    }
}
