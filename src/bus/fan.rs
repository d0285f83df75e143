//! The fan-out thread: the one place that hands recorded events to live subscriptions.
//!
//! Everything that can reach it is a [`Command`]. Subscriptions that want the same in the same
//! words are one group: what a batch means to them is decided and encoded once, and all of them
//! are offered the same bytes.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use protocol::manifest::Retain;
use protocol::{Cursor, Event, Overflow};
use tokio::sync::mpsc;

use super::catch_up::CatchUp;
use super::command::{Command, Greeting, Heartbeat};
use super::member::{Member, MemberId};
use super::{Face, Offer, Shared, Standing};
use crate::sight::Interest;

/// What one offer to an outlet holds at most, roughly: large enough that a burst costs one system
/// call for each client, small enough to fit beside a full queue.
const PIECE_BYTES: usize = 64 * 1024;
/// Commands taken in one go: all that is ready, so that bursts become batches.
const COMMANDS_AT_ONCE: usize = 256;
/// The most events a join may be behind the thread to be caught up by it.
const JOIN_BEHIND_MAX: usize = 256;

/// Starts the thread; it ends when the last handle of the bus is gone.
pub(crate) fn start(
    shared: &Arc<Shared>,
    commands: mpsc::Receiver<Command>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Handle::current();
    let fan = Fan {
        shared: Arc::downgrade(shared),
        head: shared.log.bounds().head,
        groups: HashMap::new(),
        homes: HashMap::new(),
        behind: HashMap::new(),
    };
    std::thread::Builder::new().name("fan-out".to_owned()).spawn(move || {
        // Catching-up tasks are started from here.
        let _inside = runtime.enter();
        fan.run(commands);
    })?;
    Ok(())
}

/// Subscriptions with equal keys get equal bytes.
type Key = (Face, Interest);

struct Fan {
    shared: Weak<Shared>,
    /// The newest event handed out.
    head: u64,
    groups: HashMap<Key, Vec<Arc<Member>>>,
    /// Where a live member is.
    homes: HashMap<MemberId, Key>,
    behind: HashMap<MemberId, Arc<Member>>,
}

impl Fan {
    fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut ready = Vec::with_capacity(COMMANDS_AT_ONCE);
        while commands.blocking_recv_many(&mut ready, COMMANDS_AT_ONCE) > 0 {
            let Some(shared) = self.shared.upgrade() else { return };
            let mut batch = Vec::new();
            for command in ready.drain(..) {
                if let Command::Recorded(events) = command {
                    batch.extend(events);
                } else {
                    self.deliver(&shared, &std::mem::take(&mut batch));
                    self.obey(&shared, command);
                }
            }
            self.deliver(&shared, &batch);
        }
    }

    fn obey(&mut self, shared: &Arc<Shared>, command: Command) {
        match command {
            Command::Recorded(events) => self.deliver(shared, &events),
            Command::Passing(event, retain) => self.pass(shared, &event, retain),
            Command::JoinAtHead { member, greeting } => self.join_at_head(shared, member, greeting),
            Command::Follow(member) => {
                self.behind.insert(member.id(), member);
            }
            Command::Join { member, after, live } => {
                let joined = self.join(shared, &member, after);
                // Nobody waiting means that the catching-up task has ended with its client.
                live.send(joined).ok();
            }
            Command::Beat { member, heartbeat } => self.beat(shared, &member, heartbeat),
            // Nobody waiting means that the asker has lost patience.
            Command::Ask(answer) => drop(answer.send(())),
            Command::Leave(id) => self.leave(id),
        }
    }

    /// Hands recorded events to everybody who is live, piece by piece.
    fn deliver(&mut self, shared: &Arc<Shared>, batch: &[Arc<Event>]) {
        if batch.is_empty() {
            return;
        }
        shared.tail.push(batch);
        let mut rest = batch;
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(piece_len(rest));
            self.let_urgent_overtake(piece);
            self.offer_to_groups(shared, piece, None);
            self.head = piece.last().and_then(|event| event.seq).unwrap_or(self.head);
            rest = later;
        }
    }

    /// Hands on an event that is not in the log.
    fn pass(&mut self, shared: &Arc<Shared>, event: &Arc<Event>, retain: Retain) {
        self.behind.retain(|_, member| !member.has_left());
        for member in self.behind.values().filter(|member| member.interest.matches(event)) {
            keep_for_later(member, event, retain);
        }
        self.offer_to_groups(shared, std::slice::from_ref(event), Some(retain));
    }

    fn let_urgent_overtake(&mut self, piece: &[Arc<Event>]) {
        self.behind.retain(|_, member| !member.has_left());
        for event in piece.iter().filter(|event| event.priority.is_critical()) {
            for member in self.behind.values().filter(|member| member.interest.matches(event)) {
                member.lane().put_urgent(event);
            }
        }
    }

    /// Offers what each group wants of `piece`; `passing` tells how an unrecorded one is kept.
    fn offer_to_groups(
        &mut self,
        shared: &Arc<Shared>,
        piece: &[Arc<Event>],
        passing: Option<Retain>,
    ) {
        let mut encoded = Encoded::new(shared, piece, self.head);
        let mut fallen = Vec::new();
        for ((face, interest), members) in &mut self.groups {
            let bytes = encoded.wanted(face, interest);
            if bytes.is_empty() {
                continue;
            }
            // Its leave may have found the queue full.
            members.retain(|member| match member.offer_if_there(&bytes) {
                Offer::Taken => true,
                Offer::Gone => false,
                Offer::Full => {
                    fallen.push(Arc::clone(member));
                    false
                }
            });
        }
        for member in fallen {
            self.fall_behind(shared, member, piece, passing);
        }
        self.groups.retain(|_, members| !members.is_empty());
    }

    fn fall_behind(
        &mut self,
        shared: &Arc<Shared>,
        member: Arc<Member>,
        piece: &[Arc<Event>],
        passing: Option<Retain>,
    ) {
        self.homes.remove(&member.id());
        if member.overflow == Overflow::Disconnect {
            member.leave();
            member.outlet.close_slow();
            return;
        }
        if !member.fall_behind() {
            return;
        }
        for event in piece {
            match passing {
                Some(retain) => keep_for_later(&member, event, retain),
                None if event.priority.is_critical() && member.interest.matches(event) => {
                    member.lane().put_urgent(event);
                }
                None => {}
            }
        }
        self.behind.insert(member.id(), Arc::clone(&member));
        CatchUp::resume(Arc::clone(shared), member, self.head);
    }

    fn join_at_head(&mut self, shared: &Arc<Shared>, member: Arc<Member>, greeting: Greeting) {
        let standing = Standing {
            cursor: Cursor::after(shared.instance, self.head),
            oldest_seq: shared.log.bounds().oldest,
            head_seq: self.head,
            replay: None,
            gap: None,
        };
        let hello = Bytes::from(greeting(&standing));
        let offered = if hello.is_empty() { Offer::Taken } else { member.outlet.offer(&hello) };
        match offered {
            Offer::Taken => self.take_in(&member),
            Offer::Gone => {}
            Offer::Full => {
                self.behind.insert(member.id(), Arc::clone(&member));
                CatchUp::owing(Arc::clone(shared), member, self.head, hello);
            }
        }
    }

    fn join(&mut self, shared: &Arc<Shared>, member: &Arc<Member>, after: u64) -> bool {
        // The log may have shown it events that have not come here yet; they would be repeated.
        let reached = member.lane().ahead().last().copied().unwrap_or(0).max(after);
        if reached > self.head {
            return false;
        }
        let Some(events) = shared.tail.after(after, JOIN_BEHIND_MAX + 1) else { return false };
        if events.len() > JOIN_BEHIND_MAX || member.lane().has_passing() {
            return false;
        }
        let frames = super::catch_up::in_turn(shared, member, &events);
        if !frames.is_empty() && member.outlet.offer(&Bytes::from(frames)) != Offer::Taken {
            return false;
        }
        self.behind.remove(&member.id());
        self.take_in(member);
        true
    }

    fn take_in(&mut self, member: &Arc<Member>) {
        if member.go_live() {
            let key = (member.face.clone(), member.interest.clone());
            self.homes.insert(member.id(), key.clone());
            self.groups.entry(key).or_default().push(Arc::clone(member));
        }
    }

    /// Only here it is certain what a live member was offered before. Who is behind gets none: its
    /// next message carries its cursor.
    fn beat(&self, shared: &Shared, member: &Member, heartbeat: Heartbeat) {
        if member.is_live() {
            let cursor = Cursor::after(shared.instance, self.head);
            // A full outlet needs no sign of life.
            member.outlet.offer(&Bytes::from(heartbeat(&cursor)));
        }
    }

    fn leave(&mut self, id: MemberId) {
        self.behind.remove(&id);
        let Some(key) = self.homes.remove(&id) else { return };
        if let Some(members) = self.groups.get_mut(&key) {
            members.retain(|member| member.id() != id);
            if members.is_empty() {
                self.groups.remove(&key);
            }
        }
    }
}

