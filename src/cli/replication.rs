//! `sysadmctl replication`: what the plugin `replication` does, for people.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::exit::{Exit, Failure};
use super::jobs;
use super::output::{self, Column, Style};
use super::target::Target;

/// What to do with replication.
#[derive(Debug, Subcommand)]
pub(crate) enum ReplicationCommand {
    /// Show what is copied where, and how that went the last time
    Tasks,
    /// Add a task: which snapshots are copied where
    Add(Box<AddOptions>),
    /// Forget a task; snapshots and copies stay
    Remove(Which),
    /// Let a task run again
    Enable(Which),
    /// Let a task run no more
    Disable(Which),
    /// Say what a task would copy now, or what stands in its way
    Plan(Which),
    /// Carry a task out and show how far it is
    Run(RunOptions),
    /// End a run; the next one goes on where it was
    Cancel {
        /// Its id, as `runs` shows it
        run: String,
    },
    /// Show what was copied, and how each run ended
    Runs {
        /// Of this task only
        task: Option<String>,
    },
    /// Show what does not fit, and what can be decided
    Conflicts,
    /// Decide how a dataset goes on; what is at the target stays as it is
    Resolve(ResolveOptions),
    /// Show which snapshots are kept from being destroyed, and for what
    Holds,
}

/// A task.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its title or its id, as `tasks` shows them
    task: String,
}

/// A new task.
#[derive(Debug, Args)]
pub(crate) struct AddOptions {
    /// What it is called
    title: String,
    /// A dataset to copy: its id, name or path; may be repeated
    #[arg(long = "from", required = true, value_name = "DATASET")]
    sources: Vec<String>,
    /// Where to: a directory on a btrfs, a ZFS dataset, or a directory for copies of directories
    #[arg(long = "to", value_name = "TARGET")]
    root: String,
    /// Also snapshots that somebody else has made
    #[arg(long)]
    all: bool,
    /// Only snapshots with this label; may be repeated
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// What to send when nothing is at the target yet
    #[arg(long, default_value = "latest", value_parser = ["latest", "all", "fail"])]
    initial: String,
    /// What to send of the snapshots since the last copy
    #[arg(long, default_value = "all", value_parser = ["all", "latest"])]
    intermediate: String,
    /// Bytes a second at most
    #[arg(long, value_name = "BYTES")]
    rate: Option<u64>,
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    other: OtherMachine,
}

/// Another machine, reached by SSH.
#[derive(Debug, Args)]
pub(crate) struct OtherMachine {
    /// The machine that the copies go to
    #[arg(long, value_name = "HOST", conflicts_with = "from_host",
          requires_all = ["identity", "known_hosts"])]
    to_host: Option<String>,
    /// The machine that the datasets are on
    #[arg(long, value_name = "HOST", requires_all = ["identity", "known_hosts"])]
    from_host: Option<String>,
    /// Its SSH port
    #[arg(long, default_value_t = 22, value_name = "PORT")]
    port: u16,
    /// Whom to log in as
    #[arg(long, default_value = "root", value_name = "USER")]
    user: String,
    /// The file with the private key, as the daemon's machine has it
    #[arg(long, value_name = "FILE")]
    identity: Option<String>,
    /// The file that the other machine's host key is in
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<String>,
}

impl OtherMachine {
    /// As a task names a machine.
    fn ssh(&self, host: &str) -> Value {
        json!({
            "host": host, "port": self.port, "user": self.user,
            "identity": self.identity, "known_hosts": self.known_hosts,
        })
    }
}

/// What to carry out.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    which: Which,
    /// Wait for nothing; `sysadmctl jobs wait` shows how far it is
    #[arg(long)]
    no_wait: bool,
    /// Your own name for it: asking again with it begins no second one
    #[arg(long)]
    key: Option<String>,
}

