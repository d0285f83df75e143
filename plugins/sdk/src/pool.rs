//! Threads that run calls: none until they are needed, never more than the bound.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::link::locked;

/// A thread without work ends after this time.
const IDLE: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// A pool of `bound` threads with a queue of the same length. The daemon keeps no more calls in
/// flight than that; the queue is for those that it has given up on and that still run here.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    bound: usize,
    state: Mutex<State>,
    /// Told when there is work; one thread is woken for each piece.
    work: Condvar,
    /// Told when the last of it is done.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    threads: usize,
    /// Threads that run something; never more than `threads`.
    busy: usize,
    open: bool,
}

/// The queue is full; the work was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Pool {
    /// A pool that holds its work back until [`Pool::open`].
    pub(crate) fn new(bound: usize) -> Self {
        let state = Mutex::new(State::default());
        Self(Arc::new(Shared { bound, state, work: Condvar::new(), drained: Condvar::new() }))
    }

    /// Lets the work begin.
    pub(crate) fn open(&self) {
        locked(&self.0.state).open = true;
        self.0.work.notify_all();
    }

    /// Takes one piece of work.
    pub(crate) fn submit(&self, work: Work) -> Result<(), Full> {
        let mut state = locked(&self.0.state);
        let free = self.0.bound - state.busy;
        if state.queue.len() >= free + self.0.bound {
            return Err(Full);
        }
        state.queue.push_back(work);
        if state.queue.len() > state.threads - state.busy && state.threads < self.0.bound {
            state.threads += 1;
            let shared = Arc::clone(&self.0);
            if Builder::new().name("call".to_owned()).spawn(move || shared.work()).is_err() {
                // No thread to be had: the others will come to it, unless there is none.
                state.threads -= 1;
                if state.threads == 0 {
                    drop(state.queue.pop_back());
                    return Err(Full);
                }
            }
        }
        drop(state);
        self.0.work.notify_one();
        Ok(())
    }

    /// Waits until nothing is queued or running; false when `deadline` came first.
    pub(crate) fn drained_by(&self, deadline: Instant) -> bool {
        let mut state = locked(&self.0.state);
        loop {
            if state.queue.is_empty() && state.busy == 0 {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.0.drained.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn work(&self) {
        while let Some(work) = self.next() {
            work();
            let mut state = locked(&self.state);
            state.busy -= 1;
            if state.busy == 0 && state.queue.is_empty() {
                self.drained.notify_all();
            }
        }
    }

    fn next(&self) -> Option<Work> {
        let mut state = locked(&self.state);
        let end = Instant::now() + IDLE;
        loop {
            let work = if state.open { state.queue.pop_front() } else { None };
            let left = end.saturating_duration_since(Instant::now());
            if work.is_some() {
                state.busy += 1;
                return work;
            }
            if left.is_zero() && state.queue.is_empty() {
                state.threads -= 1;
                return None;
            }
            // Before the pool is open there is nothing to be late for.
            let left = left.max(Duration::from_millis(100));
            let woken = self.work.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn work_waits_until_the_pool_is_open_and_then_all_of_it_is_done() {
        let pool = Pool::new(3);
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..6 {
            let done = Arc::clone(&done);
            let work = move || {
                done.fetch_add(1, Ordering::SeqCst);
            };
            pool.submit(Box::new(work)).unwrap();
        }
        assert!(!pool.drained_by(Instant::now()));
        assert_eq!(done.load(Ordering::SeqCst), 0);
        pool.open();
        assert!(pool.drained_by(soon()));
        assert_eq!(done.load(Ordering::SeqCst), 6);
    }

    #[test]
    fn no_more_run_than_the_bound_and_no_more_wait_than_that() {
        let pool = Pool::new(2);
        pool.open();
        let (begun, running) = sync_channel(8);
        let (release, released) = sync_channel::<()>(8);
        let released = Arc::new(Mutex::new(released));
        let submit = || {
            let (begun, released) = (begun.clone(), Arc::clone(&released));
            pool.submit(Box::new(move || {
                begun.send(()).unwrap();
                locked(&released).recv().unwrap();
            }))
        };
        submit().unwrap();
        submit().unwrap();
        for _ in 0..2 {
            running.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        submit().unwrap();
        submit().unwrap();
        assert_eq!(submit(), Err(Full));
        assert!(running.try_recv().is_err(), "a third ran beside the two");
        for _ in 0..4 {
            release.send(()).unwrap();
        }
        assert!(pool.drained_by(soon()));
        assert_eq!(submit(), Ok(()));
        release.send(()).unwrap();
        assert!(pool.drained_by(soon()));
    }
}
