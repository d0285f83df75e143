//! `rpc/identify`, `rpc/query` and `rpc/hello`: what a client asks first.

use std::collections::BTreeMap;

use protocol::manifest::{Kind, VERSION_MAX};
use protocol::{Fault, Json, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Client, VERSIONS_MAX, short};
use super::shape::{read, said};
use super::usable::is_usable;
use super::{Dispatch, Identity, PROTOCOLS, builtin};
use crate::access::Principal;
use crate::host::DeclaredMethod;

/// The longest name of a namespace (see `protocol::manifest`).
const NAMESPACE_BYTES_MAX: usize = 64;
/// What can be used beyond the classic protocol.
const FEATURES: [&str; 9] = [
    "cursor",
    "filter",
    "gap",
    "heartbeat",
    "overflow",
    "fire",
    "history",
    "versions",
    "deprecations",
];

/// Answer to `rpc/identify`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Identified {
    /// The machine's name.
    pub(super) hostname: String,
    /// `server`, as opposed to a bridge.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

/// Answer to `rpc/query`: each method with `read` or `read/write`.
pub(super) type Usable = BTreeMap<String, &'static str>;

/// Arguments of `rpc/hello`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Hello {
    /// The protocol versions the client speaks; absent: any.
    protocols: Option<Vec<u64>>,
    /// Who the client is, for whoever looks after this machine.
    client: Option<Named>,
    /// Which version of a namespace the client speaks, for each that it speaks another than 1 of.
    #[serde(default)]
    versions: BTreeMap<String, u32>,
}

/// Who a client is.
#[derive(Default, Deserialize, JsonSchema)]
pub(super) struct Named {
    /// The program's name.
    name: Option<String>,
    /// Its version.
    version: Option<String>,
}

/// Answer to `rpc/hello`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Greeting {
    /// The protocol version that is spoken from here on.
    protocol: u64,
    /// The daemon's version.
    version: &'static str,
    /// The versions of namespaces that the client is answered in from here on, where it has named
    /// one.
    versions: BTreeMap<String, u32>,
    /// What can be used beyond the classic protocol.
    features: Vec<&'static str>,
    /// The machine's name.
    hostname: String,
    /// SHA-256 of the TLS certificate in use, in hexadecimal.
    fingerprint: String,
    /// The database: cursors of another one say nothing here.
    instance: Uuid,
    /// The time here.
    time: Time,
    /// Seconds between heartbeats unless a subscription asks otherwise.
    heartbeat_s: u64,
    /// What a client is kept within.
    limits: Bounds,
    /// Who is logged in.
    principal: Option<Who>,
}

/// What a client is kept within.
#[derive(Serialize, JsonSchema)]
struct Bounds {
    /// Bytes of a message.
    message_bytes: usize,
    /// Calls that may be unanswered at once.
    calls_in_flight: usize,
    /// Requests in one JSON-RPC batch.
    batch_requests: usize,
    /// Subscriptions of one connection.
    subscriptions: usize,
    /// Bytes that may wait for the client to read them.
    queue_bytes: usize,
}

/// Somebody.
#[derive(Serialize, JsonSchema)]
struct Who {
    /// Their name.
    name: String,
    /// Their role.
    role: String,
}

impl Dispatch {
    /// What this principal may use: method to `read/write` or `read`.
    pub(super) fn query(&self, principal: &Principal) -> Result<Json, Fault> {
        let mut found: BTreeMap<String, bool> = BTreeMap::new();
        let mut add = |method: &str, kind: Kind| {
            *found.entry(method.to_owned()).or_default() |= kind == Kind::Mutate;
        };
        for entry in builtin::table().filter(|own| is_usable(own, principal)) {
            add(entry.method, entry.kind);
        }
        for DeclaredMethod { method, .. } in self.usable_of_plugins(principal) {
            add(&method.method, method.kind);
        }
        let word = |writes| if writes { "read/write" } else { "read" };
        said(&found.into_iter().map(|(method, writes)| (method, word(writes))).collect::<Usable>())
    }

    /// The answer to `rpc/hello`, and what the client has said of itself.
    ///
    /// # Errors
    /// `bad-request` when no protocol of the client's is spoken here, or the arguments are wrong.
    pub fn hello(
        &self,
        principal: Option<&Principal>,
        args: &Value,
    ) -> Result<(Json, Client), Fault> {
        let (client, agreed) = introduced(args)?;
        let Identity { hostname, certificate, instance, limits, .. } = self.identity();
        let fingerprint = certificate.borrow().fingerprint.clone();
        let answer = said(&Greeting {
            protocol: agreed,
            version: env!("CARGO_PKG_VERSION"),
            versions: client.versions.clone(),
            features: FEATURES.to_vec(),
            hostname: hostname.clone(),
            fingerprint,
            instance: *instance,
            time: self.0.clock.now(),
            heartbeat_s: 30,
            limits: Bounds {
                message_bytes: limits.message_bytes,
                calls_in_flight: limits.calls_in_flight,
                batch_requests: limits.batch_requests,
                subscriptions: limits.subscriptions,
                queue_bytes: limits.queue_bytes,
            },
            principal: principal.map(|who| Who { name: who.name.clone(), role: who.role.clone() }),
        })?;
        Ok((answer, client))
    }
}

/// The newest version of the protocol that both sides know; of a client that names none the newest
/// that is `spoken` here.
fn agreed(offered: Option<&[u64]>, spoken: &[u64]) -> Option<u64> {
    let both = |version: &&u64| offered.is_none_or(|offered| offered.contains(version));
    spoken.iter().filter(both).max().copied()
}

/// What a client says of itself in `rpc/hello`, and the version of the protocol that is agreed on.
///
/// # Errors
/// `bad-request` when no protocol of the client's is spoken here, or the arguments are wrong.
pub fn introduced(args: &Value) -> Result<(Client, u64), Fault> {
    let Hello { protocols, client, versions } = read(args)?;
    let agreed = agreed(protocols.as_deref(), PROTOCOLS).ok_or_else(|| {
        Fault::bad_request("none of the client's protocols is spoken here")
            .with_details(json!({ "protocols": PROTOCOLS }))
    })?;
    let is_right = |(namespace, version): (&String, &u32)| {
        namespace.len() <= NAMESPACE_BYTES_MAX && (1..=VERSION_MAX).contains(version)
    };
    if versions.len() > VERSIONS_MAX || !versions.iter().all(is_right) {
        let sentence = format!(
            "\"versions\" names a version from 1 to {VERSION_MAX} for {VERSIONS_MAX} namespaces at most"
        );
        return Err(Fault::bad_request(sentence));
    }
    let Named { name, version } = client.unwrap_or_default();
    let word = |text: Option<String>| short(&text.unwrap_or_default());
    let client = Client { name: word(name), version: word(version), versions, opted_in: true };
    Ok((client, agreed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::PROTOCOL;

    #[test]
    fn the_newest_version_that_both_know_is_spoken() {
        let spoken = [1, 2, 3];
        for (offered, version) in [
            (None, Some(3)),
            (Some(vec![2, 1]), Some(2)),
            (Some(vec![1]), Some(1)),
            (Some(vec![9, 3, 2]), Some(3)),
            (Some(vec![0, 9]), None),
            (Some(vec![]), None),
        ] {
            assert_eq!(agreed(offered.as_deref(), &spoken), version, "{offered:?}");
        }
        assert_eq!(agreed(None, PROTOCOLS), Some(PROTOCOL));
    }
}
