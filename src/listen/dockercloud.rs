//! The Docker Cloud face: objects over REST, triggers, and the way to the event stream.

mod deed;
mod trigger;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use protocol::{Cursor, Fault, FaultKind, Filter, Start};
use serde::Deserialize;
use serde_json::{Value, json};

use super::conversation::Hearing;
use super::http::{Connection, is_upgrade};
use super::rest::{self, Answer};
use crate::access::{Origin, Principal};
use crate::dispatch::{By, Client};
use crate::wire::docker_cloud::{
    self as dockercloud, Asked, Filters, Kind, Refusal, Rows, Since, Wish,
};

/// What this face is called in the audit trail.
const FACE: &str = "dockercloud";

/// Why there is no answer.
enum Wrong {
    /// The request itself is refused.
    Refused(Refusal),
    /// What it asked for did not work.
    Failed(Fault),
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// Answers one request.
pub(super) async fn answer(connection: &Connection, request: Request<Incoming>) -> Answer {
    match attempt(connection, request).await {
        Ok(answer) => answer,
        Err(Wrong::Failed(fault)) => refusal(&fault),
        Err(Wrong::Refused(refusal)) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or_default();
            let mut answer = rest::json(status, refusal.body().to_string());
            if let Some(allow) = refusal.allow {
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
            }
            answer
        }
    }
}

/// The answer to a request that is refused before it is looked at, or that failed.
pub(super) fn refusal(fault: &Fault) -> Answer {
    rest::refused(fault, Refusal::of(fault).body().to_string())
}

async fn attempt(connection: &Connection, request: Request<Incoming>) -> Result<Answer, Wrong> {
    let method = match *request.method() {
        Method::GET => dockercloud::Method::Get,
        Method::POST => dockercloud::Method::Post,
        Method::PATCH => dockercloud::Method::Patch,
        Method::DELETE => dockercloud::Method::Delete,
        Method::OPTIONS => dockercloud::Method::Options,
        _ => dockercloud::Method::Other,
    };
    let (path, query) = (request.uri().path(), request.uri().query());
    if let Some(asked) = dockercloud::read_trigger(request.method().as_str(), path, query) {
        return trigger::answer(connection, request, asked?).await;
    }
    let wish = dockercloud::read(method, path, query)?;
    let asker = Asker::of(connection, &request).await?;
    match wish {
        Asked::Login => Ok(said(&json!({ "username": asker.principal.name }))),
        Asked::Events(stream) if is_upgrade(request.headers()) => {
            let hearing = asker.hearing(stream).await?;
            Ok(connection.upgrade(request, Some(asker.principal), hearing)?)
        }
        Asked::Events(_) => {
            Err(Refusal::new(400, "this is a stream: ask for a websocket (RFC 6455)").into())
        }
        Asked::List { kind, path, filters } => asker.list(kind, &path, &filters).await,
        Asked::Show { kind: Kind::Action, uuid } => asker.action(&uuid).await,
        Asked::Show { kind, uuid } => asker.show(kind, &uuid).await,
        Asked::Do { kind, uuid, verb, reuse_volumes } => {
            asker.deed((kind, &uuid), verb, reuse_volumes).await
        }
        Asked::Again { uuid, cancels } => asker.again(&uuid, cancels).await,
        Asked::Resize { uuid } => {
            let principal = Some(&asker.principal);
            let body = rest::read_body(&connection.dispatch, principal, request).await?;
            let target =
                dockercloud::target(&body).map_err(|sentence| Refusal::new(400, sentence))?;
            asker.scale(&uuid, target).await
        }
    }
}

/// The oldest clients show who they are in the query of a websocket.
fn shown_in(query: Option<&str>, headers: &HeaderMap) -> Option<HeaderMap> {
    if headers.contains_key(AUTHORIZATION) || !is_upgrade(headers) {
        return None;
    }
    let of = |wanted: &str| {
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    let pair = STANDARD.encode(format!("{}:{}", of("user")?, of("token")?));
    let mut shown = HeaderMap::new();
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    shown.insert(AUTHORIZATION, value);
    Some(shown)
}

/// Whoever asks.
struct Asker<'a> {
    connection: &'a Connection,
    principal: Principal,
    client: Client,
}

/// The most pages that are put together: more than there are containers on any machine.
const PAGES_MAX: usize = 64;

impl<'a> Asker<'a> {
    /// Whoever this request shows.
    ///
    /// # Errors
    /// `unauthorized` when it shows nobody.
    async fn of(connection: &'a Connection, request: &Request<Incoming>) -> Result<Self, Fault> {
        let header = shown_in(request.uri().query(), request.headers());
        let shown = connection.authenticate(header.as_ref().unwrap_or(request.headers())).await?;
        let principal = shown.ok_or_else(|| {
            Fault::new(FaultKind::Unauthorized, "nobody is logged in")
                .with_hint("send a user and a token as Basic, or a token as Bearer")
        })?;
        Ok(Self { connection, principal, client: rest::client_of(request.headers()) })
    }

