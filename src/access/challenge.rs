//! Login with an RSA key: classic `auth_ssl`.
//!
//! The client gets a random text and answers with the text under PKCS#1 v1.5 type 1 padding, raised
//! to its private exponent: a signature without a hash and without `DigestInfo`, as `OpenSSL`'s
//! `RSA_private_encrypt` makes it. That is all the original protocol has; the text is random, used
//! once and bound to one connection, which is what keeps an answer from being worth anything
//! elsewhere. Nothing here waits or reads a clock.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use md5::{Digest as _, Md5};
use protocol::{Fault, FaultKind, Time};
use rsa::pkcs1v15::Pkcs1v15Sign;
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use rsa::traits::PublicKeyParts as _;

use super::random_bytes;

/// The shortest and the longest modulus of a key, in bits.
pub const KEY_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Keys one answer is tried with; further ones are not looked at, so whoever registers keys keeps to
/// this number. A key is tried only when it has the answer's length: one RSA public operation, 63 µs
/// of a core with 2048 bits and 1 ms with 8192, so 256 cost a stranger's answer 16 ms to 270 ms.
pub const KEYS_MAX: usize = 256;
/// How long a challenge can be answered (the original server's 30 s).
pub const CHALLENGE_LIFETIME: Duration = Duration::from_secs(30);

/// Characters of a challenge. At most 245 fit under the padding of a 2048-bit key. The classic GUI
/// keeps twice this many bytes for its answer and writes past them when the answer is longer: 192
/// have room for a 3072-bit key.
const TEXT_LENGTH: usize = 192;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// The longest encoded key looked at: three times what one of 8192 bits takes.
const ENCODED_KEY_MAX: usize = 8 * 1024;
/// The longest answer looked at: three times what an 8192-bit key gives.
const ANSWER_MAX: usize = 4 * 1024;

/// Somebody's public RSA key. Two are equal exactly when they are the same key, however they were
/// written when they came.
#[derive(Debug, Clone)]
pub struct PublicKey {
    key: rsa::PublicKey,
    pem: String,
}

impl PublicKey {
    /// Reads the base64 of a PEM text (`-----BEGIN PUBLIC KEY-----`), as `register_ssl_cert` sends
    /// it. White space in the base64 and missing `=` at its end do not matter.
    ///
    /// # Errors
    /// `too-large` beyond 8 KiB; `bad-request` when it is no such text, not RSA, or its length is
    /// outside [`KEY_BITS`].
    pub fn parse(base64_pem: &str) -> Result<Self, Fault> {
        if base64_pem.len() > ENCODED_KEY_MAX {
            return Err(Fault::new(FaultKind::TooLarge, "the key is longer than any RSA key"));
        }
        let pem = decode(base64_pem).and_then(|bytes| String::from_utf8(bytes).ok());
        let pem = pem.ok_or_else(|| {
            refuse("the key is not base64 of a PEM text").with_hint("make it with: base64 -w0 FILE")
        })?;
        let key = read_pem(&pem)?;
        let bits = key.n().bit_width() as usize;
        if !KEY_BITS.contains(&bits) {
            let (least, most) = (KEY_BITS.start(), KEY_BITS.end());
            return Err(refuse(format!(
                "the RSA key has {bits} bits; {least} to {most} are taken"
            ))
            .with_hint(
                "make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072",
            ));
        }
        let pem = key.to_public_key_pem(LineEnding::LF).map_err(|error| {
            tracing::error!(%error, "a public key that was read cannot be written");
            Fault::internal()
        })?;
        Ok(Self { key, pem })
    }

    /// A key that was kept as [`PublicKey::pem`]; `None` when it is none.
    pub fn stored(pem: &str) -> Option<Self> {
        let key = read_pem(pem).ok()?;
        Some(Self { key, pem: pem.to_owned() })
    }

    /// The key as `OpenSSL` writes it: lines of 64 characters, a newline at the end.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Base64 of [`PublicKey::pem`] in one line: what names a key in classic messages.
    pub fn encoded(&self) -> String {
        STANDARD.encode(&self.pem)
    }

