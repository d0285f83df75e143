//! JSON-RPC 2.0: `docs/protocols/jsonrpc.md` is the normative page.
//!
//! A message is read into the types of `jsonrpsee`, whose service trait the face implements; what
//! they cannot hold, an id that is a negative or broken number, travels beside them.

mod answer;
mod code;
mod events;
mod read;

pub use answer::{Answers, error, error_of, farewell, result, wrong};
pub use code::{INVALID_REQUEST, PARSE_ERROR, code, fault_codes};
pub use events::{EVENT, ended, greeting, heartbeat};
pub use read::{Entry, Heard, args, id, is_batch, one, owned, read, request, unsubscription};

#[cfg(test)]
mod tests;
