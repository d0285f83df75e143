//! The daemon's own methods, in one table: what they are, what they do and who may call them.

use protocol::manifest::Kind;
use protocol::{Deprecated, Fault, Json, Request, Role};
use schemars::JsonSchema;

use super::describe::Discover;
use super::greeting::{Greeting, Hello, Identified, Usable};
use super::shape::{Anything, Document, Nothing, Shape, answered, asked, read};
use super::{
    Asked, Dispatch, alerts, consul, deprecations, dispatcher, events, jobs, logs, metrics, orders,
    plugins, sessions, settings, sinks, talk, tokens, trail,
};
use crate::access::Principal;

/// A method of the daemon itself. A method with actions has an entry for each.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// `namespace/name`.
    pub method: &'static str,
    /// The value of `args.action` this entry is about.
    pub action: Option<&'static str>,
    /// From which version of its namespace on it holds.
    pub since: u32,
    /// That it is on its way out.
    pub deprecated: Option<Ending>,
    /// Whether it changes anything.
    pub kind: Kind,
    /// Who may call it.
    pub needs: Needs,
    /// What it is done to, with arguments in braces.
    pub resource: Option<&'static str>,
    /// One sentence for people.
    pub summary: &'static str,
    /// Makes the JSON Schema of its arguments, without `action`.
    pub args: Shape,
    /// Makes the JSON Schema of its answer.
    pub answer: Shape,
    /// Arguments that work on any machine, as JSON texts without `action`.
    pub examples: &'static [&'static str],
}

/// That an entry is on its way out, as [`Deprecated`] says it.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// The day from which on it should not be used in anything new.
    pub since: &'static str,
    /// What to use in its place.
    pub instead: Option<&'static str>,
    /// The day from which on it may be gone.
    pub until: Option<&'static str>,
}

impl Ending {
    /// With its days read; `None` when they are none, which a test of the table refuses.
    pub(super) fn read(self) -> Option<Deprecated> {
        let until = match self.until {
            Some(day) => Some(day.parse().ok()?),
            None => None,
        };
        let (since, instead) = (self.since.parse().ok()?, self.instead.map(str::to_owned));
        let read = Deprecated { since, instead, until };
        read.check().is_ok().then_some(read)
    }
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

/// A method that only looks, with arguments `A` and the answer `R`: there is no entry without them.
pub(super) const fn query<A: JsonSchema, R: JsonSchema>(
    method: &'static str,
    needs: Needs,
    summary: &'static str,
) -> Builtin {
    let (args, answer): (Shape, Shape) = (asked::<A>, answered::<R>);
    Builtin {
        method,
        action: None,
        since: 1,
        deprecated: None,
        kind: Kind::Query,
        needs,
        resource: None,
        summary,
        args,
        answer,
        examples: &[],
    }
}

/// A method that changes something.
pub(super) const fn mutate<A: JsonSchema, R: JsonSchema>(
    method: &'static str,
    needs: Needs,
    summary: &'static str,
) -> Builtin {
    Builtin { kind: Kind::Mutate, ..query::<A, R>(method, needs, summary) }
}

impl Builtin {
    pub(super) const fn on(self, action: &'static str) -> Self {
        Self { action: Some(action), ..self }
    }

    pub(super) const fn about(self, resource: &'static str) -> Self {
        Self { resource: Some(resource), ..self }
    }

    pub(super) const fn like(self, examples: &'static [&'static str]) -> Self {
        Self { examples, ..self }
    }
}

const ANYBODY: Needs = Needs::Nothing;
const LOGIN: Needs = Needs::Login;
const VIEWER: Needs = Needs::Role(Role::Viewer);
pub(super) const OPERATOR: Needs = Needs::Role(Role::Operator);
const ADMIN: Needs = Needs::Role(Role::Admin);

/// What a plugin and a token are called in rights; an event is about its subject.
const PLUGIN: &str = "/plugins/{id}";
const TOKEN: &str = "/tokens/{id}";
const SUBJECT: &str = "{subject}";
const ALERT: &str = "/alerts/{id}";
const SINK: &str = "/sinks/{name}";
/// What a Consul event is called in rights, and its subject.
const CONSUL: &str = "/consul/{name}";

