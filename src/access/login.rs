//! Logging in: a proof becomes a principal, and failures cost.

use std::time::Duration;

use protocol::{Fault, FaultKind};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::challenge::{Challenge, PublicKey};
use super::journal::{Deed, Origin};
use super::pam::{Pam, Verdict};
use super::penalty::{Attempt, Lane};
use super::principal::{Credential, Principal};
use super::sessions::Who;
use super::{Access, hash, random_text, unstored};

/// A failed login is answered at a multiple of this after it began, so that its time does not tell
/// what was wrong: a check by PAM takes a tenth of a second, an unknown name none.
const FAILURE_STEP: Duration = Duration::from_millis(500);
/// When somebody who waits in a full queue may try again.
const BUSY_MS: u64 = 1_000;

/// What somebody is told whose login was taken from them, or has expired.
pub fn login_is_over() -> Fault {
    Fault::new(FaultKind::Unauthorized, "the login was revoked or has expired")
        .with_hint("log in again")
}

/// What somebody shows to be let in.
#[derive(Debug)]
pub enum Proof {
    /// A made token or a session token.
    Secret(SecretString),
    /// A user of this machine and their password; also a token in the password's place, whatever
    /// the user.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// The answer to a challenge, by an RSA key.
    Answer {
        /// What was asked on this connection.
        challenge: Challenge,
        /// What came back.
        answer: String,
    },
}

/// A login that succeeded.
#[derive(Debug)]
pub struct Login {
    /// Who it is.
    pub principal: Principal,
    /// A session token, good for [`super::SESSION_SECONDS`] of silence.
    pub session: String,
    /// Whether it was begun by this login.
    pub is_new: bool,
}

/// Who it is, and what a session of theirs rests on.
struct Known {
    principal: Principal,
    session: Resting,
}

enum Resting {
    /// The proof was this session's own token.
    On(String),
    /// A session may be begun for them.
    New(Who),
}

/// Why nobody was let in.
enum Refusal {
    /// The proof is worth nothing: this counts.
    Wrong(Fault),
    /// Something else stands in the way.
    Other(Fault),
}

impl Access {
    /// Lets somebody in and begins a session, or goes on with one.
    ///
    /// # Errors
    /// `unauthorized` when the proof is worth nothing, `too-many` while failures have to be waited
    /// for, `forbidden` for a user without a role, `unavailable` when it cannot be found out.
    pub async fn login(&self, origin: Origin, proof: Proof) -> Result<Login, Fault> {
        let Known { mut principal, session } = self.prove(origin, proof).await?;
        let (session, is_new) = match session {
            Resting::On(secret) => (secret, false),
            Resting::New(who) => match self.sessions().begin(origin.peer, &who, self.now()).await {
                Ok(secret) => (secret, true),
                // Whoever wants to look must be able to, also when nothing can be stored: the login
                // holds as long as its connection, and cannot be resumed.
                Err(fault) if fault.kind == FaultKind::Unavailable => (random_text()?, false),
                Err(fault) => return Err(fault),
            },
        };
        principal.credentials.push(Credential::Session(hash(&session)));
        Ok(Login { principal, session, is_new })
    }

    /// Who somebody is, without beginning a session: one HTTP request. What was right a moment
    /// ago is neither checked nor recorded again.
    ///
    /// # Errors
    /// As [`Access::login`].
    pub async fn identify(&self, origin: Origin, proof: Proof) -> Result<Principal, Fault> {
        let key = self.recent().key(origin.peer, &proof);
        let found = self.recent().find(&key, self.0.clock.steady());
        if let Some(principal) = found.filter(|principal| self.still_counts(principal)) {
            return Ok(principal);
        }
        let Known { principal, session } = self.prove(origin, proof).await?;
        // Not a session: each of its uses lengthens it.
        if matches!(session, Resting::New(Who::User(_) | Who::Token(..))) {
            self.recent().put(key, &principal, self.0.clock.steady());
        }
        Ok(principal)
    }

