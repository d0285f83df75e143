//! Daemons for tests: a place to live ([`Site`]), a daemon inside the test ([`Running`]), a daemon
//! as a process of its own ([`Program`]).
//!
//! Every wait is for a condition and has a bound. Whoever stops a daemon through here is told when
//! something of it is left: a task, a process, a socket, a database that is not whole.

pub(crate) mod program;

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::client::{SysAdmClient, Target};
use serde_json::{Value, json};
use sysadmd::clock::Clock;
use sysadmd::config::{Config, File, Overrides, Runner};
use sysadmd::daemon::{Daemon, Environment};
use sysadmd::store::Store;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

pub(crate) use program::Program;

/// How long any wait of a test lasts at most. Much longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long between two looks at a condition that cannot wake us.
const LOOK: Duration = Duration::from_millis(10);

/// The `sysadmd` binary that was built with this test.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_sysadmd"))
}

/// Where a daemon lives: a directory of its own and its settings. It survives the daemon, so that
/// the next one finds the same log, tokens and certificate.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(crate) struct Site {
    dir: TempDir,
    /// TOML that is put before the rest of the configuration; see `packaging/sysadmd.toml`.
    pub(crate) settings: String,
    /// What the daemon in this process takes the time from.
    pub(crate) clock: Clock,
    /// Whether the built-in plugins are started that leave this machine as it is.
    pub(crate) built_in: bool,
    /// Whether the plugin `system` is started, which could turn this very machine off.
    pub(crate) system: bool,
    /// Whether the plugin `replication` is started.
    pub(crate) replication: bool,
    /// Whether the plugin `containers` is started, which looks at this machine's engines.
    pub(crate) containers: bool,
    /// Whether there is a listener without TLS as well.
    pub(crate) plain: bool,
    /// Files that a daemon as a process of its own may open.
    pub(crate) open_files: Option<u64>,
    /// What a [`Program`] is told to log, as in `SYSADMD_LOG`.
    pub(crate) log: Option<&'static str>,
    /// What a [`Program`] finds in its environment beside what this test has.
    pub(crate) environment: Vec<(String, String)>,
    /// Whether a [`Program`] runs as some person when this test runs as root.
    pub(crate) as_person: bool,
}

impl Site {
    /// An empty directory and the default settings, but no plugins.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("sysadmd-it-").tempdir();
        Self {
            dir: dir.expect("a directory for temporary files"),
            settings: String::new(),
            clock: Clock::system(),
            built_in: false,
            system: false,
            replication: false,
            containers: false,
            plain: false,
            open_files: None,
            log: None,
            environment: Vec::new(),
            as_person: false,
        }
    }

    /// Puts a plugin of the kit there; change any member of [`kit::plugins::manifest`] before.
    pub(crate) fn with_plugin(self, manifest: Value) -> Self {
        kit::plugins::install(&self.plugins(), manifest).expect("the plugin is installed");
        self
    }

    /// The kit's plugin `kit`, which does all that it should.
    pub(crate) fn with_kit(self) -> Self {
        self.with_plugin(kit::plugins::manifest("kit", &["good"]))
    }

    /// The state directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The plugin directory.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.path().join("plugins")
    }

    /// The unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("sysadmd.sock")
    }

    /// Starts a daemon in this process; it is served when this returns.
    pub(crate) async fn start(self) -> Running {
        let tasks = Handle::current().metrics().num_alive_tasks();
        let environment =
            Environment { binary: binary(), clock: self.clock.clone(), is_root: false };
        let config = self.config();
        let started = Daemon::start(&config, environment);
        let daemon = timeout(PATIENCE, started).await.expect("the daemon starts in time");
        let daemon = daemon.expect("the daemon starts");
        let door = Door::new(self.socket(), daemon.addresses.clone());
        Running { daemon, door, tasks, site: self }
    }

    /// Starts the binary as a process of its own; it is served when this returns.
    pub(crate) async fn spawn(self) -> Program {
        Program::start(self).await
    }

    /// The configuration as TOML.
    pub(crate) fn toml(&self) -> String {
        let plugins = [
            ("snapshot", self.built_in),
            ("replication", self.replication),
            ("system", self.system),
            ("containers", self.containers),
        ];
        let disabled: Vec<&str> =
            plugins.iter().filter(|(_, wanted)| !wanted).map(|(name, _)| *name).collect();
        let own = &self.settings;
        // No password of this machine is anybody's business in a test that does not ask for it.
        let access =
            if own.contains("[access]") { "" } else { "[access]\npassword_login = false\n" };
        format!("{own}\n{access}[plugins]\ndisabled = {disabled:?}\n")
    }

    fn config(&self) -> Config {
        let file = File::parse(&self.toml(), Path::new("test.toml")).expect("legal settings");
        let loopback: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let over = Overrides {
            state_dir: Some(self.path().to_path_buf()),
            listen: vec![loopback],
            listen_plain: if self.plain { vec![loopback] } else { Vec::new() },
        };
        let person = Runner { is_root: false, state_home: None };
        file.complete(over, &person).expect("legal settings")
    }

    /// Everything of a daemon that lived here is gone, and what it wrote is whole.
    async fn check_empty(&self, addresses: &[SocketAddr]) {
        until("every plugin process has ended", async || processes_of(self.path()).is_empty())
            .await;
        assert!(!self.socket().exists(), "the unix socket is left behind");
        for address in addresses {
            let open = tokio::net::TcpStream::connect(address).await.is_ok();
            assert!(!open, "{address} still answers");
        }
        let dir = self.path().to_path_buf();
        let checked = tokio::task::spawn_blocking(move || Store::check_all(&dir)).await;
        checked.expect("the check runs").expect("the database is whole and nobody holds it");
    }
}

