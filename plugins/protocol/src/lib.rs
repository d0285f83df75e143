//! The words that `sysadmd`, its plugins, its command line and its tests share.
//!
//! This crate knows what things are called and how they look as JSON. It must not know how they
//! travel: no I/O, no async, no clock. Everything above stands on it.
//!
//! | Word | Meaning |
//! |---|---|
//! | [`Event`], [`Draft`] | a recorded fact, and the same before it is recorded |
//! | [`Class`], [`Priority`] | what kind of fact, and how urgent |
//! | [`Cursor`] | a place in the durable log |
//! | [`Filter`], [`Start`], [`Overflow`], [`Gap`] | what a subscription asks for and is told |
//! | [`Request`], [`Fault`] | what is asked, and what went wrong, written for the asker |
//! | [`Manifest`] | what a plugin declares |
//! | [`Deprecated`] | what still works and should no longer be used |
//! | [`sandbox`] | what its process may do, and what an administrator grants it |
//! | [`link`] | the messages between the daemon and a plugin process |

pub mod alert;
pub mod class;
pub mod cursor;
pub mod deprecated;
pub mod event;
pub mod fault;
pub mod filter;
pub mod json;
pub mod link;
pub mod manifest;
pub mod priority;
pub mod request;
pub mod sandbox;
pub mod subscription;
pub mod time;

pub use class::Class;
pub use cursor::Cursor;
pub use deprecated::{Day, Deprecated};
pub use event::{Draft, Event};
pub use fault::{Fault, FaultKind};
pub use filter::Filter;
pub use json::Json;
pub use manifest::Manifest;
pub use priority::Priority;
pub use request::{Request, Role};
pub use subscription::{Gap, GapReason, Overflow, Start};
pub use time::Time;
