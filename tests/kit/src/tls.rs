//! The client's side of TLS for tests: it believes every certificate, because whom to trust is tested
//! elsewhere.

#![allow(clippy::expect_used, reason = "only tests use it")]

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};

/// Settings of a client that shows no certificate.
///
/// # Panics
/// Never: the provider has ciphers for these versions.
pub fn believing() -> ClientConfig {
    believing_in(rustls::DEFAULT_VERSIONS)
}

/// The same for a client that speaks these versions only.
///
/// # Panics
/// Never: the provider has ciphers for every version.
pub fn believing_in(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyCertificate::new(&provider));
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("the provider has ciphers for every version")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth()
}

/// Settings of a client that shows this certificate whenever it is asked for one, also when the
/// daemon names other authorities.
///
/// # Panics
/// When the key is no key.
pub fn showing(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> ClientConfig {
    let shown = CertifiedKey::from_der(chain, key, &ring::default_provider());
    let mut config = believing();
    let shown = SingleCertAndKey::from(shown.expect("a certificate and its key"));
    config.client_auth_cert_resolver = Arc::new(shown);
    config
}

/// Believes every certificate, if the other side has its key.
#[derive(Debug)]
pub struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    /// Checks signatures as this provider does.
    pub fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
