//! Floor 8, the roof: reads the configuration, builds the floors bottom-up, waits, tears down.
//!
//! It knows every floor and no detail of any. The binary calls [`main`]; tests call
//! [`Daemon::start`].

mod backup;
mod built_in;
mod certificate;
mod disk;
mod files;
mod inherited;
mod journal;
mod options;
mod overload;
mod ready;
mod reload;
mod rescan;
mod sinks;
mod watch;
mod watchdog;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use protocol::{Draft, Json};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::access::pam::PamSettings;
use crate::access::{Access, AccessSettings};
use crate::alarm::{Alarm, Ring};
use crate::alerts::{self, Alerts};
use crate::bus::{Bus, own_class};
use crate::clock::Clock;
use crate::config::Config;
use crate::dispatch::{Dispatch, Floors, Identity};
use crate::host::{Host, HostSettings};
use crate::lifecycle::{Gone, Tasks};
use crate::listen::tls::{Tls, TlsError};
use crate::listen::{Listen, Listener};
use crate::store::{Store, StoreError, StoreSettings};

use certificate::Keeper;
use inherited::Inherited;
use reload::Reread;
use watchdog::Watchdog;

/// How long everything may take to end after the plugins have.
const GRACE: Duration = Duration::from_secs(10);

/// How long a password check may take: a directory server may have to be asked.
const PAM_DEADLINE: Duration = Duration::from_secs(20);

/// Where packages put what checks passwords.
const PACKAGED_HELPER: &str = "/usr/libexec/sysadmd/sysadmd-pam";

/// sysexits(3): the input data was incorrect.
const EX_DATAERR: u8 = 65;
/// sysexits(3): a service or resource is not there.
const EX_UNAVAILABLE: u8 = 69;
/// sysexits(3): an error while doing I/O.
const EX_IOERR: u8 = 74;
/// sysexits(3): try again later.
const EX_TEMPFAIL: u8 = 75;
/// sysexits(3): something was found in an unconfigured or misconfigured state.
const EX_CONFIG: u8 = 78;

/// The whole of the `sysadmd` program.
pub fn main() -> ExitCode {
    options::main()
}

/// The command line, for whoever writes it down.
pub fn command() -> clap::Command {
    options::command()
}

/// The manifests of the built-in plugins, as JSON.
pub fn built_in_manifests() -> impl Iterator<Item = &'static str> {
    built_in::manifests()
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    /// The addresses it listens on, in the order of the configuration: TLS, then plain.
    pub addresses: Vec<SocketAddr>,
    /// With what each was asked for as.
    listeners: Vec<(SocketAddr, Listener)>,
    listen: Listen,
    tls: Tls,
    /// Rung to have the certificate's files looked at.
    bell: Arc<Notify>,
    store: Arc<Store>,
    host: Host,
    bus: Bus,
    dispatch: Dispatch,
    tasks: Tasks,
    gone: Gone,
}

/// What is decided by who starts the daemon, not by its configuration.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The `sysadmd` binary, started again for built-in plugins.
    pub binary: PathBuf,
    /// Where the time comes from.
    pub clock: Clock,
    /// Whether the daemon runs as root.
    pub is_root: bool,
}

/// Why the daemon does not start. Written for the administrator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// There is no certificate.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// An address cannot be had.
    #[error("cannot listen on {place}: {cause}")]
    Listen {
        /// The address or path.
        place: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Something else the system refused.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// The sysexits number for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(StoreError::InUse { .. }) => EX_TEMPFAIL,
            Self::Store(_) => EX_DATAERR,
            Self::Tls(_) => EX_CONFIG,
            Self::Listen { .. } => EX_UNAVAILABLE,
            Self::System(_) => EX_IOERR,
        }
    }
}

impl Daemon {
    /// Builds the floors and opens the listeners. When it returns, clients are served.
    ///
    /// # Errors
    /// When the database, the certificate or an address cannot be had; nothing is left running.
    pub async fn start(config: &Config, environment: Environment) -> Result<Self, StartError> {
        Self::start_on(config, environment, Inherited::default()).await
    }

    /// The same on listeners that somebody else has opened, as far as there are any.
    async fn start_on(
        config: &Config,
        environment: Environment,
        inherited: Inherited,
    ) -> Result<Self, StartError> {
        let mut daemon = Self::build(config, environment).await?;
        if let Err(error) = daemon.open(config, inherited).await {
            daemon.stop().await;
            return Err(error);
        }
        daemon.announce("daemon.started").await;
        Ok(daemon)
    }

