//! What a token is confined to beside its role.

use std::net::IpAddr;

use ipnet::IpNet;
use protocol::Fault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::peer::Peer;
use super::rights::Allowance;
use crate::config::{Grant, objection};

/// Patterns of one kind; more say less about a token than a second token.
const PATTERNS_MAX: usize = 64;
/// The word in `sources` for the unix socket.
const LOCAL: &str = "local";

/// Takes from what a token's role allows. What is absent takes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// The only methods, as patterns of a grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// The only event classes to hear and to fire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// The only resources calls and events may be about; with `!` before it one that they may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// The only networks it is accepted from: `192.0.2.0/24`, an address, or `local` for the unix
    /// socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<String>>,
    /// Calls a second, on average; twice as many at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<u32>,
}

impl Scope {
    /// Whether it says something that means something.
    ///
    /// # Errors
    /// `bad-request` with what is wrong.
    pub fn check(&self) -> Result<(), Fault> {
        let refuse = |what: String| Err(Fault::bad_request(what));
        let lists = [&self.methods, &self.classes, &self.resources, &self.sources];
        for list in lists.into_iter().flatten() {
            if list.is_empty() || list.len() > PATTERNS_MAX {
                return refuse(format!(
                    "a list of a token's scope has 1 to {PATTERNS_MAX} entries"
                ));
            }
        }
        if let Some(what) = objection(&self.grant()) {
            return refuse(what);
        }
        let mut sources = self.sources.iter().flatten();
        if let Some(bad) = sources.find(|source| *source != LOCAL && network(source).is_none()) {
            return refuse(format!(
                "{bad:?} is no network: expected 192.0.2.0/24, an address, or \"local\""
            ));
        }
        if self.rate_per_s == Some(0) {
            return refuse("\"rate_per_s\" must be at least 1".to_owned());
        }
        Ok(())
    }

    /// The layer of rights it is; `None` when it takes nothing.
    pub fn allowance(&self) -> Option<Allowance> {
        let limits = self.methods.is_some() || self.classes.is_some() || self.resources.is_some();
        limits.then(|| Allowance { level: None, grants: vec![self.grant()] })
    }

    /// Whether the token is accepted from there.
    pub fn accepts(&self, peer: Peer) -> bool {
        let Some(sources) = &self.sources else { return true };
        match peer.address() {
            None => sources.iter().any(|source| source == LOCAL),
            Some(address) => {
                sources.iter().filter_map(|s| network(s)).any(|n| n.contains(&address))
            }
        }
    }

    fn grant(&self) -> Grant {
        let all = || vec!["*".to_owned()];
        Grant {
            methods: self.methods.clone().unwrap_or_else(all),
            classes: self.classes.clone().unwrap_or_else(all),
            resources: self.resources.clone().unwrap_or_default(),
        }
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(json: &str) -> Scope {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_scope_names_where_a_token_is_accepted() {
        let nets = scope(r#"{"sources":["192.0.2.0/24","2001:db8::1"]}"#);
        let from = |text: &str| nets.accepts(Peer::Net(text.parse().unwrap()));
        assert!(from("192.0.2.7") && from("::ffff:192.0.2.7") && from("2001:db8::1"));
        assert!(!from("192.0.3.7") && !from("2001:db8::2"));
        assert!(!nets.accepts(Peer::Local(0)));
        assert!(scope(r#"{"sources":["local"]}"#).accepts(Peer::Local(7)));
        assert!(Scope::default().accepts(Peer::Local(7)));
        assert_eq!(Scope::default().allowance(), None);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for bad in [
            r#"{"methods":[]}"#,
            r#"{"methods":["x"]}"#,
            r#"{"classes":["X"]}"#,
            r#"{"resources":["x"]}"#,
            r#"{"sources":["192.0.2.0/33"]}"#,
            r#"{"rate_per_s":0}"#,
        ] {
            assert!(scope(bad).check().is_err(), "{bad}");
        }
        scope(r#"{"methods":["snapshot/*"],"rate_per_s":5}"#).check().unwrap();
    }
}
