//! What the fan-out thread is told.

use std::sync::Arc;

use protocol::Event;
use protocol::manifest::Retain;
use tokio::sync::oneshot;

use super::Standing;
use super::member::{Member, MemberId};

/// Makes the first bytes of a subscription when it is known where it begins.
pub(crate) type Greeting = Box<dyn FnOnce(&Standing) -> Vec<u8> + Send>;

/// Everything that can reach the fan-out thread.
pub(crate) enum Command {
    /// The log has recorded these, in this order.
    Recorded(Vec<Arc<Event>>),
    /// This happened and is not in the log.
    Passing(Arc<Event>, Retain),
    /// Serve this one from the next event on.
    JoinAtHead { member: Arc<Member>, greeting: Greeting },
    /// Watch for urgent events for this one, which is being served from the log.
    Follow(Arc<Member>),
    /// This one has everything up to here: serve it, if you can reach back that far.
    Join { member: Arc<Member>, after: u64, live: oneshot::Sender<bool> },
    /// Do not serve this one any more.
    Leave(MemberId),
}
