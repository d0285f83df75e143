//! How many connections there may be, and how many of them without a login.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Connections in all: what a machine's file limit of 20,000 leaves room for.
const CONNECTIONS_MAX: usize = 12_000;
/// Connections on which nobody has logged in: few, so that strangers cannot take up the room.
const ANONYMOUS_MAX: usize = 256;

/// Counts connections. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Admission {
    all: Arc<AtomicUsize>,
    anonymous: Arc<AtomicUsize>,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _all: Seat,
    anonymous: Option<Seat>,
}

#[derive(Debug)]
struct Seat(Arc<AtomicUsize>);

impl Admission {
    /// A place for a connection on which nobody is logged in, if there is one.
    pub(crate) fn admit(&self) -> Option<Place> {
        let all = Seat::take(&self.all, CONNECTIONS_MAX)?;
        let anonymous = Seat::take(&self.anonymous, ANONYMOUS_MAX)?;
        Some(Place { _all: all, anonymous: Some(anonymous) })
    }

    /// A place for a connection whose owner the kernel has named.
    pub(crate) fn admit_known(&self) -> Option<Place> {
        let all = Seat::take(&self.all, CONNECTIONS_MAX)?;
        Some(Place { _all: all, anonymous: None })
    }
}

impl Place {
    /// Somebody has logged in: give the stranger's seat back.
    pub(crate) fn known(&mut self) {
        self.anonymous = None;
    }
}

impl Seat {
    fn take(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let below = |taken: usize| (taken < most).then_some(taken + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, below).ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_take_the_room_of_those_who_logged_in() {
        let admission = Admission::default();
        let mut places: Vec<Place> = (0..ANONYMOUS_MAX).filter_map(|_| admission.admit()).collect();
        assert_eq!(places.len(), ANONYMOUS_MAX);
        assert!(admission.admit().is_none());
        assert!(admission.admit_known().is_some());
        places[0].known();
        assert!(admission.admit().is_some());
    }
}
