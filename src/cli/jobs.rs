//! `sysadmctl jobs`: what the daemon does that outlives its reply.

use std::io::{IsTerminal as _, Write as _};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::backoff::Backoff;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::{self, Column, Style};
use super::target::Target;

/// Seconds until a bar is drawn again, and until a wait that nobody sees is asked for again.
const LOOK_S: u64 = 1;
const UNSEEN_S: u64 = 30;
/// Characters of a bar.
const BAR: u64 = 20;

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// Show the jobs, the newest first
    List {
        /// Only those in this state; may be repeated
        #[arg(long, value_name = "STATE",
              value_parser = ["queued", "running", "done", "failed", "aborted", "interrupted"])]
        state: Vec<String>,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 50,
              value_parser = clap::value_parser!(u64).range(1..=4000))]
        limit: u64,
    },
    /// Show everything of one job, its result too
    Show(Which),
    /// Wait for the end of a job, also across restarts of the daemon, and show how far it is
    Wait(Which),
    /// Show what a job has said
    Logs {
        #[command(flatten)]
        which: Which,
        /// Go on until the job has ended
        #[arg(short, long)]
        follow: bool,
    },
    /// End a job: at once when it waits, by asking it when it runs
    Abort(Which),
    /// Do a job that has ended again
    Retry {
        #[command(flatten)]
        which: Which,
        /// Wait for its end
        #[arg(long)]
        wait: bool,
    },
    /// Have a call done as a job, or, behind `--`, a command (administrators)
    Run(RunOptions),
}

/// A job.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its id, as `list` shows it
    id: String,
}

/// What to do as a job.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// The method, such as snapshot/create
    #[arg(required_unless_present = "command")]
    method: Option<String>,
    /// The arguments as JSON; `-` reads them from standard input [default: {}]
    #[arg(value_name = "JSON")]
    args: Option<String>,
    /// Your own name for it: asking again with it makes no second one
    #[arg(long)]
    key: Option<String>,
    /// Do nothing else that has the same lock at the same time; may be repeated
    #[arg(long, value_name = "NAME")]
    lock: Vec<String>,
    /// Wait in this line
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Seconds it may take
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Wait for its end
    #[arg(long)]
    wait: bool,
    /// A program and its arguments; no shell reads them
    #[arg(last = true, conflicts_with_all = ["method", "args"])]
    command: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(
    command: JobsCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    match command {
        JobsCommand::List { state, limit } => {
            let answer = ask(&mut client, "list", json!({"states": state, "limit": limit})).await?;
            output::table(style, &answer, "jobs", &COLUMNS)
        }
        JobsCommand::Show(which) => {
            let answer = ask(&mut client, "show", json!({"id": which.id})).await?;
            output::value(style, &answer)
        }
        JobsCommand::Wait(which) => wait(client, target, &which.id, style).await,
        JobsCommand::Logs { which, follow } => {
            logs(client, target, &which.id, (follow, style)).await
        }
        JobsCommand::Abort(which) => {
            let answer = ask(&mut client, "abort", json!({"id": which.id})).await?;
            if style.json {
                output::value(style, &answer)?;
            } else {
                output::line(&output::clean(&output::text(&answer["why"])))?;
            }
            match answer["abort"].as_str() {
                Some("refused") => Err(Failure::new(Exit::Failed, "it cannot be aborted any more")),
                _ => Ok(()),
            }
        }
        JobsCommand::Retry { which, wait } => {
            let made = ask(&mut client, "retry", json!({"id": which.id})).await?;
            made_or_waited(client, target, &made, (wait, style)).await
        }
        JobsCommand::Run(options) => {
            let wants_end = options.wait;
            let made = ask(&mut client, "run", run_args(options)?).await?;
            made_or_waited(client, target, &made, (wants_end, style)).await
        }
    }
}

async fn ask(client: &mut Client, action: &str, mut args: Value) -> Result<Value, Failure> {
    args["action"] = action.into();
    client.call("rpc", "jobs", args).await
}

