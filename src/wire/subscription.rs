//! What a subscription asks for, read alike for every protocol that offers all of it.

use protocol::{Fault, Filter, Overflow, Start};
use serde::Deserialize;
use serde_json::Value;

use crate::dispatch::talk::Subscribe;

/// A subscription as a client asks for it.
#[derive(Debug)]
pub struct Asked {
    /// The client's name for it, if it gave one.
    pub sub: Option<String>,
    /// Which events.
    pub filter: Filter,
    /// From where on.
    pub start: Start,
    /// What happens when the client is slow.
    pub overflow: Overflow,
    /// Seconds between heartbeats.
    pub heartbeat_s: u64,
}

/// Reads the arguments.
///
/// # Errors
/// `bad-request` with the member at fault.
pub(crate) fn read(args: &Value) -> Result<Asked, Fault> {
    let asked = Subscribe::deserialize(args)
        .map_err(|error| Fault::bad_request(format!("the subscription is wrong: {error}")))?;
    let Subscribe { sub, filter, from, overflow, heartbeat_s } = asked;
    if sub.as_ref().is_some_and(|sub| sub.is_empty() || sub.chars().count() > 64) {
        return Err(Fault::bad_request("\"sub\" must have 1 to 64 characters"));
    }
    if !(1..=300).contains(&heartbeat_s) {
        return Err(Fault::bad_request("\"heartbeat_s\" must be from 1 to 300"));
    }
    let start = match from.as_deref() {
        None | Some("now") => Start::Now,
        Some("oldest") => Start::Oldest,
        Some("snapshot") => Start::Snapshot,
        Some(cursor) => Start::After(cursor.parse().map_err(|error| {
            let expected = "\"from\" must be now, oldest, snapshot or a cursor";
            Fault::bad_request(format!("{expected}: {error}"))
        })?),
    };
    Ok(Asked { sub, filter, start, overflow, heartbeat_s })
}
