//! The clock: the only reader of the system's clock.
//!
//! It knows the time of day and stamps events with a time and an id that never go backwards. It
//! must not know what is stamped. Everybody above takes the time from here, so that tests can move
//! it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::Time;
use uuid::Uuid;

/// How much faster the time of day may pass than time: whoever corrects a clock does it slowly.
const DRIFT: Duration = Duration::from_hours(1);

/// A handle on the clock; clones share one sequence of stamps.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    /// The microseconds of the newest stamp, or the floor set by [`Clock::advance_to`].
    last: AtomicU64,
    /// When this clock was made: the time of day in microseconds, and by the clock that nobody sets.
    begun: (u64, Instant),
    /// Keyed from the system's randomness once per clock: makes the ids of two hosts differ.
    salt: RandomState,
}

#[derive(Debug)]
enum Source {
    System,
    Fake(AtomicU64),
}

/// What an event is recorded under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// A version 8 UUID; its two 64-bit halves XOR to `time` in microseconds.
    pub id: Uuid,
    /// Later than every stamp before it, and the time of day unless that went backwards.
    pub time: Time,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::of(Source::System)
    }

    /// A clock for tests: it stands at `start` until [`Clock::advance`] or [`Clock::set`] moves it.
    pub fn fake(start: Time) -> Self {
        Self::of(Source::Fake(AtomicU64::new(start.micros())))
    }

    fn of(source: Source) -> Self {
        let (last, salt) = (AtomicU64::new(0), RandomState::new());
        let begun = (system_micros(), Instant::now());
        Self(Arc::new(Inner { source, last, begun, salt }))
    }

    /// The time of day. It may go backwards when somebody sets the system's clock.
    pub fn now(&self) -> Time {
        match &self.0.source {
            Source::System => Time::from_micros(system_micros()),
            Source::Fake(micros) => Time::from_micros(micros.load(Ordering::SeqCst)),
        }
    }

    /// The time of day as it would be if nobody had set the clock since this one was made: for what
    /// has to be waited for.
    pub fn steady(&self) -> Time {
        let (begun, since) = self.0.begun;
        match &self.0.source {
            Source::System => Time::from_micros(begun.saturating_add(micros_of(since.elapsed()))),
            Source::Fake(_) => self.now(),
        }
    }

    /// By how many microseconds the clock was set ahead since this one was made; negative: back. What
    /// corrects a clock slowly changes it slowly.
    pub fn set_ahead(&self) -> i64 {
        self.now().micros().cast_signed().saturating_sub(self.steady().micros().cast_signed())
    }

    /// The time by which what is kept grows old, in microseconds since 1970: the time of day, but
    /// never much further from where it began than time has passed since. So somebody who sets the
    /// clock far ahead, or a network that does, makes nothing old that is not.
    pub fn now_for_ages(&self) -> u64 {
        self.now().micros().min(self.steady().micros().saturating_add(micros_of(DRIFT)))
    }

    /// A new stamp, later than all before it: the time of day, or one microsecond after the last
    /// stamp where the time of day is behind it.
    pub fn stamp(&self) -> Stamp {
        let now = self.now().micros();
        let next = |last: u64| now.max(last.saturating_add(1));
        let (Ok(last) | Err(last)) =
            self.0.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(next(last)));
        let micros = next(last);
        Stamp { id: id_of(micros, self.0.salt.hash_one(micros)), time: Time::from_micros(micros) }
    }

    /// Every stamp from now on is later than `micros` (microseconds since 1970): called after a
    /// restart with the time of the newest event that is stored.
    pub fn advance_to(&self, micros: u64) {
        self.0.last.fetch_max(micros, Ordering::SeqCst);
    }

    /// Moves a fake clock forward. The system's clock cannot be moved and ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Fake(micros) = &self.0.source {
            micros.fetch_add(micros_of(by), Ordering::SeqCst);
        }
    }

    /// Sets a fake clock, also backwards. The system's clock cannot be set and ignores it.
    pub fn set(&self, to: Time) {
        if let Source::Fake(micros) = &self.0.source {
            micros.store(to.micros(), Ordering::SeqCst);
        }
    }
}

