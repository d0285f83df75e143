//! What went wrong, written for the one who asked.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A refusal or failure. It goes to the client as it is; causes go to the log.
///
/// There is no conversion from I/O errors on purpose: the author of a call must write the sentence.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The stable code for machines.
    pub kind: FaultKind,
    /// One sentence for people: who is at fault, and what was expected.
    pub message: String,
    /// What to do next, when there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When it makes sense to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// More for machines, such as the member at fault.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl Fault {
    /// A fault with a sentence.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            retry_after_ms: None,
            details: Value::Null,
        }
    }

    /// The request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(FaultKind::BadRequest, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FaultKind::NotFound, message)
    }

    /// A defect of ours; the cause is in the log.
    pub fn internal() -> Self {
        Self::new(FaultKind::Internal, "the daemon failed to handle this request")
            .with_hint("the cause is in the daemon's log")
    }

    /// The same with a next step.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a time after which to try again.
    #[must_use]
    pub fn with_retry_after_ms(mut self, milliseconds: u64) -> Self {
        self.retry_after_ms = Some(milliseconds);
        self
    }

    /// The same with details.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// The stable codes. On the wire in kebab-case; a reader must survive codes it does not know.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The request is malformed or its arguments are wrong.
    BadRequest,
    /// Nobody is logged in, or the credentials are wrong.
    Unauthorized,
    /// Logged in, but not allowed.
    Forbidden,
    /// No such method or thing.
    NotFound,
    /// It exists already, or its state forbids the change.
    Conflict,
    /// A size is over its limit.
    TooLarge,
    /// Too many at once or too fast.
    TooMany,
    /// The caller gave up, or the connection ended.
    Cancelled,
    /// The work was tried and failed.
    Failed,
    /// A plugin or resource is not there at the moment.
    Unavailable,
    /// The deadline passed.
    Timeout,
    /// A defect of the daemon or of a plugin. Also what an unknown code is read as.
    #[serde(other)]
    Internal,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::TooMany,
        Self::Cancelled,
        Self::Failed,
        Self::Unavailable,
        Self::Timeout,
        Self::Internal,
    ];

    /// The nearest HTTP status code, which is also the number in classic `SysAdm` errors.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::TooMany => 429,
            Self::Cancelled => 499,
            Self::Failed | Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// The number it has as a JSON-RPC error: the specification's own where one fits; otherwise the
    /// last two digits are those of the nearest HTTP status, within the range left to servers.
    pub const fn json_rpc(self) -> i32 {
        match self {
            Self::BadRequest => -32_602,
            Self::Internal => -32_603,
            Self::Failed => -32_000,
            Self::Unauthorized => -32_001,
            Self::Forbidden => -32_003,
            Self::NotFound => -32_004,
            Self::Conflict => -32_009,
            Self::TooLarge => -32_013,
            Self::TooMany => -32_029,
            Self::Unavailable => -32_053,
            Self::Timeout => -32_054,
            Self::Cancelled => -32_099,
        }
    }

    /// The stable code, for example `bad-request`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::TooMany => "too-many",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    /// The words classic `SysAdm` errors carry.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::Conflict => "Conflict",
            Self::TooLarge => "Payload Too Large",
            Self::TooMany => "Too Many Requests",
            Self::Cancelled => "Client Closed Request",
            Self::Failed | Self::Internal => "Internal Server Error",
            Self::Unavailable => "Service Unavailable",
            Self::Timeout => "Gateway Timeout",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_from_the_future_is_survived() {
        let fault: Fault = serde_json::from_str(r#"{"kind":"teapot","message":"m"}"#).unwrap();
        assert_eq!(fault.kind, FaultKind::Internal);
    }

    #[test]
    fn a_code_is_the_same_in_words_and_on_the_wire() {
        for kind in [FaultKind::BadRequest, FaultKind::TooMany, FaultKind::Internal] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn codes_are_kebab_case() {
        let text = serde_json::to_string(&Fault::bad_request("m")).unwrap();
        assert_eq!(text, r#"{"kind":"bad-request","message":"m"}"#);
    }
}
