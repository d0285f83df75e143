//! The certificate, made once and kept, and the TLS acceptor over it.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

/// The daemon's side of TLS.
#[derive(Clone)]
pub struct Tls {
    /// Accepts connections.
    pub acceptor: TlsAcceptor,
    /// SHA-256 of the certificate in hexadecimal: what clients pin.
    pub fingerprint: String,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("the TLS key and certificate in {dir} cannot be read or made: {cause}")]
    Files {
        /// The directory.
        dir: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The files do not hold a key and a certificate that fit.
    #[error(
        "cert.pem and key.pem in {dir} are not a certificate and its key: {cause} \
         (repair them, or remove both and a new pair is made)"
    )]
    Unfit {
        /// The directory.
        dir: String,
        /// What is wrong.
        cause: String,
    },
}

impl Tls {
    /// Reads the pair in `dir`, or makes it when there is none.
    ///
    /// # Errors
    /// When the files cannot be read, made or used. Existing files are never replaced.
    pub fn open(dir: &Path, hostname: &str) -> Result<Self, TlsError> {
        let files = |cause| TlsError::Files { dir: dir.display().to_string(), cause };
        let unfit = |cause| TlsError::Unfit { dir: dir.display().to_string(), cause };
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        if !cert.exists() && !key.exists() {
            make_pair(dir, &cert, &key, hostname)?;
        }
        let cert = fs::read(&cert).map_err(files)?;
        let key = fs::read(&key).map_err(files)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&cert)
            .collect::<Result<_, _>>()
            .map_err(|error| unfit(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| unfit("cert.pem is empty".to_owned()))?;
        let fingerprint = hex(&Sha256::digest(leaf));
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| unfit(error.to_string()))?;
        let config = server_config(chain, key).map_err(|error| unfit(error.to_string()))?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), fingerprint })
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A session cache would cost memory for each client and save a millisecond at each reconnect.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Self-signed, because `SysAdm` clients refuse unknown authorities and accept nothing else.
fn make_pair(dir: &Path, cert: &Path, key: &Path, hostname: &str) -> Result<(), TlsError> {
    let files = |cause| TlsError::Files { dir: dir.display().to_string(), cause };
    let unmade = |error: rcgen::Error| files(io::Error::other(error));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(files)?;
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !hostname.is_empty() && hostname != "localhost" {
        names.push(hostname.to_owned());
    }
    let mut params = rcgen::CertificateParams::new(names).map_err(unmade)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "SysAdm");
    let pair = rcgen::KeyPair::generate().map_err(unmade)?;
    let made = params.self_signed(&pair).map_err(unmade)?;
    write_new(key, &pair.serialize_pem(), 0o600).map_err(files)?;
    write_new(cert, &made.pem(), 0o644).map_err(files)
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}
