//! `[sinks.NAME]`: where events are delivered to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use hyper::Uri;
use protocol::{Filter, Priority};
use serde::Deserialize;

use super::ConfigError;

/// Sinks of one daemon: each has a task of its own and about a mebibyte.
const SINKS_MAX: usize = 64;

/// `[sinks.NAME]`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Where events are sent to, `https://…` or `http://…`. It may hold a secret: it is shown nowhere.
    pub url: String,
    /// Class patterns, of which one must cover the event's class; none: all classes.
    #[serde(default)]
    pub classes: Vec<String>,
    /// The least priority that is delivered.
    #[serde(default)]
    pub min_priority: Priority,
    /// The subject, or with a trailing `*` what it begins with.
    #[serde(default)]
    pub subject: Option<String>,
    /// Who said it: `sysadmd`, a plugin's id or `client`.
    #[serde(default)]
    pub source: Option<String>,
    /// A text that the message contains, in any case.
    #[serde(default)]
    pub text: Option<String>,
    /// How events are put into requests.
    #[serde(default)]
    pub mode: SinkMode,
    /// The most events of one request in mode `batch`; 1 to 500.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Where a sink begins that was never there before.
    #[serde(default)]
    pub from: SinkStart,
    /// Whether the sink is asked for its consent before anything is sent, as senders of webhooks do
    /// (<https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md>).
    #[serde(default)]
    pub handshake: bool,
    /// A file that holds the token to be sent as `Authorization: Bearer`; read for each request.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// PEM: the authorities by which the sink's certificate is judged; not set: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Seconds a delivery may take; 1 to 300.
    #[serde(default = "default_timeout")]
    pub timeout_s: u64,
    /// The longest wait between two tries, in seconds; 1 to 3,600.
    #[serde(default = "default_retry_max")]
    pub retry_max_s: u64,
    /// Tries of an event that the sink refuses, before it is given up; 1 to 100.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
}

/// How events are put into requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkMode {
    /// One event a request, all of it in JSON.
    #[default]
    Structured,
    /// One event a request, its attributes as headers.
    Binary,
    /// Several events a request, as a JSON array.
    Batch,
}

/// Where a new sink begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkStart {
    /// With the next event.
    #[default]
    Now,
    /// With the oldest event the log holds.
    Oldest,
}

const fn default_batch() -> usize {
    100
}

const fn default_timeout() -> u64 {
    10
}

const fn default_retry_max() -> u64 {
    300
}

const fn default_attempts() -> u32 {
    5
}

impl SinkMode {
    /// As the configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Structured => "structured",
            Self::Binary => "binary",
            Self::Batch => "batch",
        }
    }
}

// Written by hand so that the rest of the URL never gets into a message.
impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { classes, mode, .. } = self;
        let place = self.place();
        f.debug_struct("Sink")
            .field("place", &place)
            .field("classes", classes)
            .field("mode", mode)
            .finish_non_exhaustive()
    }
}

impl Sink {
    /// Which events it gets.
    pub fn filter(&self) -> Filter {
        Filter {
            classes: self.classes.clone(),
            min_priority: self.min_priority,
            subject: self.subject.clone(),
            source: self.source.clone(),
            text: self.text.clone(),
        }
    }

    /// Scheme, host and port: what may be shown of where it is.
    pub fn place(&self) -> String {
        let uri: Option<Uri> = self.url.parse().ok();
        uri.and_then(|uri| {
            let host = uri.authority()?.as_str();
            Some(format!("{}://{host}", uri.scheme_str()?))
        })
        .unwrap_or_default()
    }
}

/// The sinks, if they are legal.
pub(super) fn checked(
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
    check_url(sink)?;
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
    let is_here = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if scheme == "http" && sink.token_file.is_some() && !is_here {
        return Err(
            ".token_file needs https://: the token would cross the network in the clear".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, File, Overrides, Runner};
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let root = Runner { is_root: true, state_home: None };
        File::parse(text, Path::new("sysadmd.toml"))?.complete(Overrides::default(), &root)
    }

    #[test]
    fn a_sink_needs_no_more_than_its_url() {
        let config =
            read("[sinks.archive]\nurl = \"https://hooks.example/in?key=secret\"").unwrap();
        let sink = &config.sinks["archive"];
        assert_eq!((sink.mode, sink.from, sink.batch), (SinkMode::Structured, SinkStart::Now, 100));
        assert_eq!(sink.place(), "https://hooks.example");
        assert!(!format!("{config:?}").contains("secret"), "its URL is never printed");
    }

    #[test]
    fn what_cannot_be_a_sink_is_refused_by_name_and_without_its_secret() {
        for (text, named) in [
            ("[sinks.a]", "url"),
            ("[sinks.a]\nurl = \"secret\"", "url must begin"),
            ("[sinks.a]\nurl = \"ftp://secret\"", "url must begin"),
            ("[sinks.a]\nurl = \"https://u:secret@h\"", "token_file"),
            ("[sinks.a]\nurl = \"http://h/secret\"\ntoken_file = \"/t\"", "clear"),
            ("[sinks.a]\nurl = \"https://h\"\nbatch = 0", "batch"),
            ("[sinks.a]\nurl = \"https://h\"\ntimeout_s = 301", "timeout_s"),
            ("[sinks.a]\nurl = \"https://h\"\nretry_max_s = 0", "retry_max_s"),
            ("[sinks.a]\nurl = \"https://h\"\nattempts = 0", "attempts"),
            ("[sinks.a]\nurl = \"https://h\"\nmin_priority = 11", "priority"),
            ("[sinks.a]\nurl = \"https://h\"\nmode = \"all\"", "structured"),
            ("[sinks.a]\nurl = \"https://h\"\nclass = []", "`classes`?"),
            ("[sinks.\"A b\"]\nurl = \"https://h\"", "lower-case"),
        ] {
            let refusal = read(text).unwrap_err().to_string();
            assert!(refusal.contains(named), "{text}: {refusal}");
        }
        let refusal = read("[sinks.a]\nurl = \"https://u:secret@h\"").unwrap_err().to_string();
        assert!(!refusal.contains("secret"), "{refusal}");
        let here = "[sinks.a]\nurl = \"http://127.0.0.1:80/x\"\ntoken_file = \"/t\"";
        assert!(read(here).is_ok());
    }
}
