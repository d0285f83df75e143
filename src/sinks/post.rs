//! What is sent: requests from texts that are worded already.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use zeroize::Zeroizing;

use super::Words;
use super::verdict::consent;
use crate::config::{Sink, SinkKind, SinkMode};
use crate::lifecycle::Tasks;
use crate::outbound::Outbound;

/// By these a sender of webhooks asks whether it may.
const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");

/// What the daemon calls itself.
const NAME: &str = concat!("sysadmd/", env!("CARGO_PKG_VERSION"));
/// The content type of what is no event.
const JSON: &str = "application/json";
/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Sends to this sink.
///
/// # Errors
/// The sentence, when its authorities cannot be used.
pub(super) fn sender(settings: &Sink, tasks: &Tasks) -> Result<Outbound, String> {
    let deadline = Duration::from_secs(settings.timeout_s);
    Outbound::new(settings.ca_file.as_deref(), deadline, tasks).map_err(|error| error.to_string())
}

/// Asks whether deliveries from this host are welcome; how far apart requests must be.
///
/// # Errors
/// The sentence, when they are not, or when there is no answer.
pub(super) async fn ask(
    sender: &Outbound,
    settings: &Sink,
    host: &str,
) -> Result<Option<Duration>, String> {
    let mut request = addressed(settings, Method::OPTIONS).await?;
    let origin = HeaderValue::try_from(host).map_err(|error| error.to_string())?;
    request.headers_mut().insert(REQUEST_ORIGIN, origin);
    let reply = sender.send(request).await.map_err(|error| error.to_string())?;
    consent(reply.status, &reply.headers, host)
}

/// A request without a body, with all that each has.
async fn addressed(settings: &Sink, method: Method) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    // What is published in JSON goes to the server itself and names the topic.
    let server = settings.topic().filter(|_| settings.kind == SinkKind::Ntfy);
    let url = server.map_or_else(|| settings.url.clone(), |(server, _)| format!("{server}/"));
    *request.uri_mut() = url.parse().map_err(|_| "its url is no URL".to_owned())?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
    if let Some(path) = &settings.token_file {
        headers.insert(AUTHORIZATION, authorization(path).await?);
    }
    Ok(request)
}

/// One request with these events, each as JSON; only in mode `batch` there may be several.
///
/// # Errors
/// The sentence, when there is no token.
pub(super) async fn request(
    settings: &Sink,
    words: &Words,
    items: &[&[u8]],
) -> Result<Request<Full<Bytes>>, String> {
    let mut request = addressed(settings, Method::POST).await?;
    let headers = request.headers_mut();
    let is_event = settings.kind == SinkKind::CloudEvents;
    let mut kind = HeaderValue::from_static(if is_event { words.structured } else { JSON });
    let body = match settings.mode {
        SinkMode::Structured => items.concat(),
        SinkMode::Batch => {
            kind = HeaderValue::from_static(words.batch);
            [b"[".as_slice(), &items.join(b",".as_slice()), b"]"].concat()
        }
        SinkMode::Binary => {
            let text = items.first().and_then(|text| std::str::from_utf8(text).ok());
            let parts = text.and_then(words.binary).ok_or("an event has no binary form")?;
            for (name, value) in parts.headers {
                let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
                let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
                headers.insert(name, value);
            }
            let named = parts.content_type.unwrap_or_default();
            kind = HeaderValue::try_from(named).map_err(|error| error.to_string())?;
            parts.body
        }
    };
    headers.insert(CONTENT_TYPE, kind);
    *request.body_mut() = Full::new(Bytes::from(body));
    Ok(request)
}

/// Read for each request, so that a token can be replaced while the daemon runs.
async fn authorization(path: &Path) -> Result<HeaderValue, String> {
    let shown = path.display().to_string();
    let path = path.to_path_buf();
    let read = tokio::task::spawn_blocking(move || token(&path)).await;
    let text = read.map_err(|error| error.to_string())?;
    let text = text.map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let token = text.trim();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(format!("{shown} holds no token of up to {TOKEN_BYTES_MAX} bytes"));
    }
    let header = Zeroizing::new(format!("Bearer {token}"));
    let mut header = HeaderValue::from_str(&header)
        .map_err(|_| format!("the token in {shown} can be no header"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// What the file holds, as far as a token can be long. Anything but a file could keep us waiting.
fn token(path: &Path) -> io::Result<Zeroizing<String>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_BYTES_MAX + 2));
    let most = u64::try_from(TOKEN_BYTES_MAX + 2).unwrap_or(u64::MAX);
    fs::File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_read_from_a_file_and_never_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, " secret \n").unwrap();
        assert_eq!(authorization(&path).await.unwrap(), "Bearer secret");
        for text in ["", &"x".repeat(TOKEN_BYTES_MAX + 1), "a\nb"] {
            fs::write(&path, text).unwrap();
            let why = authorization(&path).await.unwrap_err();
            assert!(why.contains("token") && !why.contains("xxxx"), "{why}");
        }
        for endless in [Path::new("/dev/zero"), dir.path(), &dir.path().join("gone")] {
            let why = authorization(endless).await.unwrap_err();
            assert!(why.contains("cannot be read"), "{why}");
        }
    }
}
