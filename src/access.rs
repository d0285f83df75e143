//! Floor 4: who somebody is and what they may do.
//!
//! It knows tokens, sessions, local peers and roles. It must not know protocols or what a method
//! does. `dispatch` asks it before anything else happens.

pub mod challenge;
pub mod pam;
mod penalty;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::{Fault, FaultKind, Json, Role, Time};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use uuid::Uuid;

use crate::clock::Clock;
use crate::sight::{Classes, Layer, Sight};
use crate::store::{Store, StoreError, Token};

pub use penalty::{Attempt, Lane, Penalties, Source};

/// How every made token begins, so that scanners for leaked secrets find it.
pub const TOKEN_PREFIX: &str = "sad_";
/// Seconds of silence after which a session token is worth nothing (the original server's 900).
pub const SESSION_SECONDS: u64 = 900;
/// Session tokens alive at once; beyond it the one unused for longest goes.
const SESSIONS_MAX: usize = 10_000;
/// What a failed login costs the one who tries. Guessing 256 bits is hopeless anyway; this keeps
/// it from costing the daemon.
const FAILURE_DELAY: Duration = Duration::from_millis(300);

/// An authenticated somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// For people and the audit trail: `local:root`, `token:backup`.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The token behind it, if there is one: revoking it ends everything done in its name.
    pub token: Option<Uuid>,
    /// When that token expires, if it does.
    pub expires: Option<Time>,
}

impl Principal {
    /// Which events they may hear.
    pub fn sight(&self, classes: Classes) -> Sight {
        Sight::new([Layer { level: Some(self.role), hearings: Vec::new() }], classes)
    }

    /// How long the token behind it is still good for; `None` for ever, zero when it has expired.
    pub fn time_left(&self, now: Time) -> Option<Duration> {
        let left = |expires: Time| expires.micros().saturating_sub(now.micros());
        self.expires.map(|expires| Duration::from_micros(left(expires)))
    }
}

/// A login that succeeded.
#[derive(Debug)]
pub struct Login {
    /// Who it is.
    pub principal: Principal,
    /// A session token, good for [`SESSION_SECONDS`] of silence.
    pub session: String,
}

/// Knows everybody. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Access(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    clock: Clock,
    sessions: Mutex<HashMap<Hash, Session>>,
    /// Counts revocations; connections look again at each.
    revocations: watch::Sender<u64>,
}

type Hash = [u8; 32];

#[derive(Debug)]
struct Session {
    principal: Principal,
    used: Time,
}

impl Access {
    /// Over these credentials.
    pub fn new(store: Arc<Store>, clock: Clock) -> Self {
        let sessions = Mutex::new(HashMap::new());
        Self(Arc::new(Shared { store, clock, sessions, revocations: watch::Sender::new(0) }))
    }

    /// Logs in by a made token or a session token.
    ///
    /// # Errors
    /// `unauthorized` when it is neither, or expired or revoked.
    pub async fn login(&self, secret: &str) -> Result<Login, Fault> {
        match self.recognize(secret).await? {
            Some((principal, true)) => Ok(Login { principal, session: secret.to_owned() }),
            Some((principal, false)) => {
                let session = self.begin_session(&principal)?;
                Ok(Login { principal, session })
            }
            None => {
                tokio::time::sleep(FAILURE_DELAY).await;
                Err(refused())
            }
        }
    }

    /// Who a token belongs to, without beginning a session: one HTTP request.
    ///
    /// # Errors
    /// `unauthorized` when it belongs to nobody.
    pub async fn identify(&self, secret: &str) -> Result<Principal, Fault> {
        if let Some((principal, _)) = self.recognize(secret).await? {
            return Ok(principal);
        }
        tokio::time::sleep(FAILURE_DELAY).await;
        Err(refused())
    }

    /// Somebody on this machine, as the kernel names them: root, the daemon's own user and the
    /// group `sysadmd` are administrators, others nobody.
    pub fn local_peer(
        uid: u32,
        gids: &[u32],
        own_uid: u32,
        admin_gid: Option<u32>,
    ) -> Option<Principal> {
        let in_group = admin_gid.is_some_and(|gid| gids.contains(&gid));
        let name = nix::unistd::User::from_uid(uid.into()).ok().flatten();
        let name = name.map_or_else(|| uid.to_string(), |user| user.name);
        (uid == 0 || uid == own_uid || in_group).then(|| Principal {
            name: format!("local:{name}"),
            role: Role::Admin,
            token: None,
            expires: None,
        })
    }

    /// Ends a session token.
    pub fn end_session(&self, secret: &str) {
        self.sessions().remove(&hash(secret));
    }

    /// Says when tokens were revoked: look again whether yours still counts.
    pub fn revocations(&self) -> watch::Receiver<u64> {
        self.0.revocations.subscribe()
    }

    /// Whether nothing behind the principal was revoked or has expired.
    pub async fn still_counts(&self, principal: &Principal) -> bool {
        let Some(id) = principal.token else { return true };
        let now = self.0.clock.now();
        match self.0.store.token_list().await {
            Ok(tokens) => tokens.iter().any(|token| token.id == id && is_valid(token, now)),
            Err(error) => {
                tracing::error!(%error, "tokens could not be read; a login is ended to be safe");
                false
            }
        }
    }

