//! Floor 3: what is published reaches everybody who subscribed.
//!
//! It knows subscriptions, priorities, replay and lag. It must not know sockets, protocols or who
//! may do what: a subscription hands it a [`Face`] that turns events into bytes and an [`Outlet`]
//! that takes them. `host` publishes here, `dispatch` subscribes.
//!
//! Nothing here waits for a client. One thread (`fan`) takes what was recorded, encodes it once
//! for each group of subscriptions that want the same, and offers the bytes to each outlet. Who
//! does not take them falls behind and is served from the log by a task of its own (`pump`) until
//! it has caught up.

mod bell;
mod catch_up;
mod command;
mod face;
mod fan;
mod lane;
mod latest;
mod member;
mod outlet;
mod own;
mod selection;
mod tail;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::manifest::Retain;
use protocol::{Cursor, Draft, Event, Fault, FaultKind, Gap, GapReason, Overflow, Start};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::clock::Clock;
use crate::lifecycle::Tasks;
use crate::sight::{Classes, Interest};
use crate::store::{
    AuditEntry, Bounds, EventLog, JobChange, OrderChange, Record, StoreError, StoredAlert,
    Submitted,
};

pub use bell::Bell;
pub use face::{Face, Wording};
pub use outlet::{Offer, Outlet};
pub use own::{OwnClass, own_class, own_classes};

use catch_up::CatchUp;
use command::{Command, Greeting, Heartbeat};
use latest::Latest;
use member::{Member, MemberId};
use tail::Tail;

/// What waits for the fan-out thread: batches of recorded events, joins and leaves. The writer of
/// the log waits when it is full, which slows publishers down to what the machine can deliver.
const COMMANDS_MAX: usize = 1024;

/// Publishes and subscribes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus(Arc<Shared>);

/// What the handle, the fan-out thread and the catching-up tasks have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    log: EventLog,
    clock: Clock,
    instance: Uuid,
    tasks: Tasks,
    tail: Tail,
    latest: Latest,
    classes: Classes,
    fan: mpsc::Sender<Command>,
    next_member: AtomicU64,
}

/// What somebody wants to subscribe to.
#[derive(Debug)]
pub struct Subscribe {
    /// Which events, of those the subscriber may hear.
    pub interest: Interest,
    /// From where on.
    pub start: Start,
    /// What happens when the outlet is full.
    pub overflow: Overflow,
    /// How events become bytes.
    pub face: Face,
    /// Where the bytes go.
    pub outlet: Arc<dyn Outlet>,
}

/// Where the log stands at the moment a subscription begins: what the answer to the subscriber is
/// made of.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Everything up to here is not delivered any more; what follows is.
    pub cursor: Cursor,
    /// The oldest event the log holds.
    pub oldest_seq: u64,
    /// The newest event the log holds.
    pub head_seq: u64,
    /// The first and last number that are replayed.
    pub replay: Option<(u64, u64)>,
    /// What cannot be delivered, and why.
    pub gap: Option<Gap>,
}

/// A subscription that lives until it is dropped.
#[derive(Debug)]
pub struct Subscription {
    bus: Bus,
    member: Arc<Member>,
}

