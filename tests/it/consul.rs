//! Consul's clients, as far as they are seen over HTTP. `docs/protocols/consul.md` is the page.

mod blocking;
mod crash;
mod fire;
mod list;
mod page;
mod rights;
mod talk;
mod waiters;
