//! The daemon's own methods, in one table: what they are, what they do and who may call them.

use protocol::manifest::Kind;
use protocol::{Fault, Json, Request, Role};
use serde_json::{Value, json};

use super::{Asked, Dispatch, consul, events, plugins, sessions, settings, tokens, trail};
use crate::access::Principal;

/// A method of the daemon itself. A method with actions has an entry for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// `namespace/name`.
    pub method: &'static str,
    /// The value of `args.action` this entry is about.
    pub action: Option<&'static str>,
    /// Whether it changes anything.
    pub kind: Kind,
    /// Who may call it.
    pub needs: Needs,
    /// What it is done to, with arguments in braces.
    pub resource: Option<&'static str>,
    /// One sentence for people.
    pub summary: &'static str,
}

/// What somebody needs for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing, not even a login.
    Nothing,
    /// Any login: what is answered depends on who asks.
    Login,
    /// This role, or a grant.
    Role(Role),
}

/// A method that only looks.
const fn query(method: &'static str, needs: Needs, summary: &'static str) -> Builtin {
    Builtin { method, action: None, kind: Kind::Query, needs, resource: None, summary }
}

/// A method that changes something.
const fn mutate(method: &'static str, needs: Needs, summary: &'static str) -> Builtin {
    Builtin { kind: Kind::Mutate, ..query(method, needs, summary) }
}

impl Builtin {
    const fn on(self, action: &'static str) -> Self {
        Self { action: Some(action), ..self }
    }

    const fn about(self, resource: &'static str) -> Self {
        Self { resource: Some(resource), ..self }
    }
}

const ANYBODY: Needs = Needs::Nothing;
const LOGIN: Needs = Needs::Login;
const VIEWER: Needs = Needs::Role(Role::Viewer);
const OPERATOR: Needs = Needs::Role(Role::Operator);
const ADMIN: Needs = Needs::Role(Role::Admin);

/// What a plugin and a token are called in rights; an event is about its subject.
const PLUGIN: &str = "/plugins/{id}";
const TOKEN: &str = "/tokens/{id}";
const SUBJECT: &str = "{subject}";
/// What a Consul event is called in rights, and its subject.
const CONSUL: &str = "/consul/{name}";

/// What can be called on every connection.
const TABLE: [Builtin; 27] = [
    query("rpc/identify", ANYBODY, "Says which machine this is"),
    query("rpc/query", LOGIN, "Lists the methods you may use"),
    query("rpc/hello", ANYBODY, "Opts in to what the classic protocol does not have"),
    query("events/subscribe", LOGIN, "Has events delivered, from now on or from the log"),
    query("events/list", LOGIN, "Answers one page of the event log"),
    mutate("events/fire", OPERATOR, "Records an event of your own").about(SUBJECT),
    mutate(consul::METHOD, OPERATOR, "Records a user event as Consul's clients fire them")
        .about(CONSUL),
    query("rpc/plugins", VIEWER, "Lists the plugins and where they stand").on("list"),
    mutate("rpc/plugins", OPERATOR, "Starts a plugin, also out of quarantine")
        .on("start")
        .about(PLUGIN),
    mutate("rpc/plugins", OPERATOR, "Stops a plugin until it is started").on("stop").about(PLUGIN),
    mutate("rpc/plugins", OPERATOR, "Stops a plugin and starts it again")
        .on("restart")
        .about(PLUGIN),
    mutate("rpc/plugins", OPERATOR, "Starts a plugin anew; its old process ends its calls")
        .on("reload")
        .about(PLUGIN),
    query("rpc/tokens", ADMIN, "Lists the tokens, not their secrets").on("list"),
    query("rpc/tokens", LOGIN, "Says what a token may do; without `id` what you may")
        .on("describe"),
    mutate("rpc/tokens", ADMIN, "Makes a token; its secret is shown this once").on("create"),
    mutate("rpc/tokens", LOGIN, "Gives a token a new secret; without `id` your own").on("rotate"),
    mutate("rpc/tokens", ADMIN, "Revokes a token and cuts the connections that use it")
        .on("revoke")
        .about(TOKEN),
    query("rpc/roles", VIEWER, "Lists the roles and what they grant"),
    query("rpc/sessions", ADMIN, "Lists the sessions that can be resumed").on("list"),
    mutate("rpc/sessions", ADMIN, "Ends sessions by `id` or `user` and cuts their connections")
        .on("revoke"),
    mutate("rpc/settings", LOGIN, "Registers an RSA key for logging in without a password")
        .on("register_ssl_cert"),
    query("rpc/settings", LOGIN, "Lists your keys; an administrator's: everybody's")
        .on("list_ssl_certs"),
    query("rpc/settings", LOGIN, "Lists checksums of the keys").on("list_ssl_checksums"),
    mutate("rpc/settings", LOGIN, "Revokes a key and cuts the connections made with it")
        .on("revoke_ssl_cert"),
    query("rpc/audit", ADMIN, "Answers one page of the audit trail").on("query"),
    query("rpc/audit", ADMIN, "Computes every hash of the audit trail again").on("verify"),
    query(
        "rpc/audit",
        ADMIN,
        "Says the number and hash of the newest record, to be noted elsewhere",
    )
    .on("head"),
];