fn keep_for_later(member: &Member, event: &Arc<Event>, retain: Retain) {
    let mut lane = member.lane();
    if retain == Retain::Latest {
        lane.put_state(event);
    } else {
        lane.pass_over();
    }
}

/// How many events from the front make one piece.
fn piece_len(events: &[Arc<Event>]) -> usize {
    let mut bytes = 0;
    let fits = events.iter().take_while(|event| {
        bytes += event.weight();
        bytes <= PIECE_BYTES
    });
    fits.count().max(1)
}

/// The frames of one piece, made once for each face.
struct Encoded<'a> {
    piece: &'a [Arc<Event>],
    cursors: Vec<Cursor>,
    faces: HashMap<Face, Vec<Bytes>>,
}

impl<'a> Encoded<'a> {
    fn new(shared: &Shared, piece: &'a [Arc<Event>], head: u64) -> Self {
        let cursor = |event: &Arc<Event>| Cursor::after(shared.instance, event.seq.unwrap_or(head));
        Self { piece, cursors: piece.iter().map(cursor).collect(), faces: HashMap::new() }
    }

    /// What of the piece is wanted and allowed, in the words of the face.
    fn wanted(&mut self, face: &Face, interest: &Interest) -> Bytes {
        let wanted: Vec<usize> =
            (0..self.piece.len()).filter(|at| interest.matches(&self.piece[*at])).collect();
        if wanted.is_empty() {
            return Bytes::new();
        }
        let frames = self.frames(face);
        if let [only] = wanted[..] {
            return frames[only].clone();
        }
        let length = wanted.iter().map(|at| frames[*at].len()).sum();
        let mut bytes = Vec::with_capacity(length);
        for at in wanted {
            bytes.extend_from_slice(&frames[at]);
        }
        Bytes::from(bytes)
    }

    fn frames(&mut self, face: &Face) -> &[Bytes] {
        if !self.faces.contains_key(face) {
            let frames = self.piece.iter().zip(&self.cursors).map(|(event, cursor)| {
                let mut frame = Vec::with_capacity(512);
                face.event(event, cursor, &mut frame);
                Bytes::from(frame)
            });
            self.faces.insert(face.clone(), frames.collect());
        }
        &self.faces[face]
    }
}
