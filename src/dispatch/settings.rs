//! `rpc/settings`: the classic names for registering, listing and revoking RSA keys.

use protocol::{Fault, FaultKind, Json};
use serde_json::{Map, Value, json};

use super::Dispatch;
use super::builtin::{optional_text, text};
use crate::access::challenge::PublicKey;
use crate::access::{Access, Principal};
use crate::store::StoredKey;

/// Answers one action.
pub(super) async fn answer(
    dispatch: &Dispatch,
    principal: &Principal,
    action: &str,
    args: &Value,
) -> Result<Json, Fault> {
    let access = &dispatch.0.access;
    match action {
        "register_ssl_cert" => register(access, principal, args).await,
        "list_ssl_certs" => list(access, principal).await,
        "list_ssl_checksums" => checksums(access, principal).await,
        _ => revoke(access, principal, args).await,
    }
}

async fn register(access: &Access, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let account = account(principal, args)?;
    let word = |member| optional_text(args, member).map(Option::unwrap_or_default);
    let (nickname, email) = (word("nickname")?, word("email")?);
    access.register_key(&account, text(args, "pub_key")?, nickname, email).await?;
    Ok(Json::from(json!({})))
}

/// User to key to a text of three lines, as the classic GUI shows it.
async fn list(access: &Access, principal: &Principal) -> Result<Json, Fault> {
    let mut users: Map<String, Value> = Map::new();
    for key in visible(access, principal).await? {
        let Some(public) = PublicKey::stored(&key.pem) else { continue };
        let StoredKey { account, nickname, email, created, .. } = key;
        let told = format!("Nickname: {nickname}\nEmail: {email}\nDate Registered: {created}");
        users.entry(account).or_insert_with(|| json!({}))[public.encoded()] = told.into();
    }
    Ok(Json::from(Value::Object(users)))
}

async fn checksums(access: &Access, principal: &Principal) -> Result<Json, Fault> {
    let keys = visible(access, principal).await?;
    let keys = keys.iter().filter_map(|key| PublicKey::stored(&key.pem));
    let sums: Vec<String> = keys.map(|key| key.checksum()).collect();
    Ok(Json::from(json!({ "md5_keys": sums })))
}

async fn revoke(access: &Access, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let account = account(principal, args)?;
    access.revoke_key(&account, text(args, "pub_key")?).await?;
    Ok(Json::from(json!({})))
}

async fn visible(access: &Access, principal: &Principal) -> Result<Vec<StoredKey>, Fault> {
    let mut keys = access.keys().await?;
    if !principal.rights.is_full() {
        keys.retain(|key| Some(key.account.as_str()) == principal.account());
    }
    Ok(keys)
}

/// Whose key it is about: one's own, or an administrator's word for whom.
fn account(principal: &Principal, args: &Value) -> Result<String, Fault> {
    let own = principal.account();
    let named = optional_text(args, "user")?.filter(|user| !user.is_empty());
    match (named, own) {
        (Some(user), own) if own == Some(user) || principal.rights.is_full() => Ok(user.to_owned()),
        (Some(user), _) => {
            let sentence = format!("only {user} or an administrator may change keys of {user}");
            Err(Fault::new(FaultKind::Forbidden, sentence))
        }
        (None, Some(own)) => Ok(own.to_owned()),
        (None, None) => Err(Fault::bad_request(
            "an argument \"user\" is needed: keys belong to users of this machine, and you are \
             logged in as none",
        )),
    }
}
