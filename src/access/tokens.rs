//! Made tokens: for scripts and other machines.

use std::time::Duration;

use protocol::{Fault, FaultKind, Json, Time};
use uuid::Uuid;

use super::principal::{Credential, Principal};
use super::rights::Rights;
use super::scope::Scope;
use super::{Access, hash, random_bytes, random_text, unstored};
use crate::store::Token;

/// How every made token begins, so that scanners for leaked secrets find it.
pub const TOKEN_PREFIX: &str = "sad_";

/// What a new token is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What its owner calls it.
    pub name: String,
    /// The name of its role.
    pub role: String,
    /// How long it is good for; `None` for ever.
    pub lifetime: Option<Duration>,
    /// What it is confined to beside its role.
    pub scope: Scope,
}

impl Access {
    /// Makes a token; the text is shown this once and stored only as a hash.
    ///
    /// # Errors
    /// `bad-request` for a bad name, role or scope, `unavailable` when it cannot be stored.
    pub async fn create_token(&self, wanted: NewToken) -> Result<(Token, String), Fault> {
        let NewToken { name, role, lifetime, scope } = wanted;
        let is_name =
            (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        if !is_name {
            return Err(Fault::bad_request("a token's name has 1 to 64 printable characters"));
        }
        if self.roles().get(&role).is_none() {
            let known: Vec<&str> = self.roles().iter().map(|(name, _)| name).collect();
            return Err(Fault::bad_request(format!("there is no role {role:?}"))
                .with_hint(format!("there are: {}", known.join(", "))));
        }
        scope.check()?;
        let secret = new_secret()?;
        let created = self.now();
        let token = Token {
            id: Uuid::from_bytes(random_bytes::<16>()?),
            name,
            role,
            hash: hash(&secret),
            created,
            expires: lifetime.map(|lifetime| later(created, lifetime)),
            scope: Json::of(&scope).map_err(|_| Fault::internal())?,
        };
        self.store().token_insert(token.clone()).await.map_err(|error| unstored(&error))?;
        Ok((token, secret))
    }

    /// Every token, without its secret.
    ///
    /// # Errors
    /// `unavailable` when they cannot be read.
    pub async fn tokens(&self) -> Result<Vec<Token>, Fault> {
        self.store().token_list().await.map_err(|error| unstored(&error))
    }

    /// One token, without its secret.
    ///
    /// # Errors
    /// `not-found` when there is none with this id.
    pub async fn token(&self, id: Uuid) -> Result<Token, Fault> {
        let tokens = self.tokens().await?;
        tokens.into_iter().find(|token| token.id == id).ok_or_else(|| no_token(id))
    }

    /// Gives a token a new text; the old one is worth nothing at once, and what is connected with
    /// it is cut.
    ///
    /// # Errors
    /// `not-found` when there is none with this id, `unavailable` when it cannot be stored.
    pub async fn rotate_token(&self, id: Uuid) -> Result<(Token, String), Fault> {
        let old = self.token(id).await?;
        let secret = new_secret()?;
        let stored = self.store().token_rehash(id, hash(&secret)).await;
        let token = stored.map_err(|error| unstored(&error))?.ok_or_else(|| no_token(id))?;
        self.revoke(Credential::Token(id, old.hash));
        Ok((token, secret))
    }

    /// Revokes a token and cuts what is connected in its name.
    ///
    /// # Errors
    /// `not-found` when there is none with this id, `unavailable` when it cannot be stored.
    pub async fn revoke_token(&self, id: Uuid) -> Result<(), Fault> {
        let token = self.token(id).await?;
        let there = self.store().token_delete(id).await.map_err(|error| unstored(&error))?;
        self.revoke(Credential::Token(id, token.hash));
        if there { Ok(()) } else { Err(no_token(id)) }
    }

    /// Whoever holds this token, if it is good for anything now.
    pub(super) fn holder(&self, token: &Token) -> Option<Principal> {
        let now = self.now();
        if token.expires.is_some_and(|expires| expires <= now) {
            return None;
        }
        let scope = scope_of(token);
        let allowance = self.roles().get(&token.role).cloned();
        let (Some(scope), Some(allowance)) = (scope, allowance) else {
            tracing::warn!(token = %token.id, role = token.role, "a token's role or scope is not \
                understood any more; the token is worth nothing");
            return None;
        };
        let rights = Rights::new(std::iter::once(allowance).chain(scope.allowance()));
        let mut principal =
            Principal::new(format!("token:{}", token.name), token.role.clone(), rights);
        principal.credentials.push(Credential::Token(token.id, token.hash));
        principal.expires = token.expires;
        principal.rate_per_s = scope.rate_per_s;
        Some(principal)
    }
}

/// What a stored token is confined to; `None` when that is not understood.
pub fn scope_of(token: &Token) -> Option<Scope> {
    if token.scope.is_null() { Some(Scope::default()) } else { token.scope.read().ok() }
}

fn new_secret() -> Result<String, Fault> {
    Ok(format!("{TOKEN_PREFIX}{}", random_text()?))
}

fn later(time: Time, span: Duration) -> Time {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Time::from_micros(time.micros().saturating_add(micros))
}

fn no_token(id: Uuid) -> Fault {
    Fault::new(FaultKind::NotFound, format!("there is no token {id}"))
        .with_hint("rpc/tokens with the action list shows them")
}
