//! `rpc/plugins`.

use protocol::{Fault, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Dispatch;
use super::shape::{read, said};
use crate::host::{PluginStatus, Verb};

/// Arguments of what is done to one plugin.
#[derive(Deserialize, JsonSchema)]
pub(super) struct One {
    /// The plugin's id.
    id: String,
}

/// Answer to `list`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    /// Every plugin, also those that were refused.
    plugins: Vec<PluginStatus>,
}

/// Answer to everything that is done to a plugin.
#[derive(Serialize, JsonSchema)]
pub(super) struct Done {
    /// How it stands now.
    plugin: PluginStatus,
}

/// Answers one action.
pub(super) async fn answer(dispatch: &Dispatch, action: &str, args: &Value) -> Result<Json, Fault> {
    let verb = match action {
        "list" => return said(&Listed { plugins: dispatch.0.host.status() }),
        "start" => Verb::Start,
        "stop" => Verb::Stop,
        "restart" => Verb::Restart,
        _ => Verb::Reload,
    };
    let One { id } = read(args)?;
    said(&Done { plugin: dispatch.0.host.control(&id, verb).await? })
}
