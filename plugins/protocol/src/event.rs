//! A fact, before and after it is recorded.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Class, Json, Priority, Time};

/// The longest `message` and `subject`, in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;
/// The largest `data`, in bytes of JSON text.
pub const DATA_BYTES_MAX: usize = 256 * 1024;

/// What somebody says happened, before the daemon has recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The kind; a plugin may only use classes its manifest declares.
    pub class: Class,
    /// What it happened to: a resource URI such as `/datasets/tank%2Fdata`; may be empty.
    #[serde(default)]
    pub subject: String,
    /// How urgent; absent: the class's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// One English sentence for a person.
    #[serde(default)]
    pub message: String,
    /// Everything else, in the shape the class declares.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub data: Json,
}

impl Draft {
    /// A draft of this class with nothing else said.
    pub fn new(class: Class) -> Self {
        Self {
            class,
            subject: String::new(),
            priority: None,
            message: String::new(),
            data: Json::default(),
        }
    }

    /// Whether every part is within its bound; the sentence says which is not.
    ///
    /// # Errors
    /// The sentence to answer with.
    pub fn check(&self) -> Result<(), String> {
        let bounds = [
            ("message", self.message.len(), TEXT_BYTES_MAX),
            ("subject", self.subject.len(), TEXT_BYTES_MAX),
            ("data", self.data.text().len(), DATA_BYTES_MAX),
        ];
        check_bounds("event", &bounds)
    }
}

/// Whether every part of something has at most its bytes: parts are a name, their bytes and the
/// most they may have.
///
/// # Errors
/// The sentence to answer with: it names the first part that has more.
pub(crate) fn check_bounds(what: &str, parts: &[(&str, usize, usize)]) -> Result<(), String> {
    match parts.iter().find(|(_, bytes, most)| bytes > most) {
        Some((part, bytes, most)) => {
            Err(format!("the {what}'s {part} has {bytes} bytes; at most {most} are allowed"))
        }
        None => Ok(()),
    }
}

/// A recorded fact. It never changes.
///
/// Field names follow `CloudEvents` 1.0 where it has them (`id`, `source`, `subject`, `time`,
/// `data`; our `class` is its `type`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the log: one more than the event before it, for ever. Absent on events of
    /// classes that are not kept (`retain` other than `log`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// A version 8 UUID whose two halves XOR to a microsecond clock that never stands still.
    pub id: Uuid,
    /// When the daemon recorded it.
    pub time: Time,
    /// Who said it: `sysadmd`, a plugin's id, or `client` for `events/fire`.
    pub source: String,
    /// The kind.
    pub class: Class,
    /// What it happened to; may be empty.
    pub subject: String,
    /// How urgent.
    pub priority: Priority,
    /// One English sentence for a person.
    pub message: String,
    /// Everything else.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub data: Json,
}

impl Event {
    /// Roughly the bytes it holds in memory: the unit in which queues of events are bounded.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.source.len()
            + self.class.as_str().len()
            + self.subject.len()
            + self.message.len()
            + self.data.text().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_too_large_names_the_part_and_the_bound() {
        let mut draft = Draft::new(Class::parse("a.b").unwrap());
        assert_eq!(draft.check(), Ok(()));
        draft.message = "x".repeat(TEXT_BYTES_MAX + 1);
        let sentence = draft.check().unwrap_err();
        assert!(sentence.contains("message") && sentence.contains("4096"), "{sentence}");
    }

    #[test]
    fn data_crosses_as_it_was_written() {
        let text = r#"{"class":"a.b","data":{ "n" : 1.0 , "z":[ ] }}"#;
        let draft: Draft = serde_json::from_str(text).unwrap();
        assert_eq!(draft.data.text(), r#"{ "n" : 1.0 , "z":[ ] }"#);
    }
}