/// A decision.
#[derive(Debug, Args)]
pub(crate) struct ResolveOptions {
    #[command(flatten)]
    which: Which,
    /// The dataset, by its id
    dataset: String,
    /// One of the choices that `conflicts` shows
    #[arg(value_parser = ["new-generation", "send-again"])]
    choice: String,
}

/// Runs the command.
pub(crate) async fn run(
    command: ReplicationCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    let client = &mut client;
    match command {
        ReplicationCommand::Tasks => show(client, "task_list", "tasks", &TASKS, style).await,
        ReplicationCommand::Add(options) => add(client, *options, style).await,
        ReplicationCommand::Plan(which) => {
            let task = find(client, &which.task).await?;
            let answer = ask(client, "plan", json!({ "task": task })).await?;
            tell_plan(&answer, style)
        }
        ReplicationCommand::Run(options) => carry_out(target, options, style).await,
        ReplicationCommand::Runs { task } => {
            let question = match task {
                Some(task) => json!({ "task": find(client, &task).await? }),
                None => json!({}),
            };
            output::table(style, &ask(client, "runs", question).await?, "runs", &RUNS)
        }
        ReplicationCommand::Conflicts => {
            let answer = ask(client, "conflicts", json!({})).await?;
            tell_conflicts(&answer, style)
        }
        ReplicationCommand::Holds => show(client, "holds", "holds", &HOLDS, style).await,
        change => do_change(client, change, style).await,
    }
}

/// What changes something and has no table to show.
async fn do_change(
    client: &mut Client,
    command: ReplicationCommand,
    style: Style,
) -> Result<(), Failure> {
    let (name, args, done) = match command {
        ReplicationCommand::Remove(which) => {
            ("task_remove", json!({ "task": find(client, &which.task).await? }), "removed")
        }
        ReplicationCommand::Enable(which) => {
            let task = find(client, &which.task).await?;
            ("task_enable", json!({ "task": task, "enabled": true }), "enabled")
        }
        ReplicationCommand::Disable(which) => {
            let task = find(client, &which.task).await?;
            ("task_enable", json!({ "task": task, "enabled": false }), "disabled")
        }
        ReplicationCommand::Cancel { run } => ("cancel", json!({ "run": run }), "cancelled"),
        ReplicationCommand::Resolve(options) => {
            let task = find(client, &options.which.task).await?;
            let args =
                json!({ "task": task, "dataset": options.dataset, "choice": options.choice });
            ("resolve", args, "decided")
        }
        // Those that show something have been done before.
        _ => return Ok(()),
    };
    let answer = ask(client, name, args).await?;
    if style.json { output::value(style, &answer) } else { output::line(done) }
}

async fn show(
    client: &mut Client,
    method: &str,
    name: &str,
    columns: &[Column],
    style: Style,
) -> Result<(), Failure> {
    output::table(style, &ask(client, method, json!({})).await?, name, columns)
}

async fn add(client: &mut Client, options: AddOptions, style: Style) -> Result<(), Failure> {
    let mut task = json!({
        "title": options.title,
        "sources": options.sources,
        "target": { "root": options.root },
        "snapshots": if options.all { "all" } else { "ours" },
        "labels": options.labels,
        "initial": options.initial,
        "intermediate": options.intermediate,
        "rate_bytes_per_s": options.rate,
    });
    if let Some(host) = &options.other.to_host {
        task["target"]["ssh"] = options.other.ssh(host);
    }
    if let Some(host) = &options.other.from_host {
        task["source_ssh"] = options.other.ssh(host);
    }
    let args = json!({ "task": task, "dry_run": options.dry_run });
    let answer = ask(client, "task_save", args).await?;
    if style.json {
        return output::value(style, &answer);
    }
    if !options.dry_run {
        output::line(&output::clean(&format!("added {}", output::text(&answer["task"]["id"]))))?;
    }
    tell_plan(&answer, style)
}

