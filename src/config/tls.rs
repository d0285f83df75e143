//! `[tls]`

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ConfigError;

/// `[tls]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM: the daemon's certificate, then those that lead to its authority.
    pub certificate: Option<PathBuf>,
    /// PEM: the certificate's private key.
    pub key: Option<PathBuf>,
    /// PEM: authorities whose certificates clients may show.
    pub client_ca: Option<PathBuf>,
}

/// Where the TLS certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: authorities whose certificates clients may show; `None`: no client is asked for one.
    pub client_ca: Option<PathBuf>,
    /// Whether a pair is made when neither file is there: only in the daemon's own directory.
    pub make: bool,
}

impl Tls {
    /// Completes the settings; the daemon's own pair lies in `state_dir`.
    pub(super) fn complete(self, state_dir: &Path) -> Result<TlsFiles, ConfigError> {
        let Self { certificate, key, client_ca } = self;
        let own = state_dir.join("tls");
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                Ok(TlsFiles { certificate, key, client_ca, make: false })
            }
            (None, None) => Ok(TlsFiles {
                certificate: own.join("cert.pem"),
                key: own.join("key.pem"),
                client_ca,
                make: true,
            }),
            _ => Err(ConfigError(
                "tls.certificate and tls.key belong together: set both, or neither for a pair \
                 that the daemon makes itself"
                    .to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(text: &str) -> Result<TlsFiles, ConfigError> {
        toml::from_str::<Tls>(text).unwrap().complete(Path::new("/s"))
    }

    #[test]
    fn the_pair_is_made_only_where_none_is_named() {
        let own = complete("").unwrap();
        assert_eq!(own.certificate, Path::new("/s/tls/cert.pem"));
        assert_eq!((own.key, own.make), (PathBuf::from("/s/tls/key.pem"), true));
        let named = complete("certificate = '/c'\nkey = '/k'\nclient_ca = '/a'").unwrap();
        assert_eq!(named.client_ca, Some(PathBuf::from("/a")));
        assert!(!named.make);
    }

    #[test]
    fn half_a_pair_is_refused() {
        for half in ["certificate = '/c'", "key = '/k'"] {
            let refusal = complete(half).unwrap_err().to_string();
            assert!(refusal.contains("tls.certificate") && refusal.contains("both"), "{refusal}");
        }
    }
}