impl Bus {
    /// Starts the fan-out thread over this log.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        log: EventLog,
        clock: Clock,
        instance: Uuid,
        tasks: Tasks,
    ) -> std::io::Result<Self> {
        let (fan, commands) = mpsc::channel(COMMANDS_MAX);
        let tail = Tail::new(log.bounds().head);
        let latest = Latest::default();
        let next_member = AtomicU64::new(1);
        let classes = own::audible();
        let shared =
            Shared { log, clock, instance, tasks, tail, latest, classes, fan, next_member };
        let shared = Arc::new(shared);
        fan::start(&shared, commands)?;
        let recorded = shared.fan.clone();
        shared.log.on_commit(Box::new(move |batch| {
            // The only error is that the fan-out thread is gone, which is a daemon that stops.
            recorded.blocking_send(Command::Recorded(batch.to_vec())).ok();
        }));
        Ok(Self(shared))
    }

    /// The database the log's numbers belong to.
    pub fn instance(&self) -> Uuid {
        self.0.instance
    }

    /// Everything up to now: where a subscription to the future would begin.
    pub fn head(&self) -> Cursor {
        Cursor::after(self.0.instance, self.0.log.bounds().head)
    }

    /// Where reading the log begins for somebody who wants it from there, and what is missing there.
    pub fn beginning(&self, start: Start) -> (Cursor, Option<Gap>) {
        self.0.place(start).map_or_else(|| (self.head(), None), |place| (place.cursor, place.gap))
    }

    /// Who may hear which class. Plugins' classes are declared here as they come and go.
    pub fn classes(&self) -> &Classes {
        &self.0.classes
    }

    /// The durable log behind it.
    pub fn log(&self) -> &EventLog {
        &self.0.log
    }

    /// Waits until the fan-out thread has done a turn.
    ///
    /// # Errors
    /// `unavailable` when it has ended.
    pub async fn answers(&self) -> Result<(), Fault> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.0.fan.send(Command::Ask(answer)).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }

    /// All events after `seq`, without asking the database; `None` when there are more than `most`,
    /// or memory does not reach back that far or not yet to the newest.
    pub fn recent(&self, seq: u64, most: usize) -> Option<Vec<Arc<Event>>> {
        let head = self.0.log.bounds().head;
        let events = self.0.tail.after(seq, most)?;
        let reached = events.last().map_or(seq, |newest| newest.seq.unwrap_or(seq));
        (reached >= head).then_some(events)
    }

    /// Records a draft as its class declares, then delivers it. With [`Retain::Log`] it returns
    /// when the event would survive a crash.
    ///
    /// # Errors
    /// `bad-request` when the draft is over a bound; `unavailable` when it cannot be recorded.
    pub async fn publish(
        &self,
        source: &str,
        draft: Draft,
        retain: Retain,
    ) -> Result<Arc<Event>, Fault> {
        self.submit(source, draft, retain).await?.recorded().await
    }

    /// The same for an event that is a change to be audited: it is recorded together with `entry`,
    /// both or neither. The event must be of a class that is logged.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_audited(
        &self,
        source: &str,
        draft: Draft,
        entry: AuditEntry,
    ) -> Result<Arc<Event>, Fault> {
        draft.check().map_err(Fault::bad_request)?;
        let record = Record { audit: Some(entry), ..record(source, draft) };
        self.0.log.append(record).await.map_err(|error| unrecorded(&error))
    }

    /// The same for an event that tells of a change of a job: both are recorded, or neither. The
    /// event must be of a class that is logged.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_job(
        &self,
        source: &str,
        draft: Draft,
        change: JobChange,
    ) -> Result<Arc<Event>, Fault> {
        draft.check().map_err(Fault::bad_request)?;
        let record = Record { job: Some(Box::new(change)), ..record(source, draft) };
        self.0.log.append(record).await.map_err(|error| unrecorded(&error))
    }

    /// The same for an event that tells of a change of an alert: both are recorded, or neither. The
    /// event must be of a class that is logged.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_alert(
        &self,
        source: &str,
        draft: Draft,
        alert: StoredAlert,
    ) -> Result<Arc<Event>, Fault> {
        draft.check().map_err(Fault::bad_request)?;
        let record = Record { alert: Some(Box::new(alert)), ..record(source, draft) };
        self.0.log.append(record).await.map_err(|error| unrecorded(&error))
    }

    /// The same for an event that tells of an order or one of its runs, with what goes into the audit
    /// trail: all of it is recorded, or nothing. The event must be of a class that is logged.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_order(
        &self,
        source: &str,
        draft: Draft,
        (audit, change): (Option<AuditEntry>, OrderChange),
    ) -> Result<Arc<Event>, Fault> {
        draft.check().map_err(Fault::bad_request)?;
        let record = Record { audit, order: Some(Box::new(change)), ..record(source, draft) };
        self.0.log.append(record).await.map_err(|error| unrecorded(&error))
    }

    /// The same in two steps: when it returns, nothing that the publisher submits later comes
    /// before this event; [`Underway::recorded`] waits until it is durable.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn submit(
        &self,
        source: &str,
        draft: Draft,
        retain: Retain,
    ) -> Result<Underway, Fault> {
        draft.check().map_err(Fault::bad_request)?;
        match retain {
            Retain::Log => {
                let submitted = self.0.log.submit(record(source, draft)).await;
                submitted.map(Underway::Submitted).map_err(|error| unrecorded(&error))
            }
            Retain::Latest | Retain::None => {
                self.0.pass_on(source, draft, retain).await.map(Underway::There)
            }
        }
    }

    /// Begins a subscription. `greet` makes the bytes that the outlet gets before the first event.
    ///
    /// # Errors
    /// `bad-request` for a filter over its bounds, `unavailable` when the daemon stops.
    pub async fn subscribe(
        &self,
        wanted: Subscribe,
        greet: impl FnOnce(&Standing) -> Vec<u8> + Send + 'static,
    ) -> Result<Subscription, Fault> {
        wanted.interest.filter.check().map_err(Fault::bad_request)?;
        let start = wanted.start.clone();
        let id = MemberId(self.0.next_member.fetch_add(1, Ordering::Relaxed));
        let member = Arc::new(Member::new(id, wanted));
        let subscription = Subscription { bus: self.clone(), member: Arc::clone(&member) };
        let greeting: Greeting = Box::new(greet);
        match self.0.place(start) {
            None => self.0.join_at_head(member, greeting).await?,
            Some(place) => CatchUp::begin(Arc::clone(&self.0), member, place, greeting).await?,
        }
        Ok(subscription)
    }
}

