//! Floor 1: settings, from a TOML file and the command line, with defaults for both.
//!
//! It knows what can be set and what is legal. It must not open anything but the file itself.
//! `daemon` reads it.

mod access;
mod alerts;
mod audit;
mod consul;
mod differences;
mod grants;
mod jobs;
mod limits;
mod roles;
mod sinks;
mod tls;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::sandbox::Rights;
use serde::Deserialize;

pub use self::access::Access;
pub use self::alerts::AlertRule;
pub use self::audit::Audit;
pub use self::consul::{Consul, Service};
pub use self::jobs::Jobs;
pub use self::limits::Limits;
pub use self::roles::{Grant, RoleRules, objection};
pub use self::sinks::{Sink, SinkAlerts, SinkKind, SinkMode, SinkStart};
pub use self::tls::{Tls, TlsFiles};

/// The port of the `SysAdm` websocket.
pub const PORT: u16 = 12150;
/// The port of the `SysAdm` REST face.
pub const PORT_REST: u16 = 12151;
/// The file read when none is named, as root.
pub const FILE: &str = "/etc/sysadmd/sysadmd.toml";

/// Everything that can be set. `packaging/sysadmd.toml` shows each key with its default.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// Where everything a run writes is kept.
    pub state_dir: Option<PathBuf>,
    /// Addresses with TLS.
    pub listen: Option<Vec<SocketAddr>>,
    /// Addresses without; loopback only.
    pub listen_plain: Vec<SocketAddr>,
    /// The certificate.
    pub tls: Tls,
    /// The event log.
    pub log: Log,
    /// The audit trail.
    pub audit: Audit,
    /// Who may log in, how, and from which pages.
    pub access: Access,
    /// Roles besides the built-in ones.
    pub roles: BTreeMap<String, RoleRules>,
    /// Where events are delivered to.
    pub sinks: BTreeMap<String, Sink>,
    /// What of the alerts is wanted, by kind or family.
    pub alerts: BTreeMap<String, AlertRule>,
    /// What clients may take up.
    pub limits: Limits,
    /// How many jobs there may be.
    pub jobs: Jobs,
    /// The Consul face.
    pub consul: Consul,
    /// Plugins.
    pub plugins: Plugins,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Days an event is kept; 0 keeps it as long as there is room.
    pub max_age_days: u32,
    /// MiB the log may take; the oldest events go first. At least 8.
    pub max_size_mib: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { max_age_days: 90, max_size_mib: 1024 }
    }
}

/// `[plugins]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugins {
    /// Where third-party plugins lie, each in a directory of its own name.
    pub dir: Option<PathBuf>,
    /// Built-in plugins that are not started.
    pub disabled: Vec<String>,
    /// Passed to the plugin of that name as it is.
    pub config: BTreeMap<String, toml::Table>,
    /// What the third-party plugin of that name may do beyond the default.
    pub grants: BTreeMap<String, Rights>,
}

/// What the command line says; it wins over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// `--listen`
    pub listen: Vec<SocketAddr>,
    /// `--listen-plain`
    pub listen_plain: Vec<SocketAddr>,
}

/// Who runs the daemon, which decides the defaults.
#[derive(Debug, Clone)]
pub struct Runner {
    /// Whether it is root.
    pub is_root: bool,
    /// `XDG_STATE_HOME`, or `~/.local/state`.
    pub state_home: Option<PathBuf>,
}

/// Settings that are complete and legal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything a run writes is kept.
    pub state_dir: PathBuf,
    /// The unix socket.
    pub socket: PathBuf,
    /// Addresses with TLS.
    pub listen: Vec<SocketAddr>,
    /// Addresses without TLS, all on loopback.
    pub listen_plain: Vec<SocketAddr>,
    /// Where the TLS certificate comes from.
    pub tls: TlsFiles,
    /// How long events are kept; `None` for ever.
    pub log_max_age: Option<Duration>,
    /// Bytes the log may take.
    pub log_max_bytes: u64,
    /// How long records of the audit trail are kept; `None` for ever.
    pub audit_max_age: Option<Duration>,
    /// Who may log in, how, and from which pages.
    pub access: Access,
    /// Roles besides the built-in ones.
    pub roles: BTreeMap<String, RoleRules>,
    /// Where events are delivered to.
    pub sinks: BTreeMap<String, Sink>,
    /// What of the alerts is wanted, by kind or family.
    pub alerts: BTreeMap<String, AlertRule>,
    /// What clients may take up.
    pub limits: Limits,
    /// How many jobs there may be.
    pub jobs: Jobs,
    /// The Consul face.
    pub consul: Consul,
    /// Where third-party plugins lie.
    pub plugin_dir: PathBuf,
    /// Built-in plugins that are not started.
    pub plugins_disabled: Vec<String>,
    /// What each plugin is told in its handshake.
    pub plugin_config: BTreeMap<String, serde_json::Value>,
    /// What each plugin may do beyond the default.
    pub plugin_grants: BTreeMap<String, Rights>,
}

