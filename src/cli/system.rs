//! `sysadmctl system`: how the machine is, for people.

use clap::Subcommand;
use protocol::Priority;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::{self, Column, Style};
use super::target::Target;

/// What to show or do.
#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Show how the machine is, in one sentence, and its disks and pools
    State,
    /// Show what is wrong with the machine, the most urgent first, and what to do
    Conditions,
    /// Show the file systems on disks
    Disks,
    /// Show the services
    Services {
        /// Only those that have failed
        #[arg(long)]
        failed: bool,
    },
    /// Start services
    Start(Named),
    /// Stop services
    Stop(Named),
    /// Stop services and start them again
    Restart(Named),
    /// Have services started with the machine
    Enable(Named),
    /// Have services not started with the machine any more
    Disable(Named),
}

/// Which services.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Their names, with or without .service
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(
    command: SystemCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    match command {
        SystemCommand::State => state(&ask(&mut client, "state").await?, style),
        SystemCommand::Conditions => {
            let answer = ask(&mut client, "conditions").await?;
            output::table(style, &answer, "conditions", &CONDITIONS)
        }
        SystemCommand::Disks => {
            let answer = ask(&mut client, "disks").await?;
            output::table(style, &answer, "disks", &DISKS)
        }
        SystemCommand::Services { failed } => {
            let mut answer = ask(&mut client, "services").await?;
            if let (true, Some(rows)) = (failed, answer["services"].as_array_mut()) {
                rows.retain(|row| row["active"] == "failed");
            }
            output::table(style, &answer, "services", &SERVICES)
        }
        SystemCommand::Start(named) => act(&mut client, "start", &named, style).await,
        SystemCommand::Stop(named) => act(&mut client, "stop", &named, style).await,
        SystemCommand::Restart(named) => act(&mut client, "restart", &named, style).await,
        SystemCommand::Enable(named) => act(&mut client, "enable", &named, style).await,
        SystemCommand::Disable(named) => act(&mut client, "disable", &named, style).await,
    }
}

async fn ask(client: &mut Client, name: &str) -> Result<Value, Failure> {
    client.call("system", name, json!({})).await
}

fn state(state: &Value, style: Style) -> Result<(), Failure> {
    if style.json {
        return output::value(style, state);
    }
    let number = |row: &Value| {
        let text = row["priority"].as_str().and_then(|text| text.split(' ').next());
        Priority::clamped(text.and_then(|number| number.parse().ok()).unwrap_or(0))
    };
    let message = output::clean(&output::text(&state["message"]));
    output::line(&style.urgency(number(state), &message))?;
    let pools = state["zpools"].as_object().into_iter().flatten();
    let rows: Vec<Value> = pools
        .map(|(name, row)| {
            let mut row = row.clone();
            row["name"] = name.as_str().into();
            row
        })
        .collect();
    output::table(style, &json!({ "disks": rows }), "disks", &POOLS)
}

/// Says of each service whether it was done; fails when one was not.
async fn act(
    client: &mut Client,
    action: &str,
    named: &Named,
    style: Style,
) -> Result<(), Failure> {
    let args = json!({ "action": action, "services": named.services });
    let answer = client.call("sysadm", "services", args).await?;
    if style.json {
        output::value(style, &answer)?;
    }
    let errors = answer["errors"].as_object();
    for service in named.services.iter().filter(|_| !style.json) {
        match errors.and_then(|errors| errors.get(service)) {
            None => output::line(&output::clean(&format!("{service}: done")))?,
            Some(error) => output::remark(&format!("{service}: {}", output::text(error))),
        }
    }
    match errors.map_or(0, serde_json::Map::len) {
        0 => Ok(()),
        count => Err(Failure::new(Exit::Failed, format!("{count} of the services: not done"))),
    }
}

const CONDITIONS: [Column; 6] = [
    ("PRIORITY", |row| output::text(&row["priority"])),
    ("CONDITION", |row| output::text(&row["condition"])),
    ("SINCE", |row| output::moment(&output::text(&row["since"]))),
    ("TOLD", |row| output::text(&row["count"])),
    ("WHAT", |row| output::text(&row["message"])),
    ("WHAT TO DO", |row| output::text(&row["advice"])),
];

const DISKS: [Column; 6] = [
    ("MOUNT", |row| output::text(&row["mount"])),
    ("TYPE", |row| output::text(&row["type"])),
    ("SIZE", |row| output::bytes(&row["size"])),
    ("USED", |row| format!("{} %", output::text(&row["percent"]))),
    ("SOURCE", |row| output::text(&row["source"])),
    ("FAULTS", |row| output::text(&row["faults"])),
];

const SERVICES: [Column; 5] = [
    ("SERVICE", |row| output::text(&row["name"])),
    ("STATE", |row| output::text(&row["active"])),
    ("DETAIL", |row| output::text(&row["sub"])),
    ("ENABLED", |row| output::text(&row["enabled"])),
    ("DESCRIPTION", |row| output::text(&row["description"])),
];

const POOLS: [Column; 6] = [
    ("NAME", |row| output::text(&row["name"])),
    ("HEALTH", |row| output::text(&row["health"])),
    ("SIZE", |row| output::text(&row["size"])),
    ("FREE", |row| output::text(&row["free"])),
    ("USED", |row| output::text(&row["capacity"])),
    ("PRIORITY", |row| output::text(&row["priority"])),
];
