//! One websocket connection that speaks `SysAdm`: reads requests, has them answered, keeps time.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use protocol::{Cursor, Fault, Filter, Json, Overflow, Request, Start};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::admission::Place;
use super::outbox::{End, Half, Outbox};
use super::stream::Stream;
use super::timers::{Due, Timers};
use crate::access::{Principal, SESSION_SECONDS};
use crate::bus::{Face, Outlet, Standing, Subscribe};
use crate::dispatch::{Dispatch, Limits, Session};
use crate::lifecycle::{Stop, Tasks};
use crate::wire::sysadm::{self, Classic, OptedIn, Said, Wanted};

/// Bytes of one message before login: a login has a few hundred.
const ANONYMOUS_BYTES: usize = 8 * 1024;
/// Read at once from the socket. The default of 128 KiB would be memory for each idle client.
const READ_BYTES: usize = 2 * 1024;
/// Control frames that may wait inside tungstenite.
const CONTROL_BYTES: usize = 64 * 1024;
/// How long a close may take to reach the client.
const CLOSING: Duration = Duration::from_secs(2);

/// Everything that can wake a connection.
enum Wake {
    Heard(Option<Result<Message, Error>>),
    Driven(Option<End>),
    /// Another call may be taken on.
    Spare(OwnedSemaphorePermit),
    Time,
    Revoked,
    Stop,
}

/// What comes after a wake.
enum Next {
    GoOn,
    Close(CloseCode, &'static str),
    Cut,
}

const EXPIRED: Next = Next::Close(CloseCode::Library(4001), "the login has expired");

struct Conversation {
    session: Session,
    dispatch: Dispatch,
    tasks: Tasks,
    outbox: Arc<Outbox>,
    place: Option<Place>,
    timers: Timers,
    calls: Arc<Semaphore>,
    /// The permit for the next call; without it nothing is read.
    spare: Option<OwnedSemaphorePermit>,
    revocations: watch::Receiver<u64>,
    stop: Stop,
}

/// Holds the conversation until one side ends it. `read` came in with the upgrade.
pub(super) async fn hold(
    stream: Stream,
    read: Vec<u8>,
    dispatch: Dispatch,
    tasks: Tasks,
    (principal, place): (Option<Principal>, Option<Place>),
) {
    let limits = dispatch.identity().limits;
    let outbox = Outbox::new(stream, limits.queue_bytes);
    let half = outbox.half();
    let websocket =
        WebSocketStream::from_partially_read(half, read, Role::Server, Some(config(limits))).await;
    let conversation = Conversation {
        session: Session::new(dispatch.clone(), principal),
        revocations: dispatch.access().revocations(),
        dispatch,
        stop: tasks.stop_signal(),
        tasks,
        outbox,
        place,
        timers: Timers::new(Instant::now()),
        calls: Arc::new(Semaphore::new(limits.calls_in_flight)),
        spare: None,
    };
    conversation.run(websocket).await;
}

fn config(limits: Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(CONTROL_BYTES)
        .max_message_size(Some(limits.message_bytes))
        .max_frame_size(Some(limits.message_bytes))
}

impl Conversation {
    async fn run(mut self, mut websocket: WebSocketStream<Half>) {
        self.timers.expire_in(self.session.time_left(), Instant::now());
        let mut alarm = Box::pin(tokio::time::sleep_until(self.next_alarm()));
        loop {
            let may_read = self.spare.is_some() && self.outbox.has_room();
            let wake = tokio::select! {
                biased;
                heard = websocket.next(), if may_read => Wake::Heard(heard),
                driven = poll_fn(|cx| self.outbox.poll_drive(cx)) => Wake::Driven(driven),
                Ok(permit) = Arc::clone(&self.calls).acquire_owned(), if self.spare.is_none() => {
                    Wake::Spare(permit)
                }
                () = alarm.as_mut() => Wake::Time,
                Ok(()) = self.revocations.changed() => Wake::Revoked,
                () = self.stop.wait() => Wake::Stop,
            };
            let is_time = matches!(wake, Wake::Time);
            match self.handle(wake, &mut websocket).await {
                Next::GoOn => {}
                Next::Close(code, reason) => return self.close(websocket, code, reason).await,
                Next::Cut => return,
            }
            let next = self.next_alarm();
            if is_time || next < alarm.deadline() {
                alarm.as_mut().reset(next);
            }
        }
    }

