//! Which daemon is meant: from the options, the environment, or the place where it is by default.

use std::env;
use std::fmt;
use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio_tungstenite::tungstenite::http::Uri;

use super::exit::Failure;
use super::trust::{Fingerprint, Trust};
use crate::loopback::is_loopback;

/// The socket of the daemon that runs as root.
const SYSTEM_SOCKET: &str = "/run/sysadmd/sysadmd.sock";
/// The port when the URL names none.
const PORT: u16 = 12_150;

/// The options that say where the daemon is. They win over the environment.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Connection {
    /// Unix socket of a daemon on this machine
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url", help_heading = HEADING)]
    pub(crate) socket: Option<PathBuf>,
    /// Address of a daemon elsewhere, such as `wss://nas:12150`
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) url: Option<String>,
    /// Log in with this token (others on this machine can see it: prefer --token-file)
    #[arg(long, global = true, conflicts_with = "token_file", help_heading = HEADING)]
    pub(crate) token: Option<String>,
    /// Log in with the token in this file
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub(crate) token_file: Option<PathBuf>,
    /// SHA-256 of the daemon's certificate, in hexadecimal digits
    #[arg(long, global = true, value_name = "HEX", help_heading = HEADING)]
    pub(crate) fingerprint: Option<Fingerprint>,
}

impl Connection {
    /// The token that the options or the environment name.
    pub(crate) fn token(&self) -> Result<Option<String>, Failure> {
        token(self)
    }
}

const HEADING: &str = "Connection";

/// A daemon and how to get in.
#[derive(Clone)]
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) place: Place,
    /// What to log in with; the unix socket usually needs nothing.
    pub(crate) token: Option<String>,
}

/// Where a daemon listens.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// On a unix socket.
    Unix(PathBuf),
    /// On TCP with TLS.
    Tls {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// Which certificate is believed.
        trust: Trust,
    },
    /// On TCP without TLS: on this machine only.
    Plain {
        /// A loopback address or `localhost`.
        host: String,
        /// TCP port.
        port: u16,
    },
}

impl Target {
    /// The daemon that the options and the environment mean.
    pub(crate) fn choose(options: &Connection) -> Result<Self, Failure> {
        Ok(Self { place: place(options)?, token: token(options)? })
    }
}

// Written by hand so that the token never gets into a message.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("place", &self.place).finish_non_exhaustive()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tls { host, port, .. } => write!(f, "wss://{}", authority(host, *port)),
            Self::Plain { host, port } => write!(f, "ws://{}", authority(host, *port)),
        }
    }
}

/// `HOST:PORT`, with brackets where an IPv6 address needs them.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn place(options: &Connection) -> Result<Place, Failure> {
    if let Some(path) = &options.socket {
        return Ok(Place::Unix(path.clone()));
    }
    if let Some(url) = &options.url {
        return parse_url(url, options.fingerprint);
    }
    match (variable("SYSADMD_SOCKET"), variable("SYSADMD_URL")) {
        (Some(_), Some(_)) => Err(Failure::usage(
            "SYSADMD_SOCKET and SYSADMD_URL are both set: unset one, or say --socket or --url",
        )),
        (Some(path), None) => Ok(Place::Unix(path.into())),
        (None, Some(url)) => parse_url(&url, options.fingerprint),
        (None, None) => Ok(Place::Unix(default_socket())),
    }
}

/// The own daemon's socket; a person who runs none is led to the system's, where the group
/// `sysadmd` may come in.
fn default_socket() -> PathBuf {
    let system = PathBuf::from(SYSTEM_SOCKET);
    if nix::unistd::geteuid().is_root() {
        return system;
    }
    let state = variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".local/state")));
    let Some(own) = state.map(|state| state.join("sysadmd/sysadmd.sock")) else {
        return system;
    };
    if !own.exists() && system.exists() { system } else { own }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

pub(crate) fn parse_url(url: &str, pinned: Option<Fingerprint>) -> Result<Place, Failure> {
    let refuse = || {
        Failure::usage(format!("{url:?} is no address of a daemon"))
            .with_hint("expected wss://HOST or wss://HOST:12150")
    };
    let uri: Uri = url.parse().map_err(|_| refuse())?;
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(refuse());
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(refuse());
    }
    // What parsed it takes brackets anywhere, around anything.
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok().then_some(inner),
        None => (!host.contains(['[', ']'])).then_some(host),
    };
    let host = host.ok_or_else(refuse)?.to_owned();
    let port = uri.port_u16().unwrap_or(PORT);
    match scheme {
        "wss" => {
            let trust = match pinned {
                Some(fingerprint) => Trust::Pinned(fingerprint),
                None => Trust::KnownHosts(known_hosts()?),
            };
            Ok(Place::Tls { host, port, trust })
        }
        "ws" if is_loopback(&host) => Ok(Place::Plain { host, port }),
        "ws" => Err(Failure::usage("a connection without TLS would show the token to the network")
            .with_hint("use wss://; ws:// is for this machine's own addresses")),
        _ => Err(refuse()),
    }
}

fn known_hosts() -> Result<PathBuf, Failure> {
    let config = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
    config.map(|config| config.join("sysadmd/known_hosts")).ok_or_else(|| {
        Failure::usage("HOME is not set, so there is no place for trusted certificates")
            .with_hint("say --fingerprint HEX; `sysadmctl status` shows it on the daemon's machine")
    })
}

fn token(options: &Connection) -> Result<Option<String>, Failure> {
    if let Some(token) = &options.token {
        return Ok(Some(token.clone()));
    }
    let Some(path) = &options.token_file else {
        return Ok(variable("SYSADMD_TOKEN"));
    };
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::file("read the token file", path, &error))?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(Failure::usage(format!(
            "{} must hold a token and nothing else",
            path.display()
        )));
    }
    Ok(Some(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<String, u8> {
        let pinned = Some("ab".repeat(32).parse().unwrap());
        parse_url(url, pinned).map(|place| place.to_string()).map_err(|f| f.exit.code())
    }

    #[test]
    fn addresses_are_read_and_completed() {
        assert_eq!(parse("wss://nas.example").unwrap(), "wss://nas.example:12150");
        assert_eq!(parse("wss://[::1]:99/").unwrap(), "wss://[::1]:99");
        assert_eq!(parse("ws://127.0.0.1:8000").unwrap(), "ws://127.0.0.1:8000");
    }

    #[test]
    fn a_plain_connection_leads_to_this_machine_only() {
        for url in [
            "ws://nas.example",
            "ws://10.0.0.1:12150",
            "https://a",
            "nas",
            "wss://u:p@h",
            "wss://[%]:1",
            "",
        ] {
            assert_eq!(parse(url), Err(2), "{url}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let target =
            Target { place: Place::Unix("/x".into()), token: Some("sad_secret".to_owned()) };
        assert!(!format!("{target:?}").contains("secret"));
    }
}
