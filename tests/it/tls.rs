//! TLS from outside: which protocols are spoken, whose certificates are believed, and what happens
//! when the daemon's own certificate is replaced.

mod clients;
pub(crate) mod files;
mod matrix;
mod reload;
