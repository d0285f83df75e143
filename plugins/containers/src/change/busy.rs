//! Turns: what is being changed is changed by one call at a time.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
pub(crate) struct Turn {
    busy: Arc<Busy>,
    keys: BTreeSet<Uuid>,
}

impl Busy {
    /// Waits until none of these is being changed, and has them for itself.
    ///
    /// # Errors
    /// `cancelled` when nobody waits any more; `too-many` when too many wait.
    pub(crate) fn turn(
        self: &Arc<Self>,
        ctx: &Context,
        keys: BTreeSet<Uuid>,
    ) -> Result<Turn, Fault> {
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
        Ok(Turn { busy: Arc::clone(self), keys })
    }

    /// Has them for itself at once, before anybody else is there.
    pub(crate) fn first_turn(self: &Arc<Self>, keys: BTreeSet<Uuid>) -> Turn {
        self.state().taken.extend(&keys);
        Turn { busy: Arc::clone(self), keys }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.busy.state();
        state.taken.retain(|key| !self.keys.contains(key));
        drop(state);
        self.busy.free.notify_all();
    }
}
