//! `sysadmctl containers`, `services`, `stacks`: what the plugin `containers` knows and does, for
//! people.

mod change;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Column, Style};
use super::target::Target;
use change::{ChangeCommand, Kind, Scale};

/// What to show of containers, or to do to them.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainersCommand {
    /// Show the containers of every engine
    List(ListOptions),
    /// Show one container; its environment only to operators
    Show(Named),
    /// Show the newest lines that a container has written
    Logs(LogOptions),
    /// Show what a container uses at the moment
    Stats(Named),
    /// Show the engines, and whether they can be reached
    Engines,
    /// Change some
    #[command(flatten)]
    Change(ChangeCommand),
}

/// What to do with services.
#[derive(Debug, Subcommand)]
pub(crate) enum ServicesCommand {
    /// Have more containers of one, or fewer
    Scale(Scale),
    /// Whatever can be done with stacks, too
    #[command(flatten)]
    Group(GroupCommand),
}

/// What to do with services, or stacks.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Show them all; so does no command at all
    List,
    /// Change some
    #[command(flatten)]
    Change(ChangeCommand),
}

/// What to list.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Also those that were removed within the last minutes
    #[arg(long)]
    gone: bool,
}

/// Which container.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its name, its uuid, or the beginning of its id
    container: String,
}

/// Which lines.
#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// Its name, its uuid, or the beginning of its id
    container: String,
    /// At most so many lines
    #[arg(long, default_value_t = 100, value_name = "LINES")]
    tail: u32,
    /// Only lines from this moment on, such as 2026-11-26T10:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(
    command: ContainersCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    match command {
        ContainersCommand::List(options) => {
            let question = json!({ "gone": options.gone });
            show_all(&mut client, ("list", "containers"), question, &CONTAINERS, style).await
        }
        ContainersCommand::Show(named) => {
            let question = json!({ "container": named.container });
            let answer = ask(&mut client, "inspect", question).await?;
            output::value(style, &answer)
        }
        ContainersCommand::Stats(named) => {
            let question = json!({ "container": named.container });
            let answer = ask(&mut client, "stats", question).await?;
            output::table(style, &json!({ "stats": [answer] }), "stats", &STATS)
        }
        ContainersCommand::Engines => {
            let answer = ask(&mut client, "nodes", json!({})).await?;
            output::table(style, &answer, "nodes", &NODES)
        }
        ContainersCommand::Logs(options) => logs(&mut client, options, style).await,
        ContainersCommand::Change(command) => {
            change::run(&mut client, Kind::Container, command, style).await
        }
    }
}

/// `sysadmctl services`.
pub(crate) async fn services(
    command: Option<ServicesCommand>,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    match command {
        Some(ServicesCommand::Scale(scale)) => change::scale(&mut client, scale, style).await,
        Some(ServicesCommand::Group(GroupCommand::Change(command))) => {
            change::run(&mut client, Kind::Service, command, style).await
        }
        Some(ServicesCommand::Group(GroupCommand::List)) | None => {
            show_all(&mut client, ("services", "services"), json!({}), &SERVICES, style).await
        }
    }
}

/// `sysadmctl stacks`.
pub(crate) async fn stacks(
    command: Option<GroupCommand>,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    match command {
        Some(GroupCommand::Change(command)) => {
            change::run(&mut client, Kind::Stack, command, style).await
        }
        Some(GroupCommand::List) | None => {
            show_all(&mut client, ("stacks", "stacks"), json!({}), &STACKS, style).await
        }
    }
}

async fn show_all(
    client: &mut Client,
    (method, name): (&str, &str),
    question: Value,
    columns: &[Column],
    style: Style,
) -> Result<(), Failure> {
    let answer = list(client, (method, name), question).await?;
    output::table(style, &answer, name, columns)?;
    if answer[name] == json!([]) && !style.json {
        remark_that_nothing_can_be_there(client).await?;
    }
    for engine in answer["unreachable"].as_array().into_iter().flatten().filter(|_| !style.json) {
        let [name, reason] = ["engine", "reason"].map(|part| output::text(&engine[part]));
        output::remark(&format!("what {name} does may be old, it cannot be reached: {reason}"));
    }
    Ok(())
}

/// An empty list means something else where there is no engine.
async fn remark_that_nothing_can_be_there(client: &mut Client) -> Result<(), Failure> {
    let answer = ask(client, "nodes", json!({})).await?;
    if answer["nodes"] == json!([]) {
        output::remark(
            "no container engine was found on this machine; one at another place is named in \
             [[plugins.config.containers.engine]]",
        );
    }
    Ok(())
}

