//! A daemon that follows a script, for the tests of the command line.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::target::{Place, Target};

/// How long a script waits for the client's next step.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A folder of one test, gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sysadmctl-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The daemon.
pub(crate) struct Fake {
    listener: UnixListener,
    pub(crate) folder: Folder,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        Self { listener: UnixListener::bind(folder.path().join("socket")).unwrap(), folder }
    }

    pub(crate) fn target(&self) -> Target {
        Target { place: Place::Unix(self.folder.path().join("socket")), token: None }
    }

    /// Waits for a client and answers its greeting.
    pub(crate) async fn accept(&self) -> Visitor {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("a client comes in time").unwrap();
        let mut visitor = Visitor(accept_async(stream).await.unwrap());
        let hello = visitor.request("rpc/hello").await;
        let about = json!({"version": "0", "hostname": "h", "instance": "i",
            "time": "2026-11-22T10:00:00.000000Z"});
        visitor.answer(&hello, about).await;
        visitor
    }
}

/// A client that has come.
pub(crate) struct Visitor(WebSocketStream<UnixStream>);

impl Visitor {
    /// The client's next request, which must be this one.
    pub(crate) async fn request(&mut self, method: &str) -> Value {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
        let message = next.expect("a request comes in time").unwrap().unwrap();
        let request: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        let asked = [request["namespace"].as_str().unwrap(), request["name"].as_str().unwrap()];
        assert_eq!(asked.join("/"), method);
        request
    }

    pub(crate) async fn answer(&mut self, request: &Value, args: Value) {
        self.send(json!({"args": args, "id": request["id"], "name": "response",
            "namespace": request["namespace"]}))
            .await;
    }

    pub(crate) async fn refuse(&mut self, request: &Value, kind: &str) {
        let fault = json!({"kind": kind, "message": "no", "hint": "do", "retry_after_ms": 5});
        self.send(json!({"args": {"code": "500", "message": "Classic", "fault": fault},
            "id": request["id"], "name": "error", "namespace": "error"}))
            .await;
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(crate) async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        self.0.close(Some(frame)).await.unwrap();
    }
}
