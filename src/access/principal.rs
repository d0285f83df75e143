//! An authenticated somebody.

use std::time::Duration;

use protocol::{Role, Time};
use uuid::Uuid;

use super::rights::Rights;

/// An authenticated somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// For people and the audit trail: `local:root`, `user:alice`, `token:backup`, `cert:nas2`.
    pub name: String,
    /// The name of their role, or of several joined by `+`.
    pub role: String,
    /// What they may do.
    pub rights: Rights,
    /// What it rests on; when one of them is revoked, everything done in its name ends.
    pub credentials: Vec<Credential>,
    /// When it ends by itself, if it does.
    pub expires: Option<Time>,
    /// Calls a second that it may make, if that is limited.
    pub rate_per_s: Option<u32>,
}

/// Something that can be revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A made token, with the hash of its present text: a rotated token is another one.
    Token(Uuid, [u8; 32]),
    /// A session, by the hash of its token.
    Session([u8; 32]),
    /// A registered RSA key.
    Key(Uuid),
    /// A trigger, by its public id.
    Trigger(Uuid),
    /// The authorities that have vouched for a TLS client certificate, by their number since the
    /// start: others in their place are another one.
    Authorities(u64),
}

impl Principal {
    /// Somebody with these rights and nothing that could be revoked.
    pub fn new(name: String, role: String, rights: Rights) -> Self {
        Self { name, role, rights, credentials: Vec::new(), expires: None, rate_per_s: None }
    }

    /// Nobody yet: what the audit trail calls whoever has not logged in.
    pub fn nobody() -> Self {
        Self::new("anonymous".to_owned(), String::new(), Rights::none())
    }

    /// Somebody with a built-in role.
    pub fn of_role(name: String, role: Role) -> Self {
        Self::new(name, role.as_str().to_owned(), Rights::of_role(role))
    }

    /// How long it is still good for; `None` for ever, zero when it has expired.
    pub fn time_left(&self, now: Time) -> Option<Duration> {
        let left = |expires: Time| expires.micros().saturating_sub(now.micros());
        self.expires.map(|expires| Duration::from_micros(left(expires)))
    }

    /// The user of this machine behind it, if there is one: to them keys belong.
    pub fn account(&self) -> Option<&str> {
        self.name.strip_prefix("local:").or_else(|| self.name.strip_prefix("user:"))
    }

    /// The token behind it, if there is one.
    pub fn token(&self) -> Option<Uuid> {
        self.credentials.iter().find_map(|credential| match credential {
            Credential::Token(id, _) => Some(*id),
            _ => None,
        })
    }
}
