//! Sessions: what a login is worth when its connection is gone, also after a restart.
//!
//! The client keeps a random token, the store its hash, whose it is and from where it was begun. It
//! is worth something from there only, and only while it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::{Fault, FaultKind, Json, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::peer::Peer;
use super::{Hash, hash, random_text, unstored};
use crate::store::{Store, StoredSession};

/// Seconds of silence after which a session token is worth nothing (the original server's 900).
pub const SESSION_SECONDS: u64 = 900;
/// Sessions at once; whoever wants one more waits until others have gone silent.
const SESSIONS_MAX: usize = 10_000;
/// A use is stored at the latest after this long: so often a session costs a write.
const STORE_AFTER: Duration = Duration::from_mins(1);
/// How often those that are worth nothing are removed, in microseconds.
const TIDY_EVERY_MICROS: u64 = 60_000_000;

/// Whose a session is: enough to find out again what they may, because that may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Who {
    /// The holder of a made token, with the hash of its text at the time: a rotated token is
    /// another one.
    Token(Uuid, Hash),
    /// A user of this machine.
    User(String),
    /// A user of this machine who has proved to have an RSA key.
    Key { account: String, id: Uuid },
}

/// A session as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SessionInfo {
    /// Names it; no secret.
    pub id: String,
    /// Whose it is, for people.
    pub who: String,
    /// From where.
    pub peer: String,
    /// When it was begun.
    pub created: Time,
    /// When it was last used, to a minute.
    pub used: Time,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    store: Arc<Store>,
    /// Microseconds at which the last tidying began.
    tidied: AtomicU64,
}

impl Sessions {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store, tidied: AtomicU64::new(0) }
    }

    /// Begins one; the answer is its token.
    pub(super) async fn begin(&self, peer: Peer, who: &Who, now: Time) -> Result<String, Fault> {
        self.tidy(now).await?;
        let secret = random_text()?;
        let session = StoredSession {
            hash: hash(&secret),
            who: Json::of(who).map_err(|error| {
                tracing::error!(%error, "a session has no JSON form");
                Fault::internal()
            })?,
            peer: peer.to_string(),
            created: now,
            used: now,
        };
        self.store.session_put(session).await.map_err(|error| unstored(&error))?;
        Ok(secret)
    }

    /// Whose session this is, if it is worth anything from there.
    pub(super) async fn find(
        &self,
        hash: &Hash,
        peer: Peer,
        now: Time,
    ) -> Result<Option<Who>, Fault> {
        let found = self.store.session_by_hash(hash).await.map_err(|error| unstored(&error))?;
        let Some(session) = found else { return Ok(None) };
        let silence = now.micros().saturating_sub(session.used.micros());
        if session.peer != peer.to_string() || silence > SESSION_SECONDS * 1_000_000 {
            return Ok(None);
        }
        let Ok(who) = session.who.read() else {
            tracing::error!("a stored session does not say whose it is");
            return Ok(None);
        };
        self.note_use(session, now).await;
        Ok(Some(who))
    }

    /// Notes that a session is in use, if it is there.
    pub(super) async fn keep(&self, hash: &Hash, now: Time) {
        match self.store.session_by_hash(hash).await {
            Ok(Some(session)) => self.note_use(session, now).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a session could not be read"),
        }
    }

    /// On a full disk the session goes on and ends sooner.
    async fn note_use(&self, mut session: StoredSession, now: Time) {
        let silence = now.micros().saturating_sub(session.used.micros());
        if Duration::from_micros(silence) < STORE_AFTER {
            return;
        }
        session.used = now;
        if let Err(error) = self.store.session_refresh(session).await {
            tracing::warn!(%error, "the use of a session could not be stored");
        }
    }

    /// Ends one.
    pub(super) async fn end(&self, hash: Hash) -> Result<bool, Fault> {
        self.store.session_delete(hash).await.map_err(|error| unstored(&error))
    }

    /// Every session that is still worth something, with its hash.
    pub(super) async fn list(&self, now: Time) -> Result<Vec<(Hash, SessionInfo)>, Fault> {
        let stored = self.store.session_list().await.map_err(|error| unstored(&error))?;
        let stored = stored.into_iter().filter(|session| session.used >= oldest(now));
        Ok(stored.map(|session| (session.hash, describe(&session))).collect())
    }

    async fn tidy(&self, now: Time) -> Result<(), Fault> {
        let last = self.tidied.load(Ordering::Relaxed);
        let due = now.micros().saturating_sub(last) >= TIDY_EVERY_MICROS;
        let mine = || {
            let (order, fail) = (Ordering::AcqRel, Ordering::Relaxed);
            self.tidied.compare_exchange(last, now.micros(), order, fail).is_ok()
        };
        if !due || !mine() {
            return Ok(());
        }
        let removed = self.store.sessions_delete_before(oldest(now)).await;
        removed.map_err(|error| unstored(&error))?;
        let there = self.store.session_list().await.map_err(|error| unstored(&error))?.len();
        if there >= SESSIONS_MAX {
            // So that the next one looks again.
            self.tidied.store(0, Ordering::Relaxed);
            let sentence = format!("there are {there} sessions already");
            return Err(Fault::new(FaultKind::TooMany, sentence)
                .with_hint("log out where nobody works any more")
                .with_retry_after_ms(60_000));
        }
        Ok(())
    }
}

/// What was last used before it is worth nothing. What is stored may be behind by a minute.
fn oldest(now: Time) -> Time {
    Time::from_micros(now.micros().saturating_sub(SESSION_SECONDS * 1_000_000))
}

fn describe(session: &StoredSession) -> SessionInfo {
    let who = match session.who.read() {
        Ok(Who::Token(id, _)) => format!("token {id}"),
        Ok(Who::User(name)) => format!("user:{name}"),
        Ok(Who::Key { account, .. }) => format!("user:{account} (key)"),
        Err(_) => "unknown".to_owned(),
    };
    SessionInfo {
        id: id_of(&session.hash),
        who,
        peer: session.peer.clone(),
        created: session.created,
        used: session.used,
    }
}

/// Names a session in lists: a part of the hash, which is no use for guessing the token.
pub(super) fn id_of(hash: &Hash) -> String {
    Uuid::from_slice(&hash[..16]).unwrap_or_default().to_string()
}
