//! The Consul face: one HTTP request fires an event, or is answered with the newest ones, perhaps
//! after waiting for one more.

mod answers;
mod lists;
mod waiting;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap};
use hyper::{Method, Request};
use protocol::{Fault, FaultKind, Json};
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use super::http::{Connection, proof};
use super::rest::{self, Answer};
use crate::access::{Origin, Principal, Proof};
use crate::config;
use crate::dispatch::consul::{METHOD, Node, UserEvent, check_filters, check_name, too_large};
use crate::wire::consul::{self, Asked, ConsulEvent, Query, Reply, Shown};

use answers::Form;
pub(super) use lists::Lists;

/// What this face is called in the audit trail.
const FACE: &str = "consul";
/// Whoever shows nothing, where the configuration has a role for them.
const ANONYMOUS: &str = "consul-anonymous";

/// Who asks, and what else of a request is not in its path.
struct Asker {
    principal: Option<Principal>,
    /// Whether a token was shown.
    by_token: bool,
    query: Query,
    form: Form,
}

/// Answers one request.
pub(super) async fn answer(connection: &Connection, request: Request<Incoming>) -> Answer {
    match attempt(connection, request).await {
        Ok(answer) => answer,
        Err(reply) => answers::plain(reply),
    }
}

async fn attempt(connection: &Connection, request: Request<Incoming>) -> Result<Answer, Reply> {
    let (method, uri) = (request.method(), request.uri());
    let (wish, query) = consul::read((kind_of(method), method.as_str()), uri.path(), uri.query())?;
    let rules = rules(connection);
    if let Asked::Fire { name } = &wish {
        check_name(name, rules.underscore_names)
            .map_err(|objection| Reply::new(400, Fault::from(objection).message))?;
    }
    let principal = identify(connection, &query, request.headers()).await;
    let (principal, by_token) = principal.map_err(|fault| Reply::of(&fault))?;
    let form = Form { pretty: query.has("pretty"), gzip: takes_gzip(request.headers()) };
    let asker = Asker { principal, by_token, query, form };
    match wish {
        Asked::Fire { name } => fire(connection, &asker, name, request).await,
        Asked::List { name, wait } => {
            drop(request);
            waiting::list(connection, asker, name, wait).await
        }
        Asked::AgentSelf => Ok(answers::json(about(connection), asker.form)),
    }
}

/// The answer to a request that is refused before it is looked at.
pub(super) fn refusal(fault: &Fault) -> Answer {
    answers::plain(Reply::new(fault.kind.status(), fault.to_string()))
}

fn kind_of(method: &Method) -> consul::Method {
    match *method {
        Method::GET => consul::Method::Get,
        Method::PUT => consul::Method::Put,
        Method::OPTIONS => consul::Method::Options,
        Method::HEAD => consul::Method::Head,
        _ => consul::Method::Other,
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let wishes = headers.get_all(ACCEPT_ENCODING).iter();
    wishes.filter_map(|wish| wish.to_str().ok()).any(consul::takes_gzip)
}

fn rules(connection: &Connection) -> &config::Consul {
    &connection.dispatch.identity().consul
}

fn origin(connection: &Connection) -> Origin {
    Origin { peer: connection.peer, face: FACE }
}

/// What this machine is to the filters of events.
fn node(connection: &Connection) -> Node {
    let identity = connection.dispatch.identity();
    let name = identity.consul.node_name.clone().unwrap_or_else(|| identity.hostname.clone());
    Node { name, services: identity.consul.services.clone() }
}

/// Who asks, and whether they have shown a token: its holder, else whoever the kernel or a
/// certificate has named, else whoever has the role of strangers.
async fn identify(
    connection: &Connection,
    query: &Query,
    headers: &HeaderMap,
) -> Result<(Option<Principal>, bool), Fault> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let proof = match consul::shown(query, text(consul::TOKEN), text(AUTHORIZATION.as_str())) {
        Shown::Token(token) => Some(Proof::Secret(SecretString::from(token))),
        Shown::Basic(header) => proof(header),
        Shown::Nothing => None,
    };
    let by_token = proof.is_some();
    let access = connection.dispatch.access();
    let principal = match proof {
        Some(proof) => Some(access.identify(origin(connection), proof).await?),
        None => connection.principal.clone().or_else(|| stranger(connection)),
    };
    if let Some(principal) = &principal {
        connection.settle(principal)?;
    }
    Ok((principal, by_token))
}