    /// The floors; nothing listens yet.
    async fn build(config: &Config, environment: Environment) -> Result<Self, StartError> {
        let Environment { binary, clock, is_root } = environment;
        make_private_dir(&config.state_dir)?;
        let settings = store_settings(config);
        let store = Arc::new(Store::open(&config.state_dir, clock.clone(), settings)?);
        let hostname = hostname();
        let tls = Tls::open(config.tls.clone(), &hostname)?;
        let (tasks, gone) = Tasks::new();
        let instance = store.instance();
        let bus = Bus::start(store.log(), clock.clone(), instance, tasks.clone())?;
        let (alarm, rings) = Alarm::new();
        let settings = host_settings(config, instance, alarm.clone());
        let launcher = Some(binary.clone());
        let host_settings =
            HostSettings { as_root: is_root, launcher, clock: clock.clone(), ..settings };
        let host = host_over(config, &binary, (host_settings, bus.clone()), &tasks);
        let alerts = alerts_over(config, (&store, &bus, &clock), rings, &tasks).await?;
        let bell = keep_certificate(config, (&tls, &bus, &alarm), &clock, &tasks);
        let (certificate, limits, jobs) = (tls.facts(), files::fit(config.limits), config.jobs);
        let sinks =
            sinks::begin(config, (&store, &bus, &host), (&clock, &hostname, &alarm), &tasks).await;
        let consul = config.consul.clone();
        let identity = Identity { hostname, certificate, instance, limits, jobs, consul };
        let access =
            Access::new(Arc::clone(&store), clock.clone(), access_settings(config, &binary))
                .map_err(|fault| std::io::Error::other(fault.to_string()))?;
        let floors = Floors {
            store: Arc::clone(&store),
            bus: bus.clone(),
            host: host.clone(),
            sinks,
            alerts,
            access,
            clock,
            tasks: tasks.clone(),
        };
        let dispatch = dispatch_over(floors, identity).await?;
        let listen = Listen::new(dispatch.clone(), tasks.clone(), tls.clone(), &config.access);
        overload::begin(listen.refused(), (bus.clone(), alarm.clone()), &tasks);
        disk::begin(&config.state_dir, alarm, &tasks);
        let (addresses, listeners) = (Vec::new(), Vec::new());
        Ok(Self {
            addresses,
            listeners,
            listen,
            tls,
            bell,
            store,
            host,
            bus,
            dispatch,
            tasks,
            gone,
        })
    }

    /// What was handed over takes the place of what the configuration says of its kind.
    async fn open(&mut self, config: &Config, inherited: Inherited) -> Result<(), StartError> {
        let Inherited { secure, plain, unix } = inherited;
        for (handed, addresses, with_tls) in
            [(secure, &config.listen, true), (plain, &config.listen_plain, false)]
        {
            let own = if handed.is_empty() { addresses.as_slice() } else { &[] };
            for address in own {
                let opened = self.listen.tcp(*address, with_tls).await;
                self.keep(*address, opened)?;
            }
            for listener in handed {
                let address = listener.local_addr()?;
                let opened = self.listen.tcp_of(listener, with_tls);
                self.keep(address, opened)?;
            }
        }
        let opened = match unix {
            Some(listener) => self.listen.unix_of(listener),
            None => self.listen.unix(&config.socket),
        };
        let place = config.socket.display().to_string();
        opened.map_err(|cause| StartError::Listen { place, cause })
    }

    fn keep(
        &mut self,
        address: SocketAddr,
        opened: std::io::Result<Listener>,
    ) -> Result<(), StartError> {
        let place = address.to_string();
        let listener = opened.map_err(|cause| StartError::Listen { place, cause })?;
        self.addresses.push(listener.address());
        self.listeners.push((address, listener));
        Ok(())
    }

    /// SHA-256 of the certificate in use, in hexadecimal: what clients pin.
    pub fn fingerprint(&self) -> String {
        self.tls.facts().borrow().fingerprint.clone()
    }

    /// Has the certificate's files looked at without waiting for them to settle.
    pub fn reload(&self) {
        self.bell.notify_one();
    }

    /// Looks at the plugin directory again.
    pub async fn rescan_plugins(&self) {
        self.host.rescan().await;
    }

    /// Ends everything in order: plugins, connections, the log.
    pub async fn stop(self) {
        let Self { store, host, bus, dispatch, tasks, gone, listen, .. } = self;
        dispatch.stop_jobs();
        host.shutdown().await;
        tasks.stop();
        drop((host, bus, dispatch, tasks, listen));
        if !gone.wait(GRACE).await {
            tracing::warn!("some tasks did not end in time");
        }
        let closing = tokio::task::spawn_blocking(move || store.close());
        if closing.await.is_err() {
            tracing::error!("the store failed to close");
        }
    }

    /// Says what the class means.
    async fn announce(&self, class: &str) {
        let version = json!({"version": env!("CARGO_PKG_VERSION")});
        publish_own(&self.bus, class, |draft| draft.data = Json::from(version)).await;
    }
}

/// Publishes an event of one of the daemon's own classes: `fill` changes what its declaration says.
/// Whether it was recorded.
async fn publish_own(bus: &Bus, class: &str, fill: impl FnOnce(&mut Draft)) -> bool {
    let Some(own) = own_class(class) else { return false };
    let declared = &own.declared;
    let mut draft = Draft::new(declared.class.clone());
    draft.message.clone_from(&declared.summary);
    draft.priority = Some(declared.priority_default);
    fill(&mut draft);
    let published = bus.publish(&own.source, draft, declared.retain).await;
    published.inspect_err(|fault| tracing::error!(%fault, class, "not recorded")).is_ok()
}

