//! What decides who somebody is.

use protocol::{Role, Time};
use serde_json::Value;
use sysadmd::access::pam::Verdict;
use sysadmd::access::{Allowance, Peer, Rights, Scope, Wish, resource_of};
use sysadmd::certificate::{Facts, Validity};
use sysadmd::fuzzing::{self, verdict_in};

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

/// Arguments on their way into the audit trail.
pub fn redact(data: &[u8]) {
    let Ok(args) = serde_json::from_slice::<Value>(data) else { return };
    let kept = fuzzing::redact(&args, &["pin".to_owned()]);
    let text = kept.to_string();
    assert!(text.len() <= 4096, "{} bytes are kept", text.len());
    assert!(!text.contains("sad_"), "a token is kept: {text}");
    check_secrets(&kept);
    // Twice is once, and what was cut is cut.
    assert!(fuzzing::redact(&kept, &["pin".to_owned()]).to_string().len() <= 4096);
}

fn check_secrets(kept: &Value) {
    match kept {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            let name = name.to_lowercase();
            if ["password", "token", "secret", "private"].iter().any(|word| name.contains(word)) {
                assert!(value.is_null() || value == "[redacted]", "{name} is kept: {value}");
            }
            check_secrets(value);
        }),
        Value::Array(parts) => parts.iter().for_each(check_secrets),
        _ => {}
    }
}

/// What a call is about, by its arguments.
pub fn resource(data: &[u8]) {
    let Ok(args) = serde_json::from_slice::<Value>(data) else { return };
    let template = "/datasets/{dataset}/snapshots/{snap}";
    let Some(resource) = resource_of(Some(template), &args) else { return };
    let (dataset, snap) = (args["dataset"].as_str().unwrap(), args["snap"].as_str().unwrap());
    assert_eq!(resource, format!("/datasets/{dataset}/snapshots/{snap}"));
    assert!(resource.split('/').all(|part| !matches!(part, "." | "..")), "{resource} climbs");
}

/// What a token is confined to.
pub fn scope(data: &[u8]) {
    let Ok(scope) = serde_json::from_slice::<Scope>(data) else { return };
    let json = serde_json::to_string(&scope).unwrap();
    assert_eq!(serde_json::from_str::<Scope>(&json).unwrap(), scope);
    let peers = ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"];
    let peers = peers.map(|address| Peer::Net(address.parse().unwrap()));
    assert_eq!(scope.accepts(peers[0]), scope.accepts(peers[1]), "one address, written twice");
    if scope.check().is_err() {
        return;
    }
    let accepts = |peer| scope.sources.is_none() || scope.accepts(peer);
    assert!(scope.sources.is_some() || peers.into_iter().all(accepts));
    let Some(allowance) = scope.allowance() else { return };
    let admin = Allowance { level: Some(Role::Admin), grants: Vec::new() };
    let rights = Rights::new([admin, allowance]);
    let wish = Wish { method: "rpc/x", action: None, least: Role::Viewer, resource: None };
    let named = scope.methods.as_ref().is_none_or(|methods| {
        methods.iter().any(|pattern| matches!(pattern.as_str(), "*" | "rpc/*" | "rpc/x"))
    });
    assert_eq!(rights.may_call(&wish), named && scope.resources.is_none());
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

/// The files of a certificate and its key, one behind the other.
pub fn pem_files(data: &[u8]) {
    let middle = data.windows(2).position(|two| two == b"\n\n").unwrap_or(data.len());
    let (certificate, key) = data.split_at(middle);
    for (told, text) in fuzzing::pem_files(certificate, key).into_iter().zip([certificate, key]) {
        match told {
            Ok(found) => assert!(found >= 1 && found <= text.len() / 20, "{found}"),
            // It may be a key that stands there.
            Err(sentence) => {
                assert!(sentence.len() < 200 && !sentence.contains('\n'), "{sentence}");
            }
        }
    }
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
