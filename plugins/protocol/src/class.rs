//! The kind of an event, and patterns over kinds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest class, in bytes.
pub const CLASS_BYTES_MAX: usize = 64;

/// The kind of an event: lower-case words joined by dots, such as `snapshot.created`.
///
/// Each word is `[a-z][a-z0-9_-]*`; at most [`CLASS_BYTES_MAX`] bytes in all.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Class(String);

impl Class {
    /// Parses a class.
    ///
    /// # Errors
    /// When the text is empty, too long or holds other characters.
    pub fn parse(text: &str) -> Result<Self, ClassError> {
        let fits = text.len() <= CLASS_BYTES_MAX && text.split('.').all(is_word);
        if fits { Ok(Self(text.to_owned())) } else { Err(ClassError(shortened(text))) }
    }

    /// The whole class, for example `snapshot.created`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first word, for example `snapshot`.
    pub fn family(&self) -> &str {
        self.0.split('.').next().unwrap_or(&self.0)
    }
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

fn shortened(text: &str) -> String {
    text.chars().take(CLASS_BYTES_MAX).collect()
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Class {
    type Error = ClassError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Class> for String {
    fn from(class: Class) -> Self {
        class.0
    }
}

/// A text that is no class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an event class: expected lower-case words joined by dots, such as \
     \"snapshot.created\", {CLASS_BYTES_MAX} bytes at most"
)]
pub struct ClassError(String);

/// Whether `pattern` covers `name`: `*` covers all, `snapshot.*` covers `snapshot` and everything
/// below it, anything else only itself. Used for event classes and for rights alike.
pub fn covers(pattern: &str, name: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.strip_suffix(".*") {
        Some(family) => {
            name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_lower_case_words() {
        assert_eq!(Class::parse("snapshot.created").unwrap().family(), "snapshot");
        for bad in ["", "Snapshot", "a..b", ".a", "a.", "1a", "a b", &"a".repeat(65)] {
            assert!(Class::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_family_pattern_covers_the_family_and_nothing_beside_it() {
        assert!(covers("*", "anything"));
        assert!(covers("snapshot.*", "snapshot.created"));
        assert!(covers("snapshot.*", "snapshot"));
        assert!(!covers("snapshot.*", "snapshots.created"));
        assert!(covers("a.b", "a.b"));
        assert!(!covers("a.b", "a.b.c"));
    }
}
