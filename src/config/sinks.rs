//! `[sinks.NAME]`: where events are delivered to, and who is told of alerts.

mod check;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use hyper::Uri;
use protocol::{Class, Filter, Priority};
use serde::Deserialize;

pub(super) use self::check::checked;

/// The program that takes mail, by the name that every mail system has for it.
const SENDMAIL: &str = "/usr/sbin/sendmail";

/// `[sinks.NAME]`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// What it is told, and how.
    #[serde(default)]
    pub kind: SinkKind,
    /// Where it is sent to, `https://…` or `http://…`; of `ntfy` with the topic behind the last `/`.
    /// It may hold a secret: it is shown nowhere.
    #[serde(default)]
    pub url: String,
    /// Class patterns, of which one must cover the event's class, or the kind of the alert; none: all.
    #[serde(default)]
    pub classes: Vec<String>,
    /// The least priority that is delivered.
    #[serde(default)]
    pub min_priority: Priority,
    /// The same for what such a pattern covers, whatever `min_priority` says; the pattern that fits
    /// best counts.
    #[serde(default)]
    pub min_priority_of: BTreeMap<String, Priority>,
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
    /// Which events about alerts a sink of kind `cloudevents` gets.
    #[serde(default)]
    pub alerts: SinkAlerts,
    /// Whether the end of an alert is told, where alerts are.
    #[serde(default = "default_recoveries")]
    pub recoveries: bool,
    /// Of `mail`: who gets it, each `name@host` or the name of somebody here; 1 to 32.
    #[serde(default)]
    pub to: Vec<String>,
    /// Of `mail`: who it is from; not set: root on this host.
    #[serde(default)]
    pub sender: Option<String>,
    /// Of `mail`: the program that takes it as `sendmail -i ADDRESS…`.
    #[serde(default = "default_sendmail")]
    pub sendmail: PathBuf,
    /// Of `command`: the program, by its absolute path, and its arguments.
    #[serde(default)]
    pub command: Vec<String>,
}

/// What a sink is told, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// Events, posted as `CloudEvents`.
    #[default]
    CloudEvents,
    /// Alerts, posted as JSON.
    Webhook,
    /// Alerts, by mail.
    Mail,
    /// Alerts, published to a topic of ntfy.
    Ntfy,
    /// Alerts, to a program as JSON on its standard input.
    Command,
    /// Alerts, to systemd's journal.
    Journal,
    /// Alerts, to the system log.
    Syslog,
}

/// Which events about alerts are delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkAlerts {
    /// What people are to be told.
    #[default]
    Told,
    /// Also what nobody is to be told: what is silenced, and what changes in between.
    All,
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

const fn default_recoveries() -> bool {
    true
}

fn default_sendmail() -> PathBuf {
    PathBuf::from(SENDMAIL)
}

impl SinkKind {
    /// As the configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloudEvents => "cloudevents",
            Self::Webhook => "webhook",
            Self::Mail => "mail",
            Self::Ntfy => "ntfy",
            Self::Command => "command",
            Self::Journal => "journal",
            Self::Syslog => "syslog",
        }
    }

    /// Whether it is reached over HTTP.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::CloudEvents | Self::Webhook | Self::Ntfy)
    }
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
        let Self { kind, classes, mode, .. } = self;
        let place = self.place();
        f.debug_struct("Sink")
            .field("kind", kind)
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

    /// The least priority of what has this class: that of the pattern that fits best.
    pub fn min_priority_of(&self, class: &Class) -> Priority {
        let class = class.as_str();
        let fits = |pattern: &&String| protocol::class::covers(pattern, class);
        let fitting = self.min_priority_of.keys().filter(fits);
        let best = fitting.max_by_key(|pattern| (*pattern == class, pattern.len()));
        let own = best.and_then(|pattern| self.min_priority_of.get(pattern)).copied();
        own.unwrap_or(self.min_priority)
    }

    /// Of `ntfy`: the server, and the topic there.
    pub fn topic(&self) -> Option<(&str, &str)> {
        let (server, topic) = self.url.rsplit_once('/')?;
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let is_one = (1..=64).contains(&topic.len()) && topic.bytes().all(legal);
        (is_one && !server.ends_with('/')).then_some((server, topic))
    }

    /// What may be shown of where it is: of a URL scheme, host and port.
    pub fn place(&self) -> String {
        match self.kind {
            SinkKind::CloudEvents | SinkKind::Webhook | SinkKind::Ntfy => self.host(),
            SinkKind::Mail => self.to.join(" "),
            SinkKind::Command => self.command.first().cloned().unwrap_or_default(),
            SinkKind::Journal | SinkKind::Syslog => self.kind.as_str().to_owned(),
        }
    }

    fn host(&self) -> String {
        let uri: Option<Uri> = self.url.parse().ok();
        uri.and_then(|uri| {
            let host = uri.authority()?.as_str();
            Some(format!("{}://{host}", uri.scheme_str()?))
        })
        .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
