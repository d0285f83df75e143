//! JSON-RPC 2.0, seen from outside.

mod bounds;
mod calls;
mod clients;
mod killed;
mod page;
mod post;
mod subscriptions;
mod talk;
