//! Consul's `/v1/event` (<https://developer.hashicorp.com/consul/api-docs/event>): requests to
//! questions, records and faults to answers.
//!
//! `docs/protocols/consul.md` is the normative page.

mod duration;
mod encoding;
mod event;
mod pretty;
mod query;
mod route;
mod token;

use protocol::{Fault, FaultKind};

pub use duration::parse as duration;
pub use encoding::takes_gzip;
pub use event::{ConsulEvent, array, object};
pub use pretty::pretty;
pub use query::Query;
pub use route::{Asked, Method, PATHS, read};
pub use token::{Shown, shown};

/// The index of a list in which nothing is.
pub const EMPTY_INDEX: u64 = 1;
/// The header with the index of a list.
pub const INDEX: &str = "x-consul-index";
/// The header that says what holds where no rule is.
pub const DEFAULT_POLICY: &str = "x-consul-default-acl-policy";
/// The header that says that something was left out of a list.
pub const FILTERED: &str = "x-consul-results-filtered-by-acls";
/// The header with a token.
pub const TOKEN: &str = "x-consul-token";

/// A refusal, or an answer without content, as Consul words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// A plain text; may be empty.
    pub text: String,
    /// The methods that are there, for the header `Allow`.
    pub allow: Option<&'static str>,
    /// Where it is instead, for the header `Location`.
    pub location: Option<String>,
    /// Seconds after which to try again.
    pub retry_after_s: Option<u64>,
}

impl Reply {
    /// With a status and a text.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, text, allow: None, location: None, retry_after_s: None }
    }

    /// What a fault is for a Consul client.
    pub fn of(fault: &Fault) -> Self {
        let mut reply = match fault.kind {
            // Where nobody needs to log in, this is said of a token.
            FaultKind::Unauthorized => Self::new(403, "ACL not found"),
            FaultKind::Forbidden => Self::denied(),
            kind => Self::new(kind.status(), fault.message.as_str()),
        };
        reply.retry_after_s = fault.retry_after_ms.map(|wait| wait.div_ceil(1_000));
        reply
    }

    /// For whoever lacks the right.
    pub fn denied() -> Self {
        Self::new(403, "Permission denied")
    }
}
