//! `rpc/tokens` and `rpc/roles`.

use std::num::NonZeroU64;
use std::time::Duration;

use protocol::{Fault, FaultKind, Json, Role, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Dispatch;
use super::shape::{read, said};
use crate::access::{Access, NewToken, Principal, Scope, scope_of};
use crate::config::Grant;
use crate::store::Token;

/// Arguments of `create`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Create {
    /// What it is for, for people and the audit trail.
    name: String,
    /// The role it has.
    role: String,
    /// Seconds until it expires; absent: never.
    expires_s: Option<NonZeroU64>,
    /// What it is confined to beside its role; absent: nothing.
    scope: Option<Scope>,
}

/// Arguments of `describe` and `rotate`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct MaybeOne {
    /// The token; absent: your own.
    id: Option<Uuid>,
}

/// Arguments of `revoke`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct One {
    /// The token.
    id: Uuid,
}

/// A token as it is shown.
#[derive(Serialize, JsonSchema)]
pub(super) struct Shown {
    /// Names it; no secret.
    id: Uuid,
    /// What it is for.
    name: String,
    /// The role it has.
    role: String,
    /// When it was made.
    created: Time,
    /// When it expires by itself.
    expires: Option<Time>,
    /// What it is confined to beside its role.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Scope>,
}

/// A token with its secret, which is never shown again.
#[derive(Serialize, JsonSchema)]
pub(super) struct WithSecret {
    #[serde(flatten)]
    shown: Shown,
    /// The secret.
    token: String,
}

/// Answer to `list`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Listed {
    /// Every token.
    tokens: Vec<Shown>,
}

/// Answer to `describe`.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Described {
    /// A token.
    Token(Shown),
    /// Whoever asks, when they are not here by a token.
    You {
        /// Who they are.
        name: String,
        /// The role they have.
        role: String,
        /// When the login ends by itself.
        expires: Option<Time>,
    },
}

/// Answer to `revoke`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Revoked {
    /// The token that was revoked.
    revoked: Uuid,
}

/// Answer to `rpc/roles`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Roles {
    /// Every role.
    roles: Vec<RoleShown>,
}

/// A role as it is shown.
#[derive(Serialize, JsonSchema)]
struct RoleShown {
    /// Its name.
    name: String,
    /// Everything this built-in role may.
    level: Option<Role>,
    /// What is granted beside it.
    grants: Vec<Grant>,
}

/// Answers one action.
pub(super) async fn answer(
    dispatch: &Dispatch,
    principal: &Principal,
    action: &str,
    args: &Value,
) -> Result<Json, Fault> {
    let access = &dispatch.0.access;
    match action {
        "list" => list(access).await,
        "describe" => describe(access, principal, args).await,
        "create" => create(access, principal, args).await,
        "rotate" => rotate(access, principal, args).await,
        _ => revoke(access, args).await,
    }
}

/// Every role and what it grants.
pub(super) fn roles(dispatch: &Dispatch) -> Result<Json, Fault> {
    let shown = |(name, allowance): (&str, &crate::access::Allowance)| RoleShown {
        name: name.to_owned(),
        level: allowance.level,
        grants: allowance.grants.clone(),
    };
    said(&Roles { roles: dispatch.0.access.roles().iter().map(shown).collect() })
}

async fn list(access: &Access) -> Result<Json, Fault> {
    said(&Listed { tokens: access.tokens().await?.iter().map(shown).collect() })
}

async fn describe(access: &Access, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let MaybeOne { id } = read(args)?;
    let own = principal.token();
    if id.is_some() && id != own && !principal.rights.is_full() {
        return Err(not_yours("describe"));
    }
    said(&match id.or(own) {
        Some(id) => Described::Token(shown(&access.token(id).await?)),
        None => Described::You {
            name: principal.name.clone(),
            role: principal.role.clone(),
            expires: principal.expires,
        },
    })
}

async fn create(access: &Access, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    if !principal.rights.is_full() {
        let sentence = "only an administrator whose rights are not confined may make tokens, \
                        because a token may do more than the one who makes it";
        return Err(Fault::new(FaultKind::Forbidden, sentence));
    }
    let Create { name, role, expires_s, scope } = read(args)?;
    let lifetime = expires_s.map(|seconds| Duration::from_secs(seconds.get()));
    let scope = scope.unwrap_or_default();
    let made = access.create_token(NewToken { name, role, lifetime, scope }).await?;
    with_secret(made)
}

async fn rotate(access: &Access, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let own = principal.token();
    let MaybeOne { id } = read(args)?;
    let id = id.or(own).ok_or_else(|| {
        Fault::bad_request("an argument \"id\" is needed, because you are not here by a token")
    })?;
    if own != Some(id) && !principal.rights.is_full() {
        return Err(not_yours("rotate"));
    }
    with_secret(access.rotate_token(id).await?)
}

async fn revoke(access: &Access, args: &Value) -> Result<Json, Fault> {
    let One { id } = read(args)?;
    access.revoke_token(id).await?;
    said(&Revoked { revoked: id })
}

fn with_secret((token, secret): (Token, String)) -> Result<Json, Fault> {
    said(&WithSecret { shown: shown(&token), token: secret })
}

fn shown(token: &Token) -> Shown {
    let scope = scope_of(token).filter(|scope| *scope != Scope::default());
    let Token { id, name, role, created, expires, .. } = token.clone();
    Shown { id, name, role, created, expires, scope }
}

fn not_yours(verb: &str) -> Fault {
    let sentence = format!("you may {verb} your own token, and this is another one");
    Fault::new(FaultKind::Forbidden, sentence)
}
