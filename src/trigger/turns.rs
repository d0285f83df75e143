//! Whose turn it is: one runs, and of those that come meanwhile one waits for all.

use uuid::Uuid;

/// What runs and what waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns {
    running: Option<Uuid>,
    waiting: Option<Uuid>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It begins now.
    Now,
    /// It waits for the end of what runs.
    Next,
    /// This one waits already, and stands for it, too.
    Same(Uuid),
}

impl Turns {
    /// What would become of one more call.
    pub fn look(&self) -> Turn {
        match (self.running, self.waiting) {
            (None, _) => Turn::Now,
            (Some(_), None) => Turn::Next,
            (Some(_), Some(waiting)) => Turn::Same(waiting),
        }
    }

    /// A call takes its place, if there is one.
    pub fn enter(&mut self, run: Uuid) -> Turn {
        let turn = self.look();
        match turn {
            Turn::Now => self.running = Some(run),
            Turn::Next => self.waiting = Some(run),
            Turn::Same(_) => {}
        }
        turn
    }

    /// A call has ended; which one begins now.
    pub fn end(&mut self, run: Uuid) -> Option<Uuid> {
        if self.waiting == Some(run) {
            self.waiting = None;
        }
        if self.running != Some(run) {
            return None;
        }
        self.running = self.waiting.take();
        self.running
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_runs_one_waits_and_the_others_are_that_one() {
        let id = Uuid::from_u128;
        let mut turns = Turns::default();
        assert_eq!(turns.look(), Turn::Now);
        turns.enter(id(1));
        assert_eq!(turns.look(), Turn::Next);
        turns.enter(id(2));
        assert_eq!(turns.look(), Turn::Same(id(2)));
        assert_eq!(turns.end(id(1)), Some(id(2)));
        assert_eq!(turns.look(), Turn::Next);
        assert_eq!(turns.end(id(7)), None, "somebody else's end");
        assert_eq!(turns.end(id(2)), None);
        assert_eq!(turns, Turns::default());
    }

    proptest! {
        /// Whoever calls while something runs is answered with something that begins later.
        #[test]
        fn nobodys_call_is_lost(ends in proptest::collection::vec(any::<bool>(), 1..60)) {
            let (mut turns, mut next) = (Turns::default(), 0u128);
            let (mut running, mut waiting) = (None, None);
            for end in ends {
                if end {
                    let Some(run) = running else { continue };
                    running = turns.end(run);
                    prop_assert_eq!(running, waiting.take());
                } else {
                    next += 1;
                    let run = Uuid::from_u128(next);
                    match turns.look() {
                        Turn::Now => { prop_assert_eq!(running, None); running = Some(run); }
                        Turn::Next => { prop_assert!(running.is_some()); waiting = Some(run); }
                        Turn::Same(same) => { prop_assert_eq!(Some(same), waiting); continue; }
                    }
                    turns.enter(run);
                }
            }
        }
    }
}
