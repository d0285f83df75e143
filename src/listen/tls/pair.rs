//! A certificate, its key and the authorities for clients, as the files hold them: read and checked
//! before anybody is served with them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::Time;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use crate::certificate::{Facts, Validity};
use crate::config::TlsFiles;

/// Bytes of one file at most: hundreds of authorities fit.
const FILE_MAX: u64 = 1024 * 1024;
/// The one protocol that is spoken inside: there is no HTTP/2 here.
const ALPN: &[u8] = b"http/1.1";

/// What the files hold, fit to serve with.
#[derive(Debug)]
pub(super) struct Pair {
    /// The certificate, then those that lead to its authority.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Who may vouch for clients; empty when no client is asked for a certificate.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// What the certificate says of itself.
    pub(super) facts: Arc<Facts>,
    /// The set-up of every handshake.
    pub(super) config: Arc<ServerConfig>,
}

/// Why files are not served with. Written for the administrator; nothing of a key is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The system does not give the file out.
    #[error("{path} cannot be read: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// Nothing is in the file.
    #[error("{path} is empty")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Something else is in the file.
    #[error("there is no {wanted} in {path}")]
    WrongContent {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
    },
    /// The file is cut off or overwritten.
    #[error("{path} is damaged or only half written: {cause}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The key is another certificate's.
    #[error("the key in {key} does not belong to the certificate in {certificate}")]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// TLS cannot be done with it.
    #[error("TLS cannot be served with {path}: {cause}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// It is too late.
    #[error("the certificate in {path} has expired at {end}")]
    Expired {
        /// The file.
        path: PathBuf,
        /// When it did.
        end: Time,
    },
    /// It is too early, or this machine's clock is wrong.
    #[error("the certificate in {path} is not valid before {begin}")]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// When it will be.
        begin: Time,
    },
}

impl Unfit {
    /// A stable word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Empty { .. } => "empty",
            Self::WrongContent { .. } => "wrong-content",
            Self::Damaged { .. } => "damaged",
            Self::Mismatch { .. } => "mismatch",
            Self::Unusable { .. } => "unusable",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not-yet-valid",
        }
    }

    /// What the administrator does about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "put the file there, readable by sysadmd",
            Self::Empty { .. } | Self::Damaged { .. } => "write the file again",
            Self::WrongContent { .. } => {
                "put a PEM file there: the certificate first and then its chain, or a private key \
                 without a passphrase"
            }
            Self::Mismatch { .. } => {
                "put the certificate and the key there that were made together"
            }
            Self::Unusable { .. } => {
                "use an X.509 version 3 certificate with an ECDSA, Ed25519 or RSA key of 2048 bits or more"
            }
            Self::Expired { .. } => "renew the certificate",
            Self::NotYetValid { .. } => {
                "check this machine's clock; the files are looked at hourly"
            }
        }
    }
}

impl Pair {
    /// Reads the files and checks everything but the dates.
    pub(super) fn load(files: &TlsFiles) -> Result<Self, Unfit> {
        let chain = certificates(&files.certificate)?;
        let facts = facts(&chain, &files.certificate)?;
        let key = private_key(&files.key)?;
        let authorities = match &files.client_ca {
            Some(path) => certificates(path)?,
            None => Vec::new(),
        };
        let config = server_config(files, chain.clone(), key, &authorities)?;
        Ok(Self { chain, authorities, facts: Arc::new(facts), config: Arc::new(config) })
    }

    /// Whether the certificate's dates allow it to be used now.
    pub(super) fn check_dates(&self, files: &TlsFiles, now: Time) -> Result<(), Unfit> {
        let path = || files.certificate.clone();
        match self.facts.validity(now) {
            Validity::Good | Validity::Ending => Ok(()),
            Validity::Early => {
                Err(Unfit::NotYetValid { path: path(), begin: self.facts.not_before })
            }
            Validity::Over => Err(Unfit::Expired { path: path(), end: self.facts.not_after }),
        }
    }

    /// Whether clients would see the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.chain, &self.authorities) == (&other.chain, &other.authorities)
    }
}

/// The certificates of a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    certificates_in(&read(path)?, path)
}

/// The same of what stands in the file.
pub(crate) fn certificates_in(
    text: &[u8],
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| damaged(path, &error))?;
    if found.is_empty() {
        return Err(Unfit::WrongContent { path: path.to_path_buf(), wanted: "certificate" });
    }
    Ok(found)
}

/// What the first certificate says; all of them can be read.
fn facts(chain: &[CertificateDer<'_>], path: &Path) -> Result<Facts, Unfit> {
    let read: Result<Vec<Facts>, _> = chain.iter().map(|one| Facts::read(one)).collect();
    let damaged = |cause: String| Unfit::Damaged { path: path.to_path_buf(), cause };
    let read = read.map_err(|error| damaged(error.to_string()))?;
    read.into_iter().next().ok_or_else(|| Unfit::Empty { path: path.to_path_buf() })
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Unfit> {
    private_key_in(&read(path)?, path)
}

/// The same of what stands in the file.
pub(crate) fn private_key_in(text: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, Unfit> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => Unfit::WrongContent {
            path: path.to_path_buf(),
            wanted: "private key without a passphrase",
        },
        error => damaged(path, &error),
    })
}

/// The bytes of a file that is not empty.
fn read(path: &Path) -> Result<Vec<u8>, Unfit> {
    let unreadable =
        |cause: io::Error| Unfit::Unreadable { path: path.to_path_buf(), cause: cause.to_string() };
    // A pipe would have us wait for ever.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("it is no file")));
    }
    let mut text = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.take(FILE_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
    if bytes as u64 > FILE_MAX {
        return Err(unreadable(io::Error::other("it is larger than 1 MiB")));
    }
    if text.trim_ascii().is_empty() {
        return Err(Unfit::Empty { path: path.to_path_buf() });
    }
    Ok(text)
}

/// Without what stands in the file: it may be a key.
fn damaged(path: &Path, error: &pem::Error) -> Unfit {
    let cause = match error {
        pem::Error::MissingSectionEnd { .. } => "a BEGIN line has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is broken",
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is not Base64",
        _ => "it is no PEM file",
    };
    Unfit::Damaged { path: path.to_path_buf(), cause: cause.to_owned() }
}

fn server_config(
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: &[CertificateDer<'static>],
) -> Result<ServerConfig, Unfit> {
    let unusable = |path: &Path, cause: String| Unfit::Unusable { path: path.to_path_buf(), cause };
    let provider = Arc::new(ring::default_provider());
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| unusable(&files.certificate, error.to_string()))?;
    let builder = match &files.client_ca {
        Some(path) => builder.with_client_cert_verifier(
            verifier(authorities, provider).map_err(|cause| unusable(path, cause))?,
        ),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            Unfit::Mismatch { key: files.key.clone(), certificate: files.certificate.clone() }
        }
        error => unusable(&files.certificate, error.to_string()),
    })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A session cache would cost memory for each client and save a millisecond at each reconnect.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Believes whom these authorities vouch for; who shows nothing is let in as a stranger.
fn verifier(
    authorities: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| error.to_string())?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| error.to_string())
}
