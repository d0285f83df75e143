//! One websocket connection: reads messages, has them answered, keeps time. What a message means is
//! the business of the protocol it is spoken in, one module for each.

mod cloudevents;
mod dockercloud;
mod jsonrpc;
mod sysadm;

use std::borrow::Cow;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use protocol::{Fault, Filter, Json, Overflow, Start};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::admission::Place;
use super::outbox::{End, Outbox};
use super::socket::{self, READ_BYTES, WebSocket};
use super::stream::Stream;
use super::timers::{Due, Timers};
use crate::access::{Origin, Peer, Principal, SESSION_SECONDS};
use crate::bus::{Face, Outlet};
use crate::config::Limits;
use crate::dispatch::{Dispatch, Session, Wanted};
use crate::lifecycle::{Stop, Tasks};
use crate::wire::cloudevents::Stream as Wished;
use crate::wire::login::{Shown, challenge, login};

pub(super) use dockercloud::Hearing;

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
    Close(CloseCode, Cow<'static, str>),
    /// The client has closed and waits for the answer.
    Leave,
    Cut,
}

/// Messages that are heard one after the other before anything else is looked at: enough for most
/// of what looking costs to be shared, few enough to be done within a millisecond.
const BATCH: usize = 32;

/// How long calls of a login that was revoked may still be answered.
const FINISHING: Duration = Duration::from_millis(500);

const EXPIRED: Next = Next::Close(CloseCode::Library(4001), Cow::Borrowed("the login has expired"));

/// The protocol that is spoken on a websocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tongue {
    /// `SysAdm`.
    SysAdm,
    /// JSON-RPC 2.0.
    JsonRpc,
    /// `CloudEvents`: one stream, and events that are brought.
    CloudEvents,
    /// Docker Cloud's: one stream.
    DockerCloud,
}

/// A protocol, and what was asked for in it when the websocket was opened.
#[derive(Debug)]
pub(super) struct Opening {
    tongue: Tongue,
    stream: Option<Box<Beginning>>,
}

/// A stream that begins with the conversation.
#[derive(Debug)]
enum Beginning {
    CloudEvents(Wished),
    DockerCloud(Hearing),
}

impl From<Tongue> for Opening {
    fn from(tongue: Tongue) -> Self {
        Self { tongue, stream: None }
    }
}

impl From<Wished> for Opening {
    fn from(stream: Wished) -> Self {
        let stream = Some(Box::new(Beginning::CloudEvents(stream)));
        Self { tongue: Tongue::CloudEvents, stream }
    }
}

impl From<Hearing> for Opening {
    fn from(stream: Hearing) -> Self {
        let stream = Some(Box::new(Beginning::DockerCloud(stream)));
        Self { tongue: Tongue::DockerCloud, stream }
    }
}

struct Conversation {
    tongue: Tongue,
    websocket: WebSocket,
    /// Rings when something is due.
    alarm: Pin<Box<Sleep>>,
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
    /// Subscriptions that were given a number for a name.
    numbered: u64,
}

/// Who is at the other end.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) peer: Peer,
    /// Whoever the kernel, a certificate or a header has named.
    pub(super) principal: Option<Principal>,
    pub(super) place: Option<Place>,
}

/// Begins a conversation, which a task of its own holds until one side ends it. `read` came in
/// with the upgrade.
pub(super) async fn begin(
    (stream, read): (Stream, Vec<u8>),
    dispatch: Dispatch,
    tasks: Tasks,
    Guest { peer, principal, place }: Guest,
    Opening { tongue, stream: wished }: Opening,
) {
    let limits = dispatch.identity().limits;
    let (websocket, outbox) = socket::open(stream, read, &limits).await;
    let now = Instant::now();
    let begun = place.as_ref().map_or(now, Place::begun);
    let stop = place.as_ref().map_or_else(|| tasks.stop_signal(), Place::stop);
    let mut conversation = Box::new(Conversation {
        tongue,
        websocket,
        alarm: Box::pin(sleep_until(now)),
        session: Session::new(dispatch.clone(), Origin { peer, face: tongue.face() }, principal),
        revocations: dispatch.access().revocations(),
        dispatch,
        stop,
        tasks: tasks.clone(),
        outbox,
        place,
        timers: Timers::new(begun, now),
        calls: Arc::new(Semaphore::new(limits.calls_in_flight)),
        spare: None,
        numbered: 0,
    });
    if let Some(wished) = wished
        && let Err(fault) = conversation.begin_with(*wished).await
    {
        tracing::debug!(%fault, "a stream could not begin");
        return conversation.end(closing(CloseCode::Again, "retry_after_ms=1000")).await;
    }
    tasks.spawn(conversation.run());
}