/// The id of the stamp at `micros`, told apart from other hosts' by 58 bits of `random`.
///
/// The version (8) and variant (binary 10) bits have their places in the two halves; the low half
/// is bent so that both come out right although the halves XOR to `micros`.
pub fn id_of(micros: u64, random: u64) -> Uuid {
    const VERSION_MASK: u64 = 0xF000;
    const VARIANT_MASK: u64 = 0b11 << 62;
    let version = (micros & VERSION_MASK) ^ 0x8000;
    let low = (random & !(VERSION_MASK | VARIANT_MASK)) | version | (0b10 << 62);
    Uuid::from_u64_pair(low ^ micros, low)
}

/// The microseconds an id was made at: the XOR of its halves, as Consul's clients compute it.
pub fn micros_of_id(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    high ^ low
}

#[expect(clippy::disallowed_methods, reason = "this is the place everybody else takes it from")]
fn system_micros() -> u64 {
    // Before 1970 only on a host without a battery: its stamps still grow, from 1970 on.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros_of)
}

fn micros_of(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use uuid::Variant;

    use super::*;

    #[test]
    fn a_clock_that_nobody_has_set_is_steady() {
        let clock = Clock::system();
        let (steady, now) = (clock.steady().micros(), clock.now().micros());
        assert!(steady.abs_diff(now) < 1_000_000, "{steady} {now}");
        assert!(clock.now_for_ages() >= steady);
        let fake = Clock::fake(Time::from_micros(5));
        fake.set(Time::from_micros(3));
        assert_eq!((fake.steady().micros(), fake.now_for_ages()), (3, 3));
    }

    proptest! {
        #[test]
        fn an_id_is_a_valid_version_8_uuid_that_holds_its_time(
            micros in 0u64..(1 << 53),
            random in any::<u64>(),
        ) {
            let id = id_of(micros, random);
            prop_assert_eq!(id.get_version_num(), 8);
            prop_assert_eq!(id.get_variant(), Variant::RFC4122);
            prop_assert_eq!(micros_of_id(id), micros);
        }

        #[test]
        fn stamps_grow_however_the_time_of_day_jumps(
            times in vec(0u64..2_000_000_000_000_000, 1..50),
            floor in 0u64..2_000_000_000_000_000,
        ) {
            let clock = Clock::fake(Time::default());
            clock.advance_to(floor);
            let mut last = floor;
            for time in times {
                clock.set(Time::from_micros(time));
                let stamp = clock.stamp();
                prop_assert_eq!(stamp.time.micros(), time.max(last + 1));
                prop_assert_eq!(micros_of_id(stamp.id), stamp.time.micros());
                last = stamp.time.micros();
            }
        }
    }

    #[test]
    fn threads_that_share_a_clock_never_get_the_same_stamp() {
        let clock = Clock::fake(Time::from_micros(7));
        let stamps: Vec<u64> = std::thread::scope(|scope| {
            let stamps = |_| (0..1000).map(|_| clock.stamp().time.micros()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || stamps(n))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: std::collections::BTreeSet<u64> = stamps.iter().copied().collect();
        assert_eq!(distinct.len(), 4000);
        assert_eq!(distinct.last(), Some(&4006));
    }

    #[test]
    fn a_fake_clock_moves_when_told_and_the_systems_does_not() {
        let fake = Clock::fake(Time::from_micros(5));
        fake.advance(Duration::from_secs(1));
        assert_eq!(fake.now().micros(), 1_000_005);
        let system = Clock::system();
        system.set(Time::from_micros(1));
        assert!(system.now().micros() > 1_700_000_000_000_000);
    }
}