/// An event that has its place among the others of its publisher and is not durable yet.
#[derive(Debug)]
pub enum Underway {
    /// In the log's queue.
    Submitted(Submitted),
    /// Of a class that is not logged: delivered.
    There(Arc<Event>),
}

impl Underway {
    /// The event, once it would survive a crash (or was delivered, when it is not logged).
    ///
    /// # Errors
    /// `unavailable` when it cannot be recorded.
    pub async fn recorded(self) -> Result<Arc<Event>, Fault> {
        match self {
            Self::Submitted(submitted) => {
                submitted.recorded().await.map_err(|error| unrecorded(&error))
            }
            Self::There(event) => Ok(event),
        }
    }
}

impl Subscription {
    /// Gives the outlet a heartbeat, in its order among the events; `heartbeat` makes its bytes from
    /// where the subscription is. A subscription that is behind gets none: its next message carries
    /// its cursor.
    pub fn beat(&self, heartbeat: impl FnOnce(&Cursor) -> Vec<u8> + Send + 'static) {
        let heartbeat: Heartbeat = Box::new(heartbeat);
        let beat = Command::Beat { member: Arc::clone(&self.member), heartbeat };
        // With a full queue there is enough to hear without it.
        self.bus.0.fan.try_send(beat).ok();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.member.leave();
        let leave = Command::Leave(self.member.id());
        // When the queue is full the fan-out thread finds the member gone by itself.
        self.bus.0.fan.try_send(leave).ok();
    }
}

/// Where catching up begins.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) cursor: Cursor,
    pub(crate) gap: Option<Gap>,
    /// Begin with the newest of every class and subject.
    pub(crate) snapshot: bool,
}

impl Shared {
    /// `None` when nothing has to be replayed.
    fn place(&self, start: Start) -> Option<Place> {
        let bounds = self.log.bounds();
        let at = |seq| Cursor::after(self.instance, seq);
        let from_oldest = |gap| Place { cursor: at(bounds.oldest - 1), gap, snapshot: false };
        match start {
            Start::Now => None,
            Start::Oldest => Some(from_oldest(None)),
            Start::Snapshot => Some(Place { cursor: at(bounds.head), gap: None, snapshot: true }),
            Start::After(cursor) if cursor.instance != self.instance => {
                let gap = (bounds.oldest - 1, bounds.oldest - 1);
                Some(from_oldest(Some(unknown_gap(gap.0, gap.1, GapReason::OtherInstance))))
            }
            Start::After(cursor) => Some(after(cursor, bounds)),
        }
    }

    async fn join_at_head(&self, member: Arc<Member>, greeting: Greeting) -> Result<(), Fault> {
        let join = Command::JoinAtHead { member, greeting };
        self.fan.send(join).await.map_err(|_| stopping())
    }

