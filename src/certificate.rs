//! Ground: what an X.509 certificate says of itself, and who showed one.
//!
//! It knows the bytes of a certificate and nothing else: no file, no socket, no clock. The floors
//! above and the command line read certificates here.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use protocol::Time;
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// `commonName` (RFC 4519 §2.3).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// Letters of a common name at most (`ub-common-name` of RFC 5280).
const COMMON_NAME_MAX: usize = 64;
/// A certificate is about to expire this long before it does.
const SOON: Duration = Duration::from_hours(14 * 24);

/// What a certificate says of itself. Nothing here is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// SHA-256 of the certificate in 64 hexadecimal digits: what clients pin.
    pub fingerprint: String,
    /// Good from here on.
    pub not_before: Time,
    /// Good up to here, inclusively.
    pub not_after: Time,
    /// The subject's common name. `None` when there is none, more than one, or one that is longer
    /// than RFC 5280 allows or not printable: such a name must not stand for anybody.
    pub name: Option<String>,
    /// The subject's alternative names that are DNS names or IP addresses.
    pub names: Vec<String>,
}

/// How a certificate stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Not good yet.
    Early,
    /// Good.
    Good,
    /// Good, but to be renewed: it ends within 14 days, or within a third of its life where that
    /// is shorter.
    Ending,
    /// Not good any more.
    Over,
}

/// The certificate a client has shown and a configured authority has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The subject's common name; empty when no name can stand for the client ([`Facts::name`]).
    pub name: String,
    /// SHA-256 of the certificate in hexadecimal digits.
    pub fingerprint: String,
    /// Until when it stands for the client.
    pub not_after: Time,
}

/// The bytes are no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no X.509 certificate: {0}")]
pub struct NotACertificate(String);

impl Facts {
    /// Reads a certificate in DER form.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn read(der: &[u8]) -> Result<Self, NotACertificate> {
        let read =
            Certificate::from_der(der).map_err(|error| NotACertificate(error.to_string()))?;
        let certificate = read.tbs_certificate();
        let validity = certificate.validity();
        let alternative = certificate.get_extension::<SubjectAltName>();
        let (_, SubjectAltName(names)) =
            alternative.map_err(|error| NotACertificate(error.to_string()))?.unwrap_or_default();
        Ok(Self {
            fingerprint: fingerprint(der),
            not_before: time(validity.not_before),
            not_after: time(validity.not_after),
            name: common_name(certificate.subject()),
            names: names.iter().filter_map(text).collect(),
        })
    }

    /// How it stands at this moment.
    pub fn validity(&self, now: Time) -> Validity {
        let life = self.not_after.micros().saturating_sub(self.not_before.micros());
        let soon = u64::try_from(SOON.as_micros()).unwrap_or(u64::MAX).min(life / 3);
        if now < self.not_before {
            Validity::Early
        } else if now > self.not_after {
            Validity::Over
        } else if self.not_after.micros() - now.micros() < soon {
            Validity::Ending
        } else {
            Validity::Good
        }
    }
}

impl From<Facts> for PeerCertificate {
    fn from(facts: Facts) -> Self {
        let Facts { fingerprint, not_after, .. } = facts;
        Self { name: facts.name.unwrap_or_default(), fingerprint, not_after }
    }
}

