//! `CloudEvents` over HTTP: batches of the past, events that are brought, and the way to a stream.

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LINK,
    SEC_WEBSOCKET_PROTOCOL,
};
use hyper::{Method, Request, Response};
use protocol::{Cursor, Fault, FaultKind, Filter, Json, Overflow, Start};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::http::{Connection, is_upgrade};
use super::rest::{self, Answer};
use crate::access::{Origin, Principal, login_is_over};
use crate::bus::Bell;
use crate::dispatch::{Session, Stretch, Wanted};
use crate::wire::cloudevents::{self, CloudEvent, Question, SUBPROTOCOL};

/// Where to go on, beside the link to the next batch.
const CURSOR: HeaderName = HeaderName::from_static("sysadmd-cursor");
/// By these a sender of webhooks asks whether it may (the specification of webhook delivery).
const REQUEST_ORIGIN: &str = "webhook-request-origin";
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");
/// Events of one batch that are on their way into the log at once: one transaction takes them.
const AT_ONCE: usize = 64;
/// Events read from the log at once.
const READ_EVENTS: usize = 100;

impl Connection {
    pub(super) async fn cloudevents(&self, request: Request<Incoming>) -> Answer {
        match self.cloudevents_or_not(request).await {
            Ok(answer) => answer,
            Err(fault) => rest::refusal(&fault),
        }
    }

