//! Docker Cloud's REST API and event stream, as its clients still speak them: requests to questions,
//! what the plugin `containers` tells to objects, records to events.
//!
//! `docs/protocols/docker-cloud.md` is the normative page.

mod action;
mod list;
mod object;
mod route;
mod stream;
mod trigger;

use protocol::{Fault, FaultKind};
use serde_json::{Value, json};

pub use action::{Verb, action, action_uuid, call, job_id, locks, target};
pub use list::{Filters, envelope};
pub use object::{Rows, objects};
pub use route::{Asked, DEEDS, Kind, Method, PATHS, read, starts};
pub use stream::{STREAM, Since, Wish};
pub use trigger::{
    Begun, TRIGGER_PATHS, Told, TriggerAsked, begun, read_trigger, trigger as trigger_object,
};

/// A refusal as Docker Cloud words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// One sentence.
    pub error: String,
    /// The methods that are there, for the header `Allow`.
    pub allow: Option<&'static str>,
}

impl Refusal {
    /// With a status and a sentence.
    pub fn new(status: u16, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), allow: None }
    }

    /// What a fault is for these clients.
    pub fn of(fault: &Fault) -> Self {
        match fault.kind {
            // Whoever uses this API asked for an object, not for a method.
            FaultKind::NotFound => Self::new(404, "there is no such thing here"),
            kind => Self::new(kind.status(), fault.message.as_str()),
        }
    }

    /// The body.
    pub fn body(&self) -> Value {
        json!({ "error": self.error })
    }
}

/// A moment of the engine's as this API's clients parse it; `null` stays.
fn date(moment: &Value) -> Value {
    let read = moment.as_str().and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    read.map_or(Value::Null, |moment| {
        moment.to_utc().format("%a, %d %b %Y %H:%M:%S +0000").to_string().into()
    })
}

/// Where an object is.
pub fn uri(kind: &str, uuid: &str) -> String {
    match kind {
        "node" | "nodecluster" => format!("/api/infra/v1/{kind}/{uuid}/"),
        "action" => format!("/api/audit/v1/action/{uuid}/"),
        _ => format!("/api/app/v1/{kind}/{uuid}/"),
    }
}

/// The uuid at the end of a resource's path, or the text itself.
fn last(uri: &str) -> &str {
    uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}
