//! Saying that the daemon is ready, in the three ways it is asked: the service manager, the log,
//! and (by answering) the socket.

use std::net::SocketAddr;

use sd_notify::NotifyState;

use crate::config::Config;

/// Clients are served now.
pub(super) fn say(config: &Config, addresses: &[SocketAddr], fingerprint: &str) {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    tracing::info!(
        socket = %config.socket.display(),
        addresses = addresses.join(" "),
        fingerprint,
        "ready"
    );
    notify(&[NotifyState::Ready]);
}

/// Everything on which the daemon stands does its work.
pub(super) fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// No new work is taken.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
