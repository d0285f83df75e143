//! Triggers: their owners log in, and whoever has a URL does not.

use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use protocol::{Fault, FaultKind};
use serde_json::{Value, json};

use super::{Asker, FACE, Wrong, said};
use crate::access::Origin;
use crate::dispatch::{Called, Knock, TriggerRun};
use crate::listen::http::Connection;
use crate::listen::rest::{self, Answer};
use crate::trigger::path as path_of;
use crate::trigger::signature::{HEADERS, Headers};
use crate::wire::docker_cloud::{
    self as dockercloud, Begun, Filters, Kind, Refusal, Told, TriggerAsked, trigger_object,
};

/// Bytes of a call's body.
const BODY_MAX: usize = 1024 * 1024;
/// Bytes of what makes a trigger.
const CREATE_MAX: usize = 16 * 1024;
/// Says where an action is.
const ACTION: HeaderName = HeaderName::from_static("x-dockercloud-action-uri");

/// Answers one request about triggers.
pub(super) async fn answer(
    connection: &Connection,
    request: Request<Incoming>,
    wish: TriggerAsked,
) -> Result<Answer, Wrong> {
    match wish {
        TriggerAsked::Call { service, trigger, number, wait_s, dry_run } => {
            let url = Url { service, trigger, end: number };
            call(connection, request, &url, (Duration::from_secs(wait_s), dry_run)).await
        }
        TriggerAsked::Status { service, trigger, run, wait_s } => {
            let url = Url { service, trigger, end: None };
            status(connection, &request, &url, (&run, Duration::from_secs(wait_s))).await
        }
        owned => {
            let asker = Asker::of(connection, &request).await?;
            match owned {
                TriggerAsked::Create { service } => asker.create(request, &service).await,
                TriggerAsked::List { service, filters } => asker.triggers(&service, &filters).await,
                TriggerAsked::Show { service, trigger } => {
                    let (_, object) = asker.trigger(&service, &trigger).await?;
                    Ok(said(&object))
                }
                TriggerAsked::Delete { service, trigger } => {
                    let (id, object) = asker.trigger(&service, &trigger).await?;
                    asker.rpc(json!({ "action": "delete", "id": id })).await?;
                    Ok(said(&object))
                }
                TriggerAsked::Call { .. } | TriggerAsked::Status { .. } => Err(nothing().into()),
            }
        }
    }
}

/// The parts of a trigger's URL.
struct Url {
    service: Option<String>,
    trigger: String,
    end: Option<String>,
}

fn knock<'a>(
    connection: &Connection,
    headers: &'a HeaderMap,
    url: &'a Url,
    dry_run: bool,
) -> Knock<'a> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let signed = HEADERS
        .iter()
        .filter_map(|name| Some((*name, text(HeaderName::from_static(name))?.to_owned())));
    Knock {
        origin: Origin { peer: connection.peer, face: FACE },
        secret: &url.trigger,
        service: url.service.as_deref(),
        number: url.end.as_deref(),
        headers: Headers(signed.collect()),
        content_type: text(CONTENT_TYPE),
        user_agent: text(USER_AGENT),
        dry_run,
    }
}

async fn call(
    connection: &Connection,
    request: Request<Incoming>,
    url: &Url,
    (wait, dry_run): (Duration, bool),
) -> Result<Answer, Wrong> {
    let dispatch = &connection.dispatch;
    let headers = request.headers().clone();
    let knock = knock(connection, &headers, url, dry_run);
    let known = dispatch.trigger_known(&knock).await?;
    let limits = &dispatch.identity().limits;
    // What is announced to be too large is not waited for.
    let body = if request.body().size_hint().lower() > BODY_MAX as u64 {
        Err(Fault::new(FaultKind::TooLarge, format!("a call's body has at most {BODY_MAX} bytes")))
    } else {
        rest::body(request, BODY_MAX, limits).await
    };
    let body = match body {
        Ok(body) => body,
        Err(fault) => return Err(dispatch.trigger_unread(&knock, &known, fault).await.into()),
    };
    let mut called = dispatch.trigger_called(&knock, &known, &body).await?;
    if let Some(run) = called.run.as_ref().filter(|run| !run.has_ended && !wait.is_zero()) {
        let later = dispatch.trigger_run(&known, run.id, wait).await?;
        called.run = later.run;
    }
    Ok(told(url, &called, !wait.is_zero()))
}

async fn status(
    connection: &Connection,
    request: &Request<Incoming>,
    url: &Url,
    (run, wait): (&str, Duration),
) -> Result<Answer, Wrong> {
    let dispatch = &connection.dispatch;
    let known = dispatch.trigger_known(&knock(connection, request.headers(), url, false)).await?;
    let run = run.parse().map_err(|_| nothing())?;
    let called = dispatch.trigger_run(&known, run, wait).await?;
    let mut answer = told(url, &called, false);
    *answer.status_mut() = StatusCode::OK;
    Ok(answer)
}

