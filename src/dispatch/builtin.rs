//! The daemon's own methods, in one table: what they are, what they do and who may call them.

use std::time::Duration;

use protocol::manifest::Kind;
use protocol::{Fault, Json, Request, Role};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Dispatch, events};
use crate::access::Principal;
use crate::host::Verb;
use crate::store::Token;

/// A method of the daemon itself. A method with actions has an entry for each.
struct Builtin {
    method: &'static str,
    action: Option<&'static str>,
    kind: Kind,
    role: Role,
}

const fn entry(
    method: &'static str,
    action: Option<&'static str>,
    kind: Kind,
    role: Role,
) -> Builtin {
    Builtin { method, action, kind, role }
}

/// Every method of the daemon that needs a login.
const TABLE: [Builtin; 14] = [
    entry("rpc/identify", None, Kind::Query, Role::Viewer),
    entry("rpc/query", None, Kind::Query, Role::Viewer),
    entry("rpc/hello", None, Kind::Query, Role::Viewer),
    entry("events/subscribe", None, Kind::Query, Role::Viewer),
    entry("events/list", None, Kind::Query, Role::Viewer),
    entry("events/fire", None, Kind::Mutate, Role::Operator),
    entry("rpc/plugins", Some("list"), Kind::Query, Role::Viewer),
    entry("rpc/plugins", Some("start"), Kind::Mutate, Role::Operator),
    entry("rpc/plugins", Some("stop"), Kind::Mutate, Role::Operator),
    entry("rpc/plugins", Some("restart"), Kind::Mutate, Role::Operator),
    entry("rpc/plugins", Some("reload"), Kind::Mutate, Role::Operator),
    entry("rpc/tokens", Some("list"), Kind::Query, Role::Admin),
    entry("rpc/tokens", Some("create"), Kind::Mutate, Role::Admin),
    entry("rpc/tokens", Some("revoke"), Kind::Mutate, Role::Admin),
];

/// The whole table, as `rpc/query` reads it.
pub(super) fn methods() -> impl Iterator<Item = (&'static str, Kind, Role)> {
    TABLE.iter().map(|entry| (entry.method, entry.kind, entry.role))
}

/// Whether the daemon itself has this method.
pub(super) fn exists(method: &str) -> bool {
    TABLE.iter().any(|entry| entry.method == method)
}

/// The least role for this call.
pub(super) fn role(method: &str, request: &Request) -> Result<Role, Fault> {
    let mut entries = TABLE.iter().filter(|entry| entry.method == method);
    let wanted = request.action();
    let found = entries.clone().find(|entry| entry.action.is_none_or(|has| Some(has) == wanted));
    found.map(|entry| entry.role).ok_or_else(|| {
        let known: Vec<&str> = entries.by_ref().filter_map(|entry| entry.action).collect();
        let known = known.join(", ");
        Fault::bad_request(format!("{method} needs an \"action\", one of: {known}"))
    })
}

/// Answers what needs no login; `None` for everything else.
pub(super) fn answer_anybody(
    dispatch: &Dispatch,
    principal: Option<&Principal>,
    method: &str,
    request: &Request,
) -> Option<Result<Json, Fault>> {
    match method {
        "rpc/identify" => Some(Ok(dispatch.identify())),
        "rpc/hello" => Some(dispatch.hello(principal, &request.args)),
        _ => None,
    }
}

/// Answers a method of the table for somebody who may call it.
pub(super) async fn answer(
    dispatch: &Dispatch,
    principal: &Principal,
    method: &str,
    request: &Request,
) -> Result<Json, Fault> {
    let args = &request.args;
    match (method, request.action()) {
        ("rpc/query", _) => Ok(Json::from(json!(dispatch.query(principal)))),
        ("events/list", _) => events::list(dispatch, args).await,
        ("events/fire", _) => events::fire(dispatch, args).await,
        ("rpc/plugins", Some("list")) => {
            Ok(Json::from(json!({ "plugins": dispatch.0.host.status() })))
        }
        ("rpc/plugins", Some(verb)) => control_plugin(dispatch, principal, verb, args).await,
        ("rpc/tokens", Some("list")) => list_tokens(dispatch).await,
        ("rpc/tokens", Some("create")) => create_token(dispatch, principal, args).await,
        ("rpc/tokens", Some("revoke")) => revoke_token(dispatch, principal, args).await,
        ("events/subscribe", _) => {
            Err(Fault::bad_request("events/subscribe needs a websocket connection"))
        }
        _ => Err(Fault::not_found(format!("there is no method {method}"))),
    }
}

async fn control_plugin(
    dispatch: &Dispatch,
    principal: &Principal,
    verb: &str,
    args: &Value,
) -> Result<Json, Fault> {
    let id = text(args, "id")?;
    let verb = match verb {
        "start" => Verb::Start,
        "stop" => Verb::Stop,
        "restart" => Verb::Restart,
        _ => Verb::Reload,
    };
    tracing::info!(actor = principal.name, plugin = id, ?verb, "plugin control");
    let status = dispatch.0.host.control(id, verb).await?;
    Ok(Json::from(json!({ "plugin": status })))
}

async fn list_tokens(dispatch: &Dispatch) -> Result<Json, Fault> {
    let tokens = dispatch.0.access.tokens().await?;
    let tokens: Vec<Value> = tokens.iter().map(describe).collect();
    Ok(Json::from(json!({ "tokens": tokens })))
}

async fn create_token(
    dispatch: &Dispatch,
    principal: &Principal,
    args: &Value,
) -> Result<Json, Fault> {
    let role = Role::parse(text(args, "role")?)
        .ok_or_else(|| Fault::bad_request("\"role\" must be viewer, operator or admin"))?;
    let lifetime = match args.get("expires_s") {
        None | Some(Value::Null) => None,
        Some(seconds) => {
            let seconds = seconds.as_u64().filter(|seconds| *seconds > 0).ok_or_else(|| {
                Fault::bad_request("\"expires_s\" must be a number of seconds above 0")
            })?;
            Some(Duration::from_secs(seconds))
        }
    };
    let name = text(args, "name")?;
    let (token, secret) = dispatch.0.access.create_token(name, role, lifetime).await?;
    tracing::info!(actor = principal.name, token = %token.id, role = role.as_str(), "token made");
    let mut described = describe(&token);
    described["token"] = secret.into();
    Ok(Json::from(described))
}

async fn revoke_token(
    dispatch: &Dispatch,
    principal: &Principal,
    args: &Value,
) -> Result<Json, Fault> {
    let id = text(args, "id")?;
    let parsed: Uuid =
        id.parse().map_err(|_| Fault::bad_request("\"id\" must be a token's id, a UUID"))?;
    if !dispatch.0.access.revoke_token(parsed).await? {
        return Err(Fault::not_found(format!("there is no token {id}")));
    }
    tracing::info!(actor = principal.name, token = id, "token revoked");
    Ok(Json::from(json!({ "revoked": id })))
}

fn describe(token: &Token) -> Value {
    let Token { id, name, role, created, expires, .. } = token;
    json!({"id": id, "name": name, "role": role, "created": created, "expires": expires})
}

/// A text among the arguments.
fn text<'a>(args: &'a Value, member: &str) -> Result<&'a str, Fault> {
    args.get(member).and_then(Value::as_str).ok_or_else(|| {
        Fault::bad_request(format!("an argument {member:?} that is a text is needed"))
    })
}
