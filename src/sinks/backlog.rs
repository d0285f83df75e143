//! What waits for one sink: a piece of the log, worded.

use std::collections::VecDeque;

use protocol::{Class, Cursor, Event, Gap, Start};

use super::wanted::Wanted;
use super::{Ground, News};
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
    pub(super) fn after(cursor: Cursor, wanted: &Wanted, ground: &Ground) -> Self {
        let (from, gap) = ground.bus.beginning(Start::After(cursor));
        let told = gap.and_then(|gap| told(&gap, &from, (wanted, ground)));
        Self { items: told.into_iter().collect(), read: from.seq }
    }

    /// Reads on until there is something for the sink; `false` at the end of the log.
    pub(super) async fn fill(
        &mut self,
        wanted: &Wanted,
        ground: &Ground,
    ) -> Result<bool, StoreError> {
        let log = ground.bus.log();
        while self.items.is_empty() {
            let at = Cursor::after(ground.bus.instance(), self.read);
            if let (from, Some(gap)) = ground.bus.beginning(Start::After(at)) {
                self.items.extend(told(&gap, &from, (wanted, ground)));
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
            let takes = events.iter().filter(|event| wanted.takes(event));
            self.items.extend(takes.filter_map(|event| worded(event, (wanted, ground))));
            self.read = last;
            if let Some(item) = self.items.back_mut() {
                item.upto = last;
            }
        }
        Ok(true)
    }
}

fn told(gap: &Gap, from: &Cursor, (wanted, ground): (&Wanted, &Ground)) -> Option<Item> {
    let text = wanted.worded(&News::Gap(gap), from, ground)?;
    Some(Item { text, upto: from.seq, event: None })
}

fn worded(event: &Event, (wanted, ground): (&Wanted, &Ground)) -> Option<Item> {
    let seq = event.seq?;
    let cursor = Cursor::after(ground.bus.instance(), seq);
    let text = wanted.worded(&News::Event(event), &cursor, ground)?;
    let named = Named { seq, id: event.id, class: event.class.clone() };
    Some(Item { text, upto: seq, event: Some(named) })
}
