//! JSON-RPC 2.0, seen from outside.

mod calls;
mod clients;
mod page;
mod post;
mod subscriptions;
mod talk;
