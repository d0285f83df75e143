//! How each server is started and when it counts as ready.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use serde_json::Value;

use super::{Kind, Lab, Server, last_words};
use crate::client::dialect::Dialect;
use crate::client::setup::Setup;
use crate::{Res, plugin};

/// A server that is not ready by then has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server's addresses.
struct Ports {
    plain: SocketAddr,
    tls: SocketAddr,
}

impl Lab {
    /// Starts a server on a fresh folder `name`; `None` when this machine does not have it.
    pub(crate) fn start(&self, kind: Kind, name: &str) -> Res<Option<Server>> {
        let dir = self.scratch.fresh(name)?;
        self.start_in(kind, &dir)
    }

    /// Starts a server on a folder that may hold what an earlier run of it left.
    pub(crate) fn start_in(&self, kind: Kind, dir: &Path) -> Res<Option<Server>> {
        let ports = Ports { plain: free_port()?, tls: free_port()? };
        let command = match kind {
            Kind::Ours | Kind::OursWithPlugin => {
                let path = self.sysadmd.as_deref();
                path.map(|path| daemon(path, kind, dir, &ports)).transpose()?
            }
            Kind::Nats | Kind::NatsTls | Kind::JetStream | Kind::JetStreamSync => {
                let nats = self.nats.as_deref();
                nats.map(|path| self.nats(path, kind, dir, &ports)).transpose()?.flatten()
            }
            Kind::Raw => Some(self.role("raw", &ports)?),
            Kind::Tung => Some(self.role("tung", &ports)?),
            Kind::Jsonrpc => Some(self.role("jsonrpc", &ports)?),
        };
        let Some(mut command) = command else { return Ok(None) };
        let log = dir.join("log");
        let out = File::create(&log)?;
        command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let begin = Instant::now();
        let child = self.cores.as_server(|| self.scratch.spawn(&mut command))?;
        let mut server = Server {
            kind,
            ready: Duration::ZERO,
            child,
            scratch: self.scratch.clone(),
            plain: ports.plain,
            tls: kind.has_tls().then_some(ports.tls),
            token: None,
            client_tls: Arc::clone(&self.client_tls),
        };
        server.wait_until_ready(begin, &log)?;
        if server.target(false)?.dialect == Dialect::Sysadm {
            server.token = Some(self.token(&dir.join("sysadmd.sock"))?);
        }
        Ok(Some(server))
    }

    fn role(&self, role: &str, ports: &Ports) -> Res<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", role, "--plain", &ports.plain.to_string()]);
        if role == "raw" {
            command.args(["--tls", &ports.tls.to_string()]);
            command.arg("--cert").arg(&self.pair.cert).arg("--key").arg(&self.pair.key);
        }
        Ok(command)
    }

    /// `None` when this nats-server or this file system cannot do what `kind` needs.
    fn nats(&self, path: &Path, kind: Kind, dir: &Path, ports: &Ports) -> Res<Option<Command>> {
        let store = dir.join("store");
        fs::create_dir_all(&store)?;
        let config = dir.join("nats.conf");
        let write = |extra: &str| fs::write(&config, self.nats_config(kind, ports, &store, extra)?);
        write(if kind == Kind::JetStreamSync { "sync_interval: always" } else { "" })?;
        if kind == Kind::JetStreamSync && !accepts(path, &config)? {
            // Before 2.10 there is no such setting. A folder marked for synchronous writes (`chattr +S`) makes the
            // kernel do it: a write returns when it is on the disk, and this server writes before it acknowledges.
            write("")?;
            let folder = File::open(&store)?;
            let flags = ioctl_getflags(&folder).map(|flags| flags | IFlags::SYNC);
            if flags.and_then(|flags| ioctl_setflags(&folder, flags)).is_err() {
                return Ok(None);
            }
        }
        let mut command = Command::new(path);
        command.arg("-c").arg(config);
        Ok(Some(command))
    }

    fn nats_config(
        &self,
        kind: Kind,
        ports: &Ports,
        store: &Path,
        extra: &str,
    ) -> std::io::Result<String> {
        let own = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let websocket = if kind == Kind::NatsTls {
            let (cert, key) = (self.pair.cert.display(), self.pair.key.display());
            format!(
                "listen: \"{}\"\n tls {{ cert_file: \"{cert}\", key_file: \"{key}\" }}",
                ports.tls
            )
        } else {
            format!("listen: \"{}\"\n no_tls: true", ports.plain)
        };
        let stream = if matches!(kind, Kind::JetStream | Kind::JetStreamSync) {
            format!("jetstream {{\n store_dir: \"{}\"\n {extra}\n}}\n", store.display())
        } else {
            String::new()
        };
        // A ping in the middle of a run would be answered late by a client that counts messages only; and a replay
        // must not end because the client was busy for a moment.
        Ok(format!(
            "listen: \"{own}\"\nping_interval: \"10m\"\nmax_pending: 1GB\nwebsocket {{\n {websocket}\n}}\n{stream}"
        ))
    }

    fn token(&self, socket: &Path) -> Res<String> {
        let daemon = self.sysadmd.as_deref().ok_or("no daemon")?;
        let output = Command::new(daemon.with_file_name("sysadmctl"))
            .arg("--socket")
            .arg(socket)
            .args(["tokens", "create", "--name", "bench", "--role", "admin", "--json"])
            .output()?;
        let reply: Value = serde_json::from_slice(&output.stdout).map_err(|e| {
            format!("sysadmctl tokens create: {e}: {}", String::from_utf8_lossy(&output.stderr))
        })?;
        let token = reply.get("token").and_then(Value::as_str);
        Ok(token.ok_or("sysadmctl tokens create told no token")?.to_owned())
    }
}

impl Server {
    fn wait_until_ready(&mut self, begin: Instant, log: &Path) -> Res<()> {
        let target = self.target(self.kind == Kind::NatsTls)?;
        while begin.elapsed() < PATIENCE {
            // Without a token yet, opening is connect and upgrade; NATS also answers its greeting.
            if Setup::open(&target).is_ok() {
                self.ready = begin.elapsed();
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!(
                    "{} ended at once ({status}):\n{}",
                    self.kind.name(),
                    last_words(log)
                )
                .into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(format!("{} is not ready after 60 s:\n{}", self.kind.name(), last_words(log)).into())
    }
}

/// The defaults, but for a log that may grow as large as the fullest work makes it, and for one
/// account at one address that makes all the connections.
fn daemon(path: &Path, kind: Kind, dir: &Path, ports: &Ports) -> Res<Command> {
    let config = dir.join("sysadmd.toml");
    let mut settings = "[log]\nmax_size_mib = 65536\n".to_owned();
    settings.push_str("[limits]\nanonymous_per_source = 256\nper_account = 12000\n");
    fs::write(&config, settings)?;
    if kind == Kind::OursWithPlugin {
        plugin::install(dir)?;
    }
    let mut command = Command::new(path);
    command.arg("--config").arg(config);
    command.arg("--state-dir").arg(dir);
    command.args(["--listen", &ports.tls.to_string()]);
    command.args(["--listen-plain", &ports.plain.to_string()]);
    Ok(command)
}

/// Whether this nats-server understands the configuration.
fn accepts(path: &Path, config: &Path) -> Res<bool> {
    Ok(Command::new(path).arg("-t").arg("-c").arg(config).output()?.status.success())
}

fn free_port() -> Res<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
