//! A stream on its way: counted, held to a rate, and stopped when nobody wants it any more.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often a slowed stream looks whether it is still wanted.
const NAP: Duration = Duration::from_millis(50);

/// A stream that is counted.
pub(crate) struct Meter<'a, R: ?Sized> {
    inner: &'a mut R,
    moved: &'a AtomicU64,
    pace: Option<Pace>,
    unwanted: &'a (dyn Fn() -> bool + Sync),
}

impl<'a, R: Read + ?Sized> Meter<'a, R> {
    /// Counts into `moved`, at most `rate` bytes a second, until `unwanted` says so.
    pub(crate) fn new(
        inner: &'a mut R,
        moved: &'a AtomicU64,
        rate: Option<u64>,
        unwanted: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        Self { inner, moved, pace: rate.map(Pace::new), unwanted }
    }
}

impl<R: Read + ?Sized> Read for Meter<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut most = buffer.len();
        loop {
            if (self.unwanted)() {
                return Err(io::Error::other("nobody wants it any more"));
            }
            let Some(pace) = &self.pace else { break };
            let allowed = pace.allowed(Instant::now());
            if allowed > 0 {
                most = most.min(allowed);
                break;
            }
            thread::sleep(NAP);
        }
        let length = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        let counted = u64::try_from(length).unwrap_or(0);
        self.moved.fetch_add(counted, Ordering::Relaxed);
        if let Some(pace) = &mut self.pace {
            pace.moved += u128::from(counted);
        }
        Ok(length)
    }
}

/// So many bytes a second since the beginning, and no more at once than what a fifth of a second
/// gives.
struct Pace {
    rate: u64,
    began: Instant,
    moved: u128,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate, began: Instant::now(), moved: 0 }
    }

    /// Bytes that may be moved now.
    fn allowed(&self, now: Instant) -> usize {
        let rate = u128::from(self.rate);
        let due = rate * now.duration_since(self.began).as_millis() / 1000 + rate / 5;
        usize::try_from(due.saturating_sub(self.moved).min(rate / 5 + 1)).unwrap_or(usize::MAX)
    }
}

/// How fast something is, from counts of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    /// Bytes at these moments; the newest last.
    seen: Vec<(Instant, u64)>,
}

/// Over so long a speed is measured.
const WINDOW: Duration = Duration::from_secs(5);

impl Speed {
    /// Bytes a second, now that `bytes` are done.
    pub(crate) fn at(&mut self, now: Instant, bytes: u64) -> u64 {
        self.seen.push((now, bytes));
        // The oldest that is not older than the window, and at least two.
        while self.seen.len() > 2
            && self.seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
        {
            self.seen.remove(0);
        }
        let Some((first, before)) = self.seen.first() else { return 0 };
        let millis = now.duration_since(*first).as_millis();
        let moved = u128::from(bytes.saturating_sub(*before));
        u64::try_from((moved * 1000).checked_div(millis).unwrap_or(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_counted_and_an_unwanted_stream_breaks_off() {
        let data = vec![7; 100_000];
        let moved = AtomicU64::new(0);
        let stop = std::sync::atomic::AtomicBool::new(false);
        let unwanted = || stop.load(Ordering::Relaxed);
        let mut source: &[u8] = &data;
        let mut meter = Meter::new(&mut source, &moved, None, &unwanted);
        let mut read = vec![0; 60_000];
        meter.read_exact(&mut read).unwrap();
        assert_eq!(moved.load(Ordering::Relaxed), 60_000);
        stop.store(true, Ordering::Relaxed);
        assert!(meter.read(&mut read).is_err());
    }

    #[test]
    fn a_pace_allows_what_is_due() {
        let began = Instant::now();
        let mut pace = Pace { rate: 1000, began, moved: 0 };
        assert_eq!(pace.allowed(began), 200);
        pace.moved = 200;
        assert_eq!(pace.allowed(began), 0);
        assert_eq!(pace.allowed(began + Duration::from_millis(100)), 100);
        // What was not used does not become one great burst.
        assert_eq!(pace.allowed(began + Duration::from_hours(1)), 201);
    }

    #[test]
    fn a_speed_is_that_of_the_last_seconds() {
        let began = Instant::now();
        let mut speed = Speed::default();
        assert_eq!(speed.at(began, 0), 0);
        assert_eq!(speed.at(began + Duration::from_secs(1), 500), 500);
        for second in 2..20 {
            speed.at(began + Duration::from_secs(second), 500);
        }
        assert_eq!(speed.at(began + Duration::from_secs(20), 500), 0);
        assert!(speed.seen.len() < 10);
    }
}