    async fn prove(&self, origin: Origin, proof: Proof) -> Result<Known, Fault> {
        let begun = Instant::now();
        let told = told(&proof);
        let outcome = match proof {
            Proof::Secret(secret) => self.by_secret(origin, secret.expose_secret()).await,
            Proof::Password { user, password } => self.by_password(origin, &user, &password).await,
            Proof::Answer { challenge, answer } => self.by_answer(origin, challenge, &answer).await,
        };
        let deed = |actor| Deed {
            actor,
            origin,
            method: "login",
            action: None,
            args: &told,
            secrets: &[],
        };
        match outcome {
            Ok(known) => {
                // Reading goes on when nothing can be recorded; what changes something is refused.
                self.journal().record(&deed(&known.principal.name), "done").await.ok();
                Ok(known)
            }
            Err(refusal) => {
                let (fault, is_wrong) = match refusal {
                    Refusal::Wrong(fault) => (fault, true),
                    Refusal::Other(fault) => (fault, false),
                };
                self.journal().refused(&deed("anonymous"), fault.kind).await;
                if is_wrong {
                    sleep_until(next_step(begun)).await;
                }
                Err(fault)
            }
        }
    }

    /// A secret of 256 random bits is looked at also while its source is being made to wait: it
    /// cannot be guessed, and whoever has it must not be locked out by a neighbour.
    async fn by_secret(&self, origin: Origin, secret: &str) -> Result<Known, Refusal> {
        if let Some(known) = self.recognize(origin, secret).await? {
            return Ok(known);
        }
        match self.attempt(origin, None) {
            Attempt::Refuse { retry_after } => Err(Refusal::Other(wait(retry_after))),
            Attempt::Go { .. } => {
                self.failed(origin, None);
                Err(Refusal::Wrong(refused()))
            }
        }
    }

    async fn recognize(&self, origin: Origin, secret: &str) -> Result<Option<Known>, Refusal> {
        let hashed = hash(secret);
        // One that was ended and could not be removed is worth nothing, either.
        if self.is_any_revoked(&[Credential::Session(hashed)]) {
            return Ok(None);
        }
        let session = self.sessions().find(&hashed, origin.peer, self.now()).await?;
        if let Some(who) = session {
            let principal = self.revive(&who).await?;
            let session = Resting::On(secret.to_owned());
            return Ok(principal.map(|principal| Known { principal, session }));
        }
        let token = self.store().token_by_hash(&hashed).await.map_err(|error| unstored(&error))?;
        let Some(token) = token else { return Ok(None) };
        let accepted = super::tokens::scope_of(&token).is_some_and(|s| s.accepts(origin.peer));
        if !accepted {
            tracing::warn!(token = %token.id, peer = %origin.peer, "a token was shown where its \
                scope does not accept it");
            return Ok(None);
        }
        let session = Resting::New(Who::Token(token.id, token.hash));
        Ok(self.holder(&token).map(|principal| Known { principal, session }))
    }

    /// Who a stored session belongs to, as they stand now.
    async fn revive(&self, who: &Who) -> Result<Option<Principal>, Fault> {
        match who {
            Who::Token(id, hash) => {
                let mut tokens = self.tokens().await?.into_iter();
                let token = tokens.find(|token| token.id == *id && token.hash == *hash);
                Ok(token.and_then(|token| self.holder(&token)))
            }
            Who::User(name) => self.accounts().by_name(name).await,
            Who::Key { account, id } => {
                let is_there = self.keys().await?.iter().any(|key| key.id == *id);
                let principal = self.accounts().by_name(account).await?;
                Ok(principal.filter(|_| is_there).map(|mut principal| {
                    principal.credentials.push(Credential::Key(*id));
                    principal
                }))
            }
        }
    }

    async fn by_password(
        &self,
        origin: Origin,
        user: &str,
        password: &SecretString,
    ) -> Result<Known, Refusal> {
        if let Some(known) = self.recognize(origin, password.expose_secret()).await? {
            return Ok(known);
        }
        let looks_like_token = password.expose_secret().starts_with(super::TOKEN_PREFIX);
        let may_be_password = !user.is_empty() && !looks_like_token;
        let Some(pam) = self.pam().filter(|pam| may_be_password && pam.is_there()) else {
            return self.by_secret(origin, password.expose_secret()).await;
        };
        let lane = match self.attempt(origin, Some(user)) {
            Attempt::Refuse { retry_after } => return Err(Refusal::Other(wait(retry_after))),
            Attempt::Go { lane, delay } => {
                sleep(delay).await;
                lane
            }
        };
        self.ask_pam(pam, origin, (user, password), lane).await?;
        self.succeeded(origin, Some(user));
        let principal = self.accounts().by_name(user).await?.ok_or_else(|| no_role(user))?;
        Ok(Known { principal, session: Resting::New(Who::User(user.to_owned())) })
    }

