//! Reading on in the log, for faces that answer from it.

use std::sync::Arc;

use protocol::{Cursor, Event, Fault, Filter, Gap, Start};

use super::Dispatch;
use crate::access::Principal;
use crate::sight::Interest;
use crate::store::Query;

/// What comes next in the log for somebody.
#[derive(Debug)]
pub struct Stretch {
    /// What they want and may hear, in order.
    pub events: Vec<Arc<Event>>,
    /// Where to go on.
    pub cursor: Cursor,
    /// What is missing before the first.
    pub gap: Option<Gap>,
    /// Whether there may be more already.
    pub more: bool,
}

impl Dispatch {
    /// Counts a question that is no call towards the rate of a token.
    ///
    /// # Errors
    /// `too-many` beyond it.
    pub fn spend(&self, principal: &Principal) -> Result<(), Fault> {
        self.0.access.spend(principal)
    }

    /// At most `limit` events from `start` on. Few or none may come although there is more: then
    /// `more` says so.
    ///
    /// # Errors
    /// `unavailable` when the log cannot be read.
    pub async fn stretch(
        &self,
        principal: &Principal,
        filter: Filter,
        start: Start,
        limit: usize,
    ) -> Result<Stretch, Fault> {
        let (from, gap) = self.0.bus.beginning(start);
        let log = self.0.bus.log();
        // Before the page, so that what is recorded meanwhile is not passed over.
        let head = log.bounds().head;
        let interest = Interest { filter, sight: self.sight(principal) };
        let after_seq = Some(from.seq);
        let query = Query { interest, after_seq, limit, ..Query::default() };
        let mut page = log.page(query).await.map_err(|error| crate::bus::unreadable(&error))?;
        let last = page.events.last().and_then(|event| event.seq).unwrap_or_default();
        let reached = page.resume.unwrap_or_else(|| head.max(last)).max(from.seq);
        page.events.retain(|event| event.seq.is_none_or(|seq| !from.covers(seq)));
        let cursor = from.moved_to(reached);
        Ok(Stretch { events: page.events, cursor, gap, more: page.more })
    }
}
