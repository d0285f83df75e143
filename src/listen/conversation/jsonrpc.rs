//! What is said in JSON-RPC, and its answers.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jsonrpsee_core::middleware::{BatchEntry, RpcServiceT as _};
use protocol::{Fault, FaultKind, Json};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::super::jsonrpc::{Service, is_of_connection};
use super::{Conversation, key, name};
use crate::bus::{Face, Standing};
use crate::dispatch::not_logged_in;
use crate::wire::frame;
use crate::wire::jsonrpc;
use crate::wire::subscription::{self, Asked};

/// What the client says of itself counts for everything behind it.
const HELLO: &str = "rpc.hello";

impl Conversation {
    /// Answers one message, or has it answered.
    pub(super) async fn hear_jsonrpc(&mut self, text: Utf8Bytes) {
        if jsonrpc::is_batch(&text) {
            return self.answer_elsewhere(async move |service| service.answer(&text).await);
        }
        match jsonrpc::one(&text) {
            Ok(BatchEntry::Call(it)) if it.method == "rpc.identify" => {
                let answer = jsonrpc::result(&jsonrpc::id(&it), &self.dispatch.identify());
                self.say(frame::of(answer));
            }
            Ok(entry) if is_of_connection(entry.method_name()) || entry.method_name() == HELLO => {
                Box::pin(self.change(entry)).await;
            }
            Ok(entry) => {
                let entry = jsonrpc::owned(entry);
                self.answer_elsewhere(async move |service| match entry {
                    BatchEntry::Call(request) => Some(service.call(request).await),
                    BatchEntry::Notification(told) => {
                        service.notification(told).await;
                        None
                    }
                });
            }
            Err(wrong) => self.say(frame::of(jsonrpc::wrong(wrong))),
        }
    }

    /// Has something answered by a task of its own, so that it delays nobody.
    fn answer_elsewhere<F>(&mut self, answer: impl FnOnce(Service) -> F)
    where
        F: Future<Output = Option<Vec<u8>>> + Send + 'static,
    {
        let outbox = Arc::clone(&self.outbox);
        let (origin, principal) = (self.session.origin(), self.session.principal().cloned());
        let there = Some(Arc::clone(&outbox));
        let client = Arc::clone(self.session.client());
        let answer = answer(Service::new(self.dispatch.clone(), origin, principal, client, there));
        let permit = self.spare.take();
        self.tasks.spawn(async move {
            if let Some(answer) = answer.await {
                outbox.answer(frame::of(answer));
            }
            drop(permit);
        });
    }

    /// Answers what changes the connection itself, before anything behind it is looked at.
    async fn change(&mut self, entry: BatchEntry<'_>) {
        let (method, params, id) = match &entry {
            BatchEntry::Call(it) => (&it.method, it.params.as_ref(), Some(jsonrpc::id(it))),
            BatchEntry::Notification(it) => (&it.method, it.params.as_ref(), None),
        };
        let params = params.map(AsRef::as_ref);
        let done = match method.as_ref() {
            "events.subscribe" => self.subscribe_jsonrpc(id.clone(), params).await.map(|()| None),
            "events.unsubscribe" => self.unsubscribe_jsonrpc(params).map(Some),
            HELLO => jsonrpc::args(params).and_then(|args| self.session.hello(&args)).map(Some),
            login => self.log_in_jsonrpc(login, params).await.map(Some),
        };
        match (done, id) {
            (Ok(Some(value)), Some(id)) => self.say(frame::of(jsonrpc::result(&id, &value))),
            (Err(fault), Some(id)) => {
                let error = jsonrpc::error_of(jsonrpc::code(fault.kind, false), &fault);
                self.say(frame::of(jsonrpc::error(&id, &error)));
            }
            // Nobody waits for an answer, or it comes with the first event.
            _ => {}
        }
    }

    async fn log_in_jsonrpc(
        &mut self,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Json, Fault> {
        let login = method.strip_prefix("rpc.").unwrap_or(method);
        // Whatever comes with it, logging out is never refused.
        let args = if login == "auth_clear" { Value::Null } else { jsonrpc::args(params)? };
        let before: BTreeSet<String> = self.session.subscriptions().map(str::to_owned).collect();
        let answer = self.authenticate(login, &args).await?;
        for key in before.into_iter().filter(|key| !self.session.is_subscribed(key)) {
            let fault = Fault::new(FaultKind::Unauthorized, "the login it was made with is over")
                .with_hint("subscribe again with the cursor of the last event");
            let sub = name(&key);
            self.timers.stop_beating(sub);
            let error = jsonrpc::error_of(jsonrpc::code(fault.kind, false), &fault);
            self.say(jsonrpc::ended(sub, &error));
        }
        Ok(answer)
    }

    /// The answer is the first of what the subscription delivers, so that it comes before the rest.
    async fn subscribe_jsonrpc(
        &mut self,
        id: Option<Cow<'_, str>>,
        params: Option<&RawValue>,
    ) -> Result<(), Fault> {
        if self.session.principal().is_none() {
            return Err(not_logged_in());
        }
        let asked = subscription::read(&jsonrpc::args(params)?)?;
        let Asked { sub, filter, start, overflow, heartbeat_s } = asked;
        let sub = sub.unwrap_or_else(|| self.next_number());
        let face = Face::new(&jsonrpc::EVENT, &sub);
        let wanted = self.wanted(filter, start, overflow, face);
        let (id, named) = (id.map(Cow::into_owned), sub.clone());
        let greeting =
            move |standing: &Standing| jsonrpc::greeting(id.as_deref(), &named, standing);
        self.session.subscribe(key(&sub), wanted, Box::new(greeting)).await?;
        self.timers.beat(&sub, Duration::from_secs(heartbeat_s), Instant::now());
        Ok(())
    }

    fn unsubscribe_jsonrpc(&mut self, params: Option<&RawValue>) -> Result<Json, Fault> {
        if self.session.principal().is_none() {
            return Err(not_logged_in());
        }
        let sub = jsonrpc::unsubscription(&jsonrpc::args(params)?)?;
        self.timers.stop_beating(&sub);
        if !self.session.unsubscribe(&key(&sub)) {
            return Err(Fault::not_found(format!("there is no subscription {sub:?}")));
        }
        Ok(Json::from(Value::Bool(true)))
    }

    /// A name for a subscription that was never given on this connection.
    fn next_number(&mut self) -> String {
        loop {
            self.numbered += 1;
            let number = self.numbered.to_string();
            if !self.session.is_subscribed(&key(&number)) {
                return number;
            }
        }
    }
}
