//! Listeners that the service manager has opened and hands over (`sd_listen_fds(3)`): the unix
//! socket; TCP, with TLS unless the socket unit calls it `plain`.

use std::env;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// The name (`FileDescriptorName=`) of a listener without TLS.
const PLAIN: &str = "plain";

/// What was handed over.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// In place of `listen` of the configuration.
    pub(super) secure: Vec<TcpListener>,
    /// In place of `listen_plain`.
    pub(super) plain: Vec<TcpListener>,
    /// In place of the socket's file.
    pub(super) unix: Option<UnixListener>,
}

impl Inherited {
    /// Takes what there is; nothing without a service manager. Only once.
    ///
    /// # Errors
    /// When something else than a listening socket was handed over, or a listener without TLS
    /// anywhere but on loopback.
    pub(super) fn take() -> io::Result<Self> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut handed = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..handed.len() {
            let name = names.next().unwrap_or_default();
            if let Ok(Some(listener)) = handed.take_unix_listener(index) {
                inherited.unix = Some(listener);
            } else if let Some(listener) = handed.take_tcp_listener(index)? {
                inherited.keep(listener, name)?;
            }
        }
        Ok(inherited)
    }

    fn keep(&mut self, listener: TcpListener, name: &str) -> io::Result<()> {
        if name != PLAIN {
            self.secure.push(listener);
            return Ok(());
        }
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            let sentence = format!("{address}: a listener without TLS belongs on loopback");
            return Err(io::Error::new(ErrorKind::InvalidInput, sentence));
        }
        self.plain.push(listener);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listener_called_plain_has_no_tls_and_only_on_loopback() {
        let mut inherited = Inherited::default();
        let listener = |address| TcpListener::bind(address).unwrap();
        inherited.keep(listener("127.0.0.1:0"), PLAIN).unwrap();
        inherited.keep(listener("127.0.0.1:0"), "sysadmd.socket").unwrap();
        assert_eq!((inherited.plain.len(), inherited.secure.len()), (1, 1));
        let refused = inherited.keep(listener("0.0.0.0:0"), PLAIN).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert_eq!(inherited.plain.len(), 1);
    }
}
