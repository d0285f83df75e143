//! `sysadmd`: one privileged daemon per Linux host.
//!
//! The map. A module may use lower floors only, and siblings do not see each other; a test reads
//! the `use` lines and fails when one points up. `docs/architecture.md` says more.
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 9 | [`fuzzing`] | the door by which `tests/fuzz` gets at what reads the outside |
//! | 8 | [`daemon`] | assembles the floors, waits, tears down |
//! | 7 | [`listen`] | sockets, TLS, HTTP upgrade, routes |
//! | 6 | [`wire`] | protocols: translate, nothing else |
//! | 5 | [`dispatch`] | the one way in for every face |
//! | 4 | [`host`], [`access`], [`sinks`], [`alerts`] | plugin processes; who may what; deliveries to others; what is wrong |
//! | 3 | [`bus`] | publish, subscribe, replay, priorities, lag |
//! | 2 | [`store`], [`outbound`] | the only SQL; requests to others |
//! | 1 | [`config`], [`clock`], [`bucket`], [`lifecycle`], [`sight`], [`description`], [`alarm`], [`trigger`] | settings; the time; a rate; tasks; which events one may hear; what there is, as documents; saying that something is wrong; what a call of a trigger must be like |
//! | 0 | the crate `protocol`, [`certificate`], [`loopback`], [`names`] | words; what a certificate says; what is this machine; how names are looked up |
//!
//! Beside the tower stands [`cli`], on floor 0 alone.

pub mod certificate;
pub mod loopback;
pub mod names;

pub mod alarm;
pub mod bucket;
pub mod clock;
pub mod config;
pub mod description;
pub mod lifecycle;
pub mod sight;
pub mod trigger;

pub mod outbound;
pub mod store;

pub mod bus;

pub mod access;
pub mod alerts;
pub mod host;
pub mod sinks;

pub mod dispatch;

pub mod wire;

pub mod listen;

pub mod daemon;

pub mod cli;

#[doc(hidden)]
pub mod fuzzing;
