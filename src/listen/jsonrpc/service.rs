//! The `jsonrpsee` service behind both transports: every call goes to `dispatch`, in the name of
//! whoever is at the other end.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use jsonrpsee_core::middleware::{Batch, BatchEntry, Notification, Request, RpcServiceT};
use jsonrpsee_types::ErrorObjectOwned;
use protocol::{Deprecated, Fault, FaultKind, Json};
use serde_json::value::RawValue;

use crate::access::{Origin, Principal};
use crate::dispatch::{By, Client, Dispatch};
use crate::listen::outbox::Outbox;
use crate::wire::jsonrpc::{self, Answers, Heard, INVALID_REQUEST};

/// Bytes of answers after which the rest of a batch is refused. One answer may exceed it.
const BATCH_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Answers requests that came on one connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::listen) struct Service(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dispatch: Dispatch,
    origin: Origin,
    principal: Option<Principal>,
    client: Arc<Client>,
    /// When the login counted, in [`crate::access::Access::era`].
    era: u64,
    /// The websocket the answers go to.
    outbox: Option<Arc<Outbox>>,
    /// Of what was answered, what is on its way out first.
    ending: Mutex<Option<Arc<Deprecated>>>,
}

/// What a method answers, and whether it is on its way out.
struct Done {
    value: Json,
    ending: Option<Arc<Deprecated>>,
}

impl Service {
    /// For requests in the name of `principal`, or of nobody.
    pub(in crate::listen) fn new(
        dispatch: Dispatch,
        origin: Origin,
        principal: Option<Principal>,
        client: Arc<Client>,
        outbox: Option<Arc<Outbox>>,
    ) -> Self {
        let (era, ending) = (dispatch.access().era(), Mutex::default());
        Self(Arc::new(Shared { dispatch, origin, principal, client, era, outbox, ending }))
    }

    /// Of everything that was answered up to now, what is on its way out first.
    pub(in crate::listen) fn ending(&self) -> Option<Arc<Deprecated>> {
        self.0.ending.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, ending: &Arc<Deprecated>) {
        let mut first = self.0.ending.lock().unwrap_or_else(PoisonError::into_inner);
        // What has no last day ends after everything that has one.
        let day = |it: &Deprecated| (it.until.is_none(), it.until, it.since);
        if first.as_ref().is_none_or(|first| day(ending) < day(first)) {
            *first = Some(Arc::clone(ending));
        }
    }

    /// The answer to a whole message, if it has one.
    pub(in crate::listen) async fn answer(&self, text: &str) -> Option<Vec<u8>> {
        let most = self.0.dispatch.identity().limits.batch_requests;
        match jsonrpc::read(text, most) {
            Heard::Batch(batch) => self.batch(batch).await.finish(),
            Heard::One(Ok(BatchEntry::Call(request))) => Some(self.call(request).await),
            Heard::One(Ok(BatchEntry::Notification(told))) => {
                self.notification(told).await;
                None
            }
            Heard::One(Err(wrong)) => Some(jsonrpc::wrong(wrong)),
        }
    }

    async fn run(
        &self,
        method: &str,
        params: Option<&Cow<'_, RawValue>>,
    ) -> Result<Done, ErrorObjectOwned> {
        let Shared { dispatch, origin, principal, client, outbox, .. } = &*self.0;
        let is_method = |fault: Fault| jsonrpc::error_of(jsonrpc::code(fault.kind, true), &fault);
        let request = jsonrpc::request(method, params.map(AsRef::as_ref)).map_err(is_method)?;
        let by = By { origin: *origin, principal: principal.as_ref(), client };
        let value = dispatch.call_by(by, &request).await.map_err(|fault| {
            let is_method =
                fault.kind == FaultKind::NotFound && !dispatch.has_method(&request.method());
            jsonrpc::error_of(jsonrpc::code(fault.kind, is_method), &fault)
        })?;
        // Only clients that opted in look for it in the answer; over HTTP there are headers for it.
        let is_told = client.opted_in || outbox.is_none();
        let ending = is_told.then(|| dispatch.ending(client, &request)).flatten();
        if let Some(ending) = &ending {
            self.note(ending);
        }
        Ok(Done { value, ending: ending.filter(|_| client.opted_in) })
    }