    async fn ask_pam(
        &self,
        pam: &Pam,
        origin: Origin,
        (user, password): (&str, &SecretString),
        lane: Lane,
    ) -> Result<(), Refusal> {
        match pam.check(user, password, &origin.peer.to_string(), lane).await {
            Verdict::Ok => Ok(()),
            Verdict::Denied => {
                self.failed(origin, Some(user));
                Err(Refusal::Wrong(refused()))
            }
            // Whoever is told this has the right password.
            Verdict::Expired(sentence) => {
                self.succeeded(origin, Some(user));
                Err(Refusal::Other(Fault::new(FaultKind::Forbidden, sentence)))
            }
            Verdict::Busy => {
                self.undecided(origin, user);
                Err(Refusal::Other(
                    Fault::new(FaultKind::TooMany, "too many passwords are being checked")
                        .with_retry_after_ms(BUSY_MS),
                ))
            }
            Verdict::Unavailable(cause) => {
                self.undecided(origin, user);
                tracing::error!(cause, "a password could not be checked");
                Err(Refusal::Other(
                    Fault::new(FaultKind::Unavailable, "passwords cannot be checked at the moment")
                        .with_hint("log in with a token; the daemon's log has the cause")
                        .with_retry_after_ms(BUSY_MS),
                ))
            }
        }
    }

    async fn by_answer(
        &self,
        origin: Origin,
        challenge: Challenge,
        answer: &str,
    ) -> Result<Known, Refusal> {
        if let Attempt::Refuse { retry_after } = self.attempt(origin, None) {
            return Err(Refusal::Other(wait(retry_after)));
        }
        let stored = self.keys().await?;
        let readable = stored.iter().filter_map(|key| Some((key, PublicKey::stored(&key.pem)?)));
        let (stored, keys): (Vec<_>, Vec<_>) = readable.unzip();
        let Some(found) = challenge.answered_by(answer, keys.iter(), self.now()) else {
            self.failed(origin, None);
            return Err(Refusal::Wrong(refused()));
        };
        let (account, id) = (stored[found].account.clone(), stored[found].id);
        self.succeeded(origin, Some(&account));
        let who = Who::Key { account: account.clone(), id };
        let principal = self.revive(&who).await?.ok_or_else(|| no_role(&account))?;
        Ok(Known { principal, session: Resting::New(who) })
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Other(fault)
    }
}

/// What the audit trail is told of a proof.
fn told(proof: &Proof) -> Value {
    match proof {
        Proof::Secret(_) => json!({ "by": "secret" }),
        // What is typed as a name may be a password, so only what may be a name is kept.
        Proof::Password { user, .. } if super::pam::is_user_name(user) => {
            json!({ "by": "password", "user": user })
        }
        Proof::Password { .. } => json!({ "by": "password" }),
        Proof::Answer { .. } => json!({ "by": "key" }),
    }
}

/// The first multiple of [`FAILURE_STEP`] after `begun` that is not over.
fn next_step(begun: Instant) -> Instant {
    let steps = begun.elapsed().as_millis() / FAILURE_STEP.as_millis() + 1;
    begun + FAILURE_STEP * u32::try_from(steps).unwrap_or(u32::MAX)
}

fn refused() -> Fault {
    Fault::new(FaultKind::Unauthorized, "the credentials are not valid")
        .with_hint("make a token with: sysadmctl tokens create --name NAME --role ROLE")
}

fn wait(retry_after: Duration) -> Fault {
    let seconds = retry_after.as_secs().max(1);
    let sentence = format!("too many failed logins from there; wait {seconds} s");
    Fault::new(FaultKind::TooMany, sentence)
        .with_hint("a token and the unix socket work all the same")
        .with_retry_after_ms(u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX))
}

fn no_role(user: &str) -> Fault {
    let sentence = format!("{user} has no role on this machine");
    Fault::new(FaultKind::Forbidden, sentence)
        .with_hint("an administrator adds them to a group of access.groups in the configuration")
}
