//! What waits for one sink: a piece of the log, worded.

use std::collections::VecDeque;

use protocol::{Class, Cursor, Event, Filter, Gap, Start};

use super::{Ground, subject};
use crate::store::StoreError;

/// Events read from the log in one go.
const READ_EVENTS: usize = 512;
/// Bytes of events read in one go; one event may exceed them.
const READ_BYTES: usize = 128 * 1024;

/// One event, or one gap.
#[derive(Debug)]
pub(super) struct Item {
    /// As JSON.
    pub(super) text: Vec<u8>,
    /// Where the sink is when it has it.
    pub(super) upto: u64,
    /// What it is; `None` for a gap.
    pub(super) event: Option<Named>,
}

/// By what an event is told apart.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) seq: u64,
    pub(super) id: uuid::Uuid,
    pub(super) class: Class,
}

/// A piece of the log.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) items: VecDeque<Item>,
    /// Everything up to here was read.
    pub(super) read: u64,
}

impl Backlog {
    /// Behind this cursor, also when it leads nowhere any more.
    pub(super) fn after(cursor: Cursor, ground: &Ground) -> Self {
        let (from, gap) = ground.bus.beginning(Start::After(cursor));
        let told = gap.map(|gap| told(&gap, &from, ground));
        Self { items: told.into_iter().collect(), read: from.seq }
    }

    /// Reads on until there is something for the sink of this name; `false` at the end of the log.
    pub(super) async fn fill(
        &mut self,
        ground: &Ground,
        filter: &Filter,
        name: &str,
    ) -> Result<bool, StoreError> {
        let log = ground.bus.log();
        while self.items.is_empty() {
            let at = Cursor::after(ground.bus.instance(), self.read);
            if let (from, Some(gap)) = ground.bus.beginning(Start::After(at)) {
                self.items.push_back(told(&gap, &from, ground));
                self.read = from.seq;
                continue;
            }
            let events = log.read(self.read, READ_EVENTS, READ_BYTES).await?;
            let Some(last) = events.last().and_then(|event| event.seq) else { return Ok(false) };
            if events.first().and_then(|event| event.seq) != Some(self.read + 1) {
                // Retention was faster: the gap is told first.
                tokio::task::yield_now().await;
                continue;
            }
            let wanted = events.iter().filter(|event| is_for(event, filter, name));
            self.items.extend(wanted.filter_map(|event| worded(event, ground)));
            self.read = last;
            if let Some(item) = self.items.back_mut() {
                item.upto = last;
            }
        }
        Ok(true)
    }
}

/// A sink is not told about itself: what it refuses would never end.
fn is_for(event: &Event, filter: &Filter, name: &str) -> bool {
    let about_it = event.class.family() == "sink" && event.subject == subject(name);
    !about_it && filter.matches(event)
}

fn told(gap: &Gap, from: &Cursor, ground: &Ground) -> Item {
    let text = (ground.words.gap)(gap, from, &ground.host).into_bytes();
    Item { text, upto: from.seq, event: None }
}

fn worded(event: &Event, ground: &Ground) -> Option<Item> {
    let seq = event.seq?;
    let mut text = Vec::with_capacity(event.weight() + 512);
    let cursor = Cursor::after(ground.bus.instance(), seq);
    (ground.words.event)(event, &cursor, &ground.host, &mut text);
    let named = Named { seq, id: event.id, class: event.class.clone() };
    Some(Item { text, upto: seq, event: Some(named) })
}
