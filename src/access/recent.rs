//! Passwords and tokens that were right a moment ago, so that a client that sends one with every HTTP
//! request does not cost a check and a record of the audit trail each time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::{Fault, Time};
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use super::login::Proof;
use super::peer::Peer;
use super::principal::Principal;
use super::random_bytes;

/// How long what was right is remembered, in microseconds.
const REMEMBERED_MICROS: u64 = 30_000_000;
/// Of these at once.
const REMEMBERED_MAX: usize = 1024;

type Key = [u8; 32];

/// Who was right lately; keyed by a hash that only this process can make.
#[derive(Debug)]
pub(super) struct Recent {
    salt: [u8; 32],
    found: Mutex<HashMap<Key, (Time, Principal)>>,
}

impl Recent {
    pub(super) fn new() -> Result<Self, Fault> {
        Ok(Self { salt: random_bytes()?, found: Mutex::new(HashMap::new()) })
    }

    /// What this proof from this peer is remembered by.
    pub(super) fn key(&self, peer: Peer, proof: &Proof) -> Key {
        let mut hasher = Sha256::new_with_prefix(self.salt);
        let peer = peer.to_string();
        let (user, secret) = match proof {
            Proof::Password { user, password } => (user.as_str(), password.expose_secret()),
            Proof::Secret(secret) => ("", secret.expose_secret()),
            Proof::Answer { answer, .. } => ("", answer.as_str()),
        };
        for part in [peer.as_str(), user, secret] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    pub(super) fn find(&self, key: &Key, now: Time) -> Option<Principal> {
        let found = self.found();
        let (since, principal) = found.get(key)?;
        is_fresh(*since, now).then(|| principal.clone())
    }

    pub(super) fn put(&self, key: Key, principal: &Principal, now: Time) {
        let mut found = self.found();
        if found.len() >= REMEMBERED_MAX {
            found.retain(|_, (since, _)| is_fresh(*since, now));
        }
        if found.len() < REMEMBERED_MAX {
            found.insert(key, (now, principal.clone()));
        }
    }

    /// Forgets all of them: something was revoked.
    pub(super) fn clear(&self) {
        self.found().clear();
    }

    fn found(&self) -> MutexGuard<'_, HashMap<Key, (Time, Principal)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(since: Time, now: Time) -> bool {
    now.micros().saturating_sub(since.micros()) < REMEMBERED_MICROS
}
