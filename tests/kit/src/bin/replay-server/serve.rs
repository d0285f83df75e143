//! The sockets of one conversation.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kit::transcript::script::{Answer, Asked, Departure, Opened, Script};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::websocket;

/// A script and who is on it.
#[derive(Debug)]
pub(crate) struct Stand {
    script: Mutex<Script>,
    connections: AtomicUsize,
}

/// Counts a connection while it is there.
struct Present<'a>(&'a Stand);

impl<'a> Present<'a> {
    fn on(stand: &'a Stand) -> Self {
        stand.connections.fetch_add(1, Ordering::SeqCst);
        Self(stand)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Stand {
    pub(crate) fn new(script: Script) -> Self {
        Self { script: Mutex::new(script), connections: AtomicUsize::new(0) }
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the client act, and says on standard output when that was the end of it.
    pub(crate) fn act<T>(
        &self,
        act: impl FnOnce(&mut Script) -> Result<T, Departure>,
    ) -> Result<T, Departure> {
        let mut script = self.script();
        let had = script.had();
        let done = act(&mut script);
        if script.had() > had {
            println!("{}", json!({"had": script.name()}));
        }
        if let Err(Departure(at)) = &done {
            println!("{}", json!({"departed": script.name(), "at": at}));
            eprintln!("{at}");
        }
        done
    }

    /// Whether it was had, or departed from.
    pub(crate) fn is_over(&self) -> bool {
        let script = self.script();
        script.had() > 0 || !script.departures().is_empty()
    }

    /// Whether nobody is connected.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.load(Ordering::SeqCst) == 0
    }

    /// Whether every client kept to it; what was never begun does not count.
    pub(crate) fn report(&self) -> bool {
        let script = self.script();
        if let Some(at) = script.unfinished() {
            println!("{}", json!({"unfinished": script.name(), "at": at}));
            eprintln!("{at}");
        }
        script.departures().is_empty() && script.unfinished().is_none()
    }
}

/// Serves one conversation for ever.
pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, stand: Arc<Stand>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (tls, stand) = (tls.clone(), Arc::clone(&stand));
                tasks.spawn(async move {
                    match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => connection(stream, &stand).await,
                            Err(error) => eprintln!("no TLS: {error}"),
                        },
                        None => connection(stream, &stand).await,
                    }
                });
            }
        }
    }
}

async fn connection<S>(stream: S, stand: &Arc<Stand>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let _present = Present::on(stand);
    // What a websocket says is said when HTTP is done with the connection.
    let upgraded = Mutex::new(JoinSet::new());
    let service = service_fn(|request| async {
        Ok::<_, Infallible>(answer(request, stand, &upgraded).await)
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.with_upgrades().await {
        eprintln!("a connection broke: {error}");
    }
    let tasks = upgraded.into_inner().unwrap_or_else(PoisonError::into_inner);
    tasks.join_all().await;
}

async fn answer(
    mut request: Request<Incoming>,
    stand: &Arc<Stand>,
    upgraded: &Mutex<JoinSet<()>>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    if request.headers().contains_key(UPGRADE) {
        let offered = request.headers().get(SEC_WEBSOCKET_PROTOCOL).cloned();
        let offered = offered.as_ref().and_then(|offered| offered.to_str().ok());
        return match stand.act(|script| script.opened(&path, offered)) {
            Ok(Opened::Websocket(websocket, subprotocol, out)) => {
                let response = websocket::switching(request.headers(), subprotocol.as_deref());
                let upgrading = hyper::upgrade::on(&mut request);
                let talk = websocket::talk(upgrading, Arc::clone(stand), websocket, out);
                upgraded.lock().unwrap_or_else(PoisonError::into_inner).spawn(talk);
                response
            }
            Ok(Opened::Refused(answer)) => said(answer),
            Err(departure) => departed(&departure),
        };
    }
    let asked = asked(request, path).await;
    match stand.act(|script| script.asked(&asked)) {
        Ok(answer) => match answer.await {
            Ok(answer) => said(answer),
            Err(_) => departed(&Departure("another client has begun the conversation anew".into())),
        },
        Err(departure) => departed(&departure),
    }
}

async fn asked(request: Request<Incoming>, path: String) -> Asked {
    let method = request.method().to_string();
    let pairs = request.headers().iter();
    let headers = pairs.map(|(name, value)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let headers = headers.collect();
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    Asked { method, path, headers, body }
}

fn said(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn departed(Departure(at): &Departure) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{at}\n"))));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
