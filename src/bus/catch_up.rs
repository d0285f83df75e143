//! Serves one subscription from the log until it has caught up: at the start of a replay, and
//! whenever its client did not take what it was offered.
//!
//! There is one task for each subscription that is behind and none for those that are live.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use protocol::{Cursor, Event, Fault, Gap, GapReason, Overflow, Priority};
use tokio::sync::oneshot;

use super::command::{Command, Greeting};
use super::member::Member;
use super::selection::Selection;
use super::{Offer, Place, Shared, Standing, unreadable};
use crate::store::{Query, StoreError};

/// Events read from the log in one go.
const READ_EVENTS: usize = 512;
/// Bytes of events read in one go: what one offer holds.
const READ_BYTES: usize = 128 * 1024;

/// The task.
#[derive(Debug)]
pub(crate) struct CatchUp {
    shared: Arc<Shared>,
    member: Arc<Member>,
    /// Everything up to here was delivered.
    seq: u64,
    /// Bytes that come before anything else.
    owed: Option<Bytes>,
    /// The client has not kept up since the last choice: what is waiting may be chosen from.
    slow: bool,
}

/// How a step ended.
enum Step {
    /// There may be more.
    More,
    /// Everything the log has was delivered.
    AtHead,
    /// The client is gone, or the daemon stops.
    Over,
}

impl CatchUp {
    /// Begins a subscription that has something to replay.
    ///
    /// # Errors
    /// `unavailable` when the log cannot be read or the daemon stops.
    pub(crate) async fn begin(
        shared: Arc<Shared>,
        member: Arc<Member>,
        place: Place,
        greeting: Greeting,
    ) -> Result<(), Fault> {
        let head = shared.log.bounds().head;
        let seq = place.cursor.seq;
        member.lane().has_already(&place.cursor.ahead);
        let follow = Command::Follow(Arc::clone(&member));
        shared.fan.send(follow).await.map_err(|_| super::stopping())?;
        let standing = Standing {
            cursor: place.cursor,
            oldest_seq: shared.log.bounds().oldest,
            head_seq: head,
            replay: (head > seq).then_some((seq + 1, head)),
            gap: place.gap,
        };
        let mut hello = greeting(&standing);
        if place.snapshot {
            let state = shared.snapshot(&member.interest).await.map_err(|e| unreadable(&e))?;
            let cursor = Cursor::after(shared.instance, seq);
            for event in state.iter().filter(|event| event.seq.unwrap_or(0) <= seq) {
                member.face.event(event, &cursor, &mut hello);
            }
        }
        let owed = Some(Bytes::from(hello)).filter(|hello| !hello.is_empty());
        Self::spawn(Self { shared, member, seq, owed, slow: false });
        Ok(())
    }

    /// Goes on after `seq`, for a subscription whose outlet was full.
    pub(crate) fn resume(shared: Arc<Shared>, member: Arc<Member>, seq: u64) {
        Self::spawn(Self { shared, member, seq, owed: None, slow: true });
    }

    /// The same, with bytes that come first.
    pub(crate) fn owing(shared: Arc<Shared>, member: Arc<Member>, seq: u64, owed: Bytes) {
        Self::spawn(Self { shared, member, seq, owed: Some(owed), slow: true });
    }