/// A daemon inside the test.
#[derive(Debug)]
pub(crate) struct Running {
    /// The daemon itself.
    pub(crate) daemon: Daemon,
    /// Where it lives.
    pub(crate) site: Site,
    door: Door,
    /// Tasks that were alive before it.
    tasks: usize,
}

impl Running {
    /// Stops it and proves that everything of it has ended. Hand back your clients before, or they
    /// see code 1001.
    pub(crate) async fn stop(self) -> Site {
        let Self { daemon, site, door, tasks } = self;
        let stopped = timeout(PATIENCE, daemon.stop()).await;
        stopped.expect("the daemon stops in time");
        let alive = || Handle::current().metrics().num_alive_tasks();
        until("every task of the daemon has ended", async || alive() <= tasks).await;
        site.check_empty(&door.addresses).await;
        site
    }

    /// Stops it and starts another at the same site.
    pub(crate) async fn restart(self) -> Self {
        self.stop().await.start().await
    }
}

impl Deref for Running {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

/// The ways into a daemon.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    /// The unix socket.
    pub(crate) socket: PathBuf,
    /// TLS first, then plain.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Door {
    fn new(socket: PathBuf, addresses: Vec<SocketAddr>) -> Self {
        Self { socket, addresses }
    }

    /// The address with TLS.
    pub(crate) fn tls(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// A client on the unix socket: an administrator.
    pub(crate) async fn admin(&self) -> SysAdmClient {
        connected(Target::Unix(self.socket.clone())).await
    }

    /// A client over TLS that is logged in with this token.
    pub(crate) async fn remote(&self, token: &str) -> SysAdmClient {
        connected(Target::Tls { addr: self.tls(), token: Some(token.to_owned()) }).await
    }

    /// A client over TLS on which nobody is logged in.
    pub(crate) async fn anonymous(&self) -> SysAdmClient {
        connected(Target::Tls { addr: self.tls(), token: None }).await
    }

    /// Makes a token for this role, through the unix socket.
    pub(crate) async fn token(&self, role: &str) -> String {
        let made = self.make_token(json!({"name": role, "role": role})).await;
        made["token"].as_str().expect("a token").to_owned()
    }

    /// `rpc/tokens create` with these arguments; the whole answer.
    pub(crate) async fn make_token(&self, mut args: Value) -> Value {
        args["action"] = "create".into();
        self.admin().await.call("rpc", "tokens", args).await.expect("a token is made")
    }

    /// Waits until a plugin takes calls.
    pub(crate) async fn ready(&self, plugin: &str) {
        self.plugin_is(plugin, "ready").await;
    }

    /// Waits until a plugin is in this state.
    pub(crate) async fn plugin_is(&self, plugin: &str, state: &str) {
        let mut admin = self.admin().await;
        let what = format!("plugin {plugin} is {state}");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = admin.call("rpc", "plugins", json!({"action": "list"})).await;
            let plugins = answer.expect("the plugins are listed");
            let listed = plugins["plugins"].as_array().expect("a list");
            if listed.iter().any(|it| it["id"] == plugin && it["state"] == state) {
                return;
            }
            assert!(Instant::now() < deadline, "waited until {what}: {plugins:#}");
            sleep(LOOK).await;
        }
    }
}

/// Waits until something is so, looking again and again.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(LOOK).await;
    }
}

/// Processes other than this one whose command line or environment names `dir`: a daemon that
/// lives there, and its plugins.
pub(crate) fn processes_of(dir: &Path) -> Vec<u32> {
    use std::os::unix::ffi::OsStrExt as _;
    let name = dir.as_os_str().as_bytes();
    let names = |file: &Path| {
        std::fs::read(file).is_ok_and(|text| text.windows(name.len()).any(|part| part == name))
    };
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = numbers.filter(|pid| *pid != std::process::id());
    let of_dir = others.filter(|pid| {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        names(&proc.join("cmdline")) || names(&proc.join("environ"))
    });
    of_dir.collect()
}

async fn connected(target: Target) -> SysAdmClient {
    SysAdmClient::connect(target).await.expect("a connection")
}

#[tokio::test]
async fn a_daemon_starts_serves_and_leaves_nothing_behind() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    assert_eq!(processes_of(running.site.path()).len(), 1, "the plugin's process");
    let token = running.token("viewer").await;
    let mut client = running.remote(&token).await;
    assert_eq!(client.call("kit", "echo", json!({"n": 1})).await, Ok(json!({"n": 1})));
    let running = running.restart().await;
    assert_eq!(client.closed().await.0, 1001);
    running.remote(&token).await.close().await;
    running.stop().await;
}

#[tokio::test]
async fn the_binary_starts_serves_and_leaves_nothing_behind() {
    let program = Site::new().with_kit().spawn().await;
    program.ready("kit").await;
    let token = program.token("admin").await;
    program.remote(&token).await.close().await;
    let program = program.kill().await.spawn().await;
    program.remote(&token).await.close().await;
    program.stop().await;
}
