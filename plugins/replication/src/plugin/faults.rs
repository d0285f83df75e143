//! A back end's errors as faults: the sentence to the asker, the cause to the log.

use std::error::Error as _;

use sdk::{Context, Fault, FaultKind, Level, json};
use snapshot::backend::{Error, ErrorKind};

use crate::engine;

/// How soon something busy is worth another try.
const RETRY_MS: u64 = 2_000;

/// The fault for an error that ended `what`; its cause is logged.
pub(super) fn of(ctx: &Context, what: &str, error: &Error) -> Fault {
    note(ctx, what, error);
    let kind = match error.kind() {
        ErrorKind::BadRequest => FaultKind::BadRequest,
        ErrorKind::NotFound => FaultKind::NotFound,
        ErrorKind::AlreadyExists | ErrorKind::Busy => FaultKind::Conflict,
        ErrorKind::Foreign => FaultKind::Forbidden,
        ErrorKind::Unavailable => FaultKind::Unavailable,
        ErrorKind::Failed => FaultKind::Failed,
        ErrorKind::Cancelled => FaultKind::Cancelled,
    };
    let details = json!({ "reason": engine::code(error.kind()) });
    let fault = Fault::new(kind, error.to_string()).with_details(details);
    match error.kind() {
        ErrorKind::Busy => fault.with_retry_after_ms(RETRY_MS),
        _ => fault,
    }
}

/// Logs the cause of an error.
pub(super) fn note(ctx: &Context, what: &str, error: &Error) {
    if let Some(cause) = error.source() {
        ctx.log(Level::Warn, &format!("{what}: {error} Cause: {cause}"));
    }
}
