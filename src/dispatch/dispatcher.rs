//! `rpc/dispatcher`: the classic way to run commands. They are jobs like all others.

use std::collections::BTreeMap;

use protocol::{Fault, Json};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::jobs::state::Job;
use super::jobs::work::{COMMANDS_MAX, Command, Task, Work, check_argv, split};
use super::jobs::{Wanted, check_name, make_all, may_see};
use super::shape::said;
use super::{Asked, Dispatch};
use crate::access::Principal;

/// Where the classic protocol puts what waits for nobody.
const NO_QUEUE: &str = "no_queue";

/// Arguments of `run`: every member is a job, its name the process id, its value a command or an
/// array of them.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "what is of another type is passed over; the schema names the rest")]
pub(super) struct Run(BTreeMap<String, Commands>);

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "for the schema")]
enum Commands {
    /// One command as a text.
    One(String),
    /// Several, one after the other until one fails.
    Several(Vec<OneOf>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "for the schema")]
enum OneOf {
    /// A command as a text: blanks part its words, double quotes keep them.
    Text(String),
    /// A command as its words.
    Words(Vec<String>),
}

/// Answer to `run`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Started {
    /// The names of the jobs, in alphabetical order.
    started: Vec<String>,
}

/// Arguments of `kill`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "what is of another type is passed over; the schema names the rest")]
pub(super) struct Kill {
    /// A job's name, or an array of names.
    job_id: Names,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "for the schema")]
enum Names {
    One(String),
    Several(Vec<String>),
}

/// Answer to `kill`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Killed {
    /// What was found.
    killed: Found,
}

#[derive(Serialize, JsonSchema)]
struct Found {
    /// The names of the jobs that were told to end.
    jobs: Vec<String>,
}

/// Answer to `list`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    /// By queue and name.
    jobs: BTreeMap<String, BTreeMap<String, Shown>>,
}

/// A job as the original shows it.
#[derive(Serialize, JsonSchema)]
struct Shown {
    /// Its commands as texts.
    commands: Vec<String>,
    /// `pending` or `running`.
    state: &'static str,
    /// How many are before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_position: Option<String>,
    /// Its id among all jobs.
    job_id: Uuid,
}

/// Answers one action.
pub(super) async fn answer(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    action: &str,
) -> Result<Json, Fault> {
    let args = &asked.request.args;
    match action {
        "run" => run(dispatch, asked, args).await,
        "kill" => kill(dispatch, args).await,
        _ => list(dispatch, asked.principal).await,
    }
}

/// Every member but the action is a job: its name, and a command or several. As in the original,
/// other values are passed over. When one is wrong, none is begun.
async fn run(dispatch: &Dispatch, asked: &Asked<'_>, args: &Value) -> Result<Json, Fault> {
    let members = args.as_object().into_iter().flatten();
    let mut started = Vec::new();
    let mut all = Vec::new();
    for (name, value) in members.filter(|(name, _)| *name != "action") {
        let Some(commands) = commands_of(name, value)? else { continue };
        check_name("the name of a job", name)?;
        started.push(name.clone());
        let process_id = Some(name.clone());
        all.push(Wanted { process_id, ..Wanted::new(Task::Commands(commands)) });
    }
    let most = dispatch.0.jobs.settings().waiting_per_client;
    if all.len() > most {
        return Err(Fault::bad_request(format!("a request starts at most {most} jobs")));
    }
    make_all(dispatch, asked, all).await?;
    started.sort_unstable();
    said(&Started { started })
}

/// The commands of a job; `None` for a value that the original passes over.
///
/// # Errors
/// `bad-request` with the name of the job.
pub fn commands_of(name: &str, value: &Value) -> Result<Option<Vec<Command>>, Fault> {
    let wrong =
        |fault: Fault| Fault { message: format!("job {name:?}: {}", fault.message), ..fault };
    let parts = match value {
        Value::String(text) => return command(text).map(Some).map_err(wrong),
        Value::Array(parts) => parts,
        _ => return Ok(None),
    };
    let mut commands = Vec::new();
    for part in parts {
        match part {
            Value::String(text) => commands.extend(command(text).map_err(wrong)?),
            Value::Array(words) => commands.push(words_of(words).map_err(wrong)?),
            _ => {}
        }
    }
    if commands.len() > COMMANDS_MAX {
        let sentence = format!("a job runs at most {COMMANDS_MAX} commands");
        return Err(wrong(Fault::bad_request(sentence)));
    }
    Ok(Some(commands))
}