    /// One of a batch. Between two of them anything may happen to the login.
    async fn run_next(
        &self,
        method: &str,
        params: Option<&Cow<'_, RawValue>>,
        answered: usize,
    ) -> Result<Done, ErrorObjectOwned> {
        let refuse =
            |fault: &Fault| Err(jsonrpc::error_of(jsonrpc::code(fault.kind, false), fault));
        if is_of_connection(method) {
            return Err(jsonrpc::error_of(INVALID_REQUEST, &not_in_a_batch(method)));
        }
        if answered > BATCH_ANSWER_BYTES {
            return refuse(&answers_too_large());
        }
        if !self.still_counts() {
            return refuse(&Fault::new(FaultKind::Unauthorized, "the login is over"));
        }
        self.run(method, params).await
    }

    fn still_counts(&self) -> bool {
        let access = self.0.dispatch.access();
        let counts = |principal| self.0.era == access.era() && access.still_counts(principal);
        self.0.principal.as_ref().is_none_or(counts)
    }

    /// Whether somebody is still there to be answered.
    fn is_heard(&self) -> bool {
        self.0.outbox.as_ref().is_none_or(|outbox| outbox.is_open())
    }

    async fn run_all(&self, batch: Batch<'_>) -> Answers {
        let mut answers = Answers::default();
        for entry in batch {
            if !self.is_heard() {
                break;
            }
            match entry {
                Ok(BatchEntry::Call(it)) => {
                    let done = self.run_next(&it.method, it.params.as_ref(), answers.bytes()).await;
                    answers.add(&worded(&it, done));
                }
                Ok(BatchEntry::Notification(it)) => {
                    let done = self.run_next(&it.method, it.params.as_ref(), answers.bytes()).await;
                    unanswered(&it, done);
                }
                Err(wrong) => answers.add(&jsonrpc::wrong(wrong)),
            }
        }
        answers
    }
}

impl RpcServiceT for Service {
    /// The text of the answer.
    type MethodResponse = Vec<u8>;
    type NotificationResponse = ();
    type BatchResponse = Answers;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = Vec<u8>> + Send + 'a {
        let service = self.clone();
        async move {
            let done = service.run(&request.method, request.params.as_ref()).await;
            worded(&request, done)
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = Answers> + Send + 'a {
        let service = self.clone();
        async move { service.run_all(batch).await }
    }

    fn notification<'a>(&self, told: Notification<'a>) -> impl Future<Output = ()> + Send + 'a {
        let service = self.clone();
        async move {
            let done = service.run(&told.method, told.params.as_ref()).await;
            unanswered(&told, done);
        }
    }
}

/// Whether a method changes the connection it comes on.
pub(in crate::listen) fn is_of_connection(method: &str) -> bool {
    let is_login = method.strip_prefix("rpc.").is_some_and(|name| name.starts_with("auth"));
    is_login || matches!(method, "events.subscribe" | "events.unsubscribe")
}

fn worded(request: &Request<'_>, done: Result<Done, ErrorObjectOwned>) -> Vec<u8> {
    let id = jsonrpc::id(request);
    match done {
        Ok(Done { value, ending: None }) => jsonrpc::result(&id, &value),
        Ok(Done { value, ending: Some(ending) }) => jsonrpc::farewell(&id, &value, &ending),
        Err(error) => jsonrpc::error(&id, &error),
    }
}

/// Nobody is told how a notification went, but the log.
fn unanswered(told: &Notification<'_>, done: Result<Done, ErrorObjectOwned>) {
    if let Err(error) = done {
        tracing::debug!(method = %told.method, error = error.message(), "a notification failed");
    }
}

fn not_in_a_batch(method: &str) -> Fault {
    Fault::bad_request(format!("{method} changes the connection it comes on"))
        .with_hint("send it alone on a websocket; a batch is for calls, in whatever order")
}

fn answers_too_large() -> Fault {
    let sentence = format!("the answers of a batch have about {BATCH_ANSWER_BYTES} bytes at most");
    Fault::new(FaultKind::TooLarge, sentence).with_hint("this one was not run; send it again")
}
