//! The newest user events as they are answered: made once for everybody who may see the same of
//! the same name, and brought up to date by what has come since.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use protocol::{Event, Fault, Filter};

use super::answers;
use crate::clock::micros_of_id;
use crate::dispatch::Dispatch;
use crate::dispatch::consul::{CLASS, Node, SUBJECT, UserEvent};
use crate::sight::{Interest, Sight};
use crate::store::Query;
use crate::wire::consul::{self, ConsulEvent};

/// Events in a list, as many as Consul has.
pub(super) const EVENTS_MAX: usize = 256;
/// Events of any kind that are looked through in memory, rather than asked for.
const RECENT_MAX: usize = 1024;
/// Questions to the log for one list, each of which looks at 100,000 records at most. More than one
/// is needed only where many events are addressed to others.
const PAGES_MAX: usize = 4;
/// Lists that are kept.
const LISTS_MAX: usize = 64;
/// Bytes that are kept; a list that is in use is kept whatever its size.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// All lists. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lists(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lists: HashMap<Interest, Arc<List>>,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug, Default)]
struct List {
    /// The use at which it was last asked for.
    used: AtomicU64,
    newest: Mutex<Arc<Snapshot>>,
    /// Held by whoever brings it up to date.
    renewing: tokio::sync::Mutex<()>,
}

/// A list at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Every event up to this number is considered.
    upto: AtomicU64,
    events: Vec<Arc<Shown>>,
    /// The JSON array.
    pub(super) body: Bytes,
    /// The same with gzip, once somebody has asked for it.
    packed: OnceLock<Bytes>,
    /// Of the newest event.
    pub(super) index: u64,
}

/// An event of a list.
#[derive(Debug)]
struct Shown {
    seq: u64,
    index: u64,
    subject: String,
    json: Vec<u8>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::of(0, Vec::new())
    }
}

impl Snapshot {
    fn of(upto: u64, events: Vec<Arc<Shown>>) -> Self {
        Self {
            upto: AtomicU64::new(upto),
            packed: OnceLock::new(),
            body: Bytes::from(consul::array(events.iter().map(|event| &*event.json))),
            index: events.last().map_or(consul::EMPTY_INDEX, |newest| newest.index),
            events,
        }
    }

    /// Whether somebody with this sight may see all of it.
    pub(super) fn is_shown_to(&self, sight: &Sight) -> bool {
        self.events.iter().all(|event| sight.shows_class(CLASS, &event.subject))
    }

    /// The JSON array with gzip.
    pub(super) fn packed(&self) -> Bytes {
        self.packed.get_or_init(|| answers::packed(&self.body)).clone()
    }

    fn bytes(&self) -> usize {
        2 * self.body.len() + self.packed.get().map_or(0, Bytes::len)
    }
}

/// Which user events somebody wants: of one name, or all.
pub(super) fn wanted(name: Option<&str>) -> Filter {
    Filter {
        source: Some("client".to_owned()),
        subject: name.map(|name| format!("{SUBJECT}{name}")),
        ..Filter::classes([CLASS])
    }
}

