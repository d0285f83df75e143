//! One subscription, as the fan-out thread and its catching-up task share it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::Overflow;

use super::lane::Lane;
use super::{Face, Offer, Outlet, Subscribe};
use crate::sight::Interest;

/// Tells subscriptions apart within one daemon run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MemberId(pub(crate) u64);

/// How a subscription is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// From the log, by its own task.
    Behind,
    /// By the fan-out thread, as events come.
    Live,
    /// Not any more.
    Left,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Member {
    id: MemberId,
    pub(crate) interest: Interest,
    pub(crate) overflow: Overflow,
    pub(crate) face: Face,
    pub(crate) outlet: Arc<dyn Outlet>,
    phase: AtomicU8,
    lane: Mutex<Lane>,
}

impl Member {
    pub(crate) fn new(id: MemberId, wanted: Subscribe) -> Self {
        Self {
            id,
            interest: wanted.interest,
            overflow: wanted.overflow,
            face: wanted.face,
            outlet: wanted.outlet,
            phase: AtomicU8::new(Phase::Behind as u8),
            lane: Mutex::new(Lane::default()),
        }
    }

    pub(crate) fn id(&self) -> MemberId {
        self.id
    }

    pub(crate) fn lane(&self) -> MutexGuard<'_, Lane> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Live as u8
    }

    pub(crate) fn has_left(&self) -> bool {
        self.phase.load(Ordering::Acquire) == Phase::Left as u8
    }

    /// Offers bytes to the outlet unless the subscription has left.
    pub(crate) fn offer_if_there(&self, bytes: &Bytes) -> Offer {
        if self.has_left() { Offer::Gone } else { self.outlet.offer(bytes) }
    }

    /// Served by the fan-out thread from now on; `false` when it has left meanwhile.
    pub(crate) fn go_live(&self) -> bool {
        self.lane().clear();
        self.turn(Phase::Behind, Phase::Live)
    }

    /// Served from the log from now on; `false` when it has left meanwhile.
    pub(crate) fn fall_behind(&self) -> bool {
        self.turn(Phase::Live, Phase::Behind)
    }

    /// Not served any more.
    pub(crate) fn leave(&self) {
        self.phase.store(Phase::Left as u8, Ordering::Release);
    }

    fn turn(&self, from: Phase, to: Phase) -> bool {
        self.phase
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