    fn by(&self) -> By<'_> {
        let origin = Origin { peer: self.connection.peer, face: FACE };
        By { origin, principal: Some(&self.principal), client: &self.client }
    }

    async fn list(&self, kind: Kind, path: &str, filters: &Filters) -> Result<Answer, Wrong> {
        let objects = dockercloud::objects(kind, &self.rows(kind).await?);
        Ok(said(&dockercloud::envelope(path, filters, objects)))
    }

    async fn show(&self, kind: Kind, uuid: &str) -> Result<Answer, Wrong> {
        let mut rows = self.rows(kind).await?;
        if kind == Kind::Container {
            rows.containers.retain(|row| row["uuid"] == uuid);
        }
        let mut objects = dockercloud::objects(kind, &rows).into_iter();
        let found = objects.find(|object| object["uuid"] == uuid);
        let found = found.ok_or_else(|| Refusal::new(404, "there is no such object here"))?;
        Ok(said(&found))
    }

    /// What the plugin tells, as far as this kind needs it.
    async fn rows(&self, kind: Kind) -> Result<Rows, Fault> {
        let host = self.connection.dispatch.identity().hostname.clone();
        let mut rows = Rows { host, ..Rows::default() };
        match kind {
            Kind::Stack => {
                rows.stacks = self.all("stacks", "stacks").await?;
                rows.services = self.all("services", "services").await?;
            }
            Kind::Service => {
                rows.services = self.all("services", "services").await?;
                rows.containers = self.all("list", "containers").await?;
            }
            Kind::Container => rows.containers = self.all("list", "containers").await?,
            Kind::Node | Kind::NodeCluster => rows.nodes = self.all("nodes", "nodes").await?,
            Kind::Action => {
                rows.jobs = self.jobs().await?;
                rows.runs = self.runs().await?;
            }
            Kind::Nothing => {}
        }
        Ok(rows)
    }

    /// Every row of a list, page by page.
    async fn all(&self, method: &str, name: &str) -> Result<Vec<Value>, Fault> {
        let mut rows = Vec::new();
        let mut args = match method {
            "list" => json!({ "gone": true }),
            _ => json!({}),
        };
        for _ in 0..PAGES_MAX {
            let mut page = self.call("containers", method, args.clone()).await?;
            if let Value::Array(found) = page[name].take() {
                rows.extend(found);
            }
            args["offset"] = page["next"].take();
            if args["offset"].is_null() {
                break;
            }
        }
        Ok(rows)
    }

    /// Calls what is there while the plugin is.
    async fn call(&self, namespace: &str, name: &str, args: Value) -> Result<Value, Fault> {
        self.ask(namespace, name, args).await.map_err(|fault| match fault.kind {
            FaultKind::NotFound => {
                Fault::new(FaultKind::Unavailable, "the plugin containers does not run here")
            }
            _ => fault,
        })
    }

    async fn ask(&self, namespace: &str, name: &str, args: Value) -> Result<Value, Fault> {
        let by = self.by();
        let request = protocol::Request::new(namespace, name, args);
        let answer = self.connection.dispatch.call_by(by, &request).await?;
        answer.read().map_err(|error| {
            tracing::error!(%error, "an answer of the containers plugin is no object");
            Fault::internal()
        })
    }

    /// The stream, with the place in the log where it begins.
    async fn hearing(&self, wish: Wish) -> Result<Hearing, Wrong> {
        let Wish { filter, tag, since } = wish;
        let start = match since {
            Since::Now => Start::Now,
            Since::Oldest => Start::Oldest,
            Since::Cursor(cursor) => Start::After(cursor),
            Since::Time(time) => self.place_of(&filter, &time.to_string()).await?,
        };
        Ok(Hearing { filter, tag, start })
    }

    /// The place before the first event that was recorded at this time or later.
    async fn place_of(&self, filter: &Filter, time: &str) -> Result<Start, Fault> {
        #[derive(Deserialize)]
        struct Page {
            events: Vec<Numbered>,
            head_seq: u64,
        }
        #[derive(Deserialize)]
        struct Numbered {
            seq: u64,
        }
        let args = json!({ "filter": filter, "since": time, "limit": 1 });
        let page = self.call("events", "list", args).await?;
        let page = Page::deserialize(page).map_err(|error| {
            tracing::error!(%error, "a page of the log cannot be read");
            Fault::internal()
        })?;
        let before = page.events.first().map_or(page.head_seq, |event| event.seq.saturating_sub(1));
        let instance = self.connection.dispatch.identity().instance;
        Ok(Start::After(Cursor::after(instance, before)))
    }
}

fn said(object: &Value) -> Answer {
    rest::json(StatusCode::OK, object.to_string())
}
