//! Whether clients get in: the unix socket, and the listeners with TLS.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::Finding;
use super::place::{Place, SYSTEM_SOCKET};
use crate::cli::client::{Client, Hello};
use crate::cli::connect;
use crate::cli::exit::Exit;
use crate::cli::service;
use crate::cli::target::{Place as Address, Target};
use crate::cli::trust::Trust;

const FILE: &str = "socket";
const DAEMON: &str = "daemon";
const TLS: &str = "tls-listener";

fn start() -> String {
    let command = service::command("start");
    format!(
        "{command} (one of your own: sysadmd); if it ends at once, journalctl -u sysadmd, the \
         file it logs to, or its terminal, says why"
    )
}

/// The socket, and the daemon behind it when it answers.
pub(super) async fn socket(
    place: &Place,
    target: &Target,
) -> (Vec<Finding>, Option<(Client, Hello)>) {
    let path = place.socket.display();
    let file = match fs::metadata(&place.socket) {
        Ok(it) if !it.file_type().is_socket() => {
            let mend = format!("rm {path}; {}", service::command("restart"));
            Finding::problem(FILE, format!("{path} is no socket"), mend)
        }
        // Root's daemon lets everybody knock (0666) and asks the kernel who it is.
        Ok(it) if it.uid() != 0 && it.mode() & 0o077 != 0 => {
            let what = format!("others may open {path} (mode {:04o})", it.mode() & 0o7777);
            Finding::warning(FILE, what, format!("chmod 0600 {path}"))
        }
        Ok(_) => Finding::ok(FILE, format!("{path} is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let running = place.pid.is_some();
            let mend = if running {
                format!("{}, which makes it anew", service::command("restart"))
            } else {
                start()
            };
            Finding::problem(FILE, format!("{path} is not there"), mend)
        }
        Err(error) => Finding::unknown(FILE, format!("{path}: {error}")),
    };
    match Client::open(target).await {
        Ok((client, hello)) => {
            let says = Finding::ok(DAEMON, format!("sysadmd {} answers", hello.version));
            (vec![file, says], Some((client, hello)))
        }
        Err(failure) if failure.exit == Exit::NotAllowed => {
            let mend = failure.hint.clone().unwrap_or_else(|| "become root".to_owned());
            (vec![file, Finding::problem(DAEMON, failure.message, mend)], None)
        }
        Err(failure) => (vec![file, silent(place, &failure.message)], None),
    }
}

/// No daemon has ever run here; perhaps another is meant.
pub(super) fn never(place: &Place) -> Finding {
    let what = format!("none has ever run with {}", place.state_dir.display());
    if place.socket != Path::new(SYSTEM_SOCKET) && Path::new(SYSTEM_SOCKET).exists() {
        let mend = "to look at the system's daemon: sudo sysadmctl doctor";
        return Finding::problem(DAEMON, what, mend);
    }
    let mend = format!("{}; or name the right place: --state-dir DIR, --config FILE", start());
    Finding::problem(DAEMON, what, mend)
}

fn silent(place: &Place, why: &str) -> Finding {
    let path = place.socket.display();
    match place.pid {
        Some(pid) => Finding::problem(
            DAEMON,
            format!("its process {pid} is there, but does not answer: {why}"),
            "systemctl restart sysadmd; journalctl -u sysadmd says what it was at",
        ),
        None if place.socket.exists() => {
            let what =
                format!("it does not run, and {path} is left from one that was killed: {why}");
            Finding::problem(DAEMON, what, start())
        }
        None => Finding::problem(DAEMON, format!("it does not run: {why}"), start()),
    }
}

/// Whether a listener of the daemon shows the certificate that the daemon says it uses.
pub(super) async fn tls(place: &Place, fingerprint: Option<&str>) -> Finding {
    let Some(Ok(pinned)) = fingerprint.map(str::parse) else {
        return Finding::unknown(TLS, "the daemon does not say which certificate it uses");
    };
    let listeners = place.pid.map(listeners).unwrap_or_default();
    if listeners.is_empty() {
        return Finding::unknown(TLS, "you cannot see where the daemon listens: ask as root");
    }
    let mut whys = Vec::new();
    for address in listeners.iter().map(local) {
        let (host, port) = (address.ip().to_string(), address.port());
        match connect::open(&Address::Tls { host, port, trust: Trust::Pinned(pinned) }).await {
            Ok(_) => {
                return Finding::ok(TLS, format!("{address} is reached and shows the certificate"));
            }
            Err(failure) => whys.push(failure.message),
        }
    }
    let what = format!("no listener shows the daemon's certificate: {}", whys.join("; "));
    Finding::problem(
        TLS,
        what,
        format!("see listen in the configuration, then: {}", service::command("restart")),
    )
}

/// An address at which this machine reaches what listens there.
fn local(listener: &SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// Where a process listens on TCP.
fn listeners(pid: u32) -> Vec<SocketAddr> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let sockets: BTreeSet<String> = files
        .filter_map(|file| {
            let link = fs::read_link(file.path()).ok()?;
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let tables = ["tcp", "tcp6"].map(|name| format!("/proc/{pid}/net/{name}"));
    let texts = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    let found = texts.flat_map(|text| text.lines().filter_map(listening).collect::<Vec<_>>());
    found.filter(|(_, inode)| sockets.contains(inode)).map(|(address, _)| address).collect()
}

/// The address and the inode of a line in `/proc/net/tcp` whose state is LISTEN (proc(5)).
fn listening(line: &str) -> Option<(SocketAddr, String)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits, each in the machine's order.
    let words: Vec<[u8; 4]> = (0..ip.len() / 8)
        .filter_map(|at| u32::from_str_radix(ip.get(8 * at..8 * at + 8)?, 16).ok())
        .map(u32::to_ne_bytes)
        .collect();
    let ip: IpAddr = match words.as_slice() {
        [four] => Ipv4Addr::from(*four).into(),
        sixteen => Ipv6Addr::from(<[u8; 16]>::try_from(sixteen.concat()).ok()?).into(),
    };
    (*state == "0A").then(|| (SocketAddr::new(ip, port), (*inode).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn listeners_are_read_from_proc() {
        let line = "   0: 0100007F:2F76 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0";
        let (address, inode) = listening(line).unwrap();
        assert_eq!((address.to_string().as_str(), inode.as_str()), ("127.0.0.1:12150", "777"));
        assert!(listening(&line.replace(" 0A ", " 01 ")).is_none(), "no listener");
        let six = line.replace("0100007F:", "00000000000000000000000001000000:");
        assert_eq!(listening(&six).unwrap().0.to_string(), "[::1]:12150");
        assert_eq!(local(&"0.0.0.0:5".parse().unwrap()).to_string(), "127.0.0.1:5");
    }
}
