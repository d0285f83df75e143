//! `sysadmctl sinks`: where events are delivered to, and how that goes.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Column, Style};
use super::target::Target;

/// What to do with sinks.
#[derive(Debug, Subcommand)]
pub(crate) enum SinksCommand {
    /// Show the sinks and how far each has come
    List,
    /// Deliver nothing more to a sink until it is resumed; nothing is lost
    Pause(Which),
    /// Go on delivering to a sink, also to one that said it is gone for good
    Resume(Which),
    /// Send a sink an event made for it now, and show what it answers
    Test(Which),
}

/// A sink.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Its name, as `list` shows it
    name: String,
}

/// Runs the command.
pub(crate) async fn run(
    command: SinksCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    let mut ask = async |args: Value| client.call::<Value>("rpc", "sinks", args).await;
    let (action, name) = match command {
        SinksCommand::List => {
            let answer = ask(json!({"action": "list"})).await?;
            return output::table(style, &answer, "sinks", &COLUMNS);
        }
        SinksCommand::Test(Which { name }) => {
            drop(client);
            return test(&name, target, style).await;
        }
        SinksCommand::Pause(Which { name }) => ("pause", name),
        SinksCommand::Resume(Which { name }) => ("resume", name),
    };
    let answer = ask(json!({"action": action, "name": name})).await?;
    output::table(style, &json!({ "sinks": [answer["sink"]] }), "sinks", &COLUMNS)
}

/// Sends a sink something made for it, and shows how that went.
pub(crate) async fn test(name: &str, target: &Target, style: Style) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    let args = json!({"action": "test", "name": name});
    let answer: Value = client.call("rpc", "sinks", args).await?;
    output::table(style, &json!({ "tests": [answer["test"]] }), "tests", &TEST)
}

const COLUMNS: [Column; 8] = [
    ("NAME", |sink| output::text(&sink["name"])),
    ("KIND", |sink| output::text(&sink["kind"])),
    ("STATE", |sink| output::text(&sink["state"])),
    ("BEHIND", |sink| output::text(&sink["behind"])),
    ("DELIVERED", |sink| output::text(&sink["delivered"])),
    ("LAST", |sink| output::moment(&output::text(&sink["last"]))),
    ("PLACE", |sink| output::text(&sink["place"])),
    ("TROUBLE", |sink| output::text(&sink["trouble"])),
];

const TEST: [Column; 3] = [
    ("SINK", |test| output::text(&test["sink"])),
    ("STATUS", |test| output::text(&test["status"])),
    ("MILLISECONDS", |test| output::text(&test["milliseconds"])),
];
