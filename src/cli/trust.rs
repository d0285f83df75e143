//! Which certificate of a daemon is believed.
//!
//! Daemons make their own certificates, so no authority vouches for them. One is trusted because
//! its SHA-256 was given, or because it is the one that was met first; a change is refused.

use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest as _, Sha256};

use super::exit::{Exit, Failure};
use super::output;

/// The SHA-256 of a certificate in DER form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

/// Which certificate is believed.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// This one.
    Pinned(Fingerprint),
    /// The one in this file; if the file has none for the host, whichever is met now.
    KnownHosts(PathBuf),
}

/// A TLS set-up for one connection that remembers which certificate it met.
#[derive(Debug)]
pub(crate) struct Pin {
    expected: Option<Fingerprint>,
    met: OnceLock<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// What is expected of the daemon at `authority` (`HOST:PORT`).
    pub(crate) fn pin(&self, authority: &str) -> Result<Arc<Pin>, Failure> {
        let expected = match self {
            Self::Pinned(fingerprint) => Some(*fingerprint),
            Self::KnownHosts(path) => known(path, authority)?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(Arc::new(Pin { expected, met: OnceLock::new(), provider }))
    }

    /// Keeps a certificate that was met for the first time, and says so.
    pub(crate) fn remember(&self, authority: &str, pin: &Pin) -> Result<(), Failure> {
        let (Self::KnownHosts(path), None, Some(met)) = (self, pin.expected, pin.met.get()) else {
            return Ok(());
        };
        append(path, &format!("{authority} {met}\n"))
            .map_err(|error| Failure::file("write", path, &error))?;
        output::remark(&format!(
            "{authority} was met for the first time; its certificate {met} is trusted from now on \
             (kept in {}). Compare it with what `sysadmctl status` shows on the daemon's machine.",
            path.display()
        ));
        Ok(())
    }

    /// The refusal when another certificate was met than the expected one.
    pub(crate) fn refusal(&self, authority: &str, pin: &Pin) -> Option<Failure> {
        let (expected, met) = (pin.expected?, pin.met.get()?);
        if expected == *met {
            return None;
        }
        let sentence = format!(
            "{authority} shows another certificate than the trusted one: trusted is {expected}, \
             shown is {met}. Nothing was sent to it."
        );
        let hint = match self {
            Self::Pinned(_) => {
                "compare it with what `sysadmctl status` shows on the daemon's machine".to_owned()
            }
            Self::KnownHosts(path) => format!(
                "somebody may be listening in. If the daemon really has a new certificate, remove \
                 the line of {authority} from {}",
                path.display()
            ),
        };
        Some(Failure::new(Exit::Certificate, sentence).with_hint(hint))
    }
}

impl Pin {
    /// The TLS configuration that enforces it.
    pub(crate) fn config(self: &Arc<Self>) -> Result<ClientConfig, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Self>::clone(self))
            .with_no_client_auth();
        Ok(config)
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let met = *self.met.get_or_init(|| Fingerprint::of(end_entity));
        match self.expected {
            Some(expected) if expected != met => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Fingerprint {
    /// Of a certificate.
    fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    /// 64 hexadecimal digits in any case; colons between them and `sha256:` before them are fine,
    /// as `openssl x509 -fingerprint -sha256` prints them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || "expected 64 hexadecimal digits".to_owned();
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.strip_prefix("sha256:").unwrap_or(&lower).replace(':', "");
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(expected());
        }
        let mut bytes = [0; 32];
        for (byte, place) in bytes.iter_mut().zip(0..) {
            *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16)
                .map_err(|_| expected())?;
        }
        Ok(Self(bytes))
    }
}

/// What the file has for the host.
fn known(path: &Path, authority: &str) -> Result<Option<Fingerprint>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::file("read", path, &error)),
    };
    known_in(&text, authority).map_err(|expected| {
        let sentence = format!("{} on the line of {authority}: {expected}", path.display());
        Failure::new(Exit::Certificate, sentence)
    })
}

/// What a text has for the host; a line that cannot be read must not count as "never met".
pub(crate) fn known_in(text: &str, authority: &str) -> Result<Option<Fingerprint>, String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let found = lines.find_map(|line| {
        let (host, fingerprint) = line.split_once(char::is_whitespace)?;
        (host == authority).then_some(fingerprint)
    });
    found.map(str::parse).transpose()
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Folder;

    #[test]
    fn fingerprints_are_read_as_other_tools_print_them() {
        let plain = "0a".repeat(32);
        let colons = ["0A"; 32].join(":");
        let expected = Fingerprint([10; 32]);
        assert_eq!(plain.parse(), Ok(expected));
        assert_eq!(colons.parse(), Ok(expected));
        assert_eq!(expected.to_string().parse(), Ok(expected));
        for bad in ["", "0a", &"0g".repeat(32), &"ü".repeat(32)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_met_first_is_kept_and_a_change_refused() {
        let folder = Folder::new();
        let path = folder.path().join("sysadmd/known_hosts");
        let trust = Trust::KnownHosts(path.clone());
        let certificate = |text: &'static [u8]| CertificateDer::from(text);
        let name = || ServerName::try_from("nas").unwrap();
        let meet = |pin: &Pin, der: &'static [u8]| {
            pin.verify_server_cert(
                &certificate(der),
                &[],
                &name(),
                &[],
                UnixTime::since_unix_epoch(std::time::Duration::ZERO),
            )
        };

        let first = trust.pin("nas:1").unwrap();
        meet(&first, b"one").unwrap();
        trust.remember("nas:1", &first).unwrap();
        let again = trust.pin("nas:1").unwrap();
        meet(&again, b"one").unwrap();
        assert!(trust.refusal("nas:1", &again).is_none());
        let changed = trust.pin("nas:1").unwrap();
        meet(&changed, b"two").unwrap_err();
        assert_eq!(trust.refusal("nas:1", &changed).unwrap().exit, Exit::Certificate);
        meet(&trust.pin("nas:2").unwrap(), b"two").unwrap();

        std::fs::write(&path, "nas:1 damaged\n").unwrap();
        assert_eq!(trust.pin("nas:1").unwrap_err().exit, Exit::Certificate);
    }
}