impl Lists {
    /// The newest events of this name, or of any, that this sight shows and that are meant for this
    /// node: everything that was recorded when this is called, and perhaps more.
    ///
    /// # Errors
    /// `unavailable` when the log cannot be read.
    pub(super) async fn get(
        &self,
        dispatch: &Dispatch,
        node: &Node,
        name: Option<&str>,
        sight: Sight,
    ) -> Result<Arc<Snapshot>, Fault> {
        let interest = Interest { filter: wanted(name), sight };
        let list = self.list(&interest);
        let bounds = dispatch.bounds();
        let now = list.newest();
        if now.upto.load(Ordering::Acquire) >= bounds.head {
            return Ok(now);
        }
        let _only_one = list.renewing.lock().await;
        let before = list.newest();
        let after = before.upto.load(Ordering::Acquire);
        if after >= bounds.head {
            return Ok(before);
        }
        let reader = Reader { dispatch, node, name, interest: &interest };
        let (new, upto, is_all) = reader.since(after).await?;
        if new.is_empty() && !is_all && before.events.first().is_none_or(|e| e.seq >= bounds.oldest)
        {
            before.upto.fetch_max(upto, Ordering::AcqRel);
            return Ok(before);
        }
        let mut events: Vec<Arc<Shown>> = Vec::with_capacity(EVENTS_MAX);
        if !is_all {
            let kept = before.events.iter().filter(|event| event.seq >= bounds.oldest);
            events.extend(kept.cloned());
        }
        events.extend(new);
        events.drain(..events.len().saturating_sub(EVENTS_MAX));
        let snapshot = Arc::new(Snapshot::of(upto, events));
        *list.newest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&snapshot);
        self.tidy();
        Ok(snapshot)
    }

    fn list(&self, interest: &Interest) -> Arc<List> {
        let mut kept = self.kept();
        kept.clock += 1;
        let now = kept.clock;
        let list = Arc::clone(kept.lists.entry(interest.clone()).or_default());
        list.used.store(now, Ordering::Relaxed);
        let is_over = kept.lists.len() > LISTS_MAX;
        drop(kept);
        // Also where nothing is found: whoever asks for names without end is no exception.
        if is_over {
            self.tidy();
        }
        list
    }

    /// Forgets the lists that were not asked for longest while there are too many.
    fn tidy(&self) {
        let mut kept = self.kept();
        loop {
            let bytes: usize = kept.lists.values().map(|list| list.newest().bytes()).sum();
            if kept.lists.len() <= 1 || kept.lists.len() <= LISTS_MAX && bytes <= BYTES_MAX {
                return;
            }
            let used = |list: &Arc<List>| list.used.load(Ordering::Relaxed);
            let oldest = kept.lists.iter().min_by_key(|(_, list)| used(list));
            let oldest = oldest.map(|(interest, _)| interest.clone());
            oldest.and_then(|oldest| kept.lists.remove(&oldest));
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn newest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads the log for one list.
struct Reader<'a> {
    dispatch: &'a Dispatch,
    node: &'a Node,
    name: Option<&'a str>,
    interest: &'a Interest,
}

impl Reader<'_> {
    /// What has come after a number, oldest first; up to where; and whether it is all there is to
    /// show, whatever was there before.
    async fn since(&self, after: u64) -> Result<(Vec<Arc<Shown>>, u64, bool), Fault> {
        if let Some(recent) = self.dispatch.recent(after, RECENT_MAX) {
            let upto = recent.last().and_then(|event| event.seq).unwrap_or(after);
            let mine = recent.iter().filter(|event| self.interest.matches(event));
            return Ok((mine.filter_map(|event| self.show(event)).collect(), upto, false));
        }
        let head = self.dispatch.bounds().head;
        let mut query = Query {
            interest: self.interest.clone(),
            after_seq: Some(after),
            before_seq: Some(head + 1),
            limit: EVENTS_MAX,
            newest_first: true,
            ..Query::default()
        };
        let mut found: Vec<Arc<Shown>> = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = self.dispatch.page(query.clone()).await?;
            found.extend(page.events.iter().filter_map(|event| self.show(event)));
            query.before_seq = page.resume;
            if found.len() >= EVENTS_MAX || page.resume.is_none() {
                break;
            }
        }
        let is_all = found.len() >= EVENTS_MAX || query.before_seq.is_some();
        found.truncate(EVENTS_MAX);
        found.reverse();
        Ok((found, head, is_all))
    }

    /// The event as it is listed; `None` when it is not.
    fn show(&self, record: &Event) -> Option<Arc<Shown>> {
        let event = UserEvent::of(record)?;
        let is_named = self.name.is_none_or(|name| name == event.name);
        if !is_named || !event.concerns(self.node) {
            return None;
        }
        let seq = record.seq?;
        Some(Arc::new(Shown {
            seq,
            index: micros_of_id(record.id),
            subject: record.subject.clone(),
            json: consul::object(&ConsulEvent::new(record.id, event, seq)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_end_are_not_kept() {
        let lists = Lists::default();
        for number in 0..1_000 {
            let filter = wanted(Some(&format!("name-{number}")));
            let interest = Interest { filter, sight: Sight::everything() };
            lists.list(&interest);
            assert!(lists.kept().lists.contains_key(&interest), "the newest stays");
        }
        assert_eq!(lists.kept().lists.len(), LISTS_MAX);
    }
}
