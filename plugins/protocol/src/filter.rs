//! What a subscriber wants to hear.

use serde::{Deserialize, Serialize};

use crate::class::covers;
use crate::{Event, Priority};

/// The most patterns in one filter: enough for every class of a large host, small enough that
/// matching stays cheap.
pub const PATTERNS_MAX: usize = 64;

/// Which events somebody wants. Every part that is given must hold; the empty filter takes all.
///
/// The server evaluates it, and identically for replay, live delivery and history.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Class patterns, of which one must cover the event's class: `*`, `snapshot.*` or an exact
    /// class. Empty: all classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The least priority that is wanted.
    #[serde(default)]
    pub min_priority: Priority,
    /// The subject, or with a trailing `*` what it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who said it: `sysadmd`, a plugin's id or `client`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// A text that the message contains, in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Filter {
    /// A filter for these class patterns.
    pub fn classes<I: IntoIterator<Item = S>, S: Into<String>>(patterns: I) -> Self {
        Self { classes: patterns.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Whether the event is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        event.priority >= self.min_priority
            && self.wants_class(event.class.as_str())
            && self.source.as_ref().is_none_or(|source| *source == event.source)
            && self.subject.as_ref().is_none_or(|pattern| matches_subject(pattern, &event.subject))
            && self.text.as_ref().is_none_or(|text| contains(&event.message, text))
    }

    /// Whether one of the class patterns covers this class.
    pub fn wants_class(&self, class: &str) -> bool {
        self.classes.is_empty() || self.classes.iter().any(|pattern| covers(pattern, class))
    }

    /// Whether it is within its bounds; the sentence says what is not.
    ///
    /// # Errors
    /// The sentence to answer with.
    pub fn check(&self) -> Result<(), String> {
        if self.classes.len() > PATTERNS_MAX {
            return Err(format!("a filter holds at most {PATTERNS_MAX} class patterns"));
        }
        let texts = [self.subject.as_ref(), self.source.as_ref(), self.text.as_ref()];
        let longest = texts.into_iter().flatten().chain(&self.classes).map(String::len).max();
        if longest > Some(crate::event::TEXT_BYTES_MAX) {
            return Err("a text in the filter is longer than 4096 bytes".to_owned());
        }
        Ok(())
    }
}

fn matches_subject(pattern: &str, subject: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => subject.starts_with(start),
        None => pattern == subject,
    }
}

fn contains(message: &str, text: &str) -> bool {
    message.to_lowercase().contains(&text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Json, Time};

    fn event() -> Event {
        Event {
            seq: Some(1),
            id: uuid::Uuid::nil(),
            time: Time::default(),
            source: "snapshot".to_owned(),
            class: Class::parse("snapshot.created").unwrap(),
            subject: "/datasets/a".to_owned(),
            priority: Priority::clamped(4),
            message: "New snapshot of Tank".to_owned(),
            data: Json::default(),
        }
    }

    #[test]
    fn every_given_part_must_hold() {
        let wanted = |json: &str| serde_json::from_str::<Filter>(json).unwrap().matches(&event());
        assert!(wanted("{}"));
        assert!(wanted(
            r#"{"classes":["x","snapshot.*"],"min_priority":4,"subject":"/datasets/*","text":"tank"}"#
        ));
        assert!(!wanted(r#"{"classes":["replication.*"]}"#));
        assert!(!wanted(r#"{"min_priority":5}"#));
        assert!(!wanted(r#"{"subject":"/datasets"}"#));
        assert!(!wanted(r#"{"source":"client"}"#));
        assert!(!wanted(r#"{"text":"pool"}"#));
    }

    #[test]
    fn a_misspelt_part_is_refused_rather_than_ignored() {
        assert!(serde_json::from_str::<Filter>(r#"{"min_prio":5}"#).is_err());
    }
}
