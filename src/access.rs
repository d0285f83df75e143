//! Floor 4: who somebody is and what they may do.
//!
//! It knows tokens, sessions, keys, users of this machine, roles and what failures cost, and it
//! writes the audit trail. It must not know protocols or what a method does. `dispatch` asks it
//! before anything else happens.

mod accounts;
pub mod challenge;
mod journal;
mod keys;
mod login;
pub mod pam;
mod peer;
mod penalty;
mod principal;
mod recall;
mod recent;
pub(crate) mod redact;
mod rights;
mod roles;
mod scope;
mod sessions;
mod tokens;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::{Fault, FaultKind, Time};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::bucket::Bucket;
use crate::certificate::PeerCertificate;
use crate::clock::Clock;
use crate::config::{self, RoleRules};
use crate::store::{Store, StoreError};

use accounts::Accounts;
use pam::{Pam, PamSettings};
use recent::Recent;
use sessions::Sessions;

pub use journal::{Begun, Deed, Journal, Origin};
pub use login::{Login, Proof, login_is_over};
pub use peer::Peer;
pub use penalty::{Attempt, Lane, Penalties, Source};
pub use principal::{Credential, Principal};
pub use rights::{Allowance, Rights, Wish, resource_of};
pub use roles::Roles;
pub use scope::Scope;
pub use sessions::{SESSION_SECONDS, SessionInfo};
pub use tokens::{NewToken, TOKEN_PREFIX, scope_of};

type Hash = [u8; 32];

/// How often is looked whether somebody has set the clock: what has expired ends within a second.
const CLOCK_LOOK: Duration = Duration::from_millis(500);
/// Less than this, in microseconds, is no jump: a connection notices it by itself.
const CLOCK_JUMP_MICROS: i64 = 200_000;

/// Credentials remembered as revoked at once. One more begins a new era: every login before it ends,
/// and then nothing needs to be remembered.
const REVOKED_MAX: usize = 100_000;
/// How long they are remembered: until a session ends by itself. Connections look within a second.
const REVOKED_FOR: Duration = Duration::from_secs(SESSION_SECONDS);

/// Knows everybody. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Access(Arc<Shared>);

/// What the configuration says of access.
#[derive(Debug, Clone)]
pub struct AccessSettings {
    /// `[access]`
    pub access: config::Access,
    /// `[roles]`
    pub roles: BTreeMap<String, RoleRules>,
    /// How passwords are checked; `None`: not at all.
    pub pam: Option<PamSettings>,
}

/// How a credential has come to its end.
#[derive(Debug)]
struct End {
    at: Instant,
    /// Its holder has logged out.
    by_holder: bool,
}

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    clock: Clock,
    roles: Roles,
    accounts: Accounts,
    certificates: BTreeMap<String, String>,
    pam: Option<Pam>,
    sessions: Sessions,
    recent: Recent,
    penalties: Mutex<Penalties>,
    journal: Journal,
    rates: Mutex<HashMap<Uuid, Bucket>>,
    revoked: Mutex<HashMap<Credential, End>>,
    era: AtomicU64,
    /// Counts revocations; connections look again at each.
    revocations: watch::Sender<u64>,
}

