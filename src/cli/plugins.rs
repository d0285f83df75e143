//! `sysadmctl plugins`: how they are, and starting and stopping them.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::exit::Failure;
use super::output::{self, Style};
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
    if style.json {
        return output::value(style, &done);
    }
    let state = done["state"].as_str().map_or_else(String::new, |state| format!(": {state}"));
    output::line(&output::clean(&format!("{action} {id}{state}")))
}

/// The answer of `rpc/plugins`, action `list`.
pub(crate) async fn plugins(client: &mut Client) -> Result<Value, Failure> {
    client.call("rpc", "plugins", json!({"action": "list"})).await
}

/// The answer as a table.
pub(crate) fn list(style: Style, answer: &Value) -> Result<(), Failure> {
    if style.json {
        return output::value(style, answer);
    }
    let columns = ["id", "state", "version", "description"];
    let headings = ["ID", "STATE", "VERSION", "WHAT IT DOES"];
    output::records(style, &answer["plugins"], &headings, &columns, "there are no plugins")
}
