//! `sysadmctl snapshots`: what the plugin `snapshot` does, for people.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Column, Style};
use super::target::Target;

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotsCommand {
    /// Show which storage this machine can take snapshots on
    Backends,
    /// Show what snapshots can be taken of
    Datasets,
    /// Show the snapshots there are
    List {
        /// Of this dataset only: its name or id
        dataset: Option<String>,
    },
    /// Take a snapshot
    Create(CreateOptions),
    /// Destroy snapshots, which cannot be undone
    Destroy {
        /// Their ids, as `list` shows them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// What to take.
#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    /// The dataset: its name or id, as `datasets` shows them
    dataset: String,
    /// Part of the snapshot's name, such as before-upgrade
    #[arg(long)]
    label: Option<String>,
    /// A sentence to keep with it
    #[arg(long)]
    comment: Option<String>,
    /// Also of what lies below it
    #[arg(long)]
    recursive: bool,
}

/// Runs the command.
pub(crate) async fn run(
    command: SnapshotsCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    match command {
        SnapshotsCommand::Backends => {
            let answer = ask(&mut client, "backends", json!({})).await?;
            output::table(style, &answer, "backends", &BACKENDS)
        }
        SnapshotsCommand::Datasets => {
            let answer = ask(&mut client, "datasets", json!({})).await?;
            output::table(style, &answer, "datasets", &DATASETS)
        }
        SnapshotsCommand::List { dataset } => {
            let args = dataset.map_or_else(|| json!({}), |dataset| json!({ "dataset": dataset }));
            let answer = ask(&mut client, "list", args).await?;
            output::table(style, &answer, "snapshots", &SNAPSHOTS)
        }
        SnapshotsCommand::Create(options) => {
            let answer = ask(&mut client, "create", create_args(options)).await?;
            output::table(style, &answer, "snapshots", &SNAPSHOTS)
        }
        SnapshotsCommand::Destroy { ids } => destroy(&mut client, &ids, style).await,
    }
}

/// One at a time, and each said as soon as it is done: when one is refused, it is known which are
/// gone.
async fn destroy(client: &mut Client, ids: &[String], style: Style) -> Result<(), Failure> {
    for id in ids {
        let answer = ask(client, "destroy", json!({ "id": id })).await?;
        if style.json {
            output::value(style, &answer)?;
        } else {
            output::line(&output::clean(&format!("destroyed {id}")))?;
        }
    }
    Ok(())
}

async fn ask(client: &mut Client, name: &str, args: Value) -> Result<Value, Failure> {
    client.call("snapshot", name, args).await
}

fn create_args(options: CreateOptions) -> Value {
    let mut args = json!({"dataset": options.dataset, "recursive": options.recursive});
    for (name, text) in [("label", options.label), ("comment", options.comment)] {
        if let Some(text) = text {
            args[name] = json!(text);
        }
    }
    args
}

const BACKENDS: [Column; 4] = [
    ("BACKEND", |backend| output::text(&backend["backend"])),
    ("AVAILABLE", |backend| output::text(&backend["available"])),
    ("VERSION", |backend| output::text(&backend["version"])),
    ("NOTE", |backend| output::text(&backend["reason"])),
];

const DATASETS: [Column; 5] = [
    ("NAME", |dataset| output::text(&dataset["name"])),
    ("BACKEND", |dataset| output::text(&dataset["backend"])),
    ("USED", |dataset| output::bytes(&dataset["used"])),
    ("AVAILABLE", |dataset| output::bytes(&dataset["available"])),
    ("ID", |dataset| output::text(&dataset["id"])),
];

const SNAPSHOTS: [Column; 7] = [
    ("NAME", |snapshot| output::text(&snapshot["name"])),
    ("CREATED", |snapshot| output::moment(&output::text(&snapshot["created"]))),
    ("STATE", |snapshot| output::text(&snapshot["state"])),
    ("OWNER", |snapshot| output::text(&snapshot["owner"])),
    ("SIZE", |snapshot| output::bytes(&snapshot["size"])),
    ("COMMENT", |snapshot| output::text(&snapshot["comment"])),
    ("ID", |snapshot| output::text(&snapshot["id"])),
];
