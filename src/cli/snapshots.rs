//! `sysadmctl snapshots`: what the plugin `snapshot` does, for people.

mod timeline;

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
        /// Of this dataset only: its id, its name, or the path of a directory
        dataset: Option<String>,
    },
    /// Show on which days there are snapshots
    Timeline {
        /// Of this dataset only: its id, its name, or the path of a directory
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
    /// The dataset: its id or name, as `datasets` shows them, or the absolute path of a directory
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
            output::table(style, &answer, "datasets", &DATASETS)?;
            tell_problems(style, &answer);
            Ok(())
        }
        SnapshotsCommand::List { dataset } => {
            let answer = list(&mut client, dataset).await?;
            output::table(style, &answer, "snapshots", &SNAPSHOTS)?;
            tell_problems(style, &answer);
            Ok(())
        }
        SnapshotsCommand::Timeline { dataset } => {
            let answer = list(&mut client, dataset).await?;
            timeline::show(style, &answer)?;
            tell_problems(style, &answer);
            Ok(())
        }
        SnapshotsCommand::Create(options) => {
            let answer = ask(&mut client, "create", create_args(options)).await?;
            output::table(style, &answer, "snapshots", &CREATED)?;
            tell_torn(style, &answer["consistency"]);
            Ok(())
        }
        SnapshotsCommand::Destroy { ids } => destroy(&mut client, &ids, style).await,
    }
}

/// All of them, page by page, in one answer.
async fn list(client: &mut Client, dataset: Option<String>) -> Result<Value, Failure> {
    let mut question = dataset.map_or_else(|| json!({}), |dataset| json!({ "dataset": dataset }));
    let mut snapshots = Vec::new();
    loop {
        let mut page = ask(client, "list", question.clone()).await?;
        if let Value::Array(found) = page["snapshots"].take() {
            snapshots.extend(found);
        }
        question["after"] = page["next"].take();
        if question["after"].is_null() {
            page["snapshots"] = snapshots.into();
            return Ok(page);
        }
    }
}

/// Storage that could not be asked: what is shown is then not all there is.
fn tell_problems(style: Style, answer: &Value) {
    for problem in answer["problems"].as_array().into_iter().flatten().filter(|_| !style.json) {
        let [backend, message] = ["backend", "message"].map(|name| output::text(&problem[name]));
        output::remark(&format!("{backend} is missing: {message}"));
    }
}

fn tell_torn(style: Style, consistency: &Value) {
    let count = |name: &str| consistency[name].as_u64().unwrap_or(0);
    let (torn, unread) = (count("torn"), count("unread"));
    if torn + unread > 0 && !style.json {
        output::remark(&format!(
            "the snapshot is not whole: {torn} files changed while they were read, {unread} could \
             not be read"
        ));
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

const SNAPSHOTS: [Column; 8] = [
    ("DATASET", |snapshot| output::text(&snapshot["dataset_name"])),
    NAME,
    CREATED_AT,
    STATE,
    ("OWNER", |snapshot| output::text(&snapshot["owner"])),
    SIZE,
    ("COMMENT", |snapshot| output::text(&snapshot["comment"])),
    ID,
];

const CREATED: [Column; 5] = [NAME, CREATED_AT, STATE, SIZE, ID];

const NAME: Column = ("NAME", |snapshot| output::text(&snapshot["name"]));
const CREATED_AT: Column =
    ("CREATED", |snapshot| output::moment(&output::text(&snapshot["created"])));
const STATE: Column = ("STATE", |snapshot| output::text(&snapshot["state"]));
const SIZE: Column = ("SIZE", |snapshot| output::bytes(&snapshot["size"]));
const ID: Column = ("ID", |snapshot| output::text(&snapshot["id"]));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    #[tokio::test]
    async fn a_long_list_is_put_together_from_its_pages() {
        let fake = Fake::new();
        let script = async {
            let mut visitor = fake.accept().await;
            let request = visitor.request("snapshot/list").await;
            assert_eq!(request["args"], json!({"dataset": "tank"}));
            let page = json!({"snapshots": [1, 2], "next": "zfs:1:2@3", "problems": []});
            visitor.answer(&request, page).await;
            let request = visitor.request("snapshot/list").await;
            assert_eq!(request["args"], json!({"dataset": "tank", "after": "zfs:1:2@3"}));
            visitor.answer(&request, json!({"snapshots": [3], "problems": []})).await;
        };
        let target = fake.target();
        let ask = async {
            let (mut client, _) = Client::open(&target).await.unwrap();
            list(&mut client, Some("tank".to_owned())).await.unwrap()
        };
        let ((), answer) = tokio::join!(script, ask);
        assert_eq!(answer["snapshots"], json!([1, 2, 3]));
    }
}