/// Runs until a signal asks it to stop.
async fn run(
    mut config: Config,
    environment: Environment,
    reread: &Reread,
    inherited: Inherited,
) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let terminal = Terminal::here();
    let mut daemon = Daemon::start_on(&config, environment, inherited).await?;
    journal::begin(daemon.bus.clone(), &daemon.tasks);
    let mut watchdog = Watchdog::begin(&daemon.store, &daemon.bus, &daemon.tasks);
    ready::say(&config, &daemon.addresses, &daemon.fingerprint());
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = watchdog.round() => ready::alive(),
            _ = hangup.recv() => {
                if terminal.is_gone() {
                    break;
                }
                reload::take(&mut daemon, &mut config, reread()).await;
            }
        }
    }
    tracing::info!("stopping");
    ready::stopping();
    daemon.announce("daemon.stopping").await;
    daemon.stop().await;
    Ok(())
}

/// Has the certificate's files watched; what is returned is rung to have them looked at.
fn keep_certificate(
    config: &Config,
    (tls, bus, alarm): (&Tls, &Bus, &Alarm),
    clock: &Clock,
    tasks: &Tasks,
) -> Arc<Notify> {
    let bell = Arc::new(Notify::new());
    let (tls, bus, clock) = (tls.clone(), bus.clone(), clock.clone());
    let alarm = alarm.clone();
    let keeper = Keeper { alarm, tls, bus, clock, bell: Arc::clone(&bell) };
    keeper.begin(certificate::watch(&config.tls), tasks);
    bell
}

/// What is wrong, with what an earlier life has left.
async fn alerts_over(
    config: &Config,
    (store, bus, clock): (&Arc<Store>, &Bus, &Clock),
    rings: mpsc::Receiver<Ring>,
    tasks: &Tasks,
) -> Result<Alerts, StoreError> {
    let (store, bus, clock) = (Arc::clone(store), bus.clone(), clock.clone());
    let ground = alerts::Ground { store, bus, clock, rules: config.alerts.clone() };
    Alerts::begin(ground, rings, tasks).await
}

/// What answers calls, with the jobs and penalties that an earlier life has left.
async fn dispatch_over(floors: Floors, identity: Identity) -> Result<Dispatch, StartError> {
    let (recalling, tasks) = (floors.access.clone(), floors.tasks.clone());
    tasks.spawn(async move { recalling.recall().await });
    let (heeding, stop) = (floors.access.clone(), tasks.stop_signal());
    tasks.spawn(async move {
        tokio::select! {
            () = stop.wait() => {}
            never = heeding.heed_the_clock() => match never {},
        }
    });
    let dispatch = Dispatch::new(identity, floors);
    let resumed = dispatch.resume_jobs().await;
    resumed.map_err(|fault| std::io::Error::other(fault.to_string()))?;
    let resumed = dispatch.resume_orders().await;
    resumed.map_err(|fault| std::io::Error::other(fault.to_string()))?;
    Ok(dispatch)
}

fn store_settings(config: &Config) -> StoreSettings {
    StoreSettings {
        max_age: config.log_max_age,
        max_bytes: Some(config.log_max_bytes),
        audit_max_age: config.audit_max_age,
    }
}

/// The plugins, also those that come later.
fn host_over(
    config: &Config,
    binary: &Path,
    (settings, bus): (HostSettings, Bus),
    tasks: &Tasks,
) -> Host {
    let built_in = built_in::specs(binary, config);
    let watch = rescan::watch(&config.plugin_dir);
    let host = Host::start(built_in, settings, bus, tasks);
    if let Some(watch) = watch {
        rescan::begin(watch, host.clone(), tasks);
    }
    host
}

fn host_settings(config: &Config, instance: Uuid, alarm: Alarm) -> HostSettings {
    HostSettings {
        state_dir: config.state_dir.clone(),
        plugins_dir: Some(config.plugin_dir.clone()),
        as_root: false,
        configs: config.plugin_config.clone(),
        grants: config.plugin_grants.clone(),
        launcher: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance,
        clock: Clock::system(),
        alarm,
    }
}

fn access_settings(config: &Config, binary: &Path) -> AccessSettings {
    let helper = || {
        let beside = binary.with_file_name("sysadmd-pam");
        if beside.exists() { beside } else { PathBuf::from(PACKAGED_HELPER) }
    };
    let pam = config.access.password_login.then(|| PamSettings {
        helper: config.access.pam_helper.clone().unwrap_or_else(helper),
        service: config.access.pam_service.clone(),
        deadline: PAM_DEADLINE,
    });
    AccessSettings { access: config.access.clone(), roles: config.roles.clone(), pam }
}

/// The terminal the daemon was started from. Without one, the signal that is sent when a terminal is
/// closed means "read your files again".
struct Terminal([bool; 2]);

impl Terminal {
    fn here() -> Self {
        Self([std::io::stdin().is_terminal(), std::io::stderr().is_terminal()])
    }

    /// Whether there was one, and it has been closed.
    fn is_gone(&self) -> bool {
        let Self(now) = Self::here();
        self.0.into_iter().zip(now).any(|(before, now)| before && !now)
    }
}

fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn hostname() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "localhost".to_owned())
}
