//! Plays the daemon's side of recorded conversations, so that a client library can be tested without a
//! daemon: `docs/recipes/test-a-client-library.md`.
//!
//! Each conversation has a port of its own, so that nothing has to be guessed. `serve` has the
//! sockets; what is said is decided by [`kit::transcript::script`].

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it reports to whoever started it")]

#[path = "replay-server/serve.rs"]
mod serve;
#[path = "replay-server/websocket.rs"]
mod websocket;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use kit::transcript::Conversation;
use kit::transcript::script::Script;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use serve::Stand;

/// How long clients may still read what they were told last.
const GOODBYE: Duration = Duration::from_secs(5);
/// How often it is looked whether something is over.
const LOOK: Duration = Duration::from_millis(20);

/// Plays the daemon's side of recorded conversations.
#[derive(Debug, Parser)]
#[command(name = "replay-server")]
struct Options {
    /// Conversations, or folders of them, as in `tests/transcripts`.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The first conversation is served here and each other one port higher; port 0 means any.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Serve over TLS, with a certificate made now.
    #[arg(long)]
    tls: bool,
    /// End when every conversation was had, or departed from, once.
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("replay-server: {error}");
            ExitCode::from(64)
        }
    }
}

/// Serves until it is told to end; whether every client kept to its script.
async fn run(options: &Options) -> Result<bool, String> {
    let tls = if options.tls { Some(certificate()?) } else { None };
    let mut stands = Vec::new();
    let mut tasks = JoinSet::new();
    for (number, path) in conversations(&options.paths)?.iter().enumerate() {
        let mut address = options.listen;
        if address.port() != 0 {
            let port = u16::try_from(number).ok().and_then(|it| address.port().checked_add(it));
            address.set_port(port.ok_or("there are not enough ports")?);
        }
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|error| format!("{address}: {error}"))?;
        let stand = Arc::new(Stand::new(Script::new(Conversation::read(path)?)));
        announce(&stand, &listener, options.tls)?;
        tasks.spawn(serve::serve(listener, tls.clone(), Arc::clone(&stand)));
        stands.push(stand);
    }
    println!("{}", json!({"ready": true, "conversations": stands.len()}));
    told_to_end(options.once, &stands).await?;
    let kept: Vec<bool> = stands.iter().map(|stand| stand.report()).collect();
    Ok(kept.iter().all(|kept| *kept))
}

fn announce(stand: &Stand, listener: &TcpListener, tls: bool) -> Result<(), String> {
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let scheme = if tls { "https" } else { "http" };
    let script = stand.script();
    let url = format!("{scheme}://{address}");
    println!("{}", json!({"conversation": script.name(), "url": url, "names": script.given()}));
    Ok(())
}

/// The files, those of a folder by name.
fn conversations(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let failed = |error| format!("{}: {error}", path.display());
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            inside.push(entry.map_err(failed)?.path());
        }
        inside.sort();
        for path in inside {
            if path.is_dir() {
                all.extend(conversations(std::slice::from_ref(&path))?);
            } else if path.extension() == Path::new("x.jsonl").extension() {
                all.push(path);
            }
        }
    }
    if all.is_empty() { Err("there is no conversation".to_owned()) } else { Ok(all) }
}

async fn told_to_end(once: bool, stands: &[Arc<Stand>]) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let all_over = async || {
        while !once || !stands.iter().all(|stand| stand.is_over()) {
            tokio::time::sleep(LOOK).await;
        }
        let gone = async {
            while !stands.iter().all(|stand| stand.is_empty()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        drop(tokio::time::timeout(GOODBYE, gone).await);
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
        () = all_over() => {}
    }
    Ok(())
}

fn certificate() -> Result<TlsAcceptor, String> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
    let key = made.signing_key.serialize_der();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(|error| error.to_string())?;
    println!("{}", json!({"certificate": made.cert.pem()}));
    Ok(TlsAcceptor::from(Arc::new(config)))
}
