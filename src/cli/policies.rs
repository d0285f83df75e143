//! `sysadmctl policies`: what takes snapshots by itself, what stays of them, and why.

mod plan;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::{self, Column, Style};
use super::target::Target;

/// The largest file with a policy that is read, in bytes; the daemon takes no larger message.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PoliciesCommand {
    /// Show the policies, what comes next and what fails
    List,
    /// Show one policy as JSON, as `save` takes it
    Show {
        /// Its id, the beginning of it, or its title
        policy: String,
    },
    /// Make or change a policy from a file of JSON
    Save(SaveOptions),
    /// Remove a policy; its snapshots stay
    Remove(Which),
    /// Take a snapshot of each of its datasets now
    Run(RunOptions),
    /// Say of each snapshot whether it stays, and why
    Plan(PlanOptions),
    /// Destroy what no rule keeps, as `plan` shows it
    Prune(PruneOptions),
}

/// A policy to save.
#[derive(Debug, Args)]
pub(crate) struct SaveOptions {
    /// The file; `-` reads standard input
    file: PathBuf,
    /// Only say what it would be about, and what it would destroy
    #[arg(long)]
    dry_run: bool,
}

/// A policy.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its id, the beginning of it, or its title
    policy: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What to take.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    which: Which,
    /// Part of the snapshots' names
    #[arg(long)]
    label: Option<String>,
}

/// What to show of a plan.
#[derive(Debug, Args)]
pub(crate) struct PlanOptions {
    /// Its id, the beginning of it, or its title
    policy: String,
    /// Only what would be destroyed
    #[arg(long)]
    destroy: bool,
}

/// What may be destroyed.
#[derive(Debug, Args)]
pub(crate) struct PruneOptions {
    #[command(flatten)]
    which: Which,
    /// The plan that was seen, as `plan` names it; without it, the present one
    #[arg(long)]
    plan: Option<String>,
    /// Also when more would go than may without approval; needs --plan
    #[arg(long, requires = "plan")]
    approve: bool,
    /// The clock is right, although it has jumped
    #[arg(long)]
    trust_clock: bool,
}

/// Runs the command.
pub(crate) async fn run(
    command: PoliciesCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    match command {
        PoliciesCommand::List => list(&mut client, style).await,
        PoliciesCommand::Show { policy } => {
            let found = find(&mut client, &policy).await?;
            output::value(style, &found["policy"])
        }
        PoliciesCommand::Save(options) => save(&mut client, &options, style).await,
        PoliciesCommand::Remove(which) => remove(&mut client, &which, style).await,
        PoliciesCommand::Run(options) => take(&mut client, &options, style).await,
        PoliciesCommand::Plan(options) => {
            let id = id_of(&mut client, &options.policy).await?;
            plan::show(&mut client, &id, options.destroy, style).await
        }
        PoliciesCommand::Prune(options) => prune(&mut client, &options, style).await,
    }
}

async fn list(client: &mut Client, style: Style) -> Result<(), Failure> {
    let answer = ask(client, "policy_list", json!({})).await?;
    output::table(style, &answer, "policies", &POLICIES)?;
    if style.json {
        return Ok(());
    }
    for broken in answer["broken"].as_array().into_iter().flatten() {
        let [file, message] = ["file", "message"].map(|name| output::text(&broken[name]));
        output::remark(&format!("{file} is no policy: {message}"));
    }
    for policy in answer["policies"].as_array().into_iter().flatten() {
        for failing in policy["failing"].as_array().into_iter().flatten() {
            let title = output::text(&policy["policy"]["title"]);
            let [dataset, why] = ["dataset", "message"].map(|name| output::text(&failing[name]));
            output::remark(&format!("{title} fails on {dataset}: {why}"));
        }
    }
    if let Some(doubt) = answer["clock_doubt"].as_str() {
        output::remark(&format!("nothing is destroyed: {doubt}"));
    }
    Ok(())
}