impl Access {
    /// Over these credentials.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(store: Arc<Store>, clock: Clock, settings: AccessSettings) -> Result<Self, Fault> {
        let AccessSettings { access, roles, pam } = settings;
        let roles = Roles::new(&roles);
        Ok(Self(Arc::new(Shared {
            accounts: Accounts::new(access.groups, roles.clone()),
            certificates: access.certificates,
            roles,
            pam: pam.map(Pam::new),
            sessions: Sessions::new(Arc::clone(&store)),
            recent: Recent::new()?,
            penalties: Mutex::new(Penalties::default()),
            journal: Journal::new(store.audit()),
            rates: Mutex::new(HashMap::new()),
            revoked: Mutex::new(HashMap::new()),
            era: AtomicU64::new(0),
            revocations: watch::Sender::new(0),
            store,
            clock,
        })))
    }

    /// Somebody on this machine, as the kernel names them: root and the daemon's own user are
    /// administrators, others have the roles of their groups.
    ///
    /// # Errors
    /// `internal` when users cannot be looked up.
    pub async fn local_peer(&self, uid: u32) -> Result<Option<Principal>, Fault> {
        self.0.accounts.by_uid(uid).await
    }

    /// The holder of this TLS client certificate, for which these authorities have vouched, if a role
    /// was given to its name: for as long as it is good and they are believed.
    pub fn shown(&self, certificate: &PeerCertificate, authorities: u64) -> Option<Principal> {
        let mut principal = self.certified(&certificate.name)?;
        principal.expires = Some(certificate.not_after);
        principal.credentials.push(Credential::Authorities(authorities));
        Some(principal)
    }

    /// Ends whatever is connected by certificates for which these authorities have vouched.
    pub fn distrust(&self, authorities: u64) {
        self.revoke(Credential::Authorities(authorities));
    }

    /// Ends what is done in the name of a trigger.
    pub fn end_trigger(&self, id: Uuid) {
        self.revoke(Credential::Trigger(id));
    }

    fn certified(&self, name: &str) -> Option<Principal> {
        let role = self.0.certificates.get(name)?;
        let rights = self.0.roles.rights_of(&[role])?;
        Some(Principal::new(format!("cert:{name}"), role.clone(), rights))
    }

    /// All roles.
    pub fn roles(&self) -> &Roles {
        &self.0.roles
    }

    /// Writes the audit trail.
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// Takes one of the calls that a limited token has.
    ///
    /// # Errors
    /// `too-many` when there is none at the moment.
    pub fn spend(&self, principal: &Principal) -> Result<(), Fault> {
        let (Some(rate), Some(token)) = (principal.rate_per_s, principal.token()) else {
            return Ok(());
        };
        let now = Instant::now();
        let mut rates = self.0.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let burst = rate.saturating_mul(2);
        let bucket = rates.entry(token).or_insert_with(|| Bucket::new(rate, burst, now));
        bucket.take(now).map_err(|later| {
            let wait = u64::try_from((later - now).as_millis()).unwrap_or(u64::MAX);
            Fault::new(FaultKind::TooMany, format!("this token makes {rate} calls a second"))
                .with_retry_after_ms(wait.max(1))
        })
    }

    /// Ends the session of this token, and what is connected by it.
    ///
    /// # Errors
    /// `unavailable` when that cannot be stored; then it is worth nothing as long as the daemon
    /// runs.
    pub async fn end_session(&self, secret: &str) -> Result<(), Fault> {
        let hash = hash(secret);
        self.end(Credential::Session(hash), true);
        self.0.sessions.end(hash).await.map(|_| ())
    }

    /// Ends a session whose token nobody was told.
    ///
    /// # Errors
    /// `unavailable` when that cannot be stored.
    pub async fn forget_session(&self, secret: &str) -> Result<(), Fault> {
        self.0.sessions.end(hash(secret)).await.map(|_| ())
    }

    /// Notes that the session of this token is in use. When that cannot be stored it ends sooner.
    pub async fn keep_session(&self, secret: &str) {
        self.0.sessions.keep(&hash(secret), self.now()).await;
    }

    /// Every session.
    ///
    /// # Errors
    /// `unavailable` when they cannot be read.
    pub async fn list_sessions(&self) -> Result<Vec<SessionInfo>, Fault> {
        let sessions = self.0.sessions.list(self.now()).await?;
        Ok(sessions.into_iter().map(|(_, info)| info).collect())
    }

    /// Ends sessions and cuts what is connected by them; how many.
    ///
    /// # Errors
    /// `unavailable` when that cannot be stored.
    pub async fn revoke_sessions(
        &self,
        which: impl Fn(&SessionInfo) -> bool,
    ) -> Result<usize, Fault> {
        let sessions = self.0.sessions.list(self.now()).await?;
        let mut ended = 0;
        for (hash, _) in sessions.into_iter().filter(|(_, info)| which(info)) {
            self.0.sessions.end(hash).await?;
            self.revoke(Credential::Session(hash));
            ended += 1;
        }
        Ok(ended)
    }

    /// Says when something was revoked: look again whether yours still counts.
    pub fn revocations(&self) -> watch::Receiver<u64> {
        self.0.revocations.subscribe()
    }

    /// Has every connection look again whenever somebody has set the clock ahead: what expires by the
    /// time of day may have expired by that. Never returns.
    pub async fn heed_the_clock(&self) -> Infallible {
        let mut ahead = self.0.clock.set_ahead();
        loop {
            sleep(CLOCK_LOOK).await;
            let before = std::mem::replace(&mut ahead, self.0.clock.set_ahead());
            if ahead.saturating_sub(before) > CLOCK_JUMP_MICROS {
                self.0.revocations.send_modify(|count| *count += 1);
            }
        }
    }

    /// Whether nothing behind the principal was revoked or has expired.
    pub fn still_counts(&self, principal: &Principal) -> bool {
        !self.has_expired(principal) && !self.is_any_revoked(&principal.credentials)
    }

    fn has_expired(&self, principal: &Principal) -> bool {
        principal.time_left(self.now()).is_some_and(|left| left.is_zero())
    }

    /// Whether the login was taken from its holder or has expired. Whoever has logged out by
    /// themselves is still answered what they had asked before.
    pub fn is_taken_away(&self, principal: &Principal) -> bool {
        let revoked = self.0.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = |credential| revoked.get(credential).is_some_and(|end| !end.by_holder);
        self.has_expired(principal) || principal.credentials.iter().any(taken)
    }

    fn is_any_revoked(&self, credentials: &[Credential]) -> bool {
        let revoked = self.0.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        credentials.iter().any(|credential| revoked.contains_key(credential))
    }

    /// What somebody who has asked for something to be done later may do now; `None` for those of
    /// whom nothing can be found out but what they could then. Their name is a principal's, and a
    /// token was kept as `(id, hash in hexadecimal)`.
    ///
    /// # Errors
    /// `unauthorized` when nothing of it is good any more, and `unavailable` when that cannot be
    /// found out.
    pub async fn rights_now(
        &self,
        name: &str,
        credentials: &[Credential],
        token: Option<&(Uuid, String)>,
    ) -> Result<Option<Rights>, Fault> {
        let revoked = || {
            let sentence = "the login in whose name it was asked for was revoked or has expired";
            Fault::new(FaultKind::Unauthorized, sentence)
        };
        if self.is_any_revoked(credentials) {
            return Err(revoked());
        }
        let principal = match (token, name.split_once(':')) {
            (Some((id, hash)), _) => {
                let tokens = self.tokens().await?;
                let kept = tokens.iter().find(|it| it.id == *id && hex(&it.hash) == *hash);
                kept.and_then(|token| self.holder(token))
            }
            (None, Some(("local", user))) => self.0.accounts.by_local_name(user).await?,
            (None, Some(("user", user))) => self.0.accounts.by_name(user).await?,
            (None, Some(("cert", of))) => self.certified(of),
            _ => return Ok(None),
        };
        principal.map(|principal| Some(principal.rights)).ok_or_else(revoked)
    }

    /// Counts the times at which every login ended at once. A login of an earlier era is over.
    pub fn era(&self) -> u64 {
        self.0.era.load(Ordering::Acquire)
    }

    fn revoke(&self, credential: Credential) {
        self.end(credential, false);
    }

    fn end(&self, credential: Credential, by_holder: bool) {
        let mut revoked = self.0.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if revoked.len() >= REVOKED_MAX {
            revoked.retain(|_, end| now - end.at < REVOKED_FOR);
        }
        if revoked.len() >= REVOKED_MAX {
            revoked.clear();
            self.0.era.fetch_add(1, Ordering::AcqRel);
        }
        revoked.insert(credential, End { at: now, by_holder });
        drop(revoked);
        self.0.recent.clear();
        self.0.revocations.send_modify(|count| *count += 1);
    }

    fn attempt(&self, origin: Origin, account: Option<&str>) -> Attempt {
        self.penalties(|penalties, now| penalties.may_try(&origin.peer.source(), account, now))
    }

    fn failed(&self, origin: Origin, account: Option<&str>) {
        self.penalties(|penalties, now| penalties.failed(&origin.peer.source(), account, now));
    }

    fn succeeded(&self, origin: Origin, account: Option<&str>) {
        self.penalties(|penalties, now| penalties.succeeded(&origin.peer.source(), account, now));
    }

    /// Nothing was found out about an attempt.
    fn undecided(&self, origin: Origin, account: &str) {
        self.penalties(|penalties, now| penalties.undecided(&origin.peer.source(), account, now));
    }

    fn penalties<T>(&self, of: impl FnOnce(&mut Penalties, Time) -> T) -> T {
        let mut penalties = self.0.penalties.lock().unwrap_or_else(PoisonError::into_inner);
        of(&mut penalties, self.0.clock.steady())
    }

    fn now(&self) -> Time {
        self.0.clock.now()
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    fn recent(&self) -> &Recent {
        &self.0.recent
    }

    fn pam(&self) -> Option<&Pam> {
        self.0.pam.as_ref()
    }
}

/// Secrets have 256 random bits, so looking them up by hash tells an attacker nothing by its time.
fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
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

fn unstored(error: &StoreError) -> Fault {
    tracing::error!(%error, "credentials could not be read or stored");
    Fault::new(FaultKind::Unavailable, "credentials cannot be read or stored at the moment")
        .with_retry_after_ms(1_000)
}