    /// Base64 of the MD5 of [`PublicKey::pem`], as `list_ssl_checksums` has it. It names a key and
    /// proves nothing.
    pub fn checksum(&self) -> String {
        STANDARD.encode(Md5::digest(self.pem.as_bytes()))
    }

    /// Whether `answer` is `text` under this key.
    fn has_answered(&self, text: &str, answer: &[u8]) -> bool {
        self.key.verify(Pkcs1v15Sign::new_unprefixed(), text.as_bytes(), answer).is_ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem
    }
}

impl Eq for PublicKey {}

/// A text that waits for its answer: one for each connection at a time, good for one answer within
/// [`CHALLENGE_LIFETIME`].
#[derive(Debug)]
pub struct Challenge {
    text: String,
    made: Time,
}

impl Challenge {
    /// A new one.
    ///
    /// # Errors
    /// `internal` when the system gives no randomness.
    pub fn new(now: Time) -> Result<Self, Fault> {
        Ok(Self { text: random_letters()?, made: now })
    }

    /// What the client is to answer: letters and digits only.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Which of the keys made the answer (base64; white space does not matter); `None` for no key,
    /// for a broken answer, and for one that comes too late. A right or wrong answer uses the
    /// challenge up. At most [`KEYS_MAX`] keys are tried.
    #[expect(single_use_lifetimes, reason = "stable Rust needs the name in an argument's `impl`")]
    pub fn answered_by<'k>(
        self,
        encrypted_string: &str,
        keys: impl Iterator<Item = &'k PublicKey>,
        now: Time,
    ) -> Option<usize> {
        // A clock that was set back would let a challenge live for ever; it is refused instead.
        let age = now.micros().checked_sub(self.made.micros())?;
        if Duration::from_micros(age) > CHALLENGE_LIFETIME || encrypted_string.len() > ANSWER_MAX {
            return None;
        }
        let answer = decode(encrypted_string)?;
        keys.take(KEYS_MAX).position(|key| key.has_answered(&self.text, &answer))
    }
}

fn random_letters() -> Result<String, Fault> {
    // Bytes beyond the last whole multiple of 62 are dropped, so that no letter is likelier.
    let fair = u8::MAX - u8::MAX % 62;
    let mut text = String::with_capacity(TEXT_LENGTH);
    while text.len() < TEXT_LENGTH {
        let bytes = random_bytes::<TEXT_LENGTH>()?;
        let letters = bytes.iter().filter(|byte| **byte < fair);
        let letters = letters.map(|byte| char::from(LETTERS[usize::from(byte % 62)]));
        text.extend(letters.take(TEXT_LENGTH - text.len()));
    }
    Ok(text)
}

fn read_pem(pem: &str) -> Result<rsa::PublicKey, Fault> {
    let label = |label: &str| pem.contains(&format!("{label}-----"));
    if label("PRIVATE KEY") {
        return Err(refuse(
            "this is a private key; it stays with its owner, and the public one is sent",
        )
        .with_hint("openssl pkey -in FILE -pubout writes the public key"));
    }
    if label("CERTIFICATE") {
        return Err(refuse("this is a certificate; its public key alone is wanted")
            .with_hint("openssl x509 -in FILE -pubkey -noout writes the public key"));
    }
    if !label("BEGIN PUBLIC KEY") {
        return Err(refuse("the key is no PEM text that begins with -----BEGIN PUBLIC KEY-----")
            .with_hint("openssl pkey -in FILE -pubout writes the public key"));
    }
    rsa::PublicKey::from_public_key_pem(pem.trim()).map_err(|error| match error {
        rsa::pkcs8::spki::Error::OidUnknown { .. } => refuse("the key is not an RSA key")
            .with_hint(
                "make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072",
            ),
        _ => refuse("the key is damaged, or no RSA key of 2048 to 8192 bits"),
    })
}

fn refuse(message: impl Into<String>) -> Fault {
    Fault::bad_request(message)
}

/// Standard base64 with white space anywhere and with or without `=` at the end.
fn decode(text: &str) -> Option<Vec<u8>> {
    let dense: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD_NO_PAD.decode(dense.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests;