    async fn cloudevents_or_not(&self, request: Request<Incoming>) -> Result<Answer, Fault> {
        let principal = self.authenticate(request.headers()).await?;
        let principal = principal.ok_or_else(not_logged_in)?;
        let query = request.uri().query().unwrap_or_default().to_owned();
        if is_upgrade(request.headers()) {
            offers_subprotocol(request.headers())?;
            let wanted = Question::parse(&query)?.stream()?;
            let mut answer = self.upgrade(request, Some(principal), wanted)?;
            let spoken = HeaderValue::from_static(SUBPROTOCOL);
            answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, spoken);
            return Ok(answer);
        }
        match *request.method() {
            Method::GET => self.batch(principal, &query).await,
            Method::POST => self.bring(&principal, request).await,
            Method::OPTIONS => Ok(allowed(request.headers())),
            _ => Err(Fault::bad_request("use GET, POST or OPTIONS here")),
        }
    }

    /// Answers a batch from the log, waiting for the first event if that is asked for.
    async fn batch(&self, principal: Principal, query: &str) -> Result<Answer, Fault> {
        let asked = Question::parse(query)?.batch()?;
        self.dispatch.spend(&principal)?;
        let deadline = Instant::now() + asked.wait;
        let identity = self.dispatch.identity();
        let mut batch = Batch::new(&identity.hostname, identity.limits.message_bytes);
        let mut begin = asked.start.clone();
        loop {
            let limit = (asked.limit - batch.events).clamp(1, READ_EVENTS);
            let stretch = self.dispatch.stretch(&principal, asked.filter.clone(), begin, limit);
            let stretch = stretch.await?;
            let (cursor, is_full) = batch.take(&stretch);
            let is_full = is_full || batch.events >= asked.limit;
            if !stretch.more && batch.is_empty() && Instant::now() < deadline {
                self.wait(&principal, asked.filter.clone(), &cursor, deadline).await?;
            } else if is_full || !stretch.more {
                return Ok(batch.answer(&cursor, &asked.next(&cursor)));
            }
            begin = Start::After(cursor);
        }
    }

    /// Returns when something wanted is recorded behind the cursor, or the time is over.
    async fn wait(
        &self,
        principal: &Principal,
        filter: Filter,
        cursor: &Cursor,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let mut revocations = self.dispatch.access().revocations();
        let stop = self.tasks.stop_signal();
        let mut session =
            Session::new(self.dispatch.clone(), self.origin(), Some(principal.clone()));
        let (bell, start) = (Bell::default(), Start::After(cursor.clone()));
        let (outlet, face) = (bell.outlet(), Bell::face());
        let wanted = Wanted { filter, start, overflow: Overflow::Lossless, face, outlet };
        session.subscribe("wait".to_owned(), wanted, Box::new(|_| Vec::new())).await?;
        let rung = timeout_at(deadline, bell.rung());
        tokio::pin!(rung);
        loop {
            // Also before anything is waited for: it may be over since it was looked at.
            if !session.still_counts() {
                return Err(login_is_over());
            }
            let expiry = session.time_left().map_or(deadline, |left| Instant::now() + left);
            tokio::select! {
                _ = &mut rung => return Ok(()),
                Ok(()) = revocations.changed() => {}
                () = sleep_until(expiry), if expiry < deadline => {}
                () = stop.wait() => {
                    let fault = Fault::new(FaultKind::Unavailable, "the daemon is stopping");
                    return Err(fault.with_retry_after_ms(1_000));
                }
            }
        }
    }

    fn origin(&self) -> Origin {
        Origin { peer: self.peer, face: "cloudevents" }
    }

    /// Records what is brought and answers when all of it is durable.
    async fn bring(
        &self,
        principal: &Principal,
        request: Request<Incoming>,
    ) -> Result<Answer, Fault> {
        let headers = request.headers().clone();
        let body = rest::read_body(&self.dispatch, Some(principal), request).await?;
        let events = brought(&headers, &body)?;
        let args = events.iter().enumerate().map(|(place, event)| {
            cloudevents::fire_args(event).map_err(|fault| cloudevents::at(place, &fault))
        });
        let args: Vec<Value> = args.collect::<Result<_, _>>()?;
        let (access, mut recorded) = (self.dispatch.access(), Vec::with_capacity(events.len()));
        let era = access.era();
        let mut places = events.iter().enumerate();
        for args in args.chunks(AT_ONCE) {
            if era != access.era() || !access.still_counts(principal) {
                return Err(not_all(recorded.len(), events.len(), vec![Err(login_is_over())]));
            }
            // They are taken up in order, and the log's queue keeps it.
            let calls = args.iter().map(|args| self.fire(principal, args.clone()));
            let mut fired = join_all(calls).await;
            if let Some(at) = fired.iter().position(Result::is_err) {
                let behind = fired.split_off(at);
                return Err(not_all(recorded.len() + at, events.len(), behind));
            }
            let answers = fired.into_iter().flatten().zip(places.by_ref());
            recorded.extend(answers.map(|(answer, (_, event))| told(event, &answer)));
        }
        Ok(said("application/json", json!({ "recorded": recorded }).to_string()))
    }

    async fn fire(&self, principal: &Principal, args: Value) -> Result<Json, Fault> {
        let request = protocol::Request::new("events", "fire", args);
        self.dispatch.call(self.origin(), Some(principal), &request).await
    }
}

/// A refusal of the first of `fired`, which is this element of a batch of so many: those that were
/// under way behind it may be recorded.
fn not_all(place: usize, count: usize, fired: Vec<Result<Json, Fault>>) -> Fault {
    let behind: Vec<usize> =
        (place..).zip(&fired).filter(|(_, fired)| fired.is_ok()).map(|(place, _)| place).collect();
    let fault = fired.into_iter().find_map(Result::err).unwrap_or_else(Fault::internal);
    if count == 1 {
        return fault;
    }
    let mut fault = cloudevents::at(place, &fault);
    fault.details["recorded_before"] = place.into();
    fault.details["recorded_behind"] = behind.into();
    fault
}