/// One command as a text; none when it is blank.
fn command(text: &str) -> Result<Vec<Command>, Fault> {
    let argv = split(text)?;
    if argv.is_empty() {
        return Ok(Vec::new());
    }
    check_argv(&argv)?;
    Ok(vec![Command { text: text.to_owned(), argv }])
}

/// One command as an array of its words, which the original does not know.
fn words_of(words: &[Value]) -> Result<Command, Fault> {
    let word = |word: &Value| word.as_str().map(str::to_owned);
    let argv: Option<Vec<String>> = words.iter().map(word).collect();
    let argv = argv.ok_or_else(|| {
        Fault::bad_request("the words of a command must be texts")
            .with_hint("write numbers as texts: \"5\"")
    })?;
    check_argv(&argv)?;
    Ok(Command { text: argv.join(" "), argv })
}

/// Ends the jobs of these names, each with its whole process group.
async fn kill(dispatch: &Dispatch, args: &Value) -> Result<Json, Fault> {
    let wanted: Vec<&str> = match &args["job_id"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => {
            let sentence = "an argument \"job_id\" is needed: a job's name, or an array of names";
            return Err(Fault::bad_request(sentence));
        }
    };
    let mut found = Vec::new();
    for (id, name, _) in running(dispatch, |_, _| true).await {
        if wanted.contains(&name.as_str()) {
            dispatch.0.jobs.abort(dispatch, id).await?;
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found.sort_unstable();
    said(&Killed { killed: Found { jobs: found } })
}

/// What has not ended, as far as it may be seen.
async fn list(dispatch: &Dispatch, principal: &Principal) -> Result<Json, Fault> {
    let mut jobs: BTreeMap<String, BTreeMap<String, Shown>> = BTreeMap::new();
    if dispatch.0.jobs.has_had_commands() {
        jobs.insert(NO_QUEUE.to_owned(), BTreeMap::new());
    }
    let seen = |job: &Job, work: &Work| may_see(principal, job, work);
    for (_, name, (queue, shown)) in running(dispatch, seen).await {
        let queue = queue.unwrap_or_else(|| NO_QUEUE.to_owned());
        jobs.entry(queue).or_default().insert(name, shown);
    }
    said(&Listed { jobs })
}

/// What waits or runs and is wanted: id, name, queue and how it is shown.
async fn running(
    dispatch: &Dispatch,
    is_wanted: impl Fn(&Job, &Work) -> bool,
) -> Vec<(Uuid, String, (Option<String>, Shown))> {
    let mut found = Vec::new();
    for live in dispatch.0.jobs.all_live() {
        let Task::Commands(commands) = &live.work().task else { continue };
        let job = live.job().await;
        if !is_wanted(&job, live.work()) {
            continue;
        }
        let (Some(name), false) = (job.process_id, job.state.is_end()) else { continue };
        let before = dispatch.0.jobs.before(job.id);
        let shown = Shown {
            commands: commands.iter().map(|command| command.text.clone()).collect(),
            state: if before.is_some() { "pending" } else { "running" },
            queue_position: before.filter(|_| job.queue.is_some()).map(|it| it.to_string()),
            job_id: job.id,
        };
        found.push((job.id, name, (job.queue, shown)));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(value: &Value) -> Option<Vec<Vec<String>>> {
        let commands = commands_of("x", value).unwrap()?;
        Some(commands.into_iter().map(|command| command.argv).collect())
    }

    #[test]
    fn a_job_is_a_text_or_several_and_the_rest_is_passed_over() {
        assert_eq!(texts(&json!("/bin/echo a")).unwrap(), [["/bin/echo", "a"]]);
        assert_eq!(texts(&json!(["/bin/a", 5, null, "/bin/b"])).unwrap(), [["/bin/a"], ["/bin/b"]]);
        assert_eq!(texts(&json!([["/bin/echo", "a \"b\n"]])).unwrap(), [["/bin/echo", "a \"b\n"]]);
        for empty in [json!([]), json!(""), json!("  ")] {
            assert_eq!(texts(&empty).unwrap(), Vec::<Vec<String>>::new(), "{empty}");
        }
        for other in [json!(5), json!({}), json!(null), json!(true)] {
            assert_eq!(texts(&other), None, "{other}");
        }
    }

    #[test]
    fn what_is_wrong_names_the_job() {
        for wrong in
            [json!("a\nb"), json!(["a \"b"]), json!([["a", 5]]), json!([[]]), json!("a\u{0}")]
        {
            let fault = commands_of("fix it", &wrong).unwrap_err();
            assert!(fault.message.starts_with("job \"fix it\": "), "{fault}");
        }
        assert!(commands_of("x", &json!(vec!["/bin/true"; COMMANDS_MAX + 1])).is_err());
    }
}
