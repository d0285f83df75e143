//! Which web pages may reach the daemon through somebody's browser: pure.
//!
//! A browser attaches stored credentials and client certificates to what a foreign page asks for,
//! and a name under somebody else's control may lead to this machine (DNS rebinding). So whatever
//! a page sends must come from a page of ours: its origin is the host it speaks to, by a name that
//! is this machine's; or it is on the administrator's list. What no page sends (a program sets no
//! `Origin`, the original client `sysadm-client`) is none of this rule's business.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, ORIGIN};
use protocol::{Fault, FaultKind};

/// By its values a browser says where a request comes from (<https://www.w3.org/TR/fetch-metadata/>).
const FETCH_SITE: &str = "sec-fetch-site";

/// What a header counts as that is no visible ASCII: nobody's own.
const UNREADABLE: &str = "?";

/// The rule.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// Origins of the administrator's list.
    origins: Vec<String>,
    /// Names of this machine.
    hosts: Vec<String>,
}

impl Pages {
    /// Names are compared without regard to case.
    pub fn new(origins: &[String], hosts: impl IntoIterator<Item = String>) -> Self {
        let lower = |text: String| text.trim_end_matches('/').to_lowercase();
        Self {
            origins: origins.iter().cloned().map(lower).collect(),
            hosts: hosts.into_iter().map(lower).collect(),
        }
    }

    /// Whether a request with these headers may be looked at.
    ///
    /// # Errors
    /// `forbidden`, with the check that failed and the key of the configuration that decides it.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Fault> {
        let text = |name: &str| {
            let value = headers.get(name)?;
            Some(value.to_str().unwrap_or(UNREADABLE).to_lowercase())
        };
        if headers.get_all(ORIGIN).iter().count() > 1 || headers.get_all(HOST).iter().count() > 1 {
            return Err(Fault::bad_request("a request has one Origin and one Host at most"));
        }
        let host = text(HOST.as_str()).unwrap_or_default();
        match text(ORIGIN.as_str()) {
            Some(origin) if matches!(&*origin, "null" | UNREADABLE) => Err(foreign(&origin, &host)),
            Some(origin) if origin.contains("://") => self.check_page(&origin, &host),
            // A program, or a page that only navigates or loads a picture.
            _ => match text(FETCH_SITE).as_deref() {
                None | Some("same-origin" | "none") => Ok(()),
                Some(_) => Err(foreign("of another site", &host)),
            },
        }
    }

    fn check_page(&self, origin: &str, host: &str) -> Result<(), Fault> {
        if self.origins.iter().any(|listed| listed == origin) {
            return Ok(());
        }
        let own = origin.split_once("://").is_some_and(|(scheme, at)| {
            matches!(scheme, "http" | "https")
                && without_port(at, scheme) == without_port(host, scheme)
        });
        if !own {
            return Err(foreign(origin, host));
        }
        if self.is_our_name(name_of(host)) {
            return Ok(());
        }
        let name = name_of(host);
        let sentence = format!("{name:?} is not known as a name of this machine");
        Err(Fault::new(FaultKind::Forbidden, sentence)
            .with_hint(format!("if it is one, add it to access.hosts: hosts = [{name:?}]")))
    }

    /// An address leads to this machine whatever a name server says.
    fn is_our_name(&self, name: &str) -> bool {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || self.hosts.iter().any(|host| host == name)
    }
}

fn foreign(origin: &str, host: &str) -> Fault {
    let sentence = format!("the page's origin {origin} is not the host {host} that it speaks to");
    Fault::new(FaultKind::Forbidden, sentence).with_hint(
        "if the page may act for its user here, add its origin to access.origins; \
         behind a proxy, have it pass on Host",
    )
}

/// A host as it is written without the port its scheme has anyway.
fn without_port<'a>(host: &'a str, scheme: &str) -> &'a str {
    host.strip_suffix(if scheme == "https" { ":443" } else { ":80" }).unwrap_or(host)
}

/// The name without a port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(headers: &[(&'static str, &str)]) -> bool {
        let pages = Pages::new(
            &["https://console.example".to_owned()],
            ["nas".to_owned(), "NAS.example".to_owned()],
        );
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        pages.check(&map).is_ok()
    }

    #[test]
    fn programs_are_not_pages() {
        assert!(verdict(&[]));
        assert!(verdict(&[("host", "whatever:12150")]));
        assert!(verdict(&[("host", "whatever"), ("origin", "sysadm-client")]));
    }

    #[test]
    fn a_page_speaks_to_its_own_host_by_a_name_of_ours() {
        for host in ["nas:12150", "nas.example", "127.0.0.1:12150", "[::1]:12150", "localhost:1"] {
            let origin = format!("https://{host}");
            assert!(verdict(&[("host", host), ("origin", &origin)]), "{host}");
        }
        for (host, origin) in [
            ("nas:12150", "https://evil.example"),
            ("nas:12150", "https://nas"),
            ("nas:12150", "https://nas:12151"),
            ("rebound.example", "https://rebound.example"),
            ("nas", "null"),
            ("nas", "file://nas"),
            ("", "https://"),
        ] {
            assert!(!verdict(&[("host", host), ("origin", origin)]), "{origin} at {host}");
        }
        assert!(verdict(&[("host", "nas"), ("origin", "https://console.example")]));
        assert!(verdict(&[("host", "nas:443"), ("origin", "https://nas")]));
    }

    #[test]
    fn an_origin_that_cannot_be_read_is_nobodys() {
        let mut map = HeaderMap::new();
        let origin = hyper::header::HeaderValue::from_bytes(b"https://n\xffs").unwrap();
        map.insert(ORIGIN, origin);
        assert!(Pages::default().check(&map).is_err());
    }

    #[test]
    fn what_a_browser_does_for_another_site_without_an_origin_is_seen() {
        for (site, fits) in [("same-origin", true), ("none", true), ("cross-site", false)] {
            assert_eq!(verdict(&[("host", "nas"), ("sec-fetch-site", site)]), fits, "{site}");
        }
        assert!(!verdict(&[("host", "nas"), ("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn two_of_one_header_are_refused() {
        assert!(!verdict(&[
            ("origin", "https://nas"),
            ("origin", "https://evil"),
            ("host", "nas")
        ]));
        assert!(!verdict(&[("host", "nas"), ("host", "evil"), ("origin", "https://nas")]));
    }
}
