//! Floor 0: which hosts are this machine itself.
//!
//! It knows addresses. It must not know who asks: the configuration and the command line do, before
//! a secret goes out without TLS.

use std::net::IpAddr;

/// Whether a host, as an address has it (without brackets), can only be this machine: what is sent
/// there crosses no network.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_elsewhere_is_here() {
        for here in ["localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in
            ["", "0.0.0.0", "::", "192.0.2.1", "localhost.example", "127.0.0.1.example", "[::1]"]
        {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
