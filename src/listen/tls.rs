//! TLS: the certificate in use, put in place of another while clients are connected.

mod make;
pub(crate) mod pair;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use protocol::Time;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::{Facts, PeerCertificate};
use crate::config::TlsFiles;

use pair::Pair;
pub use pair::Unfit;

/// The daemon's side of TLS. Cheap to clone; clones share one certificate.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    files: TlsFiles,
    /// A handshake takes the whole set-up once and keeps it, so that none ever sees half a change.
    /// With it goes the number of its authorities for clients: how often they were changed.
    in_use: RwLock<(Arc<Pair>, u64)>,
    facts: watch::Sender<Arc<Facts>>,
    /// The number of those in use.
    authorities: watch::Sender<u64>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The daemon's own certificate cannot be made.
    #[error("the TLS certificate {path} cannot be made: {cause}")]
    Unmade {
        /// The certificate's file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The files cannot be served with.
    #[error("{fault} ({remedy})", fault = .0, remedy = .0.remedy())]
    Unfit(#[from] Unfit),
}

/// What a look at the files brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// They hold what is in use.
    Same,
    /// They held something new, which is in use from now on.
    New,
}

impl Tls {
    /// Reads the files, or makes the daemon's own pair when there is none. The dates of the
    /// certificate are not looked at: a machine whose clock is wrong must stay within reach.
    ///
    /// # Errors
    /// When the files cannot be read, made or used. Existing files are never replaced.
    pub fn open(files: TlsFiles, hostname: &str) -> Result<Self, TlsError> {
        if to_be_made(&files) {
            make::pair(&files, hostname)
                .map_err(|cause| TlsError::Unmade { path: files.certificate.clone(), cause })?;
        }
        let pair = Pair::load(&files)?;
        let facts = watch::Sender::new(Arc::clone(&pair.facts));
        let (in_use, authorities) = (RwLock::new((Arc::new(pair), 0)), watch::Sender::new(0));
        Ok(Self(Arc::new(Shared { files, in_use, facts, authorities })))
    }

    /// Whether a daemon that starts with these files is served by a certificate that is good at this
    /// moment. A pair that is still to be made counts as good.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(files: &TlsFiles, now: Time) -> Result<(), Unfit> {
        if to_be_made(files) { Ok(()) } else { Pair::load(files)?.check_dates(files, now) }
    }

    /// Looks at the files again. What they hold is used for every handshake from now on, if it is
    /// fit and good at this moment; connections that are there are not touched.
    ///
    /// # Errors
    /// When it is not. Then nothing changes.
    pub fn look(&self, now: Time) -> Result<Look, Unfit> {
        let Shared { files, in_use, facts, authorities } = &*self.0;
        let new = Pair::load(files)?;
        new.check_dates(files, now)?;
        let (old, number) = self.in_use();
        if new.is_same(&old) {
            return Ok(Look::Same);
        }
        let told = Arc::clone(&new.facts);
        let number = if new.authorities == old.authorities { number } else { number + 1 };
        *in_use.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(new), number);
        facts.send_replace(told);
        authorities.send_if_modified(|known| std::mem::replace(known, number) != number);
        Ok(Look::New)
    }

    /// What the certificate in use says of itself, now and after each change.
    pub fn facts(&self) -> watch::Receiver<Arc<Facts>> {
        self.0.facts.subscribe()
    }

    /// The number of the authorities for clients that are believed, now and after each change.
    pub(crate) fn authorities(&self) -> watch::Receiver<u64> {
        self.0.authorities.subscribe()
    }

    /// Accepts one connection with what is in use at this moment, and the number of the authorities
    /// that vouch for its client.
    pub(crate) fn acceptor(&self) -> (TlsAcceptor, u64) {
        let (pair, authorities) = self.in_use();
        (TlsAcceptor::from(Arc::clone(&pair.config)), authorities)
    }

    fn in_use(&self) -> (Arc<Pair>, u64) {
        self.0.in_use.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn to_be_made(files: &TlsFiles) -> bool {
    files.make && make::is_possible(files)
}

/// The certificate the client has shown; the handshake has proven that it has the key and that an
/// authority of `client_ca` has signed it.
pub(crate) fn peer_certificate(stream: &TlsStream<TcpStream>) -> Option<PeerCertificate> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    match Facts::read(leaf) {
        Ok(facts) => Some(facts.into()),
        Err(error) => {
            tracing::warn!(%error, "a client's certificate stands for nobody");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;

    use super::*;

    fn named(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    fn files(dir: &std::path::Path, client_ca: Option<PathBuf>) -> TlsFiles {
        let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        TlsFiles { certificate, key, client_ca, make: true }
    }

    #[tokio::test]
    async fn who_shows_a_certificate_is_known_by_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut authority = named("ours");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(authority, key).unwrap();
        let client_ca = dir.path().join("ca.pem");
        std::fs::write(&client_ca, authority.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let shown = named("backup.lan").signed_by(&key, &authority).unwrap();
        let tls = Tls::open(files(dir.path(), Some(client_ca)), "nas").unwrap();

        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let showing = kit::tls::showing(vec![shown.der().clone()], key);
        let expected = PeerCertificate {
            name: "backup.lan".to_owned(),
            fingerprint: crate::certificate::fingerprint(shown.der()),
            not_after: Facts::read(shown.der()).unwrap().not_after,
        };
        assert_eq!(peer(&tls, showing).await, Some(expected));
        assert_eq!(peer(&tls, kit::tls::believing()).await, None);
    }

    /// Whom the daemon sees when a client connects so.
    async fn peer(tls: &Tls, client: rustls::ClientConfig) -> Option<PeerCertificate> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let accepting = async {
            let (stream, _) = listener.accept().await.unwrap();
            tls.acceptor().0.accept(stream).await.unwrap()
        };
        let connecting = async {
            let stream = TcpStream::connect(addr).await.unwrap();
            let connector = TlsConnector::from(Arc::new(client));
            connector.connect(ServerName::from(addr.ip()), stream).await.unwrap()
        };
        let (stream, _client) = tokio::join!(accepting, connecting);
        peer_certificate(&stream)
    }

    #[test]
    fn files_that_are_there_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), None);
        std::fs::write(&files.key, "not a key").unwrap();
        let refusal = Tls::open(files.clone(), "nas").unwrap_err().to_string();
        assert!(refusal.contains("cert.pem") && refusal.contains("put the file"), "{refusal}");
        assert_eq!(std::fs::read_to_string(&files.key).unwrap(), "not a key");
    }
}
