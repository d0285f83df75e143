//! Certificates of the anchors and the client's TLS settings.
//!
//! Knows rustls; nothing about servers or messages.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kit::tls::AnyCertificate;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig};

use crate::Res;

/// A certificate and its key on disk.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// PEM certificate.
    pub(crate) cert: PathBuf,
    /// PEM private key.
    pub(crate) key: PathBuf,
}

/// Makes a self-signed certificate for localhost under `dir`.
pub(crate) fn self_signed(dir: &Path) -> Res<Pair> {
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let pair = Pair { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    std::fs::write(&pair.cert, made.cert.pem())?;
    std::fs::write(&pair.key, made.signing_key.serialize_pem())?;
    Ok(pair)
}

/// Server settings of the raw anchor.
pub(crate) fn server(pair: &Pair) -> Res<Arc<ServerConfig>> {
    let cert = CertificateDer::from_pem_file(&pair.cert)?;
    let key = PrivateKeyDer::from_pem_file(&pair.key)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)?;
    Ok(Arc::new(config))
}

/// Client settings: TLS 1.3 with AES-128-GCM only, so that every server pays for the same cipher, and any certificate,
/// because the client talks to children it started itself on loopback.
pub(crate) fn client() -> Res<Arc<ClientConfig>> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let verifier = Arc::new(AnyCertificate::new(&provider));
    let provider: Arc<CryptoProvider> = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // Resumption would make the later of the connections cheaper than the first.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