/// Carries a task out as a job, so that it outlives this program.
async fn carry_out(target: &Target, options: RunOptions, style: Style) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    let task = find(&mut client, &options.which.task).await?;
    let mut wanted =
        json!({ "action": "run", "method": "replication/run", "args": { "task": task } });
    if let Some(key) = options.key {
        wanted["key"] = key.into();
    }
    let made = client.call("rpc", "jobs", wanted).await?;
    jobs::made_or_waited(client, target, &made, (!options.no_wait, style)).await
}

/// The id of the task that somebody means by its title or its id.
async fn find(client: &mut Client, text: &str) -> Result<Value, Failure> {
    let answer = ask(client, "task_list", json!({})).await?;
    let tasks = answer["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named: Vec<&Value> =
        tasks.iter().filter(|task| task["id"] == text || task["title"] == text).collect();
    match named.as_slice() {
        [task] => Ok(task["id"].clone()),
        [] => Err(Failure::new(Exit::Failed, format!("there is no replication task {text:?}"))
            .with_hint("`sysadmctl replication tasks` shows them")),
        _ => Err(Failure::new(Exit::Failed, format!("there are several tasks titled {text:?}"))
            .with_hint("name the one you mean by its id")),
    }
}

/// A plan as people read it.
fn tell_plan(answer: &Value, style: Style) -> Result<(), Failure> {
    if style.json {
        return output::value(style, answer);
    }
    for line in plan_lines(answer) {
        output::line(&output::clean(&line))?;
    }
    Ok(())
}

fn plan_lines(answer: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for dataset in answer["datasets"].as_array().into_iter().flatten() {
        let [name, place] = ["name", "place"].map(|part| output::text(&dataset[part]));
        lines.push(match dataset["state"].as_str() {
            Some("current") => format!("{name}: {place} has the newest snapshot"),
            Some("empty") => format!("{name}: there is no snapshot to copy"),
            Some("error") => format!("{name}: {}", output::text(&dataset["error"])),
            Some("conflict") => format!("{name}: {}", found(&dataset["conflict"])),
            _ => format!("{name} to {place}"),
        });
        let steps = dataset["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        lines.extend(steps.iter().map(step_line));
        let total = dataset["steps_total"].as_u64().unwrap_or(0);
        let shown = u64::try_from(steps.len()).unwrap_or(0);
        if total > shown {
            lines.push(format!("  and {} more", total - shown));
        }
        lines.extend(solution_lines(&dataset["conflict"]));
    }
    lines
}

fn step_line(step: &Value) -> String {
    let to = output::text(&step["to"]);
    let size = match (step["bytes"].as_u64(), step["basis"].as_str()) {
        (Some(_), Some("estimate")) => format!(", about {}", output::bytes(&step["bytes"])),
        (Some(_), _) => format!(", {}", output::bytes(&step["bytes"])),
        (None, _) => String::new(),
    };
    match step["from"].as_str() {
        Some(from) => format!("  {to}, what changed since {from}{size}"),
        None => format!("  {to}, whole{size}"),
    }
}

fn found(conflict: &Value) -> String {
    output::text(&conflict["found"])
}

fn solution_lines(conflict: &Value) -> Vec<String> {
    let solution = |solution: &Value| {
        let [choice, does] = ["choice", "does"].map(|part| output::text(&solution[part]));
        format!("  {choice}: {does}")
    };
    conflict["solutions"].as_array().into_iter().flatten().map(solution).collect()
}

fn tell_conflicts(answer: &Value, style: Style) -> Result<(), Failure> {
    if style.json {
        return output::value(style, answer);
    }
    for conflict in answer["conflicts"].as_array().into_iter().flatten() {
        let [title, name, dataset] =
            ["title", "name", "dataset"].map(|part| output::text(&conflict[part]));
        let what = found(&conflict["conflict"]);
        output::line(&output::clean(&format!("{title}: {name} ({dataset}): {what}")))?;
        for line in solution_lines(&conflict["conflict"]) {
            output::line(&output::clean(&line))?;
        }
    }
    Ok(())
}

async fn ask(client: &mut Client, name: &str, args: Value) -> Result<Value, Failure> {
    client.call("replication", name, args).await
}

const TASKS: [Column; 7] = [
    ("TITLE", |task| output::text(&task["title"])),
    ("TO", |task| output::text(&task["target"]["root"])),
    ("ENABLED", |task| output::text(&task["enabled"])),
    ("LAST RUN", |task| output::text(&task["last_run"]["state"])),
    ("BEGAN", |task| output::moment(&output::text(&task["last_run"]["began"]))),
    ("BYTES", |task| output::bytes(&task["last_run"]["bytes_done"])),
    ("ID", |task| output::text(&task["id"])),
];

const RUNS: [Column; 8] = [
    ("TASK", |run| output::text(&run["title"])),
    ("BEGAN", |run| output::moment(&output::text(&run["began"]))),
    ("WHY", |run| output::text(&run["trigger"])),
    ("STATE", |run| output::text(&run["state"])),
    ("SNAPSHOTS", |run| output::text(&run["steps_done"])),
    ("BYTES", |run| output::bytes(&run["bytes_done"])),
    ("ERROR", |run| output::text(&run["error"]["message"])),
    ("ID", |run| output::text(&run["id"])),
];

const HOLDS: [Column; 7] = [
    ("SNAPSHOT", |hold| output::text(&hold["name"])),
    ("SIDE", |hold| output::text(&hold["side"])),
    ("FOR", |hold| output::text(&hold["role"])),
    ("TASK", |hold| output::text(&hold["title"])),
    ("SINCE", |hold| output::moment(&output::text(&hold["since"]))),
    ("STALE", |hold| output::text(&hold["stale"])),
    ("DATASET", |hold| output::text(&hold["dataset"])),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    #[test]
    fn a_plan_reads_like_a_sentence() {
        let answer = json!({"datasets": [
            {"name": "/srv", "place": "/backup/srv", "state": "steps", "steps_total": 3, "steps": [
                {"from": null, "to": "a", "bytes": 3072, "basis": "exact"},
                {"from": "a", "to": "b", "bytes": 1024, "basis": "estimate"},
            ]},
            {"name": "/home", "place": "/backup/home", "state": "current"},
            {"name": "tank", "state": "conflict", "conflict": {
                "found": "It is ahead", "solutions": [{"choice": "new-generation", "does": "Anew"}],
            }},
        ]});
        assert_eq!(
            plan_lines(&answer),
            [
                "/srv to /backup/srv",
                "  a, whole, 3.0 KiB",
                "  b, what changed since a, about 1.0 KiB",
                "  and 1 more",
                "/home: /backup/home has the newest snapshot",
                "tank: It is ahead",
                "  new-generation: Anew",
            ]
        );
    }

    #[tokio::test]
    async fn a_task_is_found_by_its_title_when_there_is_one_of_it() {
        let fake = Fake::new();
        let script = async {
            let mut visitor = fake.accept().await;
            let tasks = json!({"tasks": [
                {"id": "1", "title": "nightly"}, {"id": "2", "title": "x"}, {"id": "3", "title": "x"},
            ]});
            for _ in 0..4 {
                let request = visitor.request("replication/task_list").await;
                visitor.answer(&request, tasks.clone()).await;
            }
        };
        let target = fake.target();
        let ask = async {
            let (mut client, _) = Client::open(&target).await.unwrap();
            assert_eq!(find(&mut client, "nightly").await.unwrap(), "1");
            assert_eq!(find(&mut client, "2").await.unwrap(), "2");
            assert!(find(&mut client, "x").await.is_err());
            assert!(find(&mut client, "none").await.is_err());
        };
        let ((), ()) = tokio::join!(script, ask);
    }
}