impl Tongue {
    /// What the audit trail calls it.
    const fn face(self) -> &'static str {
        match self {
            Self::SysAdm => "websocket",
            Self::JsonRpc => "jsonrpc",
            Self::CloudEvents => "cloudevents",
            Self::DockerCloud => "dockercloud",
        }
    }
}

impl Conversation {
    /// Begins the stream that the websocket was opened for.
    async fn begin_with(&mut self, wanted: Beginning) -> Result<(), Fault> {
        match wanted {
            Beginning::CloudEvents(stream) => self.begin_stream(stream).await,
            Beginning::DockerCloud(hearing) => self.begin_hearing(hearing).await,
        }
    }

    /// What happens rarely is boxed: it would otherwise be memory of every idle client.
    async fn run(mut self: Box<Self>) {
        self.timers.expire_in(self.session.time_left(), Instant::now());
        // Whoever a header has named may have been revoked before anybody listened here.
        self.revocations.mark_changed();
        self.allow();
        loop {
            let wake = self.wake().await;
            let is_time = matches!(wake, Wake::Time);
            let next = match wake {
                Wake::Heard(Some(Ok(message))) => self.hear_on(message).await,
                other => Box::pin(self.handle(other)).await,
            };
            if !matches!(next, Next::GoOn) {
                return Box::pin(self.end(next)).await;
            }
            let next = self.next_alarm();
            if is_time || next < self.alarm.deadline() {
                self.alarm.as_mut().reset(next);
            }
        }
    }

    /// Hears a message, and those behind it that are here already.
    async fn hear_on(&mut self, message: Message) -> Next {
        let mut next = self.hear(message).await;
        self.allow();
        for _ in 1..BATCH {
            if !matches!(next, Next::GoOn) || !self.outbox.has_room() {
                break;
            }
            if self.spare.is_none() {
                self.spare = Arc::clone(&self.calls).try_acquire_owned().ok();
            }
            let more = self.spare.as_ref().and_then(|_| self.websocket.next().now_or_never());
            let Some(more) = more else { break };
            next = match more {
                Some(Ok(message)) => self.hear(message).await,
                other => Box::pin(self.handle(Wake::Heard(other))).await,
            };
            self.allow();
        }
        next
    }

    async fn wake(&mut self) -> Wake {
        let may_read = self.spare.is_some() && self.outbox.has_room();
        let Self { websocket, outbox, calls, alarm, revocations, stop, spare, .. } = self;
        tokio::select! {
            biased;
            // What ends a connection comes first: whoever never stops talking is no exception.
            () = stop.wait() => Wake::Stop,
            Ok(()) = revocations.changed() => Wake::Revoked,
            () = alarm.as_mut() => Wake::Time,
            heard = websocket.next(), if may_read => Wake::Heard(heard),
            driven = poll_fn(|cx| outbox.poll_drive(cx)) => Wake::Driven(driven),
            Ok(permit) = Arc::clone(calls).acquire_owned(), if spare.is_none() => {
                Wake::Spare(permit)
            }
        }
    }

