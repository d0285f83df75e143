//! A back end's errors as faults: the sentence to the asker, the cause to the log.

use std::error::Error as _;

use sdk::{Context, Fault, FaultKind, Level, json};

use crate::backend::{Error, ErrorKind};

/// How soon a busy dataset is worth another try.
const RETRY_MS: u64 = 2_000;

/// The fault for an error that ended `what`; its cause is logged.
pub(super) fn of(ctx: &Context, what: &str, error: &Error) -> Fault {
    if let Some(cause) = error.source() {
        ctx.log(Level::Warn, &format!("{what}: {error} Cause: {cause}"));
    }
    let (kind, reason) = match error.kind() {
        ErrorKind::BadRequest => (FaultKind::BadRequest, "bad-request"),
        ErrorKind::NotFound => (FaultKind::NotFound, "not-found"),
        ErrorKind::AlreadyExists => (FaultKind::Conflict, "already-exists"),
        ErrorKind::Busy => (FaultKind::Conflict, "busy"),
        ErrorKind::Foreign => (FaultKind::Forbidden, "foreign"),
        ErrorKind::Unavailable => (FaultKind::Unavailable, "unavailable"),
        ErrorKind::Failed => (FaultKind::Failed, "failed"),
        ErrorKind::Cancelled => (FaultKind::Cancelled, "cancelled"),
    };
    let fault = Fault::new(kind, error.to_string()).with_details(json!({ "reason": reason }));
    match error.kind() {
        ErrorKind::Busy => fault.with_retry_after_ms(RETRY_MS),
        _ => fault,
    }
}