    async fn handle(&mut self, wake: Wake, websocket: &mut WebSocketStream<Half>) -> Next {
        match wake {
            Wake::Heard(Some(Ok(message))) => self.hear(message).await,
            Wake::Heard(Some(Err(error))) => close_for(&error),
            Wake::Heard(None) | Wake::Driven(Some(End::Broken | End::Closing)) => Next::Cut,
            Wake::Driven(Some(End::TooSlow)) => {
                Next::Close(CloseCode::Library(4008), "too slow; retry_after_ms=1000")
            }
            Wake::Driven(None) => Next::GoOn,
            Wake::Spare(permit) => {
                self.spare = Some(permit);
                Next::GoOn
            }
            Wake::Time => self.keep_time(websocket).await,
            Wake::Revoked if self.session.still_counts().await => Next::GoOn,
            Wake::Revoked => Next::Close(CloseCode::Library(4001), "the login was revoked"),
            Wake::Stop => Next::Close(CloseCode::Away, "stopping; retry_after_ms=1000"),
        }
    }

    async fn hear(&mut self, message: Message) -> Next {
        let now = Instant::now();
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(bytes) => match Utf8Bytes::try_from(bytes) {
                Ok(text) => text,
                Err(_) => return Next::Close(CloseCode::Invalid, "not UTF-8"),
            },
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                self.timers.hear(now);
                return Next::GoOn;
            }
            // Tungstenite has answered it; the stream ends next.
            Message::Close(_) => return Next::GoOn,
        };
        self.timers.say(now);
        if self.session.time_left().is_some_and(|left| left.is_zero()) {
            return EXPIRED;
        }
        if self.session.principal().is_none() && text.len() > ANONYMOUS_BYTES {
            return Next::Close(CloseCode::Size, "a message before login has at most 8192 bytes");
        }
        match sysadm::decode(&text) {
            Ok(said) => self.answer(said).await,
            Err(garbled) => self.say(sysadm::refusal(&garbled.id, &garbled.fault)),
        }
        Next::GoOn
    }

    async fn answer(&mut self, said: Said<'_>) {
        if said.is("rpc", "identify") {
            self.say(sysadm::answer(&said, &self.dispatch.identify()));
        } else if said.namespace.eq_ignore_ascii_case("rpc") && said.name.starts_with("auth") {
            self.authenticate(&said).await;
        } else if said.is("events", "subscribe") || said.is("events", "unsubscribe") {
            self.subscription(&said).await;
        } else {
            self.call(&said);
        }
    }

    /// Has a call answered by a task of its own, so that a slow one delays nobody.
    fn call(&mut self, said: &Said<'_>) {
        let args = match said.read_args() {
            Ok(args) => args,
            Err(fault) => return self.say(sysadm::refusal(&said.id, &fault)),
        };
        let request = Request::new(&said.namespace, &said.name, args);
        let id = said.id.clone().into_owned();
        let principal = self.session.principal().cloned();
        let (dispatch, outbox) = (self.dispatch.clone(), Arc::clone(&self.outbox));
        let permit = self.spare.take();
        self.tasks.spawn(async move {
            let answer = dispatch.call(principal.as_ref(), &request).await;
            outbox.answer(match answer {
                Ok(args) => sysadm::answer_to(&request.namespace, &request.name, &id, &args),
                Err(fault) => sysadm::refusal(&id, &fault),
            });
            drop(permit);
        });
    }

    async fn authenticate(&mut self, said: &Said<'_>) {
        if said.name == "auth_clear" {
            self.session.logout();
            self.timers.stop_all();
            self.timers.expire_in(None, Instant::now());
            return;
        }
        let answer = match said.read_args().and_then(|args| secret(&said.name, &args)) {
            Ok(secret) => self.session.login(&secret).await,
            Err(fault) => Err(fault),
        };
        match answer {
            Ok(token) => {
                self.timers.expire_in(self.session.time_left(), Instant::now());
                if let Some(place) = &mut self.place {
                    place.known();
                }
                self.say(sysadm::answer(said, &Json::from(json!([token, SESSION_SECONDS]))));
            }
            Err(fault) => self.say(sysadm::refusal(&said.id, &fault)),
        }
    }

    async fn subscription(&mut self, said: &Said<'_>) {
        let outcome = match said.read_args().and_then(|args| sysadm::subscription(&args)) {
            Ok(wanted) => self.subscribe_or_not(said, wanted).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = outcome {
            let anonymous = self.session.principal().is_none();
            let fault = if anonymous { crate::dispatch::not_logged_in() } else { fault };
            self.say(sysadm::refusal(&said.id, &fault));
        }
    }

    async fn subscribe_or_not(&mut self, said: &Said<'_>, wanted: Wanted) -> Result<(), Fault> {
        if self.session.principal().is_none() {
            return Err(crate::dispatch::not_logged_in());
        }
        match (&*said.name, wanted) {
            ("subscribe", Wanted::Classic(classes)) => self.subscribe_classic(said, &classes).await,
            ("subscribe", Wanted::OptedIn(wanted)) => self.subscribe_opted_in(said, wanted).await,
            (_, Wanted::Classic(classes)) => {
                for class in &classes {
                    self.session.unsubscribe(&classic_key(class));
                }
                self.say(sysadm::answer(said, &classic_answer("unsubscribe", &classes)));
                Ok(())
            }
            (_, Wanted::OptedIn(OptedIn { sub, .. })) => {
                self.timers.stop_beating(&sub);
                if !self.session.unsubscribe(&key(&sub)) {
                    return Err(Fault::not_found(format!("there is no subscription {sub:?}")));
                }
                let args = json!({"sub": sub, "unsubscribe": sub});
                self.say(sysadm::answer(said, &Json::from(args)));
                Ok(())
            }
        }
    }

    /// The last event of each class, then the answer, then what follows: as the original does it.
    async fn subscribe_classic(
        &mut self,
        said: &Said<'_>,
        classes: &[&'static Classic],
    ) -> Result<(), Fault> {
        let new = classes.iter().filter(|class| !self.session.is_subscribed(&classic_key(class)));
        self.session.check_room_for(new.count())?;
        let mut starts = Vec::new();
        for class in classes {
            let filter = Filter::classes(class.patterns.iter().copied());
            let subscribed = self.session.is_subscribed(&classic_key(class));
            let mut start = self.session.head();
            if let Some(last) = self.session.newest(&filter).await? {
                let mut frame = Vec::new();
                (class.wording.event)(&last, &start, "", &mut frame);
                self.say(frame);
                start.seq = start.seq.max(last.seq.unwrap_or_default());
            }
            // One that is live goes on: beginning it anew could repeat what it has delivered.
            if !subscribed {
                starts.push((*class, filter, start));
            }
        }
        self.say(sysadm::answer(said, &classic_answer("subscribe", classes)));
        for (class, filter, start) in starts {
            let face = Face::new(class.wording, "");
            let subscribe = self.wanted(filter, Start::After(start), Overflow::Lossless, face);
            let silent = Box::new(|_: &Standing| Vec::new());
            self.session.subscribe(classic_key(class), subscribe, silent).await?;
        }
        Ok(())
    }

    async fn subscribe_opted_in(&mut self, said: &Said<'_>, wanted: OptedIn) -> Result<(), Fault> {
        let OptedIn { sub, filter, start, overflow, heartbeat_s } = wanted;
        let face = Face::new(&sysadm::OPTED_IN, &sub);
        let subscribe = self.wanted(filter, start, overflow, face);
        let (namespace, id) = (said.namespace.clone().into_owned(), said.id.clone().into_owned());
        let name = sub.clone();
        let answer = move |standing: &Standing| {
            sysadm::answer_to(&namespace, "subscribe", &id, &sysadm::standing(&name, standing))
        };
        self.session.subscribe(key(&sub), subscribe, Box::new(answer)).await?;
        self.timers.beat(&sub, Duration::from_secs(heartbeat_s), Instant::now());
        Ok(())
    }

    fn wanted(&self, filter: Filter, start: Start, overflow: Overflow, face: Face) -> Subscribe {
        let outbox = Arc::clone(&self.outbox);
        let outlet: Arc<dyn Outlet> = outbox;
        Subscribe { filter, start, overflow, face, outlet }
    }

    async fn keep_time(&mut self, websocket: &mut WebSocketStream<Half>) -> Next {
        let now = Instant::now();
        for sub in self.timers.heartbeats(now) {
            self.beat(&sub);
        }
        let logged_in = self.session.principal().is_some();
        match self.timers.due(now, logged_in, self.session.subscription_count() > 0) {
            Due::Nothing => {}
            Due::Close => return Next::Close(CloseCode::Normal, ""),
            Due::Cut => return Next::Cut,
            Due::Ping => {
                use futures_util::SinkExt as _;
                if websocket.send(Message::Ping(bytes::Bytes::new())).await.is_err() {
                    return Next::Cut;
                }
            }
        }
        if !self.session.still_counts().await {
            return EXPIRED;
        }
        self.timers.expire_in(self.session.time_left(), now);
        Next::GoOn
    }

    fn beat(&self, sub: &str) {
        let cursor: Option<Cursor> = self.session.cursor(&key(sub));
        if let Some(cursor) = cursor {
            self.say(sysadm::heartbeat(sub, &cursor, self.dispatch.clock().now()));
        }
    }

    /// Written when everything that was said has been read.
    fn say(&self, frame: Vec<u8>) {
        self.outbox.answer_later(frame);
    }

    fn next_alarm(&self) -> Instant {
        let logged_in = self.session.principal().is_some();
        self.timers.next(logged_in, self.session.subscription_count() > 0)
    }

    async fn close(
        self,
        mut websocket: WebSocketStream<Half>,
        code: CloseCode,
        reason: &'static str,
    ) {
        // Whoever is being closed, perhaps because a login was revoked, gets nothing more.
        self.outbox.close();
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        let closing = async {
            if websocket.close(Some(frame)).await.is_ok() {
                poll_fn(|cx| self.outbox.poll_written(cx)).await;
                // Read on until the client has answered: dropping unread bytes would reset the
                // connection and take the close frame with it.
                while let Some(Ok(_)) = websocket.next().await {}
            }
        };
        if tokio::time::timeout(CLOSING, closing).await.is_err() {
            tracing::debug!("a client did not answer the close");
        }
    }
}

/// The close that a websocket error calls for.
fn close_for(error: &Error) -> Next {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            Next::Close(CloseCode::Size, "a message has at most 1048576 bytes")
        }
        Error::Utf8(_) => Next::Close(CloseCode::Invalid, "not UTF-8"),
        Error::Protocol(_) => Next::Close(CloseCode::Protocol, "not a websocket frame"),
        _ => Next::Cut,
    }
}

/// What proves a login.
fn secret(name: &str, args: &Value) -> Result<String, Fault> {
    let member = match name {
        "auth" => "password",
        "auth_token" => "token",
        _ => {
            let sentence = format!("rpc/{name} is not a way to log in here");
            return Err(Fault::new(protocol::FaultKind::Unauthorized, sentence)
                .with_hint("use rpc/auth with a token as the password, or rpc/auth_token"));
        }
    };
    let text = args.get(member).and_then(Value::as_str).unwrap_or_default();
    Ok(text.to_owned())
}

fn classic_answer(verb: &str, classes: &[&'static Classic]) -> Json {
    // The original keeps one key, so only the last class shows.
    Json::from(match classes.last() {
        Some(last) => json!({ verb: last.name }),
        None => json!({}),
    })
}

fn classic_key(class: &Classic) -> String {
    format!("classic/{}", class.name)
}

fn key(sub: &str) -> String {
    format!("sub/{sub}")
}