/// What can be called on every connection.
const TABLE: [Builtin; 53] = [
    query::<Nothing, Identified>("rpc/identify", ANYBODY, "Says which machine this is")
        .like(&["{}"]),
    query::<Nothing, Usable>("rpc/query", LOGIN, "Lists the methods you may use").like(&["{}"]),
    query::<Discover, Document>(
        "rpc/discover",
        LOGIN,
        "Describes what you may use and hear, for programs that make clients",
    )
    .like(&["{}", r#"{"as":"asyncapi"}"#, r#"{"as":"openapi"}"#]),
    query::<Hello, Greeting>(
        "rpc/hello",
        ANYBODY,
        "Opts in to what the classic protocol does not have",
    )
    .like(&["{}", r#"{"protocols":[1],"client":{"name":"example","version":"1.0"}}"#]),
    query::<talk::Subscription, talk::SubscribeAnswer>(
        "events/subscribe",
        LOGIN,
        "Has events delivered, from now on or from the log",
    ),
    query::<events::List, events::Listed>(
        "events/list",
        LOGIN,
        "Answers one page of the event log",
    )
    .like(&["{}", r#"{"filter":{"classes":["daemon.*"]},"limit":1,"newest_first":true}"#]),
    mutate::<events::Fire, events::Fired>("events/fire", OPERATOR, "Records an event of your own")
        .about(SUBJECT)
        .like(&[r#"{"class":"user.deploy","message":"Release 7 is live","data":{"release":7}}"#]),
    mutate::<consul::UserEvent, events::Fired>(
        consul::METHOD,
        OPERATOR,
        "Records a user event as Consul's clients fire them",
    )
    .about(CONSUL)
    .like(&[r#"{"name":"deploy","payload":"djc="}"#]),
    query::<deprecations::Asked, deprecations::Report>(
        "rpc/deprecations",
        OPERATOR,
        "Says which client has used what is on its way out, since the daemon started",
    )
    .like(&["{}"]),
    query::<Nothing, metrics::Measured>(
        "rpc/metrics",
        VIEWER,
        "Measures the daemon, for monitoring",
    )
    .like(&["{}"]),
    query::<Nothing, plugins::Listed>(
        "rpc/plugins",
        VIEWER,
        "Lists the plugins and where they stand",
    )
    .on("list")
    .like(&["{}"]),
    mutate::<plugins::One, plugins::Done>(
        "rpc/plugins",
        OPERATOR,
        "Starts a plugin, also out of quarantine",
    )
    .on("start")
    .about(PLUGIN),
    mutate::<plugins::One, plugins::Done>(
        "rpc/plugins",
        OPERATOR,
        "Stops a plugin until it is started",
    )
    .on("stop")
    .about(PLUGIN),
    mutate::<plugins::One, plugins::Done>(
        "rpc/plugins",
        OPERATOR,
        "Stops a plugin and starts it again",
    )
    .on("restart")
    .about(PLUGIN),
    mutate::<plugins::One, plugins::Done>(
        "rpc/plugins",
        OPERATOR,
        "Starts a plugin anew; its old process ends its calls",
    )
    .on("reload")
    .about(PLUGIN),
    mutate::<jobs::Run, jobs::Made>(
        "rpc/jobs",
        LOGIN,
        "Has a call of a plugin, or commands, done as a job that outlives its reply",
    )
    .on("run"),
    query::<jobs::List, jobs::Listed>(
        "rpc/jobs",
        LOGIN,
        "Lists the jobs you may see, and from where to follow them",
    )
    .on("list")
    .like(&["{}", r#"{"states":["queued","running"]}"#]),
    query::<jobs::One, jobs::Whole>(
        "rpc/jobs",
        LOGIN,
        "Says everything of one job, its result too",
    )
    .on("show"),
    query::<jobs::AwaitEnd, jobs::Waited>("rpc/jobs", LOGIN, "Waits for the end of a job")
        .on("wait"),
    query::<jobs::ReadLog, jobs::Said>("rpc/jobs", LOGIN, "Reads on in what a job has said")
        .on("log"),
    mutate::<jobs::One, jobs::Aborted>(
        "rpc/jobs",
        LOGIN,
        "Ends a job: at once when it waits, by asking it when it runs",
    )
    .on("abort"),
    mutate::<jobs::Retry, jobs::Made>("rpc/jobs", LOGIN, "Has a job that has ended done again")
        .on("retry"),
    mutate::<dispatcher::Run, dispatcher::Started>(
        "rpc/dispatcher",
        ADMIN,
        "Runs commands as the daemon's user, without a shell",
    )
    .on("run"),
    query::<Nothing, dispatcher::Listed>(
        "rpc/dispatcher",
        OPERATOR,
        "Lists the commands that wait or run",
    )
    .on("list")
    .like(&["{}"]),
    mutate::<dispatcher::Kill, dispatcher::Killed>(
        "rpc/dispatcher",
        ADMIN,
        "Ends commands, each with its whole process group",
    )
    .on("kill"),
    query::<logs::ReadLogs, logs::Logs>(
        "rpc/logs",
        LOGIN,
        "Looks back in the event log as classic clients do",
    )
    .on("read_logs")
    .like(&["{}", r#"{"logs":["hostinfo"],"time_format":"relative_day","start_time":"1"}"#]),
    query::<Nothing, tokens::Listed>("rpc/tokens", ADMIN, "Lists the tokens, not their secrets")
        .on("list")
        .like(&["{}"]),
    query::<tokens::MaybeOne, tokens::Described>(
        "rpc/tokens",
        LOGIN,
        "Says what a token may do; without `id` what you may",
    )
    .on("describe")
    .like(&["{}"]),
    mutate::<tokens::Create, tokens::WithSecret>(
        "rpc/tokens",
        ADMIN,
        "Makes a token; its secret is shown this once",
    )
    .on("create")
    .like(&[r#"{"name":"backup","role":"viewer","expires_s":3600}"#]),
    mutate::<tokens::MaybeOne, tokens::WithSecret>(
        "rpc/tokens",
        LOGIN,
        "Gives a token a new secret; without `id` your own",
    )
    .on("rotate"),
    mutate::<tokens::One, tokens::Revoked>(
        "rpc/tokens",
        ADMIN,
        "Revokes a token and cuts the connections that use it",
    )
    .on("revoke")
    .about(TOKEN),
    query::<Nothing, sinks::Listed>(
        "rpc/sinks",
        VIEWER,
        "Lists the sinks and how far each has come",
    )
    .on("list")
    .like(&["{}"]),
    mutate::<sinks::One, sinks::Done>(
        "rpc/sinks",
        OPERATOR,
        "Delivers nothing to a sink until it is resumed",
    )
    .on("pause")
    .about(SINK),
    mutate::<sinks::One, sinks::Done>("rpc/sinks", OPERATOR, "Goes on delivering to a sink")
        .on("resume")
        .about(SINK),
    mutate::<sinks::One, sinks::Tested>("rpc/sinks", OPERATOR, "Sends a sink an event made for it")
        .on("test")
        .about(SINK),
    query::<alerts::List, alerts::Listed>(
        "rpc/alerts",
        VIEWER,
        "Lists what is wrong, and from where to follow it",
    )
    .on("list")
    .like(&["{}", r#"{"states":["open","closed"],"kind":"daemon.*"}"#]),
    query::<alerts::One, alerts::Shown>("rpc/alerts", VIEWER, "Says everything of one alert")
        .on("show"),
    query::<alerts::History, alerts::Past>(
        "rpc/alerts",
        VIEWER,
        "Says what has happened to one alert, or to all, the newest first",
    )
    .on("history")
    .like(&["{}", r#"{"id":1,"limit":10}"#]),
    mutate::<alerts::Acknowledge, alerts::Shown>(
        "rpc/alerts",
        OPERATOR,
        "Says that you look after an alert",
    )
    .on("acknowledge")
    .about(ALERT),
    mutate::<alerts::One, alerts::Shown>(
        "rpc/alerts",
        OPERATOR,
        "Says that nobody looks after an alert any more",
    )
    .on("unacknowledge")
    .about(ALERT),
    mutate::<alerts::Silence, alerts::Shown>(
        "rpc/alerts",
        OPERATOR,
        "Has nobody told of an alert for a while",
    )
    .on("silence")
    .about(ALERT),
    mutate::<alerts::One, alerts::Shown>("rpc/alerts", OPERATOR, "Ends the silence of an alert")
        .on("unsilence")
        .about(ALERT),
    mutate::<alerts::One, alerts::Shown>(
        "rpc/alerts",
        OPERATOR,
        "Says that an alert is over whose source cannot say it any more",
    )
    .on("close")
    .about(ALERT),
    query::<Nothing, tokens::Roles>("rpc/roles", VIEWER, "Lists the roles and what they grant")
        .like(&["{}"]),
    query::<Nothing, sessions::Listed>(
        "rpc/sessions",
        ADMIN,
        "Lists the sessions that can be resumed",
    )
    .on("list")
    .like(&["{}"]),
    mutate::<sessions::Which, sessions::Revoked>(
        "rpc/sessions",
        ADMIN,
        "Ends sessions by `id` or `user` and cuts their connections",
    )
    .on("revoke")
    .like(&[r#"{"user":"nobody"}"#]),
    mutate::<settings::Register, Nothing>(
        "rpc/settings",
        LOGIN,
        "Registers an RSA key for logging in without a password",
    )
    .on("register_ssl_cert"),
    query::<Nothing, settings::Keys>(
        "rpc/settings",
        LOGIN,
        "Lists your keys; an administrator's: everybody's",
    )
    .on("list_ssl_certs")
    .like(&["{}"]),
    query::<Nothing, settings::Checksums>("rpc/settings", LOGIN, "Lists checksums of the keys")
        .on("list_ssl_checksums")
        .like(&["{}"]),
    mutate::<settings::Revoke, Nothing>(
        "rpc/settings",
        LOGIN,
        "Revokes a key and cuts the connections made with it",
    )
    .on("revoke_ssl_cert"),
    query::<trail::Asked, trail::Page>("rpc/audit", ADMIN, "Answers one page of the audit trail")
        .on("query")
        .like(&[r#"{"limit":1,"newest_first":true}"#]),
    query::<Nothing, trail::Verdict>(
        "rpc/audit",
        ADMIN,
        "Computes every hash of the audit trail again",
    )
    .on("verify")
    .like(&["{}"]),
    query::<Nothing, trail::Head>(
        "rpc/audit",
        ADMIN,
        "Says the number and hash of the newest record, to be noted elsewhere",
    )
    .on("head")
    .like(&["{}"]),
];

/// What changes the connection it comes on: a conversation answers it itself, in order. For
/// everybody else it is not there.
const CONVERSATION: [Builtin; 5] = [
    query::<talk::Auth, talk::LoggedIn>(
        "rpc/auth",
        ANYBODY,
        "Logs in with a user and password, or a token as the password",
    ),
    query::<talk::AuthToken, talk::LoggedIn>(
        "rpc/auth_token",
        ANYBODY,
        "Logs in with a token or with the session token of a login",
    ),
    query::<talk::AuthSsl, talk::AuthSslAnswer>(
        "rpc/auth_ssl",
        ANYBODY,
        "Logs in with a registered RSA key, in two steps",
    ),
    query::<Nothing, Anything>("rpc/auth_clear", ANYBODY, "Logs out and ends the subscriptions"),
    query::<talk::Subscription, talk::Unsubscribed>(
        "events/unsubscribe",
        LOGIN,
        "Ends a subscription",
    ),
];

/// Every method of the daemon.
pub fn own_methods() -> impl Iterator<Item = &'static Builtin> {
    CONVERSATION.iter().chain(table())
}

/// What `rpc/query` lists.
pub(super) fn table() -> impl Iterator<Item = &'static Builtin> {
    TABLE.iter().chain(&orders::table::TABLE)
}

/// Whether only a conversation has this method.
pub(super) fn is_of_conversation(method: &str) -> bool {
    CONVERSATION.iter().any(|entry| entry.method == method)
}

/// Whether a method is about the connection it comes on.
pub(super) fn is_of_connection(method: &str) -> bool {
    is_of_conversation(method) || method == "events/subscribe"
}

/// The entry for this call in this version of its namespace; `None` when the daemon itself has no such method.
///
/// # Errors
/// `bad-request` when the method needs another action.
pub(super) fn find(
    method: &str,
    request: &Request,
    version: u32,
) -> Result<Option<&'static Builtin>, Fault> {
    pick(table(), method, request.action(), version)
}

/// The newest version of a namespace of the daemon; `None` when it is not the daemon's.
pub(super) fn newest_version(namespace: &str) -> Option<u32> {
    let of = |method: &str| method.split('/').next() == Some(namespace);
    own_methods().filter(|entry| of(entry.method)).map(|entry| entry.since).max()
}

/// Of the entries for this method and action the newest that is not newer than `version`.
fn pick<'a>(
    table: impl Iterator<Item = &'a Builtin>,
    method: &str,
    wanted: Option<&str>,
    version: u32,
) -> Result<Option<&'a Builtin>, Fault> {
    let known = |entry: &&Builtin| entry.method == method && entry.since <= version;
    let entries: Vec<&Builtin> = table.filter(known).collect();
    if entries.is_empty() {
        return Ok(None);
    }
    // The original takes the actions of this one method in any case.
    let is_wanted = |has: &str| match method {
        "rpc/dispatcher" => wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case(has)),
        _ => Some(has) == wanted,
    };
    let fits = |entry: &&&Builtin| entry.action.is_none_or(is_wanted);
    let found = entries.iter().filter(fits).max_by_key(|entry| entry.since);
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
        "rpc/hello" => Some(dispatch.hello(principal, &request.args).map(|(answer, _)| answer)),
        _ => None,
    }
}

/// Answers a method of the table for somebody who may call it.
pub(super) async fn answer(dispatch: &Dispatch, asked: &Asked<'_>) -> Result<Json, Fault> {
    let Asked { principal, method, request, .. } = *asked;
    let args = &request.args;
    match (method, request.action()) {
        ("rpc/query", _) => dispatch.query(principal),
        ("rpc/discover", _) => Ok(dispatch.discover(principal, &read(args)?)),
        ("rpc/deprecations", _) => dispatch.deprecations(&read(args)?),
        ("rpc/roles", _) => tokens::roles(dispatch),
        ("rpc/metrics", _) => metrics::answer(dispatch),
        ("events/list", _) => events::list(dispatch, principal, args).await,
        ("events/fire", _) => events::fire(dispatch, asked).await,
        (consul::METHOD, _) => consul::fire(dispatch, asked).await,
        ("rpc/logs", _) => logs::answer(dispatch, principal, args).await,
        ("events/subscribe", _) => {
            Err(Fault::bad_request("events/subscribe needs a websocket connection"))
        }
        (_, Some(action)) => answer_action(dispatch, asked, action).await,
        _ => Err(Fault::not_found(format!("there is no method {method}"))),
    }
}

/// Answers one action of a method that has several.
async fn answer_action(
    dispatch: &Dispatch,
    asked: &Asked<'_>,
    action: &str,
) -> Result<Json, Fault> {
    let Asked { principal, method, request, .. } = *asked;
    let args = &request.args;
    match method {
        "rpc/plugins" => plugins::answer(dispatch, action, args).await,
        "rpc/tokens" => tokens::answer(dispatch, principal, action, args).await,
        "rpc/sinks" => sinks::answer(dispatch, action, args).await,
        "rpc/triggers" => orders::answer::answer(dispatch, asked, action).await,
        "rpc/rules" => orders::rules::answer::answer(dispatch, asked, action).await,
        "rpc/alerts" => alerts::answer(dispatch, asked, action).await,
        "rpc/sessions" => sessions::answer(dispatch, action, args).await,
        "rpc/settings" => settings::answer(dispatch, principal, action, args).await,
        "rpc/jobs" => jobs::answer(dispatch, asked, action).await,
        "rpc/dispatcher" => dispatcher::answer(dispatch, asked, &action.to_ascii_lowercase()).await,
        "rpc/audit" => trail::answer(dispatch, action, args).await,
        _ => Err(Fault::not_found(format!("there is no method {method}"))),
    }
}

#[cfg(test)]
mod tests;
