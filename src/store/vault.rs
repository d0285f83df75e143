//! Secrets that must be read again: encrypted with a key that lies in a file beside the database, so
//! that a copy of the database alone gives none of them away.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::error::io_error;
use super::open::sync_dir;
use super::{Store, StoreError};

/// The directory beside the database, and the file in it.
const DIR: &str = "vault";
const FILE: &str = "key";
/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Seals and opens.
#[derive(Debug)]
pub struct Vault(LessSafeKey);

impl Store {
    /// The key beside the database; made when there is none. Blocks; meant for the start.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub fn vault(&self) -> Result<Vault, StoreError> {
        let dir = self.shared.file.parent().unwrap_or(Path::new(".")).join(DIR);
        let doing = format!("read or make the key in {}", dir.display());
        let key = key(&dir).and_then(|key| {
            let wrong = || io::Error::other("it is no key of 32 bytes");
            UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|_| wrong())
        });
        key.map(|key| Vault(LessSafeKey::new(key))).map_err(io_error(doing))
    }
}

impl Vault {
    /// Seals a text for one holder; only for that holder it can be opened. `None` when the system
    /// gives no random bytes.
    pub fn seal(&self, holder: Uuid, text: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut sealed = text.to_vec();
        let aad = Aad::from(holder.into_bytes());
        let with = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(with, aad, &mut sealed).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed; `None` when it was not sealed so, or with another key.
    pub fn open(&self, holder: Uuid, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let aad = Aad::from(holder.into_bytes());
        let length = self.0.open_in_place(nonce, aad, &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

fn key(dir: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let path = dir.join(FILE);
    match fs::read(&path) {
        Ok(key) => return Ok(Zeroizing::new(key)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let new = dir.join("key.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    sync_dir(&path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn vault(dir: &Path) -> Vault {
        Vault(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key(dir).unwrap()).unwrap()))
    }

    #[test]
    fn what_is_sealed_is_opened_for_its_holder_and_with_its_key_alone() {
        let place = tempfile::tempdir().unwrap();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sealed = vault(place.path()).seal(one, b"canary").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        let again = vault(place.path());
        assert_eq!(again.open(one, &sealed).unwrap().as_slice(), b"canary");
        assert!(again.open(other, &sealed).is_none(), "moved to another row");
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(again.open(one, &changed).is_none() && again.open(one, &sealed[..5]).is_none());
        let mode = fs::metadata(place.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(vault(elsewhere.path()).open(one, &sealed).is_none());
    }
}
