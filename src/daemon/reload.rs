//! Reading the configuration again while the daemon runs. One that cannot be used changes nothing;
//! of one that can, addresses are taken at once, and the rest is said to wait for a restart.

use std::net::SocketAddr;

use protocol::{Json, Priority};
use serde_json::json;

use super::Daemon;
use crate::config::Config;

/// The class of what came of it.
const CLASS: &str = "daemon.configuration";
/// What is taken without a restart.
const AT_ONCE: [&str; 2] = ["listen", "listen_plain"];

/// Reads the configuration as at the start; the sentence says why it cannot be used.
pub(super) type Reread = dyn Fn() -> Result<Config, String> + Send + Sync;

/// Takes what was read, as far as that goes without a restart. `running` is what the daemon began
/// with, as far as nothing was taken since.
pub(super) async fn take(daemon: &mut Daemon, running: &mut Config, read: Result<Config, String>) {
    tracing::info!("looking at the certificate's files again");
    daemon.reload();
    // The sentence may hold a line of the file, and that a secret.
    let Ok(new) = read else { return refused(daemon, "sysadmd --check says why").await };
    let differences = running.differences(&new);
    if let Err(sentence) = daemon.listen_on(running, &new).await {
        return refused(daemon, &sentence).await;
    }
    running.listen.clone_from(&new.listen);
    running.listen_plain.clone_from(&new.listen_plain);
    let (taken, waiting): (Vec<_>, Vec<_>) =
        differences.into_iter().partition(|name| AT_ONCE.contains(name));
    tracing::info!(
        taken = taken.join(" "),
        at_restart = waiting.join(" "),
        "the configuration was read again"
    );
    let message = match (taken.is_empty(), waiting.is_empty()) {
        (_, false) => {
            format!(
                "Some of the configuration is used from the next start on: {}",
                waiting.join(", ")
            )
        }
        (false, true) => format!("The configuration was taken: {}", taken.join(", ")),
        (true, true) => "The configuration was read again and is as before".to_owned(),
    };
    let data = json!({"state": "taken", "taken": taken, "at_restart": waiting});
    tell(daemon, message, Priority::MIN, data).await;
}

async fn refused(daemon: &Daemon, why: &str) {
    tracing::error!("the configuration cannot be used, and the old one goes on: {why}");
    let message = "The configuration cannot be used, and the old one goes on";
    let data = json!({"state": "refused"});
    let urgent = Priority::new(7).unwrap_or_default();
    tell(daemon, message.to_owned(), urgent, data).await;
}

async fn tell(daemon: &Daemon, message: String, priority: Priority, data: serde_json::Value) {
    super::publish_own(&daemon.bus, CLASS, |draft| {
        draft.message = message;
        draft.priority = Some(priority);
        draft.data = Json::from(data);
    })
    .await;
}

impl Daemon {
    /// Opens what is new of the addresses, then closes what is gone.
    ///
    /// # Errors
    /// When one cannot be had; then everything is as it was.
    async fn listen_on(&mut self, running: &Config, new: &Config) -> Result<(), String> {
        let mut opened = Vec::new();
        for (before, after, with_tls) in [
            (&running.listen, &new.listen, true),
            (&running.listen_plain, &new.listen_plain, false),
        ] {
            for address in after.iter().filter(|address| !before.contains(address)) {
                match self.listen.tcp(*address, with_tls).await {
                    Ok(listener) => opened.push((*address, listener)),
                    Err(cause) => {
                        for (_, listener) in &opened {
                            listener.close();
                        }
                        return Err(format!("cannot listen on {address}: {cause}"));
                    }
                }
            }
        }
        let wanted = |address: &SocketAddr| {
            new.listen.contains(address) || new.listen_plain.contains(address)
        };
        for (_, listener) in self.listeners.extract_if(.., |(address, _)| !wanted(address)) {
            listener.close();
        }
        self.listeners.append(&mut opened);
        self.addresses = self.listeners.iter().map(|(_, listener)| listener.address()).collect();
        Ok(())
    }
}