    /// Stamps an event that is not recorded and hands it to the fan-out thread.
    async fn pass_on(
        &self,
        source: &str,
        draft: Draft,
        retain: Retain,
    ) -> Result<Arc<Event>, Fault> {
        let stamp = self.clock.stamp();
        let event = Arc::new(Event {
            seq: None,
            id: stamp.id,
            time: stamp.time,
            source: source.to_owned(),
            class: draft.class,
            subject: draft.subject,
            priority: draft.priority.unwrap_or_default(),
            message: draft.message,
            data: draft.data,
        });
        if retain == Retain::Latest {
            self.latest.put(&event);
        }
        let passing = Command::Passing(Arc::clone(&event), retain);
        self.fan.send(passing).await.map_err(|_| stopping())?;
        Ok(event)
    }

    /// The newest event of every class and subject that is wanted, oldest first: the kept
    /// state, then the newest of the log.
    pub(crate) async fn snapshot(
        &self,
        interest: &Interest,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let mut events = self.log.newest_each(interest.clone(), latest::KEPT_MAX).await?;
        events.extend(self.latest.matching(interest));
        events.sort_by_key(|event| event.time);
        Ok(events)
    }
}

impl Bus {
    /// The newest event that is wanted, recorded or kept as state.
    ///
    /// # Errors
    /// `unavailable` when the log cannot be read.
    pub async fn newest(&self, interest: &Interest) -> Result<Option<Arc<Event>>, Fault> {
        let recorded =
            self.0.log.newest(interest.clone()).await.map_err(|error| unreadable(&error))?;
        let kept = self.0.latest.matching(interest);
        Ok(recorded.into_iter().chain(kept).max_by_key(|event| event.time))
    }
}

/// The place of a cursor of this log, as far as the log reaches. What has overtaken it and is still
/// to be found is kept: it must not be repeated, and a number that the log will give to another
/// event must not be passed over.
fn after(mut cursor: Cursor, bounds: Bounds) -> Place {
    let newest = cursor.ahead.last().copied().unwrap_or(cursor.seq);
    let mut gap = None;
    if newest > bounds.head {
        gap = Some(unknown_gap(bounds.head, newest, GapReason::AheadOfLog));
        cursor.seq = cursor.seq.min(bounds.head);
    } else if cursor.seq + 1 < bounds.oldest {
        gap = Some(unknown_gap(cursor.seq + 1, bounds.oldest - 1, GapReason::Expired));
        cursor.seq = bounds.oldest - 1;
    }
    let seq = cursor.seq;
    cursor.ahead.retain(|ahead| (seq + 1..=bounds.head).contains(ahead));
    Place { cursor, gap, snapshot: false }
}

fn record(source: &str, draft: Draft) -> Record {
    Record {
        source: source.to_owned(),
        class: draft.class,
        subject: draft.subject,
        priority: draft.priority.unwrap_or_default(),
        message: draft.message,
        data: draft.data,
        audit: None,
        job: None,
        alert: None,
        order: None,
    }
}

fn unknown_gap(from_seq: u64, to_seq: u64, reason: GapReason) -> Gap {
    Gap { from_seq, to_seq, missed: None, reason, resume_from: None }
}

fn unrecorded(error: &StoreError) -> Fault {
    // The store has told the log once; publishers may be many.
    tracing::debug!(%error, "an event could not be recorded");
    let (sentence, hint) = match error {
        StoreError::Full => (
            "the disk is full, so the event could not be recorded",
            "nothing was changed; make room in the daemon's state directory and try again",
        ),
        _ => ("the event could not be recorded", "nothing was changed; the daemon's log says why"),
    };
    Fault::new(FaultKind::Unavailable, sentence).with_hint(hint).with_retry_after_ms(1_000)
}

pub(crate) fn unreadable(error: &StoreError) -> Fault {
    tracing::error!(%error, "the event log could not be read");
    Fault::new(FaultKind::Unavailable, "the event log could not be read").with_retry_after_ms(1_000)
}

fn stopping() -> Fault {
    Fault::new(FaultKind::Unavailable, "the daemon is stopping").with_retry_after_ms(1_000)
}
