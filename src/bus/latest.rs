//! State that is published as events of `retain: latest`: the newest of each class and subject.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::Event;

use crate::sight::Interest;

/// Classes and subjects kept: far more than a host has, few enough to bound the memory.
pub(crate) const KEPT_MAX: usize = 4096;

/// The newest event of each class and subject. In memory only: whoever publishes state publishes
/// it again after a restart.
#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<BTreeMap<(String, String), Arc<Event>>>);

impl Latest {
    pub(crate) fn put(&self, event: &Arc<Event>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(key(event), Arc::clone(event));
        if kept.len() > KEPT_MAX {
            let oldest =
                kept.iter().min_by_key(|(_, event)| event.time).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                kept.remove(&oldest);
            }
        }
    }

    pub(crate) fn matching(&self, interest: &Interest) -> Vec<Arc<Event>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.values().filter(|event| interest.matches(event)).cloned().collect()
    }
}

/// What `latest` coalesces by.
pub(crate) fn key(event: &Event) -> (String, String) {
    (event.class.as_str().to_owned(), event.subject.clone())
}
