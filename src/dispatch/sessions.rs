//! `rpc/sessions`.

use protocol::{Fault, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Dispatch;
use super::shape::{read, said};
use crate::access::SessionInfo;

/// Answer to `list`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    /// Every session that can be resumed.
    sessions: Vec<SessionInfo>,
}

/// Arguments of `revoke`: one of both is needed.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Which {
    /// The session of this id.
    id: Option<String>,
    /// Every session of this user.
    user: Option<String>,
}

/// Answer to `revoke`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Revoked {
    /// How many were ended.
    revoked: usize,
}

/// Answers one action.
pub(super) async fn answer(dispatch: &Dispatch, action: &str, args: &Value) -> Result<Json, Fault> {
    let access = &dispatch.0.access;
    if action == "list" {
        return said(&Listed { sessions: access.list_sessions().await? });
    }
    let Which { id, user } = read(args)?;
    if id.is_none() && user.is_none() {
        return Err(Fault::bad_request("an argument \"id\" or \"user\" is needed"));
    }
    let of_user = user.map(|user| format!("user:{user}"));
    let is_meant = |info: &SessionInfo| {
        let is_theirs = |of: &String| info.who == *of || info.who == format!("{of} (key)");
        id.as_deref() == Some(info.id.as_str()) || of_user.as_ref().is_some_and(is_theirs)
    };
    said(&Revoked { revoked: access.revoke_sessions(is_meant).await? })
}
