//! Rules: orders that are carried out when something happens: an event, a moment, a file that changes.
//!
//! A rule hears what its owner may hear, and does what they may do. What it has found is on record
//! with its place in the log; what did not work is tried again, and what was given up can be listed
//! and retried.

pub(in crate::dispatch) mod answer;
mod carry;
pub(super) mod kept;
mod task;
mod tell;
mod watch;

use std::sync::Arc;

use protocol::Fault;

use self::kept::Act;
use self::task::Task;
use self::tell::tell;
use super::order::Order;
use super::{Entry, Orders};
use crate::dispatch::Dispatch;
use crate::sight::Sight;
use crate::trigger::rule::When;

/// Rules there may be: each has a task.
const RULES_MAX: usize = 128;

impl Orders {
    /// Sets a rule to work, with what an earlier life has left of it. No future of its own: a rule
    /// makes calls, and a call may make a rule.
    pub(super) fn begin_rule(
        &self,
        dispatch: &Dispatch,
        entry: &Arc<Entry>,
        (when, left): (&When, Vec<Act>),
    ) {
        let task = Task::new(dispatch.clone(), Arc::clone(entry), when, left);
        self.0.tasks.spawn(task.run());
    }
}

impl Dispatch {
    /// What the owner of a rule may hear at this moment.
    async fn sight_of(&self, order: &Order) -> Result<Sight, Fault> {
        let rights = self.owner_rights(order).await?;
        Ok(rights.sight(self.0.bus.classes().clone()))
    }
}