/// SHA-256 of a certificate in DER form, in 64 hexadecimal digits.
pub fn fingerprint(der: &[u8]) -> String {
    Sha256::digest(der).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn time(time: x509_cert::time::Time) -> Time {
    let micros = time.to_unix_duration().as_micros();
    Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

fn common_name(subject: &x509_cert::name::Name) -> Option<String> {
    let mut found = subject.iter().filter(|part| part.oid == COMMON_NAME);
    let (only, None) = (found.next()?, found.next()) else { return None };
    let name = DirectoryString::try_from(&only.value).ok()?.value().into_owned();
    let is_name = (1..=COMMON_NAME_MAX).contains(&name.chars().count())
        && !name.chars().any(char::is_control);
    is_name.then_some(name)
}

fn text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(octets) => ip(octets.as_bytes()).map(|ip| ip.to_string()),
        _ => None,
    }
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(octets).map(|octets| Ipv4Addr::from(octets).into());
    four.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| Ipv6Addr::from(octets).into())).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn made(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn named(name: &str) -> Vec<u8> {
        made(&[], |params| params.distinguished_name.push(DnType::CommonName, name))
    }

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn a_certificate_is_read() {
        let der = made(&["nas.lan", "10.0.0.7", "fd00::7"], |params| {
            params.distinguished_name.push(DnType::CommonName, "nas");
            params.not_before = date_time_ymd(2026, 1, 1);
            params.not_after = date_time_ymd(2060, 3, 1);
        });
        let facts = Facts::read(&der).unwrap();
        assert_eq!(facts.name.as_deref(), Some("nas"));
        assert_eq!(facts.names, ["nas.lan", "10.0.0.7", "fd00::7"]);
        assert_eq!(facts.not_before, at("2026-01-01T00:00:00Z"));
        assert_eq!(facts.not_after, at("2060-03-01T00:00:00Z"));
        assert_eq!(facts.fingerprint, fingerprint(&der));
        assert_eq!(fingerprint(b"").get(..8), Some("e3b0c442"));
    }

    #[test]
    fn a_name_that_could_deceive_stands_for_nobody() {
        let name = |der: &[u8]| Facts::read(der).unwrap().name;
        assert_eq!(name(&named("Jörg at home")).as_deref(), Some("Jörg at home"));
        assert_eq!(name(&named("root\nadmin")), None);
        assert_eq!(name(&named("")), None);
        assert_eq!(name(&named(&"a".repeat(65))), None);
        let two = made(&[], |params| {
            params.distinguished_name.push(DnType::CommonName, "viewer");
            let again = DnType::CustomDnType(vec![2, 5, 4, 3]);
            params.distinguished_name.push(again, "admin");
        });
        assert_eq!(name(&two), None);
        let peer = PeerCertificate::from(Facts::read(&two).unwrap());
        assert_eq!((peer.name.as_str(), peer.fingerprint.len()), ("", 64));
    }

    #[test]
    fn the_end_is_announced_in_time() {
        let lasting = |year, month, day| {
            let der = made(&[], |params| {
                params.not_before = date_time_ymd(2026, 1, 1);
                params.not_after = date_time_ymd(year, month, day);
            });
            Facts::read(&der).unwrap()
        };
        let year = lasting(2027, 1, 1);
        assert_eq!(year.validity(at("2025-12-31T23:59:59Z")), Validity::Early);
        assert_eq!(year.validity(at("2026-01-01T00:00:00Z")), Validity::Good);
        assert_eq!(year.validity(at("2026-12-17T23:59:00Z")), Validity::Good);
        assert_eq!(year.validity(at("2026-12-18T00:01:00Z")), Validity::Ending);
        assert_eq!(year.validity(at("2027-01-01T00:00:00Z")), Validity::Ending);
        assert_eq!(year.validity(at("2027-01-01T00:00:01Z")), Validity::Over);
        let week = lasting(2026, 1, 7);
        assert_eq!(week.validity(at("2026-01-04T23:00:00Z")), Validity::Good);
        assert_eq!(week.validity(at("2026-01-05T01:00:00Z")), Validity::Ending);
    }

    proptest! {
        #[test]
        fn whatever_is_no_certificate_is_refused_in_peace(
            place in 0usize..400,
            bit in 0u8..8,
            kept in 0usize..400,
        ) {
            let mut der = named("nas");
            if let Some(byte) = der.get_mut(place) {
                *byte ^= 1 << bit;
            }
            der.truncate(kept.max(1));
            drop(Facts::read(&der));
        }
    }
}
