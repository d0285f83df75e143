//! TLS from outside: which protocols are spoken, whose certificates are believed, and what happens
//! when the daemon's own certificate is replaced.

mod clients;
mod files;
mod matrix;
mod reload;