fn run_args(options: RunOptions) -> Result<Value, Failure> {
    let RunOptions { method, args, key, lock, queue, timeout, command, .. } = options;
    let mut wanted = match method {
        Some(method) => {
            json!({"method": method, "args": super::arguments_of(args.as_deref())?})
        }
        None => json!({"commands": [command]}),
    };
    let optional = [("key", key.map(Value::from)), ("queue", queue.map(Value::from))];
    let optional = optional.into_iter().chain([("timeout_s", timeout.map(Value::from))]);
    for (name, value) in optional {
        if let Some(value) = value {
            wanted[name] = value;
        }
    }
    if !lock.is_empty() {
        wanted["locks"] = json!(lock);
    }
    Ok(wanted)
}

pub(super) async fn made_or_waited(
    client: Client,
    target: &Target,
    made: &Value,
    (wants_end, style): (bool, Style),
) -> Result<(), Failure> {
    let id = output::text(&made["job"]["id"]);
    if wants_end {
        return wait(client, target, &id, style).await;
    }
    if style.json {
        return output::value(style, made);
    }
    output::line(&output::clean(&id))
}

/// Waits for the end and says what came of it; the daemon may be away meanwhile.
async fn wait(mut client: Client, target: &Target, id: &str, style: Style) -> Result<(), Failure> {
    let is_seen = std::io::stderr().is_terminal() && !style.json;
    let wait_s = if is_seen { LOOK_S } else { UNSEEN_S };
    let answer = loop {
        let question = json!({"id": id, "wait_s": wait_s});
        let asked = lasting(&mut client, target, "wait", &question).await;
        let answer = asked.inspect_err(|_| draw(is_seen, ""))?;
        if answer["ended"] == true {
            draw(is_seen, "");
            break answer;
        }
        draw(is_seen, &bar(&answer["job"]));
    };
    if style.json {
        output::value(style, &answer)?;
    } else {
        let job = &answer["job"];
        let title = output::text(&job["method"]);
        output::line(&output::clean(&format!("{title}: {}", output::text(&job["state"]))))?;
        if !answer["result"].is_null() {
            output::value(style, &answer["result"])?;
        }
    }
    ended(&answer["job"])
}

