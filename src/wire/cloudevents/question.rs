//! What is asked for in a query: a stream, or a batch from the past.

use std::time::Duration;

use protocol::{Class, Cursor, Fault, Filter, Overflow, Start};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error;

/// Events of a batch unless it says otherwise.
const LIMIT: usize = 100;
/// The most events of one batch.
pub(super) const LIMIT_MAX: usize = 1_000;
/// The longest wait for an event, and between heartbeats.
const WAIT_MAX_S: u64 = 300;
/// Between heartbeats unless it says otherwise.
const HEARTBEAT_S: u64 = 30;

/// A query that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    filter: Filter,
    start: Option<Start>,
    overflow: Option<Overflow>,
    heartbeat: Option<Duration>,
    limit: Option<usize>,
    wait: Option<Duration>,
}

/// A stream over a websocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Which events.
    pub filter: Filter,
    /// From where on.
    pub start: Start,
    /// What happens when the client is slow.
    pub overflow: Overflow,
    /// Between heartbeats.
    pub heartbeat: Duration,
}

/// A batch over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which events.
    pub filter: Filter,
    /// From where on; never [`Start::Snapshot`].
    pub start: Start,
    /// The most events.
    pub limit: usize,
    /// How long to wait for the first event.
    pub wait: Duration,
}

impl Question {
    /// Reads the part of a URL behind the question mark.
    ///
    /// # Errors
    /// `bad-request` with the parameter at fault.
    pub fn parse(query: &str) -> Result<Self, Fault> {
        let mut question = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name != "classes" && seen.contains(&name.to_string()) {
                return Err(Fault::bad_request(format!("the parameter {name:?} is there twice")));
            }
            question.take(&name, &value)?;
            seen.push(name.into_owned());
        }
        question.filter.check().map_err(Fault::bad_request)?;
        Ok(question)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        let text = || Some(value.to_owned());
        match name {
            "classes" => {
                for class in value.split(',').filter(|class| !class.is_empty()) {
                    if !is_class_pattern(class) {
                        let sentence = format!("{class:?} in \"classes\" can cover no class");
                        return Err(Fault::bad_request(sentence)
                            .with_hint("name a class such as user.deploy, user.*, or *"));
                    }
                    self.filter.classes.push(class.to_owned());
                }
            }
            "min_priority" => {
                let priority = value.parse().ok().and_then(protocol::Priority::new);
                let wrong = || wrong(name, "a number from 0 to 10");
                self.filter.min_priority = priority.ok_or_else(wrong)?;
            }
            "subject" => self.filter.subject = text(),
            "source" => self.filter.source = text(),
            "text" => self.filter.text = text(),
            "from" | "after" if self.start.is_some() => {
                return Err(Fault::bad_request("\"from\" and \"after\" are the same"));
            }
            "from" | "after" => self.start = Some(start(value)?),
            "overflow" => {
                let read = Overflow::deserialize(value.into_deserializer());
                let words = "lossless, latest, drop or disconnect";
                self.overflow = Some(read.map_err(|_: Error| wrong(name, words))?);
            }
            "heartbeat" => self.heartbeat = Some(seconds(name, value, 1)?),
            "wait" => self.wait = Some(seconds(name, value, 0)?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                let expected = format!("a number from 1 to {LIMIT_MAX}");
                self.limit = Some(limit.ok_or_else(|| wrong(name, &expected))?);
            }
            _ => return Err(unknown(name, "any")),
        }
        Ok(())
    }

    /// As a stream.
    ///
    /// # Errors
    /// `bad-request` when something is asked that is for a batch.
    pub fn stream(self) -> Result<Stream, Fault> {
        let foreign = [("limit", self.limit.is_some()), ("wait", self.wait.is_some())];
        refuse(&foreign, "a stream")?;
        Ok(Stream {
            filter: self.filter,
            start: self.start.unwrap_or_default(),
            overflow: self.overflow.unwrap_or_default(),
            heartbeat: self.heartbeat.unwrap_or(Duration::from_secs(HEARTBEAT_S)),
        })
    }

    /// As a batch.
    ///
    /// # Errors
    /// `bad-request` when something is asked that is for a stream.
    pub fn batch(self) -> Result<Batch, Fault> {
        let foreign =
            [("overflow", self.overflow.is_some()), ("heartbeat", self.heartbeat.is_some())];
        refuse(&foreign, "a batch")?;
        if self.start == Some(Start::Snapshot) {
            return Err(Fault::bad_request("a snapshot is for a stream, not for a batch"));
        }
        Ok(Batch {
            filter: self.filter,
            start: self.start.unwrap_or(Start::Oldest),
            limit: self.limit.unwrap_or(LIMIT),
            wait: self.wait.unwrap_or_default(),
        })
    }
}

/// Whether there can be a class that it covers.
fn is_class_pattern(pattern: &str) -> bool {
    pattern == "*" || Class::parse(pattern.strip_suffix(".*").unwrap_or(pattern)).is_ok()
}