fn stranger(connection: &Connection) -> Option<Principal> {
    let role = rules(connection).anonymous_role.as_deref()?;
    let rights = connection.dispatch.access().roles().rights_of(&[role])?;
    Some(Principal::new(ANONYMOUS.to_owned(), role.to_owned(), rights))
}

async fn fire(
    connection: &Connection,
    asker: &Asker,
    name: String,
    request: Request<Incoming>,
) -> Result<Answer, Reply> {
    let (query, principal) = (&asker.query, asker.principal.as_ref());
    let [node, service, tag] = ["node", "service", "tag"].map(|name| query.get(name).to_owned());
    check_filters(&node, &service, &tag).map_err(|why| Reply::new(500, why))?;
    let datacenter = query.get("dc");
    if !datacenter.is_empty() && datacenter != rules(connection).datacenter {
        return Err(Reply::new(500, "No path to datacenter"));
    }
    let mut event = UserEvent { name, payload: None, node, service, tag, version: 1 };
    if principal.is_none() {
        // A stranger's payload is not even read; the refusal goes on record all the same.
        call(connection, None, &event).await.map_err(|fault| Reply::of(&fault))?;
        return Err(Reply::denied());
    }
    let body = payload(connection, request).await.map_err(|fault| Reply::of(&fault))?;
    event.payload = (!body.is_empty()).then(|| STANDARD.encode(&body));
    let receipt = call(connection, principal, &event).await.map_err(|fault| Reply::of(&fault))?;
    let id = receipt.read::<Receipt>().map_err(|error| {
        tracing::error!(%error, "the receipt of an event has no id");
        Reply::of(&Fault::internal())
    })?;
    let fired = consul::object(&ConsulEvent::new(id.event_id, event, 0));
    Ok(answers::json(fired, asker.form))
}

#[derive(serde::Deserialize)]
struct Receipt {
    event_id: Uuid,
}

async fn call(
    connection: &Connection,
    principal: Option<&Principal>,
    event: &UserEvent,
) -> Result<Json, Fault> {
    let args = json!({
        "name": event.name,
        "payload": event.payload,
        "node": event.node,
        "service": event.service,
        "tag": event.tag,
    });
    let (namespace, name) = METHOD.split_once('/').unwrap_or_default();
    let request =
        protocol::Request { namespace: namespace.to_owned(), name: name.to_owned(), args };
    let answer = connection.dispatch.call(origin(connection), principal, &request).await;
    answer.map_err(|fault| match fault.kind {
        // Consul says so also to whoever shows nothing.
        FaultKind::Unauthorized => Fault::new(FaultKind::Forbidden, fault.message),
        _ => fault,
    })
}

async fn payload(connection: &Connection, request: Request<Incoming>) -> Result<Bytes, Fault> {
    let most = rules(connection).payload_bytes;
    let body = rest::body(request, most, &connection.dispatch.identity().limits).await;
    body.map_err(|fault| match fault.kind {
        FaultKind::TooLarge => too_large(most).into(),
        _ => fault,
    })
}

/// As much of an agent's description of itself as the command line of Consul asks for.
fn about(connection: &Connection) -> Vec<u8> {
    let (identity, node) = (connection.dispatch.identity(), node(connection));
    consul::object(&json!({
        "Config": {
            "Datacenter": identity.consul.datacenter,
            "NodeName": node.name,
            "NodeID": identity.instance,
            "Server": false,
            "Version": env!("CARGO_PKG_VERSION"),
        },
        "Member": { "Name": node.name },
    }))
}
