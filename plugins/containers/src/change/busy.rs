//! Turns: what is being changed is changed by one call at a time.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sdk::{Context, Fault, FaultKind};
use uuid::Uuid;

/// How many calls may wait: each takes one of the plugin's 16 places, and lists need some, too.
const WAITING_MAX: usize = 6;
/// How often a waiting call looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Which services are being changed.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    state: Mutex<State>,
    free: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: BTreeSet<Uuid>,
    waiting: usize,
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    busy: &'a Busy,
    keys: BTreeSet<Uuid>,
}

impl Busy {
    /// Waits until none of these is being changed, and has them for itself.
    ///
    /// # Errors
    /// `cancelled` when nobody waits any more; `too-many` when too many wait.
    pub(crate) fn turn(&self, ctx: &Context, keys: BTreeSet<Uuid>) -> Result<Turn<'_>, Fault> {
        let mut state = self.state();
        if !state.taken.is_disjoint(&keys) {
            if state.waiting >= WAITING_MAX {
                let sentence = "too many changes wait for others to be done";
                return Err(Fault::new(FaultKind::TooMany, sentence)
                    .with_hint("ask for it as a job, with a lock: it then waits in the daemon")
                    .with_retry_after_ms(2_000));
            }
            state.waiting += 1;
            ctx.progress_in("waiting", (0, None), "", "another change is being made to it");
            while !state.taken.is_disjoint(&keys) && !ctx.cancelled() {
                let woken = self.free.wait_timeout(state, LOOK);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
            state.waiting -= 1;
        }
        if ctx.cancelled() {
            return Err(Fault::new(FaultKind::Cancelled, "nothing was changed: it was aborted"));
        }
        state.taken.extend(&keys);
        Ok(Turn { busy: self, keys })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.busy.state();
        state.taken.retain(|key| !self.keys.contains(key));
        drop(state);
        self.busy.free.notify_all();
    }
}
