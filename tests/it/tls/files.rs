//! Certificates made for a test, and the files a daemon reads them from.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sysadmd::certificate::fingerprint;

use crate::harness::Site;

/// A certificate that was made for a test.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) pem: String,
    pub(crate) key: String,
    pub(crate) fingerprint: String,
}

/// Signs certificates of clients.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

pub(crate) fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("legal names");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A self-signed certificate for this key.
pub(crate) fn made(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Made {
    let mut params = params("nas");
    change(&mut params);
    let made = params.self_signed(key).expect("a certificate");
    let fingerprint = fingerprint(made.der());
    Made { pem: made.pem(), key: key.serialize_pem(), fingerprint }
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, key()).expect("an authority"))
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A client that shows a certificate of this authority.
    pub(super) fn client(&self, change: impl FnOnce(&mut CertificateParams)) -> ClientConfig {
        let (mut params, key) = (params("client"), key());
        change(&mut params);
        let shown = params.signed_by(&key, &self.0).expect("a certificate");
        let chain: Vec<CertificateDer<'static>> = vec![shown.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        kit::tls::showing(chain, key)
    }
}

/// Files of a pair in a directory of their own beside the daemon's state.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    /// Has the daemon of this site use a pair.
    pub(super) fn of(site: &mut Site, made: &Made) -> Self {
        let dir = site.path().join("own");
        fs::create_dir(&dir).expect("a directory");
        let files = Self { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        files.put(made);
        let (cert, key) = (files.cert.display(), files.key.display());
        site.settings = format!("[tls]\ncertificate = '{cert}'\nkey = '{key}'\n");
        files
    }

    /// Replaces the pair, one file after the other.
    pub(super) fn put(&self, made: &Made) {
        replace(&self.cert, &made.pem);
        replace(&self.key, &made.key);
    }
}

/// Puts a file in the place of another at once.
pub(super) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("the file is written");
    if path.is_dir() {
        fs::remove_dir(path).expect("the directory is removed");
    }
    fs::rename(&new, path).expect("the file is put in its place");
}