async fn save(client: &mut Client, options: &SaveOptions, style: Style) -> Result<(), Failure> {
    let policy = read(&options.file)?;
    let args = json!({ "policy": policy, "dry_run": options.dry_run });
    let answer = ask(client, "policy_save", args).await?;
    if style.json {
        return output::value(style, &answer);
    }
    let shown = &answer["policy"];
    let verb = match (options.dry_run, &answer["new"], &answer["changed"]) {
        (true, _, _) => "would be saved",
        (_, Value::Bool(true), _) => "made",
        (_, _, Value::Bool(true)) => "changed",
        _ => "as it was",
    };
    let [id, title] = ["id", "title"].map(|name| output::text(&shown["policy"][name]));
    output::line(&output::clean(&format!("{title} ({id}): {verb}")))?;
    let count = output::text(&shown["datasets_count"]);
    output::line(&format!("  datasets: {count}"))?;
    for dataset in shown["datasets"].as_array().into_iter().flatten().take(plan::NAMED_MAX) {
        output::line(&output::clean(&format!("    {}", output::text(&dataset["name"]))))?;
    }
    for next in shown["next"].as_array().into_iter().flatten() {
        let at = output::moment(&output::text(&next["at"]));
        output::line(&output::clean(&format!("  next {}: {at}", output::text(&next["label"]))))?;
    }
    output::line(&format!("  {}", plan::summary(&answer["prune"])))?;
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        output::remark(&output::text(warning));
    }
    Ok(())
}

async fn remove(client: &mut Client, which: &Which, style: Style) -> Result<(), Failure> {
    let id = id_of(client, &which.policy).await?;
    let args = json!({ "id": id, "dry_run": which.dry_run });
    let answer = ask(client, "policy_remove", args).await?;
    if style.json {
        return output::value(style, &answer);
    }
    let verb = if which.dry_run { "would be removed" } else { "removed" };
    let title = output::text(&answer["removed"]["policy"]["title"]);
    let left = output::text(&answer["snapshots_left"]);
    output::line(&output::clean(&format!("{title}: {verb}; its {left} snapshots stay")))
}

async fn take(client: &mut Client, options: &RunOptions, style: Style) -> Result<(), Failure> {
    let id = id_of(client, &options.which.policy).await?;
    let mut args = json!({ "id": id, "dry_run": options.which.dry_run });
    if let Some(label) = &options.label {
        args["label"] = json!(label);
    }
    let answer = ask(client, "policy_run", args).await?;
    if options.which.dry_run {
        return output::table(style, &answer, "datasets", &DATASETS);
    }
    output::table(style, &answer, "snapshots", &TAKEN)?;
    if style.json {
        return Ok(());
    }
    for skipped in answer["skipped"].as_array().into_iter().flatten() {
        output::remark(&format!("{}: nothing has changed", output::text(&skipped["name"])));
    }
    let failed: Vec<&Value> = answer["failed"].as_array().into_iter().flatten().collect();
    for one in &failed {
        let [name, why] = ["dataset_name", "message"].map(|name| output::text(&one[name]));
        output::remark(&format!("{name}: {why}"));
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("{} datasets failed", failed.len())))
}

async fn prune(client: &mut Client, options: &PruneOptions, style: Style) -> Result<(), Failure> {
    let id = id_of(client, &options.which.policy).await?;
    let plan = if let Some(plan) = &options.plan {
        plan.clone()
    } else {
        let seen = ask(client, "prune_plan", json!({ "id": id, "limit": 1 })).await?;
        output::text(&seen["plan"])
    };
    let args = json!({
        "id": id,
        "plan": plan,
        "approve": options.approve,
        "trust_clock": options.trust_clock,
        "dry_run": options.which.dry_run,
    });
    let answer = ask(client, "prune", args).await?;
    if style.json {
        return output::value(style, &answer);
    }
    let verb = if options.which.dry_run { "would be destroyed" } else { "destroyed" };
    output::line(&format!("{} snapshots {verb}", output::text(&answer["destroyed"])))?;
    for left in answer["left"].as_array().into_iter().flatten() {
        let [id, why] = ["snapshot", "message"].map(|name| output::text(&left[name]));
        output::remark(&format!("{id} is still there: {why}"));
    }
    Ok(())
}

/// The policy somebody means.
async fn find(client: &mut Client, text: &str) -> Result<Value, Failure> {
    let mut answer = ask(client, "policy_list", json!({})).await?;
    let all = answer["policies"].as_array_mut().map(std::mem::take).unwrap_or_default();
    meant(&all, text)
}

