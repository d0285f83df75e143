//! Between the plugin `containers` and its engine: passes everything on, and does something of the
//! test's own at a chosen request, before it reaches the engine or when it was done.

#![expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

/// When something is done at a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The engine never hears of it.
    Before,
    /// The engine has done it, and its answer is not heard.
    After,
}

/// What is done; it is given the process that asks, and says whether that is still to be answered.
type Deed = Box<dyn FnOnce(i32) -> bool + Send>;

#[derive(Default)]
struct State {
    /// What would change something, in order.
    asked: Vec<String>,
    /// At the request of which number, before or after it, and what.
    trap: Option<(usize, When, Deed)>,
}

/// The middleman.
pub(crate) struct Middleman {
    dir: TempDir,
    state: Arc<Mutex<State>>,
}

impl Middleman {
    /// One before the engine at this socket.
    pub(crate) fn start(engine: PathBuf) -> Self {
        let dir = tempfile::Builder::new().prefix("sysadmd-middleman-").tempdir();
        let dir = dir.expect("a directory");
        let state: Arc<Mutex<State>> = Arc::default();
        let listener = UnixListener::bind(dir.path().join("docker.sock")).expect("a socket");
        let known = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((visitor, _)) = listener.accept().await {
                let (engine, state) = (engine.clone(), Arc::clone(&known));
                tokio::spawn(serve(visitor, engine, state));
            }
        });
        Self { dir, state }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// Forgets what was asked, and kills whoever asks for the change of this number, from 1.
    pub(crate) fn kill_at(&self, number: usize, when: When) {
        self.at(number, when, |pid| {
            kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
            false
        });
    }

    /// Forgets what was asked, and does something at the change of this number.
    pub(crate) fn at(
        &self,
        number: usize,
        when: When,
        deed: impl FnOnce(i32) -> bool + Send + 'static,
    ) {
        let trap = Some((number, when, Box::new(deed) as Deed));
        *self.state.lock().expect("no panic") = State { asked: Vec::new(), trap };
    }

    /// What was asked since, and whether the trap is still set.
    pub(crate) fn asked(&self) -> (Vec<String>, bool) {
        let state = self.state.lock().expect("no panic");
        (state.asked.clone(), state.trap.is_some())
    }
}

async fn serve(visitor: UnixStream, engine: PathBuf, state: Arc<Mutex<State>>) {
    let pid = visitor.peer_cred().ok().and_then(|who| who.pid()).unwrap_or(0);
    let service = service_fn(|request| pass(request, &engine, &state, pid));
    let server = hyper::server::conn::http1::Builder::new();
    server.serve_connection(TokioIo::new(visitor), service).await.ok();
}

type Passed = Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>>;

async fn pass(request: Request<Incoming>, engine: &Path, state: &Mutex<State>, pid: i32) -> Passed {
    let killed = || Err("the visitor was killed".into());
    match note(&request, state) {
        Some((deed, When::Before)) => {
            if deed(pid) {
                forward(request, engine).await
            } else {
                killed()
            }
        }
        Some((deed, When::After)) => {
            let answer = forward(request, engine).await;
            if deed(pid) { answer } else { killed() }
        }
        None => forward(request, engine).await,
    }
}

/// Notes what would change something, and whether something is to be done at it.
fn note(request: &Request<Incoming>, state: &Mutex<State>) -> Option<(Deed, When)> {
    if request.method() != Method::POST && request.method() != Method::DELETE {
        return None;
    }
    let mut state = state.lock().expect("no panic");
    state.asked.push(format!("{} {}", request.method(), request.uri().path()));
    let here = state.trap.as_ref().is_some_and(|(number, ..)| *number == state.asked.len());
    state.trap.take_if(|_| here).map(|(_, when, deed)| (deed, when))
}

async fn forward(request: Request<Incoming>, engine: &Path) -> Passed {
    let (head, body) = request.into_parts();
    let body: Bytes = body.collect().await?.to_bytes();
    let stream = UnixStream::connect(engine).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(Request::from_parts(head, Full::new(body))).await?)
}