/// The events of a request, in whichever mode they come.
fn brought(headers: &HeaderMap, body: &[u8]) -> Result<Vec<CloudEvent>, Fault> {
    let kind = match headers.get(CONTENT_TYPE).map(HeaderValue::to_str) {
        None => None,
        Some(Ok(kind)) => Some(kind),
        Some(Err(_)) => return Err(Fault::bad_request("the Content-Type is unreadable")),
    };
    let media = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if media.eq_ignore_ascii_case(cloudevents::STRUCTURED) {
        return Ok(vec![cloudevents::parse(text(body)?)?]);
    }
    if media.eq_ignore_ascii_case(cloudevents::BATCH) {
        return cloudevents::parse_batch(text(body)?);
    }
    if media.to_ascii_lowercase().starts_with("application/cloudevents") {
        return Err(Fault::bad_request(format!("{media} is not spoken here"))
            .with_hint("use application/cloudevents+json or application/cloudevents-batch+json"));
    }
    let attributes = headers.iter().filter_map(|(name, value)| {
        name.as_str().strip_prefix(cloudevents::PREFIX).map(|name| (name, value.as_bytes()))
    });
    if !headers.contains_key("ce-specversion") {
        return Err(Fault::bad_request("this is no CloudEvent").with_hint(
            "send application/cloudevents+json, application/cloudevents-batch+json, or headers              ce-specversion, ce-id, ce-source and ce-type",
        ));
    }
    Ok(vec![cloudevents::read_binary(attributes, kind, body)?])
}

fn text(body: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(body).map_err(|_| Fault::bad_request("the request's body is not UTF-8"))
}

/// What became of one event.
fn told(event: &CloudEvent, answer: &Json) -> Value {
    let mut told = answer.read().unwrap_or_else(|_| json!({}));
    told["id"] = event.id.as_str().into();
    told["source"] = event.source.as_str().into();
    told
}

/// A batch that is being put together.
struct Batch<'a> {
    host: &'a str,
    /// A JSON array without its end.
    text: Vec<u8>,
    /// Bytes that end it; one event may exceed them.
    most: usize,
    events: usize,
}

impl<'a> Batch<'a> {
    fn new(host: &'a str, most: usize) -> Self {
        Self { host, text: vec![b'['], most, events: 0 }
    }

    fn is_empty(&self) -> bool {
        self.text.len() == 1
    }

    fn begin_element(&mut self) {
        if !self.is_empty() {
            self.text.push(b',');
        }
    }

    /// Takes what fits; where to go on, and whether nothing more fits.
    fn take(&mut self, stretch: &Stretch) -> (Cursor, bool) {
        let cursor = &stretch.cursor;
        if let Some(gap) = &stretch.gap {
            self.begin_element();
            let before = stretch.events.first().and_then(|event| event.seq).unwrap_or(cursor.seq);
            let at = Cursor::after(cursor.instance, before.saturating_sub(1));
            self.text.extend_from_slice(cloudevents::gap(gap, &at, self.host).as_bytes());
        }
        for event in &stretch.events {
            let at = Cursor::after(cursor.instance, event.seq.unwrap_or_default());
            self.begin_element();
            cloudevents::write(event, &at, self.host, &mut self.text);
            self.events += 1;
            if self.text.len() >= self.most {
                return (at, true);
            }
        }
        (cursor.clone(), false)
    }

    fn answer(mut self, cursor: &Cursor, next: &str) -> Answer {
        self.text.push(b']');
        let mut answer = said(cloudevents::BATCH, self.text);
        let headers = answer.headers_mut();
        let mut put = |name, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        put(LINK, format!("</cloudevents?{next}>; rel=\"next\""));
        put(CURSOR, cursor.to_string());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }
}

fn said(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Consents to deliveries of webhooks, and says what can be done here.
fn allowed(headers: &HeaderMap) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    if let Some(origin) = headers.get(REQUEST_ORIGIN) {
        answer.headers_mut().insert(ALLOWED_ORIGIN, origin.clone());
        answer.headers_mut().insert(ALLOWED_RATE, HeaderValue::from_static("*"));
    }
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, OPTIONS"));
    answer
}

fn offers_subprotocol(headers: &HeaderMap) -> Result<(), Fault> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|value| value.to_str().ok());
    if offered.flat_map(|value| value.split(',')).any(|word| word.trim() == SUBPROTOCOL) {
        return Ok(());
    }
    Err(Fault::bad_request("the websocket must offer the subprotocol cloudevents.json"))
}

fn not_logged_in() -> Fault {
    Fault::new(FaultKind::Unauthorized, "nobody is logged in")
        .with_hint("send the header Authorization: Bearer TOKEN, or Basic with a user and password")
}
