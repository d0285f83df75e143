//! Which sinks are legal.

use std::collections::BTreeMap;

use hyper::Uri;
use protocol::Class;

use super::super::ConfigError;
use super::{Sink, SinkAlerts, SinkKind, SinkMode};
use crate::loopback::is_loopback;

/// Sinks of one daemon: each has a task of its own and about a mebibyte.
const SINKS_MAX: usize = 64;
/// Recipients of one sink, and the bytes of the longest address (RFC 5321, 4.5.3.1.3).
const RECIPIENTS_MAX: usize = 32;
const ADDRESS_BYTES_MAX: usize = 254;
/// Words of a command, and the bytes of all of them.
const WORDS_MAX: usize = 256;
const WORDS_BYTES_MAX: usize = 64 * 1024;

/// The sinks, if they are legal.
pub(in super::super) fn checked(
    sinks: BTreeMap<String, Sink>,
) -> Result<BTreeMap<String, Sink>, ConfigError> {
    if sinks.len() > SINKS_MAX {
        return Err(ConfigError(format!("there are more than {SINKS_MAX} sinks")));
    }
    for (name, sink) in &sinks {
        check(name, sink).map_err(|why| ConfigError(format!("sinks.{name}{why}")))?;
    }
    Ok(sinks)
}

fn check(name: &str, sink: &Sink) -> Result<(), String> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > 32 || !name.bytes().all(legal) {
        return Err(": a name has 1 to 32 lower-case letters, digits and -".to_owned());
    }
    check_keys(sink)?;
    if sink.kind.is_http() {
        check_url(sink)?;
    }
    sink.to.iter().chain(&sink.sender).try_for_each(|address| check_address(address))?;
    check_program(sink)?;
    check_patterns(sink)?;
    sink.filter().check().map_err(|why| format!(": {why}"))?;
    let ranges = [
        ("batch", sink.batch as u64, 1, 500),
        ("timeout_s", sink.timeout_s, 1, 300),
        ("retry_max_s", sink.retry_max_s, 1, 3_600),
        ("attempts", sink.attempts.into(), 1, 100),
    ];
    match ranges.iter().find(|(_, value, least, most)| !(*least..=*most).contains(value)) {
        Some((key, value, least, most)) => {
            Err(format!(".{key} is {value}: it must be between {least} and {most}"))
        }
        None => Ok(()),
    }
}

/// What a kind of sink must have, and what it has no use for.
fn check_keys(sink: &Sink) -> Result<(), String> {
    use SinkKind::{CloudEvents, Command, Mail, Ntfy, Webhook};
    let http: &[SinkKind] = &[CloudEvents, Webhook, Ntfy];
    let kind = sink.kind;
    let needed = [
        ("url", http, sink.url.is_empty()),
        ("to", &[Mail], sink.to.is_empty()),
        ("command", &[Command], sink.command.is_empty()),
    ];
    if let Some((key, ..)) =
        needed.iter().find(|(_, kinds, missing)| *missing && kinds.contains(&kind))
    {
        return Err(format!(".{key} is missing"));
    }
    let only = [
        ("url", http, !sink.url.is_empty()),
        ("token_file", http, sink.token_file.is_some()),
        ("ca_file", http, sink.ca_file.is_some()),
        ("mode", &[CloudEvents], sink.mode != SinkMode::default()),
        ("handshake", &[CloudEvents], sink.handshake),
        ("alerts", &[CloudEvents], sink.alerts != SinkAlerts::default()),
        ("to", &[Mail], !sink.to.is_empty()),
        ("sender", &[Mail], sink.sender.is_some()),
        ("sendmail", &[Mail], sink.sendmail != super::default_sendmail()),
        ("command", &[Command], !sink.command.is_empty()),
    ];
    match only.iter().find(|(_, kinds, given)| *given && !kinds.contains(&kind)) {
        Some((key, ..)) => Err(format!(".{key} is nothing for a sink of kind {}", kind.as_str())),
        None if kind == CloudEvents && !sink.recoveries => {
            Err(".recoveries is nothing for a sink of kind cloudevents: use classes".to_owned())
        }
        None => Ok(()),
    }
}

/// An address becomes an argument and a header: nothing in it may be taken for something else.
fn check_address(address: &str) -> Result<(), String> {
    let legal = |b: u8| b.is_ascii_graphic() && !b"<>()[],;:\"\\".contains(&b);
    let is_one = !address.is_empty()
        && address.len() <= ADDRESS_BYTES_MAX
        && address.bytes().all(legal)
        && !address.starts_with(['-', '@', '|', '/'])
        && !address.ends_with('@')
        && address.matches('@').count() <= 1;
    if is_one {
        return Ok(());
    }
    Err(format!(": {address:?} is no address such as admin@example.org or root"))
}

fn check_program(sink: &Sink) -> Result<(), String> {
    if sink.to.len() > RECIPIENTS_MAX {
        return Err(format!(".to has more than {RECIPIENTS_MAX} addresses"));
    }
    if !sink.sendmail.is_absolute() {
        return Err(".sendmail must be an absolute path".to_owned());
    }
    let words = &sink.command;
    if words.first().is_some_and(|program| !program.starts_with('/')) {
        return Err(".command must begin with the absolute path of a program".to_owned());
    }
    let bytes: usize = words.iter().map(String::len).sum();
    if words.len() > WORDS_MAX || bytes > WORDS_BYTES_MAX {
        return Err(format!(".command has more than {WORDS_MAX} words or {WORDS_BYTES_MAX} bytes"));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(".command holds a NUL".to_owned());
    }
    Ok(())
}

fn check_patterns(sink: &Sink) -> Result<(), String> {
    let is_pattern = |pattern: &&String| {
        *pattern == "*" || Class::parse(pattern.strip_suffix(".*").unwrap_or(pattern)).is_ok()
    };
    match sink.min_priority_of.keys().find(|pattern| !is_pattern(pattern)) {
        Some(pattern) => Err(format!(
            ".min_priority_of: {pattern:?} is no class such as \"system.disk-full\" or \"system.*\""
        )),
        None => Ok(()),
    }
}

/// The sentences do not repeat the URL: it may hold a secret.
fn check_url(sink: &Sink) -> Result<(), String> {
    let uri: Uri = sink.url.parse().map_err(|error| format!(".url is no URL: {error}"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(".url must begin with https:// or http://".to_owned());
    };
    if !matches!(scheme, "https" | "http") {
        return Err(".url must begin with https:// or http://".to_owned());
    }
    if authority.as_str().contains('@') {
        return Err(".url must hold no user and password: use token_file".to_owned());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_here = is_loopback(host);
    if sink.kind == SinkKind::Ntfy && sink.topic().is_none() {
        return Err(".url must end with /TOPIC, of letters, digits, - and _".to_owned());
    }
    if scheme == "http" && sink.token_file.is_some() && !is_here {
        return Err(
            ".token_file needs https://: the token would cross the network in the clear".to_owned()
        );
    }
    Ok(())
}
