//! The certificate in its file, and whether it is the one that is served.

use std::fs;
use std::path::Path;

use protocol::Time;
use rustls::InconsistentKeys;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::Finding;
use super::place::Place;
use crate::certificate::{Facts, Validity};

const FILE: &str = "certificate";
const DATES: &str = "certificate-dates";
const NAMES: &str = "certificate-name";
const PAIR: &str = "certificate-key";
const SERVED: &str = "certificate-used";

/// The file, its dates, its names and its key.
pub(super) fn check(place: &Place, now: Time) -> Vec<Finding> {
    let der = match read(&place.certificate) {
        Ok(der) => der,
        Err(what) => {
            let mend = format!(
                "write the file again: a PEM certificate, then its chain. A pair that sysadmd made \
                 itself is made anew when both are gone: rm {} {}",
                place.certificate.display(),
                place.key.display()
            );
            return vec![Finding::problem(FILE, what, mend)];
        }
    };
    let mut findings = match Facts::read(&der) {
        Ok(facts) => {
            let file = Finding::ok(FILE, format!("{} can be read", place.certificate.display()));
            vec![file, dates(&facts, now), names(&facts, &hostname())]
        }
        Err(error) => {
            let what = format!("{}: {error}", place.certificate.display());
            vec![Finding::problem(FILE, what, "put an X.509 certificate in PEM form there")]
        }
    };
    findings.push(pair(der, &place.key));
    findings
}

/// The names this certificate says it is for, without addresses and patterns.
pub(super) fn names_in(path: &Path) -> Vec<String> {
    let facts = read(path).ok().and_then(|der| Facts::read(&der).ok());
    facts.map_or_else(Vec::new, |facts| facts.names)
}

/// This machine's name.
pub(super) fn hostname() -> String {
    nix::unistd::gethostname()
        .map_or_else(|_| String::new(), |it| it.to_string_lossy().into_owned())
}

fn read(path: &Path) -> Result<CertificateDer<'static>, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    CertificateDer::from_pem_slice(&bytes)
        .map_err(|_| format!("there is no certificate in {}", path.display()))
}

fn dates(facts: &Facts, now: Time) -> Finding {
    let renew = "renew it (tls.certificate in the configuration); a pair that sysadmd made itself \
                 is made anew when both files are gone and it is started again";
    match facts.validity(now) {
        Validity::Good => Finding::ok(DATES, format!("good until {}", facts.not_after)),
        Validity::Ending => {
            Finding::warning(DATES, format!("it ends at {}", facts.not_after), renew)
        }
        Validity::Over => {
            Finding::problem(DATES, format!("it has expired at {}", facts.not_after), renew)
        }
        Validity::Early => {
            let what =
                format!("it begins at {}, and this machine's clock says {now}", facts.not_before);
            Finding::problem(DATES, what, "set the clock (timedatectl set-ntp true), or renew it")
        }
    }
}

fn names(facts: &Facts, hostname: &str) -> Finding {
    let fits = |name: &String| {
        let name = name.to_lowercase();
        let host = hostname.to_lowercase();
        name == host
            || name.split('.').next() == Some(host.as_str())
            || name.strip_prefix('*').is_some_and(|domain| host.ends_with(domain))
    };
    if facts.names.iter().any(fits) {
        return Finding::ok(NAMES, format!("it names this host, {hostname}"));
    }
    let what = format!("it is for {}, and this host is {hostname}", facts.names.join(", "));
    let mend =
        format!("have one made that names {hostname} (subjectAltName), and set tls.certificate");
    Finding::warning(NAMES, what, mend)
}

fn pair(der: CertificateDer<'static>, key: &Path) -> Finding {
    let shown = key.display();
    let Ok(text) = fs::read(key) else {
        return Finding::unknown(PAIR, format!("{shown} cannot be read"));
    };
    let Ok(key) = PrivateKeyDer::from_pem_slice(&text) else {
        let mend = "put the PEM key without a passphrase there that was made with the certificate";
        return Finding::problem(PAIR, format!("there is no private key in {shown}"), mend);
    };
    match CertifiedKey::from_der(vec![der], key, &ring::default_provider()) {
        Ok(_) => Finding::ok(PAIR, "the key belongs to it"),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Finding::problem(
            PAIR,
            format!("the key in {shown} does not belong to the certificate"),
            "put the certificate and the key there that were made together",
        ),
        Err(error) => Finding::unknown(PAIR, format!("{shown}: {error}")),
    }
}

/// Whether the daemon serves what the file holds.
pub(super) fn served(place: &Place, fingerprint: Option<&str>) -> Finding {
    let Ok(der) = read(&place.certificate) else {
        return Finding::unknown(SERVED, "there is no file to compare it with");
    };
    let in_file = crate::certificate::fingerprint(&der);
    match fingerprint {
        Some(used) if used == in_file => Finding::ok(SERVED, "the daemon uses it"),
        None => Finding::unknown(SERVED, "the daemon does not say what it uses"),
        Some(used) => Finding::problem(
            SERVED,
            format!("the daemon uses {used}, and the file holds {in_file}"),
            "systemctl reload sysadmd; if it goes on with the old one, journalctl -u sysadmd says why",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn a_host_is_named_alone_with_a_domain_or_by_a_pattern() {
        let verdict = |names: &[&str], host: &str| {
            let facts = Facts {
                fingerprint: String::new(),
                not_before: Time::default(),
                not_after: Time::default(),
                name: None,
                names: names.iter().map(|name| (*name).to_owned()).collect(),
            };
            super::names(&facts, host).verdict
        };
        assert_eq!(verdict(&["localhost", "NAS"], "nas"), Verdict::Ok);
        assert_eq!(verdict(&["nas.example"], "nas"), Verdict::Ok);
        assert_eq!(verdict(&["*.example"], "nas.example"), Verdict::Ok);
        assert_eq!(verdict(&["nas2.example"], "nas"), Verdict::Warning);
        assert_eq!(verdict(&[], "nas"), Verdict::Warning);
    }
}
