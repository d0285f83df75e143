//! What the fan-out thread is told.

use std::sync::Arc;

use protocol::manifest::Retain;
use protocol::{Cursor, Event};
use tokio::sync::oneshot;

use super::Standing;
use super::member::{Member, MemberId};

/// Makes the first bytes of a subscription when it is known where it begins.
pub(crate) type Greeting = Box<dyn FnOnce(&Standing) -> Vec<u8> + Send>;

/// Makes the bytes of a heartbeat from where a subscription is.
pub(crate) type Heartbeat = Box<dyn FnOnce(&Cursor) -> Vec<u8> + Send>;

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
    /// Tell this one, if it is live, how far it is: between the events it was offered and those
    /// that follow.
    Beat { member: Arc<Member>, heartbeat: Heartbeat },
    /// Say that you are there.
    Ask(oneshot::Sender<()>),
    /// Do not serve this one any more.
    Leave(MemberId),
}