    async fn handle(&mut self, wake: Wake) -> Next {
        match wake {
            Wake::Heard(Some(Ok(message))) => self.hear(message).await,
            Wake::Heard(Some(Err(error))) => close_for(&error, self.limits()),
            Wake::Heard(None) | Wake::Driven(Some(End::Broken | End::Closing)) => Next::Cut,
            Wake::Driven(Some(End::TooSlow)) => {
                closing(CloseCode::Library(4008), "too slow; retry_after_ms=1000")
            }
            Wake::Driven(None) => Next::GoOn,
            Wake::Spare(permit) => {
                self.spare = Some(permit);
                Next::GoOn
            }
            Wake::Time => self.keep_time().await,
            Wake::Revoked if self.session.still_counts() => {
                // Perhaps the clock was set, and it ends sooner than when this was reckoned.
                self.timers.expire_in(self.session.time_left(), Instant::now());
                Next::GoOn
            }
            Wake::Revoked if self.has_expired() => EXPIRED,
            Wake::Revoked => {
                self.finish_calls().await;
                closing(CloseCode::Library(4001), "the login was revoked")
            }
            Wake::Stop if self.tasks.stop_signal().is_set() => {
                closing(CloseCode::Away, "stopping; retry_after_ms=1000")
            }
            Wake::Stop => {
                closing(CloseCode::Again, "room is needed for others; retry_after_ms=1000")
            }
        }
    }

    /// Ends the subscriptions and lets what was asked before be answered: whoever rotates their own
    /// token is still told the new one.
    async fn finish_calls(&mut self) {
        self.session.fall_silent();
        self.spare = None;
        let all = u32::try_from(self.limits().calls_in_flight).unwrap_or(u32::MAX);
        timeout(FINISHING, self.calls.acquire_many(all)).await.ok();
    }

