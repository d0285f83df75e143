//! What was acknowledged to those who fired, and what the log must look like.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use uuid::Uuid;

/// What writers were told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By number: the event's id, who fired it and which of theirs it was.
    fired: BTreeMap<u64, (String, String, u64)>,
    /// What a plugin said it had published, and was told is recorded: how many, by the name of the
    /// call. Their `i` are 0, 1, 2 and so on.
    published: BTreeMap<String, u64>,
}

impl Ledger {
    /// `events/fire` was answered.
    pub(super) fn fired(&mut self, answer: &Value, who: &str, number: u64) {
        let seq = answer["seq"].as_u64().unwrap_or_else(|| panic!("no number in {answer}"));
        let id = answer["event_id"].as_str().expect("an id").to_owned();
        let before = self.fired.insert(seq, (id, who.to_owned(), number));
        assert_eq!(before, None, "number {seq} was given twice");
    }

    /// A plugin has published so many, and all of them were acknowledged.
    pub(super) fn published(&mut self, who: &str, count: u64) {
        self.published.insert(who.to_owned(), count);
    }

    /// Fails when the log has a hole, a repetition, or lacks what was acknowledged.
    pub(super) fn compare(&self, log: &[Value]) {
        check_order(log);
        assert!(!self.fired.is_empty() && !self.published.is_empty(), "nothing was acknowledged");
        println!(
            "{} events, {} acknowledged to clients, {} calls of the plugin",
            log.len(),
            self.fired.len(),
            self.published.len()
        );
        for (seq, (id, who, number)) in &self.fired {
            let event = &log[usize::try_from(*seq).expect("an index") - 1];
            assert_eq!(event["event_id"], **id, "event {seq} was acknowledged as another one");
            assert_eq!(event["data"]["who"], **who, "event {seq}");
            assert_eq!(event["data"]["n"], *number, "event {seq}");
        }
        let mut of_calls: HashMap<&str, u64> = HashMap::new();
        for event in log.iter().filter(|event| event["class"] == "kit.event") {
            let who = event["data"]["who"].as_str().expect("the name of the call");
            *of_calls.entry(who).or_default() += 1;
        }
        for (who, count) in &self.published {
            let recorded = of_calls.get(who.as_str()).copied().unwrap_or(0);
            assert_eq!(recorded, *count, "events of the plugin's call {who}");
        }
    }
}

fn check_order(log: &[Value]) {
    let (mut ids, mut said, mut before) = (HashSet::new(), HashSet::new(), 0);
    for (place, event) in log.iter().enumerate() {
        assert_eq!(event["seq"], place as u64 + 1, "the sequence is broken");
        let id = event["event_id"].as_str().and_then(|id| Uuid::parse_str(id).ok());
        let (high, low) = id.unwrap_or_else(|| panic!("no id in {event}")).as_u64_pair();
        let index = high ^ low;
        assert!(ids.insert((high, low)), "an id is there twice: {event}");
        assert!(index > before, "the index of ids went from {before} to {index}: {event}");
        before = index;
        let data = &event["data"];
        let number = data["n"].as_u64().or(data["i"].as_u64());
        if let (Some(who), Some(number)) = (data["who"].as_str(), number) {
            assert!(said.insert((who, number)), "an event is recorded twice: {event}");
        }
    }
}
