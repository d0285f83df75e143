//! `rpc/settings`: the classic names for registering, listing and revoking RSA keys.

use std::collections::BTreeMap;

use protocol::{Fault, FaultKind, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Dispatch;
use super::shape::{Nothing, read, said};
use crate::access::challenge::PublicKey;
use crate::access::{Access, Principal};
use crate::store::StoredKey;

/// Arguments of `register_ssl_cert`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Register {
    /// An RSA public key, in PEM or as the base64 inside of it.
    pub_key: String,
    /// A name for the key.
    nickname: Option<String>,
    /// Whom to ask about it.
    email: Option<String>,
    /// Whose it is; absent: yours. Of others only for administrators.
    user: Option<String>,
}

/// Arguments of `revoke_ssl_cert`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Revoke {
    /// The key, as it was registered or as it is listed.
    pub_key: String,
    /// Whose it is; absent: yours. Of others only for administrators.
    user: Option<String>,
}

/// Answer to `list_ssl_certs`: user to key to a text of three lines, as the classic GUI shows it.
pub(super) type Keys = BTreeMap<String, BTreeMap<String, String>>;

/// Answer to `list_ssl_checksums`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Checksums {
    /// MD5 of each key, in base64.
    md5_keys: Vec<String>,
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
        "register_ssl_cert" => register(access, principal, args).await,
        "list_ssl_certs" => list(access, principal).await,
        "list_ssl_checksums" => checksums(access, principal).await,
        _ => revoke(access, principal, args).await,
    }
}

async fn register(access: &Access, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let Register { pub_key, nickname, email, user } = read(args)?;
    let account = account(principal, user)?;
    let (nickname, email) = (nickname.unwrap_or_default(), email.unwrap_or_default());
    access.register_key(&account, &pub_key, &nickname, &email).await?;
    said(&Nothing {})
}

async fn list(access: &Access, principal: &Principal) -> Result<Json, Fault> {
    let mut users = Keys::new();
    for key in visible(access, principal).await? {
        let Some(public) = PublicKey::stored(&key.pem) else { continue };
        let StoredKey { account, nickname, email, created, .. } = key;
        let told = format!("Nickname: {nickname}\nEmail: {email}\nDate Registered: {created}");
        users.entry(account).or_default().insert(public.encoded(), told);
    }
    said(&users)
}

async fn checksums(access: &Access, principal: &Principal) -> Result<Json, Fault> {
    let keys = visible(access, principal).await?;
    let keys = keys.iter().filter_map(|key| PublicKey::stored(&key.pem));
    let sums: Vec<String> = keys.map(|key| key.checksum()).collect();
    said(&Checksums { md5_keys: sums })
}

async fn revoke(access: &Access, principal: &Principal, args: &Value) -> Result<Json, Fault> {
    let Revoke { pub_key, user } = read(args)?;
    access.revoke_key(&account(principal, user)?, &pub_key).await?;
    said(&Nothing {})
}

async fn visible(access: &Access, principal: &Principal) -> Result<Vec<StoredKey>, Fault> {
    let mut keys = access.keys().await?;
    if !principal.rights.is_full() {
        keys.retain(|key| Some(key.account.as_str()) == principal.account());
    }
    Ok(keys)
}

/// Whose key it is about: one's own, or an administrator's word for whom.
fn account(principal: &Principal, named: Option<String>) -> Result<String, Fault> {
    let own = principal.account();
    match (named.filter(|user| !user.is_empty()), own) {
        (Some(user), own) if own == Some(user.as_str()) || principal.rights.is_full() => Ok(user),
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
