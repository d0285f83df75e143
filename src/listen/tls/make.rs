//! The daemon's own certificate, made once and kept.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::TlsFiles;

/// Whether a pair can be made: nothing is there, or a key whose certificate was still to be made when
/// the daemon ended.
pub(super) fn is_possible(files: &TlsFiles) -> bool {
    !files.certificate.exists() && (!files.key.exists() || key(&files.key).is_ok())
}

/// Makes a pair. Self-signed, because `SysAdm` clients refuse unknown authorities and accept
/// nothing else.
pub(super) fn pair(files: &TlsFiles, hostname: &str) -> io::Result<()> {
    if let Some(dir) = files.certificate.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !hostname.is_empty() && hostname != "localhost" {
        names.push(hostname.to_owned());
    }
    let mut params = rcgen::CertificateParams::new(names).map_err(io::Error::other)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "SysAdm");
    if !files.key.exists() {
        let made = rcgen::KeyPair::generate().map_err(io::Error::other)?;
        put(&files.key, &made.serialize_pem(), 0o600)?;
    }
    let made = params.self_signed(&key(&files.key)?).map_err(io::Error::other)?;
    put(&files.certificate, &made.pem(), 0o644)
}

fn key(path: &Path) -> io::Result<rcgen::KeyPair> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    rcgen::KeyPair::from_pem(&text).map_err(io::Error::other)
}

/// Puts a file where none is, all of it or nothing of it, whenever the machine stops.
fn put(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_was_cut_off_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join("tls").join(name);
        let (certificate, key) = (at("cert.pem"), at("key.pem"));
        let files = TlsFiles { certificate, key, client_ca: None, make: true };
        assert!(is_possible(&files));
        pair(&files, "nas").unwrap();
        assert!(!is_possible(&files), "a pair is never replaced");
        let kept = fs::read_to_string(&files.key).unwrap();
        // It ended before the certificate was there, within the writing of it.
        fs::rename(&files.certificate, at("cert.new")).unwrap();
        assert!(is_possible(&files));
        pair(&files, "nas").unwrap();
        assert_eq!(fs::read_to_string(&files.key).unwrap(), kept);
        super::super::Pair::load(&files).expect("they belong together");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&files.key), mode(&files.certificate)), (0o600, 0o644));
    }
}