/// All rows, page by page, in one answer.
async fn list(
    client: &mut Client,
    (method, name): (&str, &str),
    mut question: Value,
) -> Result<Value, Failure> {
    let mut rows = Vec::new();
    loop {
        let mut page = ask(client, method, question.clone()).await?;
        if let Value::Array(found) = page[name].take() {
            rows.extend(found);
        }
        question["offset"] = page["next"].take();
        if question["offset"].is_null() {
            page[name] = rows.into();
            return Ok(page);
        }
    }
}

async fn logs(client: &mut Client, options: LogOptions, style: Style) -> Result<(), Failure> {
    let mut question = json!({ "container": options.container, "tail": options.tail });
    if let Some(since) = options.since {
        question["since"] = since.into();
    }
    let answer = ask(client, "logs", question).await?;
    if style.json {
        return output::value(style, &answer);
    }
    for line in answer["lines"].as_array().into_iter().flatten() {
        output::line(&output::clean(&output::text(&line["text"])))?;
    }
    if answer["cut"] == true {
        output::remark("something was left out: there is more than one answer holds");
    }
    Ok(())
}

async fn ask(client: &mut Client, name: &str, args: Value) -> Result<Value, Failure> {
    client.call("containers", name, args).await
}

const NAME: Column = ("NAME", |row| output::text(&row["name"]));
const STATE: Column = ("STATE", |row| output::text(&row["state"]));
const ENGINE: Column = ("ENGINE", |row| output::text(&row["engine"]));
const IMAGE: Column = ("IMAGE", |row| output::text(&row["image"]));
const UUID: Column = ("UUID", |row| output::text(&row["uuid"]));
const STACK: Column = ("STACK", |row| output::text(&row["stack"]["name"]));

const CONTAINERS: [Column; 8] = [
    NAME,
    STATE,
    ("HEALTH", |row| output::text(&row["health"])),
    ("SERVICE", |row| output::text(&row["service"]["name"])),
    STACK,
    IMAGE,
    ENGINE,
    UUID,
];

const SERVICES: [Column; 7] = [NAME, STATE, ("RUNNING", running), STACK, IMAGE, ENGINE, UUID];

const STACKS: [Column; 5] = [NAME, STATE, ("RUNNING", running_containers), ENGINE, UUID];

const NODES: [Column; 6] = [
    NAME,
    STATE,
    ("VERSION", |row| output::text(&row["version"])),
    ("RUNNING", |row| output::text(&row["running"])),
    ("LOOKED AT", |row| output::moment(&output::text(&row["seen"]))),
    ("REASON", |row| output::text(&row["reason"])),
];

const STATS: [Column; 6] = [
    ("CPU", |row| format!("{} %", output::text(&row["cpu_percent"]))),
    ("MEMORY", |row| output::bytes(&row["memory_bytes"])),
    ("OF", |row| output::bytes(&row["memory_limit"])),
    ("RECEIVED", |row| output::bytes(&row["received_bytes"])),
    ("SENT", |row| output::bytes(&row["sent_bytes"])),
    ("PROCESSES", |row| output::text(&row["processes"])),
];

fn running(row: &Value) -> String {
    format!("{}/{}", output::text(&row["running"]), output::text(&row["total"]))
}

fn running_containers(row: &Value) -> String {
    format!("{}/{}", output::text(&row["running"]), output::text(&row["containers"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    #[tokio::test]
    async fn a_long_list_is_put_together_from_its_pages() {
        let fake = Fake::new();
        let script = async {
            let mut visitor = fake.accept().await;
            let request = visitor.request("containers/list").await;
            assert_eq!(request["args"], json!({"gone": true}));
            let page = json!({"containers": [1, 2], "next": 2, "unreachable": []});
            visitor.answer(&request, page).await;
            let request = visitor.request("containers/list").await;
            assert_eq!(request["args"], json!({"gone": true, "offset": 2}));
            let page = json!({"containers": [3], "next": null, "unreachable": []});
            visitor.answer(&request, page).await;
        };
        let target = fake.target();
        let ask = async {
            let (mut client, _) = Client::open(&target).await.unwrap();
            list(&mut client, ("list", "containers"), json!({"gone": true})).await.unwrap()
        };
        let ((), answer) = tokio::join!(script, ask);
        assert_eq!(answer["containers"], json!([1, 2, 3]));
    }
}
