//! `rpc/sessions`.

use protocol::{Fault, Json};
use serde_json::{Value, json};

use super::Dispatch;
use super::builtin::optional_text;
use crate::access::SessionInfo;

/// Answers one action.
pub(super) async fn answer(dispatch: &Dispatch, action: &str, args: &Value) -> Result<Json, Fault> {
    let access = &dispatch.0.access;
    if action == "list" {
        let sessions = access.list_sessions().await?;
        let shown = |info: &SessionInfo| {
            let SessionInfo { id, who, peer, created, used } = info;
            json!({"id": id, "who": who, "peer": peer, "created": created, "used": used})
        };
        let sessions: Vec<Value> = sessions.iter().map(shown).collect();
        return Ok(Json::from(json!({ "sessions": sessions })));
    }
    let (id, user) = (optional_text(args, "id")?, optional_text(args, "user")?);
    if id.is_none() && user.is_none() {
        return Err(Fault::bad_request("an argument \"id\" or \"user\" is needed"));
    }
    let of_user = user.map(|user| format!("user:{user}"));
    let is_meant = |info: &SessionInfo| {
        let is_theirs = |of: &String| info.who == *of || info.who == format!("{of} (key)");
        id == Some(info.id.as_str()) || of_user.as_ref().is_some_and(is_theirs)
    };
    let revoked = access.revoke_sessions(is_meant).await?;
    Ok(Json::from(json!({ "revoked": revoked })))
}
