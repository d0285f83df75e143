//! The daemon's own certificate, made once and kept.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::config::TlsFiles;

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
    let pair = rcgen::KeyPair::generate().map_err(io::Error::other)?;
    let made = params.self_signed(&pair).map_err(io::Error::other)?;
    write_new(&files.key, &pair.serialize_pem(), 0o600)?;
    write_new(&files.certificate, &made.pem(), 0o644)
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
