//! HTTP/1.1: each request to the face that its path belongs to.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, HeaderMap, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use protocol::{Fault, FaultKind};
use secrecy::SecretString;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use zeroize::Zeroizing;

use super::admission::Place;
use super::consul::{self, Lists};
use super::conversation::{self, Guest, Opening, Tongue};
use super::dockercloud;
use super::jsonrpc;
use super::pages::Pages;
use super::probes::{self, Ready};
use super::rest::{self, Answer};
use super::routes::{self, Probe, Route};
use super::stream::Stream;
use crate::access::{Origin, Peer, Principal, Proof};
use crate::description::Form;
use crate::dispatch::Dispatch;
use crate::lifecycle::Tasks;

/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// What every request on one connection has in common, whichever face answers it.
pub(super) struct Connection {
    pub(super) dispatch: Dispatch,
    pub(super) tasks: Tasks,
    pages: Pages,
    /// What Consul's clients read.
    pub(super) lists: Lists,
    ready: Ready,
    pub(super) peer: Peer,
    /// Whoever the kernel or a certificate has named.
    pub(super) principal: Option<Principal>,
    /// Taken along by the websocket.
    place: Mutex<Option<Place>>,
}

/// Serves one connection until it ends or becomes a websocket.
pub(super) async fn serve(
    stream: Stream,
    dispatch: Dispatch,
    tasks: Tasks,
    (pages, lists, ready): (Pages, Lists, Ready),
    Guest { peer, principal, place }: Guest,
) {
    // Also how long an idle connection is kept.
    let patience = dispatch.identity().limits.handshake();
    let place = Mutex::new(place);
    let connection = Connection { dispatch, tasks, pages, lists, ready, peer, principal, place };
    let connection = Arc::new(connection);
    let service = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let route = routes::of(request.uri().path());
        if let Err(fault) = self.pages.check(request.headers()) {
            tracing::warn!(peer = %self.peer, "refused: {fault}");
            return match route {
                Route::SysAdm | Route::CloudEvents | Route::Document(_) | Route::Probe(_) => {
                    rest::refusal(&fault)
                }
                Route::JsonRpc => jsonrpc::refusal(&fault),
                Route::Consul => consul::refusal(&fault),
                Route::DockerCloud => dockercloud::refusal(&fault),
            };
        }
        match route {
            Route::SysAdm => self.sysadm(request).await,
            Route::JsonRpc => jsonrpc::answer(self, request).await,
            Route::CloudEvents => self.cloudevents(request).await,
            Route::Consul => consul::answer(self, request).await,
            Route::DockerCloud => dockercloud::answer(self, request).await,
            Route::Document(form) => self.document(request, form).await,
            Route::Probe(Probe::Health) => probes::health(&request),
            Route::Probe(Probe::Ready) => {
                probes::ready(&self.dispatch, &self.ready, &request).await
            }
            Route::Probe(Probe::Metrics) => self.measure(request).await,
        }
    }

    async fn sysadm(&self, request: Request<Incoming>) -> Answer {
        let principal = match self.authenticate(request.headers()).await {
            Ok(principal) => principal,
            Err(fault) => return rest::refusal(&fault),
        };
        if is_upgrade(request.headers()) {
            let upgraded = self.upgrade(request, principal, Tongue::SysAdm);
            return upgraded.unwrap_or_else(|fault| rest::refusal(&fault));
        }
        rest::answer(&self.dispatch, (self.peer, principal.as_ref()), request).await
    }

    /// `/openrpc.json` and its like: `rpc/discover` with the document alone as its answer.
    async fn document(&self, request: Request<Incoming>, form: Form) -> Answer {
        match self.authenticate(request.headers()).await {
            Ok(principal) => {
                rest::document(&self.dispatch, (self.peer, principal.as_ref()), &request, form)
                    .await
            }
            Err(fault) => rest::refusal(&fault),
        }
    }

    /// `/metrics`, for whoever may call `rpc/metrics`.
    async fn measure(&self, request: Request<Incoming>) -> Answer {
        match self.authenticate(request.headers()).await {
            Ok(principal) => {
                probes::measure(&self.dispatch, (self.peer, principal.as_ref()), &request).await
            }
            Err(fault) => rest::refusal(&fault),
        }
    }

    /// Who asks: the local peer, or whoever the `Authorization` header proves; they have a place
    /// among their own connections from here on.
    ///
    /// # Errors
    /// As [`crate::access::Access::identify`], and `too-many` without a place.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Principal>, Fault> {
        let principal = self.named_by(headers).await?;
        if let Some(principal) = &principal {
            self.settle(principal)?;
        }
        Ok(principal)
    }

    /// Gives whoever was found to ask a place among their own connections.
    ///
    /// # Errors
    /// `too-many` when they have too many.
    pub(super) fn settle(&self, principal: &Principal) -> Result<(), Fault> {
        self.place().as_mut().map_or(Ok(()), |place| place.known(principal))
    }

    async fn named_by(&self, headers: &HeaderMap) -> Result<Option<Principal>, Fault> {
        let Some(header) = headers.get(AUTHORIZATION) else { return Ok(self.principal.clone()) };
        let proof = header.to_str().ok().and_then(proof).ok_or_else(|| {
            Fault::new(
                FaultKind::Unauthorized,
                "the Authorization header is neither Basic nor Bearer",
            )
        })?;
        let origin = Origin { peer: self.peer, face: "http" };
        self.dispatch.access().identify(origin, proof).await.map(Some)
    }

    /// Makes a websocket of the connection, if the request asks for one as it should.
    ///
    /// # Errors
    /// `bad-request` when it does not.
    pub(super) fn upgrade(
        &self,
        mut request: Request<Incoming>,
        principal: Option<Principal>,
        opening: impl Into<Opening>,
    ) -> Result<Answer, Fault> {
        let headers = request.headers();
        let key = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        let version = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let (Some(accept), true, &Method::GET) = (key, version, request.method()) else {
            return Err(Fault::bad_request("this is no websocket upgrade (RFC 6455)"));
        };
        let opening = opening.into();
        let upgrading = hyper::upgrade::on(&mut request);
        let guest = Guest { peer: self.peer, principal, place: self.place().take() };
        let (dispatch, tasks) = (self.dispatch.clone(), self.tasks.clone());
        self.tasks.spawn(async move {
            match upgrading.await.map(Upgraded::downcast::<TokioIo<Stream>>) {
                Ok(Ok(parts)) => {
                    let stream = parts.io.into_inner();
                    let read = parts.read_buf.to_vec();
                    conversation::begin((stream, read), dispatch, tasks, guest, opening).await;
                }
                Ok(Err(_)) => tracing::error!("an upgraded connection had an unknown type"),
                Err(error) => tracing::debug!(%error, "a websocket upgrade failed"),
            }
        });
        Ok(switching(&accept))
    }

    /// Where it counts among all connections; a websocket takes it along.
    pub(super) fn place(&self) -> std::sync::MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn switching(accept: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, hyper::header::HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept.parse() {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

/// Whether a websocket is asked for.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What a Basic or Bearer header shows.
pub fn proof(header: &str) -> Option<Proof> {
    let (scheme, value) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Proof::Secret(SecretString::from(value.trim())));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = Zeroizing::new(STANDARD.decode(value.trim()).ok()?);
    let (user, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    Some(Proof::Password { user: user.to_owned(), password: SecretString::from(password) })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_password_may_contain_colons() {
        // "any:a:b"
        let Some(Proof::Password { user, password }) = proof("Basic YW55OmE6Yg==") else {
            panic!("no password")
        };
        assert_eq!((user.as_str(), password.expose_secret()), ("any", "a:b"));
        assert!(matches!(proof("bearer sad_x"), Some(Proof::Secret(_))));
        assert!(proof("Digest x").is_none());
        assert!(proof("Basic !!!").is_none());
    }
}
