//! A conversation with a client of Docker Cloud: one stream of events, which is asked for when the
//! websocket is opened. What the client says means nothing.

use protocol::{Fault, Filter, Overflow, Start};

use super::Conversation;
use crate::bus::Face;
use crate::wire::docker_cloud as dockercloud;

/// The one subscription.
const STREAM: &str = "stream";

/// What is to be heard.
#[derive(Debug)]
pub(in crate::listen) struct Hearing {
    pub(in crate::listen) filter: Filter,
    /// See [`dockercloud::Wish::tag`].
    pub(in crate::listen) tag: String,
    pub(in crate::listen) start: Start,
}

impl Conversation {
    /// Begins the stream. The original says nothing before the first event, and its clients take
    /// whatever comes for one.
    ///
    /// # Errors
    /// As [`crate::dispatch::Session::subscribe`].
    pub(super) async fn begin_hearing(&mut self, wanted: Hearing) -> Result<(), Fault> {
        let Hearing { filter, tag, start } = wanted;
        let face = Face::new(&dockercloud::STREAM, &tag);
        let wanted = self.wanted(filter, start, Overflow::Lossless, face);
        self.session.subscribe(STREAM.to_owned(), wanted, Box::new(|_| Vec::new())).await
    }
}
