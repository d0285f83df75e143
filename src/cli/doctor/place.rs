//! Where the parts of this installation are: from the options, the configuration, and the process
//! that runs.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use toml::Table;

use super::{Doctor, Finding};

const CHECK: &str = "configuration";
/// The file read when none is named, as root.
pub(super) const FILE: &str = "/etc/sysadmd/sysadmd.toml";
/// The daemon of the system.
const SYSTEM_STATE: &str = "/var/lib/sysadmd";
pub(super) const SYSTEM_SOCKET: &str = "/run/sysadmd/sysadmd.sock";

/// The parts of an installation.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) state_dir: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) plugins: PathBuf,
    /// The daemon's process, as far as the state directory knows it and it lives.
    pub(super) pid: Option<u32>,
    /// The file in `/etc/pam.d` by which passwords are checked; `None`: they are not.
    pub(super) pam_service: Option<String>,
    /// The helper that checks them, when the configuration names it.
    pub(super) pam_helper: Option<PathBuf>,
}

impl Place {
    /// Finds the parts, and says how the configuration stands.
    pub(super) fn find(doctor: &Doctor, socket: Option<&Path>) -> (Self, Vec<Finding>) {
        let is_root = geteuid().is_root();
        let (config, findings) = configuration(doctor.config.as_deref(), is_root);
        let path =
            |section: &str, key: &str| config.get(section)?.get(key)?.as_str().map(PathBuf::from);
        let set = config.get("state_dir").and_then(|dir| dir.as_str()).map(PathBuf::from);
        let named = doctor.state_dir.clone().or(set);
        let of_system = named.is_none() && is_root;
        let state_dir = named.unwrap_or_else(|| default_state_dir(is_root));
        let own_socket = state_dir.join("sysadmd.sock");
        let usual = if of_system { SYSTEM_SOCKET.into() } else { own_socket };
        let plugins =
            if of_system { "/etc/sysadmd/plugins".into() } else { state_dir.join("plugins") };
        let access = config.get("access");
        let password = access.and_then(|it| it.get("password_login")?.as_bool()).unwrap_or(true);
        let service = access.and_then(|it| it.get("pam_service")?.as_str()).unwrap_or("sysadmd");
        let place = Self {
            socket: socket.map_or(usual, Path::to_owned),
            certificate: path("tls", "certificate")
                .unwrap_or_else(|| state_dir.join("tls/cert.pem")),
            key: path("tls", "key").unwrap_or_else(|| state_dir.join("tls/key.pem")),
            plugins: path("plugins", "dir").unwrap_or(plugins),
            pid: pid(&state_dir),
            pam_service: password.then(|| service.to_owned()),
            pam_helper: path("access", "pam_helper"),
            state_dir,
        };
        (place, findings)
    }

    /// Whether no daemon has ever had this state directory.
    pub(super) fn is_fresh(&self) -> bool {
        let is_missing = |path: &Path| {
            fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        self.pid.is_none() && is_missing(&self.state_dir.join("sysadmd.db"))
    }

    /// What there is of a certificate is the administrator's, not what the daemon makes itself.
    pub(super) fn has_own_certificate(&self) -> bool {
        !self.certificate.starts_with(&self.state_dir) || self.certificate.exists()
    }
}

/// The process that has the state directory, when it is a daemon of ours that lives.
fn pid(state_dir: &Path) -> Option<u32> {
    let text = fs::read_to_string(state_dir.join("sysadmd.lock")).ok()?;
    let pid = text.trim().parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim() == "sysadmd").then_some(pid)
}

fn default_state_dir(is_root: bool) -> PathBuf {
    if is_root {
        return SYSTEM_STATE.into();
    }
    let from_env = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let home = from_env("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| from_env("HOME").map(|home| Path::new(&home).join(".local/state")));
    home.map_or_else(|| SYSTEM_STATE.into(), |home| home.join("sysadmd"))
}

/// What the file sets, and how it stands.
fn configuration(named: Option<&Path>, is_root: bool) -> (Table, Vec<Finding>) {
    let path = named.unwrap_or(Path::new(FILE));
    if named.is_none() && (!is_root || !path.exists()) {
        return (Table::new(), vec![Finding::ok(CHECK, "there is no file: the defaults hold")]);
    }
    let shown = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("{shown} cannot be read: {error}");
            let mend = "put the file there, readable by sysadmd, or name another with --config";
            return (Table::new(), vec![Finding::problem(CHECK, what, mend)]);
        }
    };
    let mode = fs::metadata(path).map_or(0, |it| it.mode());
    match text.parse::<Table>() {
        Ok(table) if mode & 0o022 == 0 => (
            table,
            vec![Finding::ok(CHECK, format!("{shown} is TOML, and others cannot write it"))],
        ),
        Ok(table) => {
            let what = format!("{shown} can be written by others (mode {:04o})", mode & 0o7777);
            (table, vec![Finding::problem(CHECK, what, format!("chmod go-w {shown}"))])
        }
        Err(error) => {
            let what = format!("{shown} is no TOML: {}", error.message());
            let mend = format!("correct it, then: sysadmd --check --config {shown}");
            (Table::new(), vec![Finding::problem(CHECK, what, mend)])
        }
    }
}
