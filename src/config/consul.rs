//! `[consul]`: what the Consul face says of this machine, and what it takes.

use std::collections::BTreeMap;

use protocol::Role;
use protocol::event::DATA_BYTES_MAX;
use serde::Deserialize;

use super::{ConfigError, RoleRules};

/// The largest payload that can be allowed: in base64, and with the longest name and filters, it
/// still is within what the data of an event may be.
const PAYLOAD_BYTES_MAX: usize = DATA_BYTES_MAX / 2;
/// Services of one machine, and tags of one service: each is tried with the filters of each event.
const SERVICES_MAX: usize = 256;

/// `[consul]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consul {
    /// The datacenter this machine is in; a client that names another is told that there is no way.
    pub datacenter: String,
    /// What this machine is called as a node; its host name when absent.
    pub node_name: Option<String>,
    /// The services events can be addressed to by their filters.
    pub services: Vec<Service>,
    /// The role of whoever shows no token; `None`: nobody, who reads and fires nothing.
    pub anonymous_role: Option<String>,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Whether events may have names that begin with an underscore.
    pub underscore_names: bool,
}

/// A service that runs here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// What the service filter of an event is tried on.
    pub id: String,
    /// What its tag filter is tried on.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl Default for Consul {
    fn default() -> Self {
        Self {
            datacenter: "dc1".to_owned(),
            node_name: None,
            services: Vec::new(),
            anonymous_role: None,
            payload_bytes: 64 * 1024,
            underscore_names: false,
        }
    }
}

/// Refuses what could not be kept or found.
pub(super) fn check(
    consul: &Consul,
    roles: &BTreeMap<String, RoleRules>,
) -> Result<(), ConfigError> {
    let refuse = |what: String| Err(ConfigError(format!("consul.{what}")));
    if !(1..=PAYLOAD_BYTES_MAX).contains(&consul.payload_bytes) {
        return refuse(format!("payload_bytes must be between 1 and {PAYLOAD_BYTES_MAX}"));
    }
    if consul.datacenter.is_empty() || consul.node_name.as_deref() == Some("") {
        return refuse("datacenter and consul.node_name must not be empty".to_owned());
    }
    if let Some(role) = &consul.anonymous_role
        && Role::parse(role).is_none()
        && !roles.contains_key(role)
    {
        return refuse(format!("anonymous_role: there is no role {role:?}"));
    }
    let most = consul.services.iter().map(|service| service.tags.len()).max().unwrap_or_default();
    if consul.services.len().max(most) > SERVICES_MAX {
        return refuse(format!("services: at most {SERVICES_MAX}, with as many tags each"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_kept_or_found_is_refused() {
        let refused = |text: &str| {
            let consul: Consul = toml::from_str(text).unwrap();
            check(&consul, &BTreeMap::new()).err().map(|error| error.to_string())
        };
        assert_eq!(refused(""), None);
        assert_eq!(refused("anonymous_role = \"viewer\"\npayload_bytes = 131072"), None);
        assert!(refused("anonymous_role = \"guest\"").is_some_and(|why| why.contains("guest")));
        for bad in ["payload_bytes = 0", "payload_bytes = 131073", "datacenter = \"\""] {
            assert!(refused(bad).is_some(), "{bad}");
        }
    }
}
