//! `rpc/tokens` and `rpc/roles`.

use std::time::Duration;

use protocol::{Fault, FaultKind, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Dispatch;
use super::builtin::{optional_text, text};
use crate::access::{Access, NewToken, Principal, Scope, scope_of};
use crate::store::Token;

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
pub(super) fn roles(dispatch: &Dispatch) -> Json {
    let roles = dispatch.0.access.roles().iter().map(
        |(name, allowance)| json!({"name": name, "level": allowance.level, "grants": allowance.grants}),
    );
    Json::from(json!({ "roles": roles.collect::<Vec<_>>() }))
}

async fn list(access: &Access) -> Result<Json, Fault> {
    let tokens: Vec<Value> = access.tokens().await?.iter().map(shown).collect();
    Ok(Json::from(json!({ "tokens": tokens })))
}

async fn describe(access: &Access, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    match id(args)? {
        Some(id) if principal.token() == Some(id) || principal.rights.is_full() => {
            Ok(Json::from(shown(&access.token(id).await?)))
        }
        Some(_) => Err(not_yours("describe")),
        None => match principal.token() {
            Some(id) => Ok(Json::from(shown(&access.token(id).await?))),
            None => Ok(Json::from(json!({
                "name": principal.name,
                "role": principal.role,
                "expires": principal.expires,
            }))),
        },
    }
}

async fn create(access: &Access, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    if !principal.rights.is_full() {
        let sentence = "only an administrator whose rights are not confined may make tokens, \
                        because a token may do more than the one who makes it";
        return Err(Fault::new(FaultKind::Forbidden, sentence));
    }
    let lifetime = match args.get("expires_s") {
        None | Some(Value::Null) => None,
        Some(seconds) => {
            let seconds = seconds.as_u64().filter(|seconds| *seconds > 0).ok_or_else(|| {
                Fault::bad_request("\"expires_s\" must be a number of seconds above 0")
            })?;
            Some(Duration::from_secs(seconds))
        }
    };
    let scope = match args.get("scope") {
        None | Some(Value::Null) => Scope::default(),
        Some(scope) => Scope::deserialize(scope)
            .map_err(|error| Fault::bad_request(format!("the \"scope\" is wrong: {error}")))?,
    };
    let (name, role) = (text(args, "name")?.to_owned(), text(args, "role")?.to_owned());
    let made = access.create_token(NewToken { name, role, lifetime, scope }).await?;
    Ok(with_secret(made))
}

async fn rotate(access: &Access, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let own = principal.token();
    let id = id(args)?.or(own).ok_or_else(|| {
        Fault::bad_request("an argument \"id\" is needed, because you are not here by a token")
    })?;
    if own != Some(id) && !principal.rights.is_full() {
        return Err(not_yours("rotate"));
    }
    Ok(with_secret(access.rotate_token(id).await?))
}

async fn revoke(access: &Access, args: &Value) -> Result<Json, Fault> {
    let id = id(args)?.ok_or_else(|| Fault::bad_request("an argument \"id\" is needed"))?;
    access.revoke_token(id).await?;
    Ok(Json::from(json!({ "revoked": id })))
}

fn id(args: &Value) -> Result<Option<Uuid>, Fault> {
    let Some(id) = optional_text(args, "id")? else { return Ok(None) };
    id.parse().map(Some).map_err(|_| Fault::bad_request("\"id\" must be a token's id, a UUID"))
}

fn with_secret((token, secret): (Token, String)) -> Json {
    let mut shown = shown(&token);
    shown["token"] = secret.into();
    Json::from(shown)
}

fn shown(token: &Token) -> Value {
    let Token { id, name, role, created, expires, .. } = token;
    let mut shown =
        json!({"id": id, "name": name, "role": role, "created": created, "expires": expires});
    if let Some(scope) = scope_of(token).filter(|scope| *scope != Scope::default()) {
        shown["scope"] = json!(scope);
    }
    shown
}

fn not_yours(verb: &str) -> Fault {
    let sentence = format!("you may {verb} your own token, and this is another one");
    Fault::new(FaultKind::Forbidden, sentence)
}
