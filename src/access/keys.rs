//! RSA keys of users of this machine, for the classic login without a password.

use protocol::{Fault, FaultKind};
use uuid::Uuid;

use super::challenge::{KEYS_MAX, PublicKey};
use super::principal::Credential;
use super::{Access, random_bytes, unstored};
use crate::store::StoredKey;

/// The longest nickname and mail address, in characters.
const TEXT_MAX: usize = 128;

impl Access {
    /// Registers a key of a user of this machine; the same key again changes its nickname and
    /// address.
    ///
    /// # Errors
    /// `bad-request` for a bad key or text, `too-many` when no more keys are kept, `unavailable`
    /// when it cannot be stored.
    pub async fn register_key(
        &self,
        account: &str,
        pub_key: &str,
        nickname: &str,
        email: &str,
    ) -> Result<(), Fault> {
        let key = PublicKey::parse(pub_key)?;
        let is_text =
            |text: &str| text.chars().count() <= TEXT_MAX && !text.chars().any(char::is_control);
        if !is_text(nickname) || !is_text(email) {
            let sentence = format!("nickname and email have at most {TEXT_MAX} characters");
            return Err(Fault::bad_request(sentence));
        }
        let keys = self.keys().await?;
        if keys.len() >= KEYS_MAX {
            let sentence = format!("{KEYS_MAX} keys are registered already");
            return Err(Fault::new(FaultKind::TooMany, sentence).with_hint("revoke one first"));
        }
        let stored = StoredKey {
            id: Uuid::from_bytes(random_bytes::<16>()?),
            account: account.to_owned(),
            pem: key.pem().to_owned(),
            nickname: nickname.to_owned(),
            email: email.to_owned(),
            created: self.now(),
        };
        self.store().key_put(stored).await.map_err(|error| unstored(&error))?;
        Ok(())
    }

    /// Every registered key.
    ///
    /// # Errors
    /// `unavailable` when they cannot be read.
    pub async fn keys(&self) -> Result<Vec<StoredKey>, Fault> {
        self.store().key_list().await.map_err(|error| unstored(&error))
    }

    /// Revokes a key and cuts what is connected by it.
    ///
    /// # Errors
    /// `bad-request` when this user has no such key, as the original answers it; `unavailable`
    /// when it cannot be stored.
    pub async fn revoke_key(&self, account: &str, pub_key: &str) -> Result<(), Fault> {
        let key = PublicKey::parse(pub_key)?;
        let keys = self.keys().await?;
        let found = keys.iter().find(|had| had.account == account && had.pem == key.pem());
        let Some(found) = found else {
            return Err(Fault::bad_request(format!("{account} has registered no such key"))
                .with_hint("rpc/settings with the action list_ssl_certs shows them"));
        };
        let deleted = self.store().key_delete(account, &found.pem).await;
        deleted.map_err(|error| unstored(&error))?;
        self.revoke(Credential::Key(found.id));
        Ok(())
    }
}
