//! The anchors that live in this binary, each run as its own child process: `sysadmd-bench serve NAME`.
//!
//! Knows how to listen and to answer; nothing about clients, figures or the daemon.

pub(crate) mod jsonrpc;
pub(crate) mod raw;
pub(crate) mod tung;

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

use crate::Res;
use crate::tls::Pair;

/// Which anchor.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Role {
    /// The floor: one epoll loop writing one encoded frame.
    Raw,
    /// tokio-tungstenite as its own example shows.
    Tung,
    /// A jsonrpsee server with one method.
    Jsonrpc,
}

/// How to run an anchor.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Which one.
    role: Role,
    /// Where it listens without TLS.
    #[arg(long)]
    plain: SocketAddr,
    /// Where it listens with TLS (raw only).
    #[arg(long, requires_all = ["cert", "key"])]
    tls: Option<SocketAddr>,
    /// PEM certificate.
    #[arg(long)]
    cert: Option<std::path::PathBuf>,
    /// PEM key.
    #[arg(long)]
    key: Option<std::path::PathBuf>,
}

impl Serve {
    /// Serves until standard input ends, which it does when the bench program ends in whatever way.
    pub(crate) fn run(self) -> Res<()> {
        std::thread::spawn(|| {
            let _gone = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
        match self.role {
            Role::Raw => {
                let pair = self.cert.zip(self.key).map(|(cert, key)| Pair { cert, key });
                raw::run(self.plain, self.tls.zip(pair))
            }
            Role::Tung => runtime()?.block_on(tung::run(self.plain)),
            Role::Jsonrpc => runtime()?.block_on(jsonrpc::run(self.plain)),
        }
    }
}

/// What `#[tokio::main]` makes: as many workers as the process may use cores.
fn runtime() -> Res<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
