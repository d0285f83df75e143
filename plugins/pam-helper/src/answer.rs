//! What is answered, and how it is written.

use serde_json::{Value, json};

/// What PAM says of a user and a password.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is the password, and the account may be used.
    Ok,
    /// It is not, or the account may not be used for this.
    Denied,
    /// It is the password, and something has expired: a sentence for the user.
    Expired(&'static str),
    /// It cannot be told; the cause, for the log.
    Unavailable(String),
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Ok => json!({"verdict": "ok"}),
            Self::Denied => json!({"verdict": "denied"}),
            Self::Expired(message) => json!({"verdict": "expired", "message": message}),
            Self::Unavailable(message) => json!({"verdict": "unavailable", "message": message}),
        }
    }
}