    async fn hear(&mut self, message: Message) -> Next {
        let now = Instant::now();
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(bytes) => match Utf8Bytes::try_from(bytes) {
                Ok(text) => text,
                Err(_) => return closing(CloseCode::Invalid, "not UTF-8"),
            },
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                self.timers.hear(now);
                return Next::GoOn;
            }
            Message::Close(_) => return Next::Leave,
        };
        self.timers.say(now);
        if self.has_expired() {
            return EXPIRED;
        }
        let stranger_max = self.limits().anonymous_message_bytes;
        if self.session.principal().is_none() && text.len() > stranger_max {
            return stranger_too_large(self.limits());
        }
        let stop = self.stop.clone();
        // A stranger whose place is needed does not keep it for as long as a login takes.
        tokio::select! {
            biased;
            // First, because what takes no time needs nobody to watch it.
            () = self.hear_request(text) => {}
            () = stop.wait() => {}
        }
        Next::GoOn
    }

    async fn hear_request(&mut self, text: Utf8Bytes) {
        match self.tongue {
            Tongue::SysAdm => self.hear_sysadm(&text).await,
            Tongue::JsonRpc => self.hear_jsonrpc(text).await,
            Tongue::CloudEvents => self.take_event(&text),
            // Its clients say nothing that would mean anything.
            Tongue::DockerCloud => {}
        }
    }

    /// Logs in or out as `rpc/NAME` says; the arguments of the answer.
    async fn authenticate(&mut self, name: &str, args: &Value) -> Result<Json, Fault> {
        if name == "auth_clear" {
            self.session.logout().await;
            self.timers.stop_all();
            self.timers.expire_in(None, Instant::now());
            return Ok(Json::from(Value::Bool(true)));
        }
        let place = &mut self.place;
        let has_room = |who: &Principal| place.as_mut().map_or(Ok(()), |place| place.known(who));
        let token = match login(name, args)? {
            Shown::Proof(proof) => self.session.login(proof, has_room).await?,
            Shown::Answer(answer) => self.session.answer_by_key(answer, has_room).await?,
            Shown::NoAnswer => return self.session.ask_for_key().map(|text| challenge(&text)),
        };
        self.timers.expire_in(self.session.time_left(), Instant::now());
        if let Some(place) = &self.place {
            self.stop = place.stop();
        }
        Ok(Json::from(json!([token, SESSION_SECONDS])))
    }

    fn wanted(&self, filter: Filter, start: Start, overflow: Overflow, face: Face) -> Wanted {
        let outbox = Arc::clone(&self.outbox);
        let outlet: Arc<dyn Outlet> = outbox;
        Wanted { filter, start, overflow, face, outlet }
    }

    async fn keep_time(&mut self) -> Next {
        let now = Instant::now();
        for sub in self.timers.heartbeats(now) {
            self.beat(&sub);
        }
        let logged_in = self.session.principal().is_some();
        let subscribed = self.session.subscription_count() > 0;
        let limits = &self.dispatch.identity().limits;
        match self.timers.due(limits, now, logged_in, subscribed) {
            Due::Nothing => {}
            Due::Close => return closing(CloseCode::Normal, ""),
            Due::Cut => return Next::Cut,
            Due::Ping => {
                use futures_util::SinkExt as _;
                if self.websocket.send(Message::Ping(bytes::Bytes::new())).await.is_err() {
                    return Next::Cut;
                }
            }
        }
        if !self.session.still_counts() {
            return EXPIRED;
        }
        self.session.keep_alive().await;
        self.timers.expire_in(self.session.time_left(), now);
        Next::GoOn
    }

    fn beat(&self, sub: &str) {
        let (name, now) = (sub.to_owned(), self.dispatch.clock().now());
        let heartbeat = match self.tongue {
            Tongue::SysAdm => crate::wire::sysadm::heartbeat,
            Tongue::JsonRpc => crate::wire::jsonrpc::heartbeat,
            Tongue::CloudEvents => return self.beat_stream(now),
            Tongue::DockerCloud => return,
        };
        self.session.beat(&key(sub), move |cursor| heartbeat(&name, cursor, now));
    }

    /// Written when everything that was said has been read.
    fn say(&self, frame: Vec<u8>) {
        self.outbox.answer_later(frame);
    }

    /// How much may be read until the next frame is whole.
    fn allow(&self) {
        let anonymous = self.session.principal().is_none();
        // One of the largest messages, its header, and what was read behind the one before.
        let most = self.limits().anonymous_message_bytes + READ_BYTES + 64;
        self.outbox.allow(anonymous.then_some(most));
    }

    fn next_alarm(&self) -> Instant {
        let logged_in = self.session.principal().is_some();
        self.timers.next(self.limits(), logged_in, self.session.subscription_count() > 0)
    }

    fn has_expired(&self) -> bool {
        self.session.time_left().is_some_and(|left| left.is_zero())
    }

    fn limits(&self) -> &Limits {
        &self.dispatch.identity().limits
    }

    async fn end(mut self: Box<Self>, how: Next) {
        self.session.fall_silent();
        match how {
            // Whoever is being closed, perhaps because a login was revoked, gets nothing more.
            Next::Close(code, reason) => {
                socket::close(&mut self.websocket, &self.outbox, code, reason).await;
            }
            Next::Leave => socket::leave(&mut self.websocket, &self.outbox).await,
            Next::Cut | Next::GoOn => {}
        }
        // Thousands at once would hold up the daemon's end.
        if !self.tasks.stop_signal().is_set() {
            self.session.note_use().await;
        }
    }
}

/// What a websocket error calls for.
fn close_for(error: &Error, limits: &Limits) -> Next {
    match (error, socket::close_for(error, limits)) {
        (Error::Io(error), _) if error.kind() == ErrorKind::FileTooLarge => {
            stranger_too_large(limits)
        }
        (_, Some((code, reason))) => Next::Close(code, reason),
        (_, None) => Next::Cut,
    }
}

fn stranger_too_large(limits: &Limits) -> Next {
    let most = limits.anonymous_message_bytes;
    Next::Close(CloseCode::Size, format!("a message before login has at most {most} bytes").into())
}

fn closing(code: CloseCode, reason: &'static str) -> Next {
    Next::Close(code, Cow::Borrowed(reason))
}

fn key(sub: &str) -> String {
    format!("sub/{sub}")
}

/// The name of the subscription with this key.
fn name(key: &str) -> &str {
    key.strip_prefix("sub/").unwrap_or(key)
}