    /// Makes a token; the text is shown this once and stored only as a hash.
    ///
    /// # Errors
    /// `bad-request` for a bad name, `unavailable` when it cannot be stored.
    pub async fn create_token(
        &self,
        name: &str,
        role: Role,
        lifetime: Option<Duration>,
    ) -> Result<(Token, String), Fault> {
        let is_name = |name: &str| {
            (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control)
        };
        if !is_name(name) {
            return Err(Fault::bad_request("a token's name has 1 to 64 printable characters"));
        }
        let secret = format!("{TOKEN_PREFIX}{}", random_text()?);
        let created = self.0.clock.now();
        let expires = lifetime.map(|lifetime| {
            let micros = u64::try_from(lifetime.as_micros()).unwrap_or(u64::MAX);
            Time::from_micros(created.micros().saturating_add(micros))
        });
        let id = Uuid::from_bytes(random_bytes::<16>()?);
        let token = Token {
            id,
            name: name.to_owned(),
            role: role.as_str().to_owned(),
            hash: hash(&secret),
            created,
            expires,
            scope: Json::default(),
        };
        self.0.store.token_insert(token.clone()).await.map_err(|error| unstored(&error))?;
        Ok((token, secret))
    }

    /// Every token, without its secret.
    ///
    /// # Errors
    /// `unavailable` when they cannot be read.
    pub async fn tokens(&self) -> Result<Vec<Token>, Fault> {
        self.0.store.token_list().await.map_err(|error| unstored(&error))
    }

    /// Revokes a token and cuts what is connected in its name; `false` when there is none.
    ///
    /// # Errors
    /// `unavailable` when it cannot be stored.
    pub async fn revoke_token(&self, id: Uuid) -> Result<bool, Fault> {
        let there = self.0.store.token_delete(id).await.map_err(|error| unstored(&error))?;
        self.sessions().retain(|_, session| session.principal.token != Some(id));
        self.0.revocations.send_modify(|count| *count += 1);
        Ok(there)
    }

    /// The principal, and whether the secret was a session token.
    async fn recognize(&self, secret: &str) -> Result<Option<(Principal, bool)>, Fault> {
        let hash = hash(secret);
        if let Some(principal) = self.recognize_session(&hash) {
            return Ok(Some((principal, true)));
        }
        let now = self.0.clock.now();
        let token = self.0.store.token_by_hash(&hash).await.map_err(|error| unstored(&error))?;
        let principal = token.filter(|token| is_valid(token, now)).as_ref().and_then(principal_of);
        Ok(principal.map(|principal| (principal, false)))
    }

    fn recognize_session(&self, hash: &Hash) -> Option<Principal> {
        let now = self.0.clock.now();
        let mut sessions = self.sessions();
        let session = sessions.get_mut(hash)?;
        let silence = now.micros().saturating_sub(session.used.micros());
        let has_expired = session.principal.time_left(now).is_some_and(|left| left.is_zero());
        if has_expired || silence > SESSION_SECONDS * 1_000_000 {
            sessions.remove(hash);
            return None;
        }
        session.used = now;
        Some(session.principal.clone())
    }

    fn begin_session(&self, principal: &Principal) -> Result<String, Fault> {
        let secret = random_text()?;
        let session = Session { principal: principal.clone(), used: self.0.clock.now() };
        let mut sessions = self.sessions();
        if sessions.len() >= SESSIONS_MAX
            && let Some(stalest) = sessions.iter().min_by_key(|(_, s)| s.used).map(|(h, _)| *h)
        {
            sessions.remove(&stalest);
        }
        sessions.insert(hash(&secret), session);
        Ok(secret)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<Hash, Session>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` for a role this program does not know.
fn principal_of(token: &Token) -> Option<Principal> {
    Some(Principal {
        name: format!("token:{}", token.name),
        role: Role::parse(&token.role)?,
        token: Some(token.id),
        expires: token.expires,
    })
}

fn is_valid(token: &Token, now: Time) -> bool {
    token.expires.is_none_or(|expires| now < expires)
}

/// Secrets have 256 random bits, so looking them up by hash tells an attacker nothing by its time.
fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

fn random_text() -> Result<String, Fault> {
    use base64::Engine as _;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random_bytes::<32>()?))
}

fn random_bytes<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system gave no random bytes");
        Fault::internal()
    })?;
    Ok(bytes)
}

fn refused() -> Fault {
    Fault::new(FaultKind::Unauthorized, "the credentials are not valid")
        .with_hint("make a token with: sysadmctl tokens create --name NAME --role ROLE")
}

fn unstored(error: &StoreError) -> Fault {
    tracing::error!(%error, "credentials could not be read or stored");
    Fault::new(FaultKind::Unavailable, "credentials cannot be read or stored at the moment")
        .with_retry_after_ms(1_000)
}
