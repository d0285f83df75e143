//! How urgent an event is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Urgency from 0 to 10; the type can hold nothing else.
///
/// Prints as `SysAdm` clients parse it: `7 - Critical`. 0–2 is Information, 3–5 Warning,
/// 6–8 Critical, 9–10 Urgent (the original server's `DisplayPriority`).
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "u8", extend("minimum" = 0, "maximum" = 10)))]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// The least urgent.
    pub const MIN: Self = Self(0);
    /// The most urgent.
    pub const MAX: Self = Self(10);
    /// From here on an event is never dropped for a slow client and may overtake lesser ones.
    pub const CRITICAL: Self = Self(6);

    /// A priority from a number; `None` above 10.
    pub const fn new(number: u8) -> Option<Self> {
        if number <= 10 { Some(Self(number)) } else { None }
    }

    /// The nearest priority: numbers above 10 become 10.
    pub const fn clamped(number: u8) -> Self {
        if number > 10 { Self(10) } else { Self(number) }
    }

    /// The number, 0 to 10.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// `Information`, `Warning`, `Critical` or `Urgent`.
    pub const fn category(self) -> &'static str {
        match self.0 {
            0..=2 => "Information",
            3..=5 => "Warning",
            6..=8 => "Critical",
            _ => "Urgent",
        }
    }

    /// Whether delivery of it may never be given up: 6 and above.
    pub const fn is_critical(self) -> bool {
        self.0 >= Self::CRITICAL.0
    }
}

impl TryFrom<u8> for Priority {
    type Error = PriorityError;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        Self::new(number).ok_or(PriorityError(number))
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.0, self.category())
    }
}

/// A number that is no priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a priority: expected a number from 0 to 10")]
pub struct PriorityError(u8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_priority_prints_the_words_clients_parse() {
        let printed: Vec<String> =
            (0..=10).map(|n| Priority::new(n).unwrap().to_string()).collect();
        assert_eq!(printed[0], "0 - Information");
        assert_eq!(printed[2], "2 - Information");
        assert_eq!(printed[3], "3 - Warning");
        assert_eq!(printed[5], "5 - Warning");
        assert_eq!(printed[6], "6 - Critical");
        assert_eq!(printed[8], "8 - Critical");
        assert_eq!(printed[9], "9 - Urgent");
        assert_eq!(printed[10], "10 - Urgent");
    }

    #[test]
    fn eleven_is_refused_with_the_range() {
        let refusal = serde_json::from_str::<Priority>("11").unwrap_err().to_string();
        assert!(refusal.contains("from 0 to 10"), "{refusal}");
        assert_eq!(serde_json::to_string(&Priority::clamped(200)).unwrap(), "10");
    }
}