impl Batch {
    /// The query that asks for what comes behind this cursor.
    pub fn next(&self, cursor: &Cursor) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let Filter { classes, min_priority, subject, source, text } = &self.filter;
        for class in classes {
            query.append_pair("classes", class);
        }
        if min_priority.number() > 0 {
            query.append_pair("min_priority", &min_priority.number().to_string());
        }
        for (name, value) in [("subject", subject), ("source", source), ("text", text)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.append_pair("after", &cursor.to_string());
        query.append_pair("limit", &self.limit.to_string());
        if !self.wait.is_zero() {
            query.append_pair("wait", &self.wait.as_secs().to_string());
        }
        query.finish()
    }
}

fn start(value: &str) -> Result<Start, Fault> {
    Ok(match value {
        "now" => Start::Now,
        "oldest" => Start::Oldest,
        "snapshot" => Start::Snapshot,
        // A plus that was not encoded has become a space.
        cursor => Start::After(cursor.replace(' ', "+").parse().map_err(|error| {
            Fault::bad_request(format!("expected now, oldest, snapshot or a cursor: {error}"))
        })?),
    })
}

fn seconds(name: &str, value: &str, least: u64) -> Result<Duration, Fault> {
    let seconds = value.parse().ok().filter(|seconds| (least..=WAIT_MAX_S).contains(seconds));
    let expected = format!("a number of seconds from {least} to {WAIT_MAX_S}");
    seconds.map(Duration::from_secs).ok_or_else(|| wrong(name, &expected))
}

fn refuse(foreign: &[(&str, bool)], what: &str) -> Result<(), Fault> {
    match foreign.iter().find(|(_, there)| *there) {
        Some((name, _)) => Err(unknown(name, what)),
        None => Ok(()),
    }
}

fn unknown(name: &str, what: &str) -> Fault {
    let name: String = name.chars().take(32).collect();
    Fault::bad_request(format!("there is no parameter {name:?} of {what} question")).with_hint(
        "of both: classes, min_priority, subject, source, text, from; of a stream: overflow, \
         heartbeat; of a batch: after, limit, wait",
    )
}

fn wrong(name: &str, expected: &str) -> Fault {
    Fault::bad_request(format!("the parameter {name:?} must be {expected}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::Priority;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_stream_and_a_batch_are_read_with_their_defaults() {
        let stream = Question::parse("").unwrap().stream().unwrap();
        assert_eq!((stream.start, stream.overflow), (Start::Now, Overflow::Lossless));
        assert_eq!(stream.heartbeat, Duration::from_secs(30));
        let batch = Question::parse("").unwrap().batch().unwrap();
        assert_eq!((batch.start, batch.limit, batch.wait), (Start::Oldest, 100, Duration::ZERO));
        let query = "classes=a.*,b&classes=c&min_priority=6&subject=%2Fx*&source=s&text=a+b&from=snapshot&overflow=drop&heartbeat=1";
        let Stream { filter, start, overflow, .. } =
            Question::parse(query).unwrap().stream().unwrap();
        assert_eq!((start, overflow), (Start::Snapshot, Overflow::Drop));
        assert_eq!(filter.classes, ["a.*", "b", "c"]);
        assert_eq!((filter.subject.as_deref(), filter.text.as_deref()), (Some("/x*"), Some("a b")));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (query, named) in [
            ("min_priority=11", "min_priority"),
            ("min_priority=x", "min_priority"),
            ("prio=1", "prio"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("wait=301", "wait"),
            ("heartbeat=0", "heartbeat"),
            ("overflow=no", "overflow"),
            ("from=tomorrow", "tomorrow"),
            ("from=now&after=now", "after"),
            ("text=a&text=b", "text"),
            ("classes=user..a", "user..a"),
            ("classes=a,b*", "b*"),
            ("classes=*.a", "*.a"),
        ] {
            let fault = Question::parse(query).unwrap_err().to_string();
            assert!(fault.contains(named), "{query}: {fault}");
        }
        let both = |query: &str| {
            let question = Question::parse(query).unwrap();
            (question.clone().stream().is_ok(), question.batch().is_ok())
        };
        assert_eq!(both("overflow=drop"), (true, false));
        assert_eq!(both("limit=1"), (false, true));
        assert_eq!(both("from=snapshot"), (true, false));
    }

    proptest! {
        #[test]
        fn the_next_query_asks_the_same_behind_the_cursor(
            classes in proptest::collection::vec("(\\*|[a-z]{1,4}(\\.[a-z]{1,3})?(\\.\\*)?)", 0..4), priority in 0u8..=10,
            subject in any::<Option<String>>(), text in any::<Option<String>>(),
            seq in 0u64..100, ahead in 101u64..200, limit in 1usize..=LIMIT_MAX, wait in 0u64..=300,
        ) {
            let filter = Filter {
                classes, min_priority: Priority::clamped(priority), subject, source: None, text,
            };
            let wait = Duration::from_secs(wait);
            let cursor = Cursor { instance: Uuid::nil(), seq, ahead: vec![ahead] };
            let batch = Batch { filter, start: Start::Oldest, limit, wait };
            let next = Question::parse(&batch.next(&cursor)).unwrap().batch().unwrap();
            prop_assert_eq!(next, Batch { start: Start::After(cursor), ..batch });
        }
    }
}