/// The trigger with what came of it. Who has waited for the end is told it by the status, too.
fn told(url: &Url, called: &Called, has_waited: bool) -> Answer {
    let path = path_of(url.service.as_deref(), called.secret);
    let secret = called.secret.to_string();
    let Called { name, operation, result, run, plan, .. } = called;
    let mut object = trigger_object(&Told { name, operation, path: &path, secret: &secret });
    object["result"] = (*result).into();
    let status = match run {
        None => StatusCode::OK,
        Some(run) if *result == "duplicate" || run.state == "done" && has_waited => StatusCode::OK,
        Some(run) if run.has_ended && has_waited => StatusCode::BAD_GATEWAY,
        Some(_) => StatusCode::ACCEPTED,
    };
    let mut uri = None;
    if let Some(run) = run {
        let id = run.id.to_string();
        dockercloud::begun(&mut object, &path, &begun(&id, run));
        uri = object["action_uri"].as_str().map(str::to_owned);
    }
    if let Some(plan) = plan {
        object["plan"] = plan.clone();
    }
    if let (StatusCode::BAD_GATEWAY, Some(why)) = (status, object["action"].get("error").cloned()) {
        object["error"] = why;
    }
    let mut answer = rest::json(status, object.to_string());
    if let Some(uri) = uri.and_then(|uri| HeaderValue::try_from(uri).ok()) {
        answer.headers_mut().insert(ACTION, uri);
    }
    answer
}

fn begun<'a>(id: &'a str, run: &'a TriggerRun) -> Begun<'a> {
    let TriggerRun { state, created, ended, ref error, .. } = *run;
    Begun { id, state, created, ended, error: error.as_deref() }
}

impl Asker<'_> {
    /// What `rpc/triggers` answers.
    async fn rpc(&self, args: Value) -> Result<Value, Fault> {
        let by = self.by();
        let request = protocol::Request::new("rpc", "triggers", args);
        let answer = self.connection.dispatch.call_by(by, &request).await?;
        answer.read().map_err(|error| {
            tracing::error!(%error, "an answer about triggers is no object");
            Fault::internal()
        })
    }

    /// What was begun because triggers were called, the newest first; nothing for those who may not
    /// see triggers.
    pub(super) async fn runs(&self) -> Result<Vec<Value>, Fault> {
        let mut answer = match self.rpc(json!({ "action": "history", "limit": 1_000 })).await {
            Err(fault) if fault.kind == FaultKind::Forbidden => return Ok(Vec::new()),
            answer => answer?,
        };
        match answer["runs"].take() {
            Value::Array(runs) => Ok(runs),
            _ => Ok(Vec::new()),
        }
    }

    /// The triggers of a service that the asker may have, with their public ids.
    async fn revealed(&self, service: &str) -> Result<Vec<(Value, Value)>, Wrong> {
        let answer = self.rpc(json!({ "action": "reveal", "service": service })).await?;
        let rows = answer["triggers"].as_array().cloned().unwrap_or_default();
        let object = |row: &Value| {
            let text = |name: &str| row[name].as_str().unwrap_or_default();
            let path = text("url").strip_suffix("call/").unwrap_or_default();
            let told = Told {
                name: text("name"),
                operation: text("operation"),
                path,
                secret: text("secret"),
            };
            (row["id"].clone(), trigger_object(&told))
        };
        Ok(rows.iter().map(object).collect())
    }

    async fn triggers(&self, service: &str, filters: &Filters) -> Result<Answer, Wrong> {
        let objects = self.revealed(service).await?;
        if objects.is_empty() {
            // Of a service that is not there nothing is listed.
            let there = self.service(service).await;
            there.map_err(|wrong| match wrong {
                Wrong::Failed(fault) if fault.kind == FaultKind::Unavailable => nothing().into(),
                other => other,
            })?;
        }
        let objects = objects.into_iter().map(|(_, object)| object).collect();
        let path = format!("/api/app/v1/service/{service}/trigger/");
        Ok(said(&dockercloud::envelope(&path, filters, objects)))
    }

    async fn trigger(&self, service: &str, secret: &str) -> Result<(Value, Value), Wrong> {
        let mut objects = self.revealed(service).await?.into_iter();
        let found = objects.find(|(_, object)| object["uuid"] == secret);
        found.ok_or_else(|| nothing().into())
    }

    async fn create(&self, request: Request<Incoming>, service: &str) -> Result<Answer, Wrong> {
        let limits = &self.connection.dispatch.identity().limits;
        let body = rest::body(request, CREATE_MAX, limits).await?;
        let wanted = rest::args_of(&body)?;
        let text = |name: &str, absent: &str| match &wanted[name] {
            Value::Null => Ok(absent.to_owned()),
            Value::String(text) => Ok(text.clone()),
            _ => Err(Refusal::new(400, format!("{name} must be a text"))),
        };
        let (name, operation) = (text("name", "")?, text("operation", "REDEPLOY")?);
        if !matches!(operation.as_str(), "REDEPLOY" | "SCALEUP") {
            return Err(Refusal::new(400, "operation must be REDEPLOY or SCALEUP").into());
        }
        self.service(service).await?;
        let args = json!({
            "action": "create", "name": name, "operation": operation, "service": service,
        });
        let made = self.rpc(args).await?;
        let url = made["url"].as_str().unwrap_or_default();
        let path = url.strip_suffix("call/").unwrap_or_default();
        let secret = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let told = Told { name: &name, operation: &operation, path, secret };
        Ok(rest::json(StatusCode::CREATED, trigger_object(&told).to_string()))
    }

    /// Whether there is this service.
    async fn service(&self, uuid: &str) -> Result<(), Wrong> {
        let rows = self.rows(Kind::Service).await?;
        let is_there = rows.services.iter().any(|row| row["uuid"] == uuid);
        if is_there { Ok(()) } else { Err(nothing().into()) }
    }
}

fn nothing() -> Fault {
    Fault::new(FaultKind::NotFound, "there is no such thing here")
}