/// Asks as often as it takes to get an answer from a daemon that may be restarting.
async fn lasting(
    client: &mut Client,
    target: &Target,
    action: &str,
    args: &Value,
) -> Result<Value, Failure> {
    let mut backoff = Backoff::default();
    loop {
        let failure = match ask(client, action, args.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(failure) if failure.passes() => failure,
            Err(failure) => return Err(failure),
        };
        tokio::time::sleep(backoff.wait(failure.retry_after)).await;
        match Client::open(target).await {
            Ok((again, _)) => *client = again,
            Err(failure) if failure.passes() => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// What a job that has ended makes of the command.
fn ended(job: &Value) -> Result<(), Failure> {
    let state = output::text(&job["state"]);
    if state == "done" {
        return Ok(());
    }
    let why = job["error"]["message"].as_str().unwrap_or("nothing more is known");
    let failure = Failure::new(Exit::Failed, format!("the job is {state}: {why}"));
    Err(match job["error"]["hint"].as_str() {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    })
}

async fn logs(
    mut client: Client,
    target: &Target,
    id: &str,
    (follow, style): (bool, Style),
) -> Result<(), Failure> {
    let mut from = 0;
    loop {
        let wait_s = if follow { UNSEEN_S } else { 0 };
        let question = json!({"id": id, "from": from, "wait_s": wait_s});
        let piece = lasting(&mut client, target, "log", &question).await?;
        let before = from;
        from = piece["next"].as_u64().unwrap_or(from);
        if style.json {
            output::value(style, &piece)?;
        } else {
            if let Some(bytes @ 1..) = piece["left_out"].as_u64() {
                output::remark(&format!("{bytes} bytes are not kept and left out here"));
            }
            output::print(&printable(piece["text"].as_str().unwrap_or_default()))?;
        }
        if piece["ended"] == true || !follow && from == before {
            return Ok(());
        }
    }
}

/// What a terminal may be shown of what a program has printed: its lines and tabs, and whatever
/// else could steer the terminal made visible.
fn printable(text: &str) -> String {
    let piece = |piece: &str| {
        let end = piece.len() - usize::from(piece.ends_with(['\n', '\t']));
        let (words, end) = piece.split_at(end);
        format!("{}{end}", output::clean(words))
    };
    text.split_inclusive(['\n', '\t']).map(piece).collect()
}

/// Draws over the line before; nothing ends it.
fn draw(is_seen: bool, text: &str) {
    if is_seen {
        // That nobody can see it is no reason to stop.
        write!(std::io::stderr(), "\r\x1b[K{}", output::clean(text)).ok();
    }
}

/// How far a job is, in one line.
fn bar(job: &Value) -> String {
    let progress = &job["progress"];
    if job["state"] == "queued" {
        let before = job["queue_position"].as_u64().unwrap_or(0);
        return format!("waits for its turn, {before} before it");
    }
    if progress.is_null() {
        return "runs".to_owned();
    }
    let amount = |value: &Value| match progress["unit"].as_str() {
        Some("bytes") => output::bytes(value),
        _ => output::text(value),
    };
    let drawn = progress["percent"].as_u64().map(|percent| {
        let full = percent.min(100) * BAR / 100;
        let drawn: String = (0..BAR).map(|at| if at < full { '#' } else { '-' }).collect();
        format!("[{drawn}] {percent} %")
    });
    let so_far = match &progress["total"] {
        Value::Null => amount(&progress["done"]),
        total => format!("{} of {}", amount(&progress["done"]), amount(total)),
    };
    let unit = progress["unit"].as_str().filter(|unit| *unit != "bytes");
    let so_far = unit.map_or(so_far.clone(), |unit| format!("{so_far} {unit}"));
    let rate = &progress["rate_per_s"];
    let rate = (!rate.is_null()).then(|| format!("{}/s", amount(rate)));
    let left = progress["left_s"].as_u64().map(|left| match left {
        0..120 => format!("{left} s left"),
        120..7_200 => format!("{} min left", left / 60),
        _ => format!("{} h left", left / 3_600),
    });
    let parts: Vec<String> = [drawn, Some(so_far), rate, left].into_iter().flatten().collect();
    let line = parts.join(", ");
    let words = [&progress["phase"], &progress["message"]];
    let words: Vec<&str> = words.into_iter().filter_map(Value::as_str).collect();
    if words.is_empty() { line } else { format!("{line} ({})", words.join(": ")) }
}

const COLUMNS: [Column; 6] = [
    ("CREATED", |job| output::moment(&output::text(&job["created"]))),
    ("STATE", |job| output::text(&job["state"])),
    ("PROGRESS", |job| {
        job["progress"]["percent"]
            .as_u64()
            .map(|percent| format!("{percent} %"))
            .unwrap_or_default()
    }),
    ("WHAT", |job| {
        let more = job["process_id"].as_str().or(job["action"].as_str()).unwrap_or_default();
        format!("{} {more}", output::text(&job["method"])).trim_end().to_owned()
    }),
    ("BY", |job| output::text(&job["actor"])),
    ("ID", |job| output::text(&job["id"])),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_what_is_known_and_no_more() {
        let job = |progress| json!({"state": "running", "progress": progress});
        let all = json!({"percent": 42, "done": 440_401_920, "total": 1_048_576_000, "unit": "bytes",
            "rate_per_s": 1_048_576, "left_s": 580, "phase": "copying", "message": "tank"});
        let drawn = bar(&job(all));
        assert!(drawn.starts_with("[########------------] 42 %, 420"), "{drawn}");
        assert!(drawn.ends_with("/s, 9 min left (copying: tank)"), "{drawn}");
        let little = json!({"done": 7, "unit": "files"});
        assert_eq!(bar(&job(little)), "7 files");
        assert_eq!(bar(&job(Value::Null)), "runs");
        let waits = json!({"state": "queued", "queue_position": 3});
        assert_eq!(bar(&waits), "waits for its turn, 3 before it");
    }

    #[test]
    fn what_a_program_prints_cannot_command_the_terminal() {
        assert_eq!(printable("a\tb\n\u{1b}[2Jc\r"), "a\tb\n\\u{1b}[2Jc\\r");
    }

    #[test]
    fn an_end_that_is_no_success_is_a_failure_with_its_reason() {
        assert!(ended(&json!({"state": "done"})).is_ok());
        let job = json!({"state": "failed", "error": {"message": "no room", "hint": "make some"}});
        let failure = ended(&job).unwrap_err();
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::Failed, "the job is failed: no room")
        );
        assert_eq!(failure.hint.as_deref(), Some("make some"));
    }
}
