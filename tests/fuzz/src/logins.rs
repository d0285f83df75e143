//! What decides who somebody is.

use protocol::Time;
use sysadmd::access::pam::Verdict;
use sysadmd::certificate::{Facts, Validity};
use sysadmd::fuzzing::verdict_in;

// The helper is a program of its own, without a library.
#[allow(dead_code, reason = "the helper uses what a target does not")]
#[path = "../../../plugins/pam-helper/src/request.rs"]
mod request;

use request::Request;

/// The question to the helper that asks PAM.
pub fn pam_question(data: &[u8]) {
    let Ok(request) = Request::parse(data) else { return };
    let source = request.source.as_ref().map_or(&b""[..], |source| source.as_bytes());
    let fields =
        [request.service.as_bytes(), request.user.as_bytes(), request.password.to_bytes(), source];
    let again: Vec<u8> = fields.iter().flat_map(|field| [field, &b"\0"[..]].concat()).collect();
    assert_eq!(again, data, "nothing is left out and nothing is read twice");
    assert!(!fields[0].contains(&b'/') && !fields[1].starts_with(b"-"));
    assert!((1..=511).contains(&fields[2].len()));
}

/// A certificate that a client shows.
pub fn certificate(data: &[u8]) {
    let Ok(facts) = Facts::read(data) else { return };
    assert_eq!(facts.fingerprint.len(), 64);
    if let Some(name) = &facts.name {
        assert!((1..=64).contains(&name.chars().count()) && !name.contains(char::is_control));
    }
    let (before, after) = (facts.not_before, facts.not_after);
    if before <= after {
        assert!(!matches!(facts.validity(after), Validity::Early | Validity::Over));
    }
    let micros = after.micros().saturating_add(1);
    assert!(micros > after.micros() && facts.validity(Time::from_micros(micros)) != Validity::Good);
}

/// The helper's answer.
pub fn pam_answer(data: &[u8]) {
    match verdict_in(data) {
        Verdict::Ok | Verdict::Denied | Verdict::Busy => {}
        Verdict::Expired(text) | Verdict::Unavailable(text) => {
            assert!(!text.contains(char::is_control) && text.chars().count() <= 300);
        }
    }
}
