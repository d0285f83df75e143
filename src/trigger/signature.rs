//! The formats in which senders sign what they send.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::Time;
use ring::hmac::{self, HMAC_SHA256, Key};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// How far the time that a sender signs may be from ours.
pub const TOLERANCE: Duration = Duration::from_mins(5);
/// How long something is remembered that is signed without a time.
const REMEMBERED: Duration = Duration::from_hours(24);
/// How a secret of Standard Webhooks begins.
pub const STANDARD_PREFIX: &str = "whsec_";
/// Signatures of one request that are looked at.
const SIGNATURES_MAX: usize = 8;

/// The headers that are looked at, in lower case.
pub const HEADERS: [&str; 8] = [
    "x-hub-signature-256",
    "x-github-delivery",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "stripe-signature",
    "x-gitlab-token",
    "idempotency-key",
];

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// GitHub, Gitea, Forgejo: `X-Hub-Signature-256` over the body.
    Github,
    /// Standard Webhooks and newer GitLab: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    Standard,
    /// Stripe: `Stripe-Signature` with `t` and `v1`.
    Stripe,
    /// Older GitLab: `X-Gitlab-Token`, which is the secret itself and signs nothing.
    GitlabToken,
}

/// Headers of a request, by their names in lower case.
#[derive(Debug, Clone, Default)]
pub struct Headers(pub BTreeMap<&'static str, String>);

impl Headers {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What the sender calls this delivery, cut to what fits on record. Only a name: it is not always
    /// signed.
    pub fn delivery(&self) -> Option<String> {
        let names = ["webhook-id", "x-github-delivery", "idempotency-key"];
        let name = names.iter().find_map(|name| self.get(name))?;
        Some(name.chars().filter(|c| !c.is_control()).take(64).collect())
    }
}

/// A request that the holder of the secret has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// SHA-256 of what was signed, to tell a repetition by; `None` where nothing was.
    pub key: Option<[u8; 32]>,
    /// How long that must be remembered.
    pub remembered: Duration,
}

/// Why it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// A header is missing, or cannot be read.
    Missing,
    /// It was signed with another secret, or changed since.
    Wrong,
    /// It was signed too long ago, or in the future.
    Late,
}

impl Objection {
    /// One word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "unsigned",
            Self::Wrong => "signature",
            Self::Late => "late",
        }
    }
}

/// The bytes of a secret in this format; `None` when it is no such secret.
pub fn secret_bytes(scheme: Scheme, secret: &str) -> Option<Vec<u8>> {
    match scheme {
        Scheme::Standard => {
            let text = secret.strip_prefix(STANDARD_PREFIX).unwrap_or(secret);
            STANDARD.decode(text).ok().filter(|bytes| bytes.len() >= 16)
        }
        _ => (secret.len() >= 16).then(|| secret.as_bytes().to_vec()),
    }
}

/// Whether the holder of the secret has signed it, and not long ago.
///
/// # Errors
/// Why not. Comparisons take the same time whatever is wrong.
pub fn verify(
    scheme: Scheme,
    secret: &[u8],
    headers: &Headers,
    body: &[u8],
    now: Time,
) -> Result<Signed, Objection> {
    match scheme {
        Scheme::Github => github(secret, headers, body),
        Scheme::Standard => standard(secret, headers, body, now),
        Scheme::Stripe => stripe(secret, headers, body, now),
        Scheme::GitlabToken => gitlab_token(secret, headers),
    }
}

fn github(secret: &[u8], headers: &Headers, body: &[u8]) -> Result<Signed, Objection> {
    let header = headers.get("x-hub-signature-256").ok_or(Objection::Missing)?;
    let tag = header.trim().strip_prefix("sha256=").and_then(unhex).ok_or(Objection::Missing)?;
    check(secret, &[body], &[tag])?;
    Ok(signed("github", &[body], REMEMBERED))
}

fn standard(secret: &[u8], headers: &Headers, body: &[u8], now: Time) -> Result<Signed, Objection> {
    let of = |name| headers.get(name).ok_or(Objection::Missing);
    let (id, moment) = (of("webhook-id")?, of("webhook-timestamp")?);
    let signatures = of("webhook-signature")?.split_ascii_whitespace().take(SIGNATURES_MAX);
    let tags: Vec<Vec<u8>> =
        signatures.filter_map(|it| STANDARD.decode(it.strip_prefix("v1,")?).ok()).collect();
    let parts = [id.as_bytes(), b".", moment.as_bytes(), b".", body];
    check(secret, &parts, &tags)?;
    is_recent(moment, now)?;
    Ok(signed("standard", &parts, TOLERANCE * 2))
}

fn stripe(secret: &[u8], headers: &Headers, body: &[u8], now: Time) -> Result<Signed, Objection> {
    let header = headers.get("stripe-signature").ok_or(Objection::Missing)?;
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let moment = parts().find(|(name, _)| *name == "t").map(|(_, value)| value);
    let moment = moment.ok_or(Objection::Missing)?;
    let tags = parts().filter(|(name, _)| *name == "v1").take(SIGNATURES_MAX);
    let tags: Vec<Vec<u8>> = tags.filter_map(|(_, value)| unhex(value)).collect();
    let material = [moment.as_bytes(), b".", body];
    check(secret, &material, &tags)?;
    is_recent(moment, now)?;
    Ok(signed("stripe", &material, TOLERANCE * 2))
}

fn gitlab_token(secret: &[u8], headers: &Headers) -> Result<Signed, Objection> {
    let token = headers.get("x-gitlab-token").ok_or(Objection::Missing)?;
    if !bool::from(token.as_bytes().ct_eq(secret)) {
        return Err(Objection::Wrong);
    }
    // Nothing is signed; but a sender that tries again says so.
    let name = headers.get("idempotency-key").filter(|name| !name.is_empty());
    let key = name.and_then(|name| signed("gitlab", &[name.as_bytes()], REMEMBERED).key);
    Ok(Signed { key, remembered: REMEMBERED })
}

fn check(secret: &[u8], parts: &[&[u8]], tags: &[Vec<u8>]) -> Result<(), Objection> {
    if tags.is_empty() {
        return Err(Objection::Missing);
    }
    let key = Key::new(HMAC_SHA256, secret);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    let right = context.sign();
    let is_right = |tag: &Vec<u8>| bool::from(tag.as_slice().ct_eq(right.as_ref()));
    if tags.iter().any(is_right) { Ok(()) } else { Err(Objection::Wrong) }
}

fn is_recent(moment: &str, now: Time) -> Result<(), Objection> {
    let plain = moment.len() <= 12 && moment.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u64 = plain.then(|| moment.parse().ok()).flatten().ok_or(Objection::Missing)?;
    let apart = (now.micros() / 1_000_000).abs_diff(seconds);
    if apart <= TOLERANCE.as_secs() { Ok(()) } else { Err(Objection::Late) }
}

fn signed(scheme: &str, parts: &[&[u8]], remembered: Duration) -> Signed {
    let mut hash = Sha256::new_with_prefix(scheme);
    hash.update([0]);
    for part in parts {
        hash.update(part);
    }
    Signed { key: Some(hash.finalize().into()), remembered }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests;