/// One of them by its id, its title, or the beginning of its id.
fn meant(all: &[Value], text: &str) -> Result<Value, Failure> {
    let is = |one: &Value, name: &str| one["policy"][name].as_str() == Some(text);
    let begins = |one: &Value| {
        let id = one["policy"]["id"].as_str().unwrap_or_default();
        text.len() >= 4 && id.starts_with(text)
    };
    let titled = |one: &Value| is(one, "title");
    // The clearest first: what is meant by its id is not meant by its title.
    let ways: [&dyn Fn(&Value) -> bool; 3] = [&|one| is(one, "id"), &titled, &begins];
    for way in ways {
        let mut found = all.iter().filter(|one| way(one));
        match (found.next(), found.next()) {
            (Some(one), None) => return Ok(one.clone()),
            (Some(_), Some(_)) => {
                return Err(Failure::usage(format!(
                    "several policies are called {text}: name one by its id"
                )));
            }
            _ => {}
        }
    }
    Err(Failure::usage(format!("there is no policy {text}; `policies list` shows them")))
}

async fn id_of(client: &mut Client, text: &str) -> Result<String, Failure> {
    let found = find(client, text).await?;
    Ok(output::text(&found["policy"]["id"]))
}

fn read(file: &Path) -> Result<Value, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::File, format!("cannot read {}: {error}", file.display()))
    };
    let mut text = String::new();
    if file == Path::new("-") {
        let stdin = std::io::stdin().lock();
        stdin.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    } else {
        let open = fs::File::open(file).map_err(failed)?;
        open.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    }
    serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{} is no JSON: {error}", file.display())))
}

async fn ask(client: &mut Client, name: &str, args: Value) -> Result<Value, Failure> {
    client.call("snapshot", name, args).await
}

const POLICIES: [Column; 7] = [
    ("TITLE", |one| output::text(&one["policy"]["title"])),
    ("ENABLED", |one| output::text(&one["policy"]["enabled"])),
    ("DATASETS", |one| output::text(&one["datasets_count"])),
    ("NEXT", |one| next(one)),
    ("KEEPS", |one| plan::rules(&one["policy"]["retention"])),
    ("FAILING", |one| one["failing"].as_array().map_or(0, Vec::len).to_string()),
    ("ID", |one| output::text(&one["policy"]["id"])),
];

const DATASETS: [Column; 2] = [
    ("NAME", |dataset| output::text(&dataset["name"])),
    ("ID", |dataset| output::text(&dataset["id"])),
];

const TAKEN: [Column; 4] = [
    ("NAME", |snapshot| output::text(&snapshot["name"])),
    ("CREATED", |snapshot| output::moment(&output::text(&snapshot["created"]))),
    ("STATE", |snapshot| output::text(&snapshot["state"])),
    ("ID", |snapshot| output::text(&snapshot["id"])),
];

/// The first of the next moments, and which schedule's it is.
fn next(policy: &Value) -> String {
    let all = policy["next"].as_array().into_iter().flatten();
    let first = all.filter(|next| next["at"].is_string()).min_by_key(|next| next["at"].as_str());
    first.map_or_else(
        || "-".to_owned(),
        |next| {
            let at = next["at"].as_str().unwrap_or_default();
            let minute = at.get(..16).unwrap_or(at).replace('T', " ");
            format!("{minute}Z {}", output::text(&next["label"]))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Value> {
        let one = |id: &str, title: &str| json!({ "policy": { "id": id, "title": title } });
        vec![one("aaaa-1", "nightly"), one("aaab-2", "hourly"), one("bbbb-3", "hourly")]
    }

    #[test]
    fn a_policy_is_meant_by_id_title_or_the_beginning_of_its_id() {
        let id = |text| meant(&some(), text).map(|one| one["policy"]["id"].clone()).ok();
        assert_eq!(id("aaab-2"), Some(json!("aaab-2")));
        assert_eq!(id("nightly"), Some(json!("aaaa-1")));
        assert_eq!(id("bbbb"), Some(json!("bbbb-3")));
        for text in ["hourly", "aaa", "none", ""] {
            assert_eq!(id(text), None, "{text}");
        }
    }

    #[test]
    fn the_next_moment_is_the_first_of_all_schedules() {
        let policy = json!({ "next": [
            { "label": "daily", "at": "2026-11-28T02:30:00Z" },
            { "label": "hourly", "at": "2026-11-27T13:00:00Z" },
            { "label": "never", "at": null },
        ] });
        assert_eq!(next(&policy), "2026-11-27 13:00Z hourly");
        assert_eq!(next(&json!({ "next": [] })), "-");
    }
}
