//! The servers under test: started as child processes on their core, watched from outside, ended with the run.
//!
//! Knows how each is started and where the kernel keeps its figures; nothing about messages.

mod launch;

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use rustls::ClientConfig;

use crate::Res;
use crate::client::Target;
use crate::client::dialect::Dialect;
use crate::pin::Cores;
use crate::scratch::Scratch;
use crate::tls::Pair;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The daemon.
    Ours,
    /// The daemon with the plugin of this binary.
    OursWithPlugin,
    /// The epoll floor of this binary.
    Raw,
    /// tokio-tungstenite's example, in this binary.
    Tung,
    /// nats-server's websocket listener.
    Nats,
    /// The same with TLS: a process has only one websocket listener.
    NatsTls,
    /// nats-server with a file-backed stream, synced when it likes.
    JetStream,
    /// The same, every message synced before it is acknowledged.
    JetStreamSync,
    /// A jsonrpsee server, in this binary.
    Jsonrpc,
}

impl Kind {
    /// The name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours | Self::OursWithPlugin => "sysadmd",
            Self::Raw => "raw",
            Self::Tung => "tung",
            Self::Nats | Self::NatsTls => "nats",
            Self::JetStream => "jetstream",
            Self::JetStreamSync => "jetstream fsync",
            Self::Jsonrpc => "jsonrpsee",
        }
    }

    /// Whether it has an address with TLS.
    fn has_tls(self) -> bool {
        matches!(self, Self::Ours | Self::OursWithPlugin | Self::Raw | Self::NatsTls)
    }

    fn dialect(self) -> Dialect {
        match self {
            Self::Ours | Self::OursWithPlugin => Dialect::Sysadm,
            Self::Raw | Self::Tung => Dialect::Plain,
            Self::Nats | Self::NatsTls | Self::JetStream | Self::JetStreamSync => Dialect::Nats,
            Self::Jsonrpc => Dialect::Jsonrpc,
        }
    }
}

/// What every start needs.
pub(crate) struct Lab {
    /// The run's folder and children.
    pub(crate) scratch: Scratch,
    /// The servers' core and ours.
    pub(crate) cores: Cores,
    /// Certificate of the anchors.
    pub(crate) pair: Pair,
    /// TLS settings of the client.
    pub(crate) client_tls: Arc<ClientConfig>,
    /// The daemon, unless it is left out.
    pub(crate) sysadmd: Option<PathBuf>,
    /// nats-server, when it is installed.
    pub(crate) nats: Option<PathBuf>,
    /// What went wrong so far.
    pub(crate) failures: RefCell<Vec<String>>,
}

impl Lab {
    /// Notes a failure for the end of the run.
    pub(crate) fn failed(&self, what: String) {
        eprintln!("{what}");
        self.failures.borrow_mut().push(what);
    }
}

/// A running server; ended when dropped.
pub(crate) struct Server {
    /// Which one.
    pub(crate) kind: Kind,
    /// From the start of its process until it answered.
    pub(crate) ready: Duration,
    child: Child,
    scratch: Scratch,
    plain: SocketAddr,
    tls: Option<SocketAddr>,
    token: Option<String>,
    client_tls: Arc<ClientConfig>,
}

impl Server {
    /// Where and how to connect. With `tls`, only for servers that have it.
    pub(crate) fn target(&self, tls: bool) -> Res<Target> {
        let addr = if tls {
            self.tls.ok_or_else(|| format!("{} has no TLS address", self.kind.name()))?
        } else {
            self.plain
        };
        Ok(Target {
            addr,
            tls: tls.then(|| Arc::clone(&self.client_tls)),
            path: "/",
            dialect: self.kind.dialect(),
            token: self.token.clone(),
        })
    }

    /// The same for a caller in JSON-RPC, which ours has at a path of its own.
    pub(crate) fn jsonrpc(&self) -> Res<Target> {
        let target = self.target(false)?;
        Ok(match target.dialect {
            Dialect::Sysadm => Target { path: "/jsonrpc", dialect: Dialect::Jsonrpc, ..target },
            _ => target,
        })
    }

    /// CPU seconds of the process, all threads, ended ones too: utime + stime of `/proc/PID/stat`, read through the
    /// process's CPU clock because that tells nanoseconds instead of ticks of 10 ms.
    pub(crate) fn cpu(&self) -> Res<f64> {
        cpu_of(i32::try_from(self.child.id())?)
    }

    /// The same for its children: plugin processes.
    pub(crate) fn children_cpu(&self) -> Res<f64> {
        let mut sum = 0.0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let children = fs::read_to_string(task?.path().join("children"))?;
            for pid in children.split_ascii_whitespace() {
                sum += cpu_of(pid.parse()?)?;
            }
        }
        Ok(sum)
    }

    /// Resident memory in kB.
    pub(crate) fn resident(&self) -> Res<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no VmRSS line")?;
        let kb = line.split_ascii_whitespace().next().ok_or("empty VmRSS line")?;
        Ok(kb.parse()?)
    }

    /// Asks the process to end, as a service manager does, and waits.
    pub(crate) fn stop(mut self) -> Res<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        for _ in 0..1000 {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} did not end within 20 s of SIGTERM", self.kind.name()).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
        self.scratch.forget(&self.child);
    }
}

fn cpu_of(pid: i32) -> Res<f64> {
    let time: Duration = clock_gettime(clock_getcpuclockid(Pid::from_raw(pid))?)?.into();
    Ok(time.as_secs_f64())
}

/// The last lines a server wrote, for the message of a failed start.
fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
