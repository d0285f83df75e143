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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// `namespace/name`.
    pub method: &'static str,
    /// The value of `args.action` this entry is about.
    pub action: Option<&'static str>,
    /// Whether it changes anything.
    pub kind: Kind,
    /// The least role that may call it; `None`: anybody, also without a login.
    pub role: Option<Role>,
    /// One sentence for people.
    pub summary: &'static str,
}

/// A method that only looks.
const fn query(method: &'static str, role: Option<Role>, summary: &'static str) -> Builtin {
    Builtin { method, action: None, kind: Kind::Query, role, summary }
}

/// A method that changes something.
const fn mutate(method: &'static str, role: Option<Role>, summary: &'static str) -> Builtin {
    Builtin { kind: Kind::Mutate, ..query(method, role, summary) }
}

impl Builtin {
    const fn on(self, action: &'static str) -> Self {
        Self { action: Some(action), ..self }
    }
}

const ANYBODY: Option<Role> = None;
const VIEWER: Option<Role> = Some(Role::Viewer);
const OPERATOR: Option<Role> = Some(Role::Operator);
const ADMIN: Option<Role> = Some(Role::Admin);

/// What can be called on every connection.
const TABLE: [Builtin; 14] = [
    query("rpc/identify", ANYBODY, "Says which machine this is"),
    query("rpc/query", VIEWER, "Lists the methods you may use"),
    query("rpc/hello", ANYBODY, "Opts in to what the classic protocol does not have"),
    query("events/subscribe", VIEWER, "Has events delivered, from now on or from the log"),
    query("events/list", VIEWER, "Answers one page of the event log"),
    mutate("events/fire", OPERATOR, "Records an event of your own"),
    query("rpc/plugins", VIEWER, "Lists the plugins and where they stand").on("list"),
    mutate("rpc/plugins", OPERATOR, "Starts a plugin, also out of quarantine").on("start"),
    mutate("rpc/plugins", OPERATOR, "Stops a plugin until it is started").on("stop"),
    mutate("rpc/plugins", OPERATOR, "Stops a plugin and starts it again").on("restart"),
    mutate("rpc/plugins", OPERATOR, "Starts a plugin anew; its old process ends its calls")
        .on("reload"),
    query("rpc/tokens", ADMIN, "Lists the tokens, not their secrets").on("list"),
    mutate("rpc/tokens", ADMIN, "Makes a token; its secret is shown this once").on("create"),
    mutate("rpc/tokens", ADMIN, "Revokes a token and cuts the connections that use it")
        .on("revoke"),
];

/// What changes the connection it comes on: a conversation answers it itself, in order. For
/// everybody else it is not there.
const CONVERSATION: [Builtin; 4] = [
    query("rpc/auth", ANYBODY, "Logs in with a token as the password"),
    query("rpc/auth_token", ANYBODY, "Logs in with a token or with the session token of a login"),
    query("rpc/auth_clear", ANYBODY, "Logs out and ends the subscriptions"),
    query("events/unsubscribe", VIEWER, "Ends a subscription"),
];

/// Every method of the daemon.
pub fn own_methods() -> impl Iterator<Item = &'static Builtin> {
    CONVERSATION.iter().chain(&TABLE)
}

/// What `rpc/query` lists.
pub(super) fn methods() -> impl Iterator<Item = (&'static str, Kind, Role)> {
    TABLE.iter().map(|entry| (entry.method, entry.kind, least(entry)))
}

/// Whether only a conversation has this method.
pub(super) fn is_of_conversation(method: &str) -> bool {
    CONVERSATION.iter().any(|entry| entry.method == method)
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
    found.map(least).ok_or_else(|| {
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
        ("events/list", _) => events::list(dispatch, principal, args).await,
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

fn least(entry: &Builtin) -> Role {
    entry.role.unwrap_or(Role::Viewer)
}

/// A text among the arguments.
fn text<'a>(args: &'a Value, member: &str) -> Result<&'a str, Fault> {
    args.get(member).and_then(Value::as_str).ok_or_else(|| {
        Fault::bad_request(format!("an argument {member:?} that is a text is needed"))
    })
}
