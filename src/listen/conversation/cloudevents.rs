//! A conversation in `CloudEvents`: one stream, which is asked for when the websocket is opened, and
//! events that the client brings.

use std::sync::Arc;

use protocol::{Fault, Request, Time};
use tokio::time::Instant;

use super::Conversation;
use crate::bus::{Face, Standing};
use crate::wire::cloudevents::{self, CloudEvent, Stream};
use crate::wire::frame;

/// The one subscription.
const STREAM: &str = "stream";

impl Conversation {
    /// Begins the stream: where it stands comes first.
    ///
    /// # Errors
    /// As [`crate::dispatch::Session::subscribe`].
    pub(super) async fn begin_stream(&mut self, wanted: Stream) -> Result<(), Fault> {
        let Stream { filter, start, overflow, heartbeat } = wanted;
        let host = self.host();
        let face = Face::new(&cloudevents::STREAM, &host);
        let (now, wanted) =
            (self.dispatch.clock().now(), self.wanted(filter, start, overflow, face));
        let answer =
            move |standing: &Standing| frame::of(cloudevents::standing(standing, now, &host));
        self.session.subscribe(STREAM.to_owned(), wanted, Box::new(answer)).await?;
        self.timers.beat(STREAM, heartbeat, Instant::now());
        Ok(())
    }

    pub(super) fn beat_stream(&self, now: Time) {
        let host = self.host();
        self.session
            .beat(STREAM, move |cursor| frame::of(cloudevents::heartbeat(cursor, now, &host)));
    }

    /// Has an event recorded by a task of its own; the client is told when it is durable.
    pub(super) fn take_event(&mut self, text: &str) {
        let event = match cloudevents::parse(text) {
            Ok(event) => event,
            Err(fault) => return self.refuse(None, &fault),
        };
        let args = match cloudevents::fire_args(&event) {
            Ok(args) => args,
            Err(fault) => return self.refuse(Some(&event), &fault),
        };
        let request = Request::new("events", "fire", args);
        let (origin, principal) = (self.session.origin(), self.session.principal().cloned());
        let (dispatch, outbox) = (self.dispatch.clone(), Arc::clone(&self.outbox));
        let (host, permit) = (self.host(), self.spare.take());
        self.tasks.spawn(async move {
            let answer = dispatch.call(origin, principal.as_ref(), &request).await;
            let stamp = dispatch.clock().stamp();
            let told = match answer.map(|answer| answer.read().unwrap_or_default()) {
                Ok(answer) => cloudevents::accepted(&event, &answer, stamp.time, &host),
                Err(fault) => cloudevents::refused(Some(&event), &fault, stamp, &host),
            };
            outbox.answer(frame::of(told));
            drop(permit);
        });
    }

    fn refuse(&self, event: Option<&CloudEvent>, fault: &Fault) {
        let stamp = self.dispatch.clock().stamp();
        self.say(frame::of(cloudevents::refused(event, fault, stamp, &self.host())));
    }

    fn host(&self) -> String {
        self.dispatch.identity().hostname.clone()
    }
}
