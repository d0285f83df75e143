//! Floor 2: HTTP requests that the daemon sends to somebody else.
//!
//! It knows TLS, deadlines and what may be read of an answer. It must not know what is sent, to whom,
//! or what an answer means: `sinks` decides that. It follows no redirect and uses no proxy.

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::HeaderMap;
use hyper::rt::Executor;
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use crate::lifecycle::Tasks;

/// Bytes of an answer that are read, so that its connection can be used again; what is longer ends
/// the connection.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_mins(1);

/// Sends requests to one receiver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbound {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    deadline: Duration,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
}

/// Why nothing came back. Written for the administrator; no URL is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// There was no connection, or it broke.
    #[error("{0}")]
    Broken(String),
}

/// Why nothing can be sent at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The file with the authorities.
    #[error("{path} cannot be used: {cause}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl Outbound {
    /// Certificates are judged by the authorities in `ca`, or by the system's. Each request may take
    /// so long. Connections are kept going among `tasks`.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn new(ca: Option<&Path>, deadline: Duration, tasks: &Tasks) -> Result<Self, Unusable> {
        let roots = match ca {
            Some(path) => listed(path)?,
            None => system(),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Unusable::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(Spawner(tasks.clone()))
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self { client, deadline })
    }

    /// Sends a request and waits for the answer's head and end.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Unanswered> {
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| broken(&error))?;
            let (head, body) = answer.into_parts();
            // Whatever it says there, the status says it too.
            Limited::new(body, ANSWER_BYTES_MAX).collect().await.ok();
            Ok(Reply { status: head.status, headers: head.headers })
        };
        timeout(self.deadline, exchange).await.map_err(|_| Unanswered::Late(self.deadline))?
    }
}

/// What a connection needs to be kept going.
#[derive(Debug, Clone)]
struct Spawner(Tasks);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, task: F) {
        drop(self.0.spawn(task));
    }
}

/// The innermost causes say most: `connection refused`, `UnknownIssuer`.
fn broken(error: &hyper_util::client::legacy::Error) -> Unanswered {
    let (mut sentence, mut cause) = (error.to_string(), error.source());
    while let Some(inner) = cause {
        sentence = inner.to_string();
        cause = inner.source();
    }
    Unanswered::Broken(sentence)
}

fn listed(path: &Path) -> Result<RootCertStore, Unusable> {
    let wrong = |cause: String| Unusable::Authorities { path: path.to_path_buf(), cause };
    let text = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("no certificate is in it".to_owned()));
    }
    Ok(roots)
}

/// The system's authorities, as far as they can be read: without any, every certificate is refused.
fn system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a certificate authority of the system");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}
