//! `rpc/plugins`.

use protocol::{Fault, Json};
use serde_json::{Value, json};

use super::Dispatch;
use super::builtin::text;
use crate::host::Verb;

/// Answers one action.
pub(super) async fn answer(dispatch: &Dispatch, action: &str, args: &Value) -> Result<Json, Fault> {
    let verb = match action {
        "list" => return Ok(Json::from(json!({ "plugins": dispatch.0.host.status() }))),
        "start" => Verb::Start,
        "stop" => Verb::Stop,
        "restart" => Verb::Restart,
        _ => Verb::Reload,
    };
    let status = dispatch.0.host.control(text(args, "id")?, verb).await?;
    Ok(Json::from(json!({ "plugin": status })))
}