/// Why settings are refused. The sentence names the file, the key and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl File {
    /// Reads settings from TOML text; `name` is the file for the error's sentence.
    ///
    /// # Errors
    /// When it is no TOML, or a key is unknown or has the wrong type.
    pub fn parse(text: &str, name: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let hint = suggestion(error.message());
            ConfigError(format!("{}: {}{hint}", name.display(), error.to_string().trim_end()))
        })
    }

    /// Completes the settings.
    ///
    /// # Errors
    /// When something is not legal or no state directory can be found.
    pub fn complete(self, over: Overrides, runner: &Runner) -> Result<Config, ConfigError> {
        let explicit = over.state_dir.or(self.state_dir);
        let own_socket = explicit.is_none() && runner.is_root;
        let state_dir = explicit.or_else(|| default_state_dir(runner)).ok_or_else(|| {
            ConfigError("HOME is not set: name a directory with --state-dir".to_owned())
        })?;
        let listen = pick(over.listen, self.listen.unwrap_or_else(|| default_listen(runner)));
        let listen_plain = pick(over.listen_plain, self.listen_plain);
        if let Some(open) = listen_plain.iter().find(|address| !address.ip().is_loopback()) {
            return Err(ConfigError(format!(
                "listen_plain {open}: a listener without TLS is refused anywhere but on loopback, \
                 because passwords would cross the network in the clear (use listen)"
            )));
        }
        if self.log.max_size_mib < 8 {
            return Err(ConfigError("log.max_size_mib must be at least 8".to_owned()));
        }
        roles::check(&self.roles)?;
        access::check(&self.access, &self.roles)?;
        self.limits.check()?;
        self.jobs.check()?;
        alerts::check(&self.alerts)?;
        consul::check(&self.consul, &self.roles)?;
        let socket = if own_socket {
            PathBuf::from("/run/sysadmd/sysadmd.sock")
        } else {
            state_dir.join("sysadmd.sock")
        };
        Ok(Config {
            socket,
            plugin_dir: self.plugins.dir.unwrap_or_else(|| {
                let packaged = Path::new("/etc/sysadmd/plugins").to_path_buf();
                if own_socket { packaged } else { state_dir.join("plugins") }
            }),
            tls: self.tls.complete(&state_dir)?,
            state_dir,
            access: self.access,
            roles: self.roles,
            sinks: sinks::checked(self.sinks)?,
            alerts: self.alerts,
            limits: self.limits,
            jobs: self.jobs,
            consul: self.consul,
            listen,
            listen_plain,
            log_max_age: days(self.log.max_age_days),
            log_max_bytes: self.log.max_size_mib.saturating_mul(1024 * 1024),
            audit_max_age: days(self.audit.max_age_days),
            plugins_disabled: self.plugins.disabled,
            plugin_config: self.plugins.config.iter().map(plugin_config).collect(),
            plugin_grants: grants::checked(self.plugins.grants)?,
        })
    }
}

fn plugin_config((id, table): (&String, &toml::Table)) -> (String, serde_json::Value) {
    (id.clone(), serde_json::to_value(table).unwrap_or_default())
}

fn days(days: u32) -> Option<Duration> {
    (days > 0).then(|| Duration::from_secs(u64::from(days) * 86_400))
}

fn pick<T>(over: Vec<T>, file: Vec<T>) -> Vec<T> {
    if over.is_empty() { file } else { over }
}

fn default_state_dir(runner: &Runner) -> Option<PathBuf> {
    if runner.is_root {
        return Some(PathBuf::from("/var/lib/sysadmd"));
    }
    runner.state_home.as_ref().map(|home| home.join("sysadmd"))
}

fn default_listen(runner: &Runner) -> Vec<SocketAddr> {
    let ip = if runner.is_root { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    [PORT, PORT_REST].map(|port| SocketAddr::new(IpAddr::V4(ip), port)).to_vec()
}

/// The known key nearest to the unknown one that serde complains about.
fn suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.contains("unknown field")) else {
        return String::new();
    };
    let nearest = quoted.min_by_key(|known| distance(unknown, known));
    match nearest {
        Some(known) if distance(unknown, known) <= 3 => format!("\ndid you mean `{known}`?"),
        _ => String::new(),
    }
}

/// The number of letters to insert, remove or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let change = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Runner {
        Runner { is_root: false, state_home: Some(PathBuf::from("/home/a/.local/state")) }
    }

    fn parse(text: &str) -> Result<File, ConfigError> {
        File::parse(text, Path::new("sysadmd.toml"))
    }

    #[test]
    fn a_person_gets_loopback_and_a_directory_of_their_own() {
        let config = File::default().complete(Overrides::default(), &person()).unwrap();
        assert!(config.listen.iter().all(|address| address.ip().is_loopback()));
        assert_eq!(config.state_dir, Path::new("/home/a/.local/state/sysadmd"));
        assert_eq!(config.socket, config.state_dir.join("sysadmd.sock"));
    }

    #[test]
    fn root_gets_the_places_of_the_system() {
        let root = Runner { is_root: true, state_home: None };
        let config = File::default().complete(Overrides::default(), &root).unwrap();
        assert_eq!(config.state_dir, Path::new("/var/lib/sysadmd"));
        assert_eq!(config.socket, Path::new("/run/sysadmd/sysadmd.sock"));
        let over = Overrides { state_dir: Some(PathBuf::from("/tmp/s")), ..Overrides::default() };
        let config = File::default().complete(over, &root).unwrap();
        assert_eq!(config.socket, Path::new("/tmp/s/sysadmd.sock"));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_right_one() {
        let refusal = parse("lisen = []").unwrap_err().to_string();
        assert!(refusal.contains("sysadmd.toml") && refusal.contains("`listen`?"), "{refusal}");
        let refusal = parse("[log]\nmax_age = 3").unwrap_err().to_string();
        assert!(refusal.contains("max_age"), "{refusal}");
    }

    #[test]
    fn a_plain_listener_off_loopback_is_refused_with_the_reason() {
        let file = parse("listen_plain = [\"0.0.0.0:80\"]").unwrap();
        let refusal = file.complete(Overrides::default(), &person()).unwrap_err().to_string();
        assert!(refusal.contains("0.0.0.0:80") && refusal.contains("clear"), "{refusal}");
    }

    #[test]
    fn the_shipped_example_is_the_defaults() {
        let example = parse(include_str!("../packaging/sysadmd.toml")).unwrap();
        assert_eq!(example, File { listen: example.listen.clone(), ..File::default() });
    }
}
