//! Floor 6: translators. One module for each protocol; text in, words out, and back.
//!
//! They know how a protocol looks. They must not wait, spawn, open anything or keep state: a
//! protocol that needs state asks `dispatch` for it. `listen` calls them.
//!
//! | module | who speaks it |
//! |---|---|
//! | [`consul`] | Consul's event clients |
//! | [`docker_cloud`] | Docker Cloud's clients |
//! | [`sysadm`] | `SysAdm` GUIs and scripts, our command line |
//! | [`jsonrpc`] | programs and generated clients |
//! | [`cloudevents`] | whoever speaks `CloudEvents` 1.0 |
//! | [`metrics`] | Prometheus and whoever reads its text |
//! | `notice` | people who are told of alerts, and their programs |
//! | `login`, `subscription` | what is read alike in each of them |
//! | [`frame`] | websocket framing of what the others word |

pub mod cloudevents;
pub mod consul;
pub mod docker_cloud;
pub mod frame;
pub mod jsonrpc;
pub(crate) mod login;
pub mod metrics;
pub(crate) mod notice;
mod pieces;
pub(crate) mod subscription;
pub mod sysadm;
