//! From a place to a websocket: unix socket, TLS, or plain TCP on this machine.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::exit::{Exit, Failure};
use super::service;
use super::target::{Place, authority};
use super::trust::Trust;

/// For the connection, for TLS and for the websocket handshake each.
const STEP_MAX: Duration = Duration::from_secs(10);
/// The largest message: a page of 200 events with all their data fits.
const MESSAGE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bytes both ways, whatever carries them.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// What carries the websocket.
pub(crate) type Stream = Box<dyn Bytes>;

/// Connects to the daemon.
pub(crate) async fn open(place: &Place) -> Result<WebSocketStream<Stream>, Failure> {
    let (stream, url): (Stream, String) = match place {
        Place::Unix(path) => (Box::new(unix(path).await?), "ws://localhost/".to_owned()),
        Place::Plain { host, port } => {
            (Box::new(tcp(host, *port).await?), format!("ws://{}/", authority(host, *port)))
        }
        Place::Tls { host, port, trust } => {
            (tls(host, *port, trust).await?, format!("wss://{}/", authority(host, *port)))
        }
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let upgraded = timeout(STEP_MAX, client_async_with_config(url, stream, Some(config))).await;
    let refused = |why: &str| unreachable(&place.to_string(), &format!("no websocket: {why}"));
    match upgraded {
        Ok(Ok((socket, _response))) => Ok(socket),
        Ok(Err(error)) => Err(refused(&error.to_string())),
        Err(_) => Err(refused("no answer in time")),
    }
}

async fn unix(path: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(path).await.map_err(|error| {
        let place = path.display().to_string();
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Failure::new(Exit::NotAllowed, format!("{place}: you may not open this socket"))
                    .with_hint("become root, or join the group sysadmd and log in anew")
            }
            io::ErrorKind::NotFound => unreachable(&place, "no daemon has its socket here"),
            io::ErrorKind::ConnectionRefused => unreachable(&place, "no daemon listens here"),
            _ => unreachable(&place, &error.to_string()),
        }
    })
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let connected = match timeout(STEP_MAX, TcpStream::connect((host, port))).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let stream = connected.map_err(|error| {
        let sentence = format!("{}: {error}", authority(host, port));
        Failure::new(Exit::Unreachable, sentence)
            .with_hint("is the daemon running there, and does it listen on this address?")
    })?;
    // Requests are small and each is waited for; a failure only costs a little time.
    stream.set_nodelay(true).ok();
    Ok(stream)
}

async fn tls(host: &str, port: u16, trust: &Trust) -> Result<Stream, Failure> {
    let place = authority(host, port);
    let broken = |why: &str| unreachable(&place, &format!("no TLS: {why}"));
    let pin = trust.pin(&place)?;
    let config = pin.config().map_err(|error| broken(&error.to_string()))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::usage(format!("{host:?} is no host name")))?;
    let stream = tcp(host, port).await?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match timeout(STEP_MAX, handshake).await {
        Ok(Ok(stream)) => {
            trust.remember(&place, &pin)?;
            Ok(Box::new(stream))
        }
        Ok(Err(error)) => {
            Err(trust.refusal(&place, &pin).unwrap_or_else(|| broken(&error.to_string())))
        }
        Err(_) => Err(broken("no answer in time")),
    }
}

fn unreachable(place: &str, why: &str) -> Failure {
    Failure::new(Exit::Unreachable, format!("{place}: {why}")).with_hint(format!(
        "start it with: {} (in a source tree: cargo run)",
        service::command("start")
    ))
}
