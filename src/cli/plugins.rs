//! `sysadmctl plugins`: how they are, and starting and stopping them.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Column, Style};
use super::target::Target;

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginsCommand {
    /// Show the plugins and how they are
    List,
    /// Start a plugin
    Start(Which),
    /// Stop a plugin
    Stop(Which),
    /// Stop and start a plugin; also what gets one out of quarantine
    Restart(Which),
    /// Have a plugin read its configuration again
    Reload(Which),
}

/// A plugin.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Its id, as `list` shows it
    id: String,
}

/// Runs the command.
pub(crate) async fn run(
    command: PluginsCommand,
    target: &Target,
    style: Style,
) -> Result<(), Failure> {
    let (mut client, _) = Client::open(target).await?;
    let (action, id) = match command {
        PluginsCommand::List => return list(style, &plugins(&mut client).await?),
        PluginsCommand::Start(Which { id }) => ("start", id),
        PluginsCommand::Stop(Which { id }) => ("stop", id),
        PluginsCommand::Restart(Which { id }) => ("restart", id),
        PluginsCommand::Reload(Which { id }) => ("reload", id),
    };
    let done: Value = client.call("rpc", "plugins", json!({"action": action, "id": id})).await?;
    list(style, &json!({ "plugins": [done["plugin"]] }))
}

/// The answer of `rpc/plugins`, action `list`.
pub(crate) async fn plugins(client: &mut Client) -> Result<Value, Failure> {
    client.call("rpc", "plugins", json!({"action": "list"})).await
}

/// The answer as a table.
pub(crate) fn list(style: Style, answer: &Value) -> Result<(), Failure> {
    output::table(style, answer, "plugins", &COLUMNS)
}

const COLUMNS: [Column; 7] = [
    ("ID", |plugin| output::text(&plugin["id"])),
    ("STATE", |plugin| output::text(&plugin["state"])),
    ("SINCE", |plugin| output::moment(&output::text(&plugin["since"]))),
    ("VERSION", |plugin| output::text(&plugin["version"])),
    ("PID", |plugin| output::text(&plugin["pid"])),
    ("RESTARTS", |plugin| output::text(&plugin["restarts"])),
    ("NOTE", note),
];

/// Why a plugin is not ready, and of a ready one what it does.
fn note(plugin: &Value) -> String {
    let ready = plugin["state"] == "ready" || plugin["reason"] == "";
    output::text(&plugin[if ready { "description" } else { "reason" }])
}
