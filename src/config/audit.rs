//! `[audit]`: how long it is kept who did what.

use serde::Deserialize;

/// `[audit]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Days a record of the audit trail is kept; 0 keeps it for ever.
    pub max_age_days: u32,
}

impl Default for Audit {
    /// A year and a month, so that a yearly review still finds all of the year before it.
    fn default() -> Self {
        Self { max_age_days: 400 }
    }
}
