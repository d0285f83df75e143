//! The event log, for faces that answer from it themselves.

use std::sync::Arc;

use protocol::{Event, Fault};

use super::Dispatch;
use crate::store::{Bounds, Page, Query};

impl Dispatch {
    /// What the log holds now. Costs two loads.
    pub fn bounds(&self) -> Bounds {
        self.0.bus.log().bounds()
    }

    /// A page of history for a sight that [`Dispatch::sight`] has made.
    ///
    /// # Errors
    /// `unavailable` when the log cannot be read.
    pub async fn page(&self, query: Query) -> Result<Page, Fault> {
        self.0.bus.log().page(query).await.map_err(|error| crate::bus::unreadable(&error))
    }

    /// All events after `seq` from memory, whoever may hear them; `None` when more than `most` have
    /// come since, or memory does not reach back that far.
    pub fn recent(&self, seq: u64, most: usize) -> Option<Vec<Arc<Event>>> {
        self.0.bus.recent(seq, most)
    }
}