/// What changes the connection it comes on: a conversation answers it itself, in order. For
/// everybody else it is not there.
const CONVERSATION: [Builtin; 5] = [
    query("rpc/auth", ANYBODY, "Logs in with a user and password, or a token as the password"),
    query("rpc/auth_token", ANYBODY, "Logs in with a token or with the session token of a login"),
    query("rpc/auth_ssl", ANYBODY, "Logs in with a registered RSA key, in two steps"),
    query("rpc/auth_clear", ANYBODY, "Logs out and ends the subscriptions"),
    query("events/unsubscribe", LOGIN, "Ends a subscription"),
];

/// Every method of the daemon.
pub fn own_methods() -> impl Iterator<Item = &'static Builtin> {
    CONVERSATION.iter().chain(&TABLE)
}

/// What `rpc/query` lists.
pub(super) fn table() -> impl Iterator<Item = &'static Builtin> {
    TABLE.iter()
}

/// Whether only a conversation has this method.
pub(super) fn is_of_conversation(method: &str) -> bool {
    CONVERSATION.iter().any(|entry| entry.method == method)
}

/// The entry for this call; `None` when the daemon itself has no such method.
///
/// # Errors
/// `bad-request` when the method needs another action.
pub(super) fn find(method: &str, request: &Request) -> Result<Option<&'static Builtin>, Fault> {
    let mut entries = TABLE.iter().filter(|entry| entry.method == method).peekable();
    if entries.peek().is_none() {
        return Ok(None);
    }
    let wanted = request.action();
    let entries: Vec<&Builtin> = entries.collect();
    let found = entries.iter().find(|entry| entry.action.is_none_or(|has| Some(has) == wanted));
    found.map(|entry| Some(*entry)).ok_or_else(|| {
        let known: Vec<&str> = entries.iter().filter_map(|entry| entry.action).collect();
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
pub(super) async fn answer(dispatch: &Dispatch, asked: &Asked<'_>) -> Result<Json, Fault> {
    let Asked { principal, method, request, .. } = *asked;
    let args = &request.args;
    match (method, request.action()) {
        ("rpc/query", _) => Ok(Json::from(json!(dispatch.query(principal)))),
        ("rpc/roles", _) => Ok(tokens::roles(dispatch)),
        ("events/list", _) => events::list(dispatch, principal, args).await,
        ("events/fire", _) => events::fire(dispatch, asked).await,
        (consul::METHOD, _) => consul::fire(dispatch, asked).await,
        ("rpc/plugins", Some(verb)) => plugins::answer(dispatch, verb, args).await,
        ("rpc/tokens", Some(action)) => tokens::answer(dispatch, principal, action, args).await,
        ("rpc/sessions", Some(action)) => sessions::answer(dispatch, action, args).await,
        ("rpc/settings", Some(action)) => settings::answer(dispatch, principal, action, args).await,
        ("rpc/audit", Some(action)) => trail::answer(dispatch, action, args).await,
        ("events/subscribe", _) => {
            Err(Fault::bad_request("events/subscribe needs a websocket connection"))
        }
        _ => Err(Fault::not_found(format!("there is no method {method}"))),
    }
}

/// A text among the arguments.
pub(super) fn text<'a>(args: &'a Value, member: &str) -> Result<&'a str, Fault> {
    optional_text(args, member)?.ok_or_else(|| {
        Fault::bad_request(format!("an argument {member:?} that is a text is needed"))
    })
}

/// A text among the arguments, if it is there.
pub(super) fn optional_text<'a>(args: &'a Value, member: &str) -> Result<Option<&'a str>, Fault> {
    match args.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Fault::bad_request(format!("the argument {member:?} must be a text"))),
    }
}
