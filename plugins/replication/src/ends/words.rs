//! The words of a conversation between two ends on two machines.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use snapshot::backend::{Error, ErrorKind};
use uuid::Uuid;

use super::Halt;
use crate::engine;
use crate::plan::{Conflict, Step};

/// The version of these words.
pub const VERSION: u32 = 1;

/// What the side that began it asks. The other side is a source or a target, once it was told which.
#[expect(missing_docs, reason = "the members are named for what they are")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Which version is spoken.
    Hello { version: u32 },
    /// The dataset that somebody means; it is the source from then on.
    Source { dataset: String },
    /// All its snapshots.
    Originals,
    /// Bytes of a step.
    Size { step: Step },
    /// The stream of a step follows the answer.
    Send { step: Step },
    /// Keeps a snapshot.
    Hold { identity: String, tag: String },
    /// Lets it go.
    Release { identity: String, tag: String },
    /// Where the copies of a dataset of this name go.
    Target { dataset: String, name: String, root: String, generation: u32 },
    /// What is there.
    Look { keys: Vec<String> },
    /// Removes what dead runs left.
    Tidy,
    /// The stream of a step follows; the answer comes after it.
    Stage { run: Uuid, step: Step },
    /// Writes what was received to the disk.
    Sync,
    /// Compares it.
    Check,
    /// Makes it a snapshot.
    Commit,
    /// Gives it up.
    Drop,
    /// Keeps a copy.
    HoldCopy { identity: String, tag: String },
    /// Lets it go.
    ReleaseCopy { identity: String, tag: String },
}

/// An answer.
pub fn answer(outcome: Result<Value, Halt>) -> Value {
    match outcome {
        Ok(value) => json!({ "ok": value }),
        Err(Halt::Conflict(conflict)) => json!({ "conflict": conflict }),
        Err(Halt::Failed(error)) => {
            let full = super::is_full(&error);
            json!({ "error": { "kind": engine::code(error.kind()), "message": error.to_string(), "full": full } })
        }
    }
}

/// What an answer says.
pub fn outcome(mut answer: Value) -> Result<Value, Halt> {
    if let Some(ok) = answer.get_mut("ok") {
        return Ok(ok.take());
    }
    let conflict = answer.get_mut("conflict").map(Value::take).unwrap_or_default();
    if let Ok(conflict) = serde_json::from_value::<Conflict>(conflict) {
        return Err(Halt::Conflict(conflict));
    }
    let error = &answer["error"];
    let kind = match error["kind"].as_str() {
        Some("bad-request") => ErrorKind::BadRequest,
        Some("not-found") => ErrorKind::NotFound,
        Some("already-exists") => ErrorKind::AlreadyExists,
        Some("busy") => ErrorKind::Busy,
        Some("unavailable") => ErrorKind::Unavailable,
        _ => ErrorKind::Failed,
    };
    let message = error["message"].as_str().unwrap_or("The other side gave no reason.");
    let said = Error::new(kind, message);
    let full = error["full"] == true;
    Err(if full { said.because("no space left there") } else { said }.into())
}