    fn spawn(self) {
        let tasks = self.shared.tasks.clone();
        let stop = tasks.stop_signal();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = self.run() => {}
            }
        });
    }

    async fn run(mut self) {
        if let Err(error) = self.let_waiting_urgent_overtake().await {
            tracing::error!(%error, "the event log could not be read; a subscription ends");
            return self.member.outlet.close_slow();
        }
        loop {
            match self.step().await {
                Ok(Step::AtHead) => {
                    if self.join().await {
                        return;
                    }
                }
                Ok(Step::More) => {}
                Ok(Step::Over) => return,
                Err(error) => {
                    tracing::error!(%error, "the event log could not be read; a subscription ends");
                    return self.member.outlet.close_slow();
                }
            }
        }
    }

    /// Delivers one piece when there is room for it.
    async fn step(&mut self) -> Result<Step, StoreError> {
        match self.room().await {
            Some(had_to_wait) => self.slow |= had_to_wait,
            None => return Ok(Step::Over),
        }
        if let Some(owed) = self.owed.take() {
            if self.member.outlet.offer(&owed) == Offer::Full {
                self.owed = Some(owed);
            }
            return Ok(Step::More);
        }
        let frames = self.overtake();
        if !frames.is_empty() {
            let taken = self.insist(frames).await;
            return Ok(if taken { Step::More } else { Step::Over });
        }
        if !self.tell_what_expired().await {
            return Ok(Step::Over);
        }
        match self.member.overflow {
            Overflow::Drop if self.slow => self.choose(Selection::most_urgent()).await,
            Overflow::Latest if self.slow => self.choose(Selection::newest()).await,
            _ => self.go_on().await,
        }
    }

    /// Waits for room; whether it had to, or `None` when the client is gone.
    async fn room(&self) -> Option<bool> {
        let mut had_to_wait = false;
        let there = poll_fn(|cx| {
            let answer = self.member.outlet.poll_room(cx);
            had_to_wait |= answer.is_pending();
            match answer {
                Poll::Ready(_) if self.member.has_left() => Poll::Ready(false),
                other => other,
            }
        });
        there.await.then_some(had_to_wait)
    }

    /// The frames of what waits in the lane. They count as delivered from here on.
    fn overtake(&self) -> Vec<u8> {
        let mut frames = Vec::new();
        let mut lane = self.member.lane();
        while let Some(event) = lane.pop_urgent(self.seq) {
            let cursor = self.cursor_at(self.seq, lane.ahead());
            self.member.face.event(&event, &cursor, &mut frames);
        }
        frames
    }

    /// Delivers the next piece of the log.
    async fn go_on(&mut self) -> Result<Step, StoreError> {
        let events = self.read(self.seq).await?;
        let Some(last) = events.last().and_then(|event| event.seq) else {
            return Ok(Step::AtHead);
        };
        if Self::has_hole(self.seq, &events) {
            return Ok(Step::More);
        }
        let frames = in_turn(&self.shared, &self.member, &events);
        if !frames.is_empty() {
            match self.member.outlet.offer(&Bytes::from(frames)) {
                Offer::Taken => {}
                Offer::Full => return Ok(Step::More),
                Offer::Gone => return Ok(Step::Over),
            }
        }
        self.reached(last);
        Ok(Step::More)
    }

    /// Delivers a choice of everything up to the head, and says what was left out.
    async fn choose(&mut self, mut selection: Selection) -> Result<Step, StoreError> {
        self.slow = false;
        let until = self.choose_from_log(&mut selection).await?;
        let (chosen, missed) = selection.finish();
        if missed > 0 {
            let gap = self.gap(until, missed);
            if !self.insist(gap).await {
                return Ok(Step::Over);
            }
        }
        for piece in chosen.chunks(64) {
            let frames = in_turn(&self.shared, &self.member, piece);
            if !self.insist(frames).await {
                return Ok(Step::Over);
            }
        }
        let at_head = until == self.seq;
        self.reached(until);
        Ok(if at_head { Step::AtHead } else { Step::More })
    }

    /// Fills the selection; the number up to which it speaks.
    async fn choose_from_log(&self, selection: &mut Selection) -> Result<u64, StoreError> {
        let mut until = self.seq;
        loop {
            let events = self.read(until).await?;
            if events.is_empty() || Self::has_hole(until, &events) {
                return Ok(until);
            }
            for event in &events {
                let seq = event.seq.unwrap_or(until);
                let wanted =
                    self.member.interest.matches(event) && !self.member.lane().has_overtaken(seq);
                if wanted && !selection.take(event) {
                    return Ok(until);
                }
                until = seq;
            }
        }
    }

    /// Whether retention has removed what comes right after `seq`; the next step tells.
    fn has_hole(seq: u64, events: &[Arc<Event>]) -> bool {
        events.first().and_then(|event| event.seq) != Some(seq + 1)
    }

    /// Tells of a stretch that retention removed before it was delivered; `false` when the client
    /// is gone.
    async fn tell_what_expired(&mut self) -> bool {
        let oldest = self.shared.log.bounds().oldest;
        if self.seq + 1 >= oldest {
            return true;
        }
        let gap = super::unknown_gap(self.seq + 1, oldest - 1, GapReason::Expired);
        self.reached(oldest - 1);
        let cursor = self.cursor_at(self.seq, self.member.lane().ahead());
        let mut frames = Vec::new();
        self.member.face.gap(&gap, &cursor, &mut frames);
        self.insist(frames).await
    }

    /// Offers until it is taken; `false` when the client is gone.
    async fn insist(&self, frames: Vec<u8>) -> bool {
        let bytes = Bytes::from(frames);
        if bytes.is_empty() {
            return true;
        }
        loop {
            if self.room().await.is_none() {
                return false;
            }
            match self.member.outlet.offer(&bytes) {
                Offer::Taken => return true,
                Offer::Gone => return false,
                Offer::Full => {}
            }
        }
    }

    /// Asks the fan-out thread to take over; `true` when this task is not needed any more.
    async fn join(&self) -> bool {
        if !self.catch_up_on_passing().await {
            return true;
        }
        let (live, joined) = oneshot::channel();
        let member = Arc::clone(&self.member);
        let join = Command::Join { member, after: self.seq, live };
        match self.shared.fan.send(join).await {
            Ok(()) => joined.await.unwrap_or(true),
            Err(_) => true,
        }
    }

    /// Delivers the states that came meanwhile and says how many unkept events went by.
    async fn catch_up_on_passing(&self) -> bool {
        let (states, passed_over) = {
            let mut lane = self.member.lane();
            (lane.take_states(), lane.take_passed_over())
        };
        let cursor = self.cursor_at(self.seq, self.member.lane().ahead());
        let mut frames = Vec::new();
        for event in states {
            self.member.face.event(&event, &cursor, &mut frames);
        }
        if passed_over > 0 {
            let gap = Gap {
                from_seq: self.seq,
                to_seq: self.seq,
                missed: Some(passed_over),
                reason: GapReason::Slow,
                resume_from: None,
            };
            self.member.face.gap(&gap, &cursor, &mut frames);
        }
        self.insist(frames).await
    }

    /// When much is to be replayed, what is urgent in it goes first.
    async fn let_waiting_urgent_overtake(&self) -> Result<(), StoreError> {
        let behind = self.shared.log.bounds().head.saturating_sub(self.seq);
        if behind <= READ_EVENTS as u64 {
            return Ok(());
        }
        let mut interest = self.member.interest.clone();
        interest.filter.min_priority = interest.filter.min_priority.max(Priority::CRITICAL);
        let query = Query {
            interest,
            after_seq: Some(self.seq),
            limit: protocol::cursor::AHEAD_MAX,
            ..Query::default()
        };
        let page = self.shared.log.page(query).await?;
        let mut lane = self.member.lane();
        page.events.iter().for_each(|event| lane.put_urgent(event));
        Ok(())
    }

    async fn read(&self, after: u64) -> Result<Vec<Arc<Event>>, StoreError> {
        match self.shared.tail.after(after, READ_EVENTS) {
            Some(events) => Ok(events),
            None => self.shared.log.read(after, READ_EVENTS, READ_BYTES).await,
        }
    }

    fn reached(&mut self, seq: u64) {
        self.seq = seq;
        self.member.lane().reached(seq);
    }

    fn gap(&self, until: u64, missed: u64) -> Vec<u8> {
        let cursor = self.cursor_at(self.seq, self.member.lane().ahead());
        let reason = match self.member.overflow {
            Overflow::Latest => GapReason::Coalesced,
            _ => GapReason::Slow,
        };
        let gap = Gap {
            from_seq: self.seq + 1,
            to_seq: until,
            missed: Some(missed),
            reason,
            resume_from: Some(cursor.clone()),
        };
        let mut frames = Vec::new();
        self.member.face.gap(&gap, &cursor, &mut frames);
        frames
    }

    fn cursor_at(&self, seq: u64, ahead: Vec<u64>) -> Cursor {
        Cursor { instance: self.shared.instance, seq, ahead }
    }
}

/// The frames of events in their turn: those that are wanted and have not overtaken.
pub(crate) fn in_turn(shared: &Shared, member: &Member, events: &[Arc<Event>]) -> Vec<u8> {
    let mut frames = Vec::new();
    let lane = member.lane();
    let ahead = lane.ahead();
    for event in events.iter().filter(|event| member.interest.matches(event)) {
        let seq = event.seq.unwrap_or_default();
        if !lane.has_overtaken(seq) {
            let later = ahead.iter().copied().filter(|number| *number > seq).collect();
            let cursor = Cursor { instance: shared.instance, seq, ahead: later };
            member.face.event(event, &cursor, &mut frames);
        }
    }
    frames
}
