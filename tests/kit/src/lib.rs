//! What the tests of every crate share.
//!
//! It knows the words of `protocol` and how to start things; it must not hold expectations: those
//! belong to the tests.

pub mod client;
pub mod lab;
pub mod link;
pub mod plugins;
pub mod receiver;
pub mod tls;
pub mod transcript;
