//! What a plugin declares. The daemon enforces it; the plugin cannot talk its way past it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::alert::AlertDeclaration;
use crate::sandbox::{Rights, Sandbox};
use crate::{Class, Deprecated, Priority, Role};

/// The only manifest version so far.
pub const MANIFEST_VERSION: u32 = 1;

/// The highest version a namespace can have.
pub const VERSION_MAX: u32 = 9_999;

/// Namespaces that belong to the daemon: of its own methods, and of other protocols' paths.
pub const RESERVED_NAMESPACES: [&str; 8] =
    ["rpc", "events", "core", "consul", "v1", "api", "jsonrpc", "cloudevents"];

/// `manifest.json`: who the plugin is, how it is started, what it answers and what it publishes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`]; anything else is refused with a reason.
    pub manifest_version: u32,
    /// `[a-z][a-z0-9-]{1,31}`; the same as its directory's name.
    pub id: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// The plugin's own version.
    pub version: String,
    /// The plugin-protocol versions it speaks; the daemon picks the highest both know.
    #[serde(default)]
    pub api: ApiRange,
    /// The program and its arguments. The first element is an absolute path, or a path relative
    /// to the manifest's directory that begins with `./`. Empty only for built-in plugins.
    #[serde(default)]
    pub exec: Vec<String>,
    /// Bounds that the daemon keeps it within.
    #[serde(default)]
    pub limits: Limits,
    /// What its process may do.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// How it is started again.
    #[serde(default)]
    pub restart: Restart,
    /// How its health is asked for.
    #[serde(default)]
    pub health: Health,
    /// What it answers.
    #[serde(default)]
    pub methods: Vec<Method>,
    /// The event classes it may publish.
    #[serde(default)]
    pub events: Vec<ClassDeclaration>,
    /// The kinds of alerts it may raise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<AlertDeclaration>,
}

/// A range of plugin-protocol versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiRange {
    /// The oldest it speaks.
    pub min: u32,
    /// The newest it speaks.
    pub max: u32,
}

impl Default for ApiRange {
    fn default() -> Self {
        Self { min: 1, max: 1 }
    }
}

/// Bounds of one plugin process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Milliseconds from start to the answer to `initialize`.
    pub start_ms: u64,
    /// Milliseconds a call may take unless its method says otherwise.
    pub call_ms: u64,
    /// Milliseconds from `shutdown` to SIGTERM.
    pub stop_ms: u64,
    /// Bytes of one line; a longer one ends the plugin.
    pub line_bytes: usize,
    /// Calls in flight; more wait in a queue of the same length, then are refused.
    pub calls: usize,
    /// Events a second, averaged; a faster plugin is slowed down, not cut off.
    pub events_per_s: u32,
    /// Events that may come at once; also the credit the plugin is given.
    pub events_burst: u32,
    /// Bytes of private memory (`RLIMIT_DATA`); allocations beyond it fail in the plugin.
    pub memory_bytes: u64,
    /// Open files (`RLIMIT_NOFILE`).
    pub open_files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start_ms: 10_000,
            call_ms: 30_000,
            stop_ms: 5_000,
            line_bytes: 1024 * 1024,
            calls: 32,
            events_per_s: 10_000,
            events_burst: 256,
            memory_bytes: 1024 * 1024 * 1024,
            open_files: 1024,
        }
    }
}

/// How a plugin that ended is started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restart {
    /// Milliseconds before the first new start; doubles each time.
    pub backoff_min_ms: u64,
    /// The longest wait in milliseconds.
    pub backoff_max_ms: u64,
    /// This many ends within `window_s` put it into quarantine.
    pub max: u32,
    /// Seconds over which ends are counted.
    pub window_s: u64,
}

impl Default for Restart {
    fn default() -> Self {
        Self { backoff_min_ms: 100, backoff_max_ms: 30_000, max: 5, window_s: 60 }
    }
}

/// How a plugin's health is asked for. Two answers missed in a row restart it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Milliseconds between questions.
    pub interval_ms: u64,
    /// Milliseconds to wait for an answer.
    pub timeout_ms: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self { interval_ms: 30_000, timeout_ms: 5_000 }
    }
}

/// One thing a plugin can be asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// `namespace/name`.
    pub method: String,
    /// For classic methods: the value of `args.action` this entry is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// From which version of its namespace on this entry holds. Two entries of one method with
    /// different numbers are the same method for older and for newer clients.
    #[serde(default = "Method::first", skip_serializing_if = "Method::is_first")]
    pub since: u32,
    /// That it is on its way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated>,
    /// One sentence for people.
    #[serde(default)]
    pub summary: String,
    /// Whether it changes anything.
    pub kind: Kind,
    /// The least role that may call it.
    pub role: Role,
    /// What it is done to, as the subject of events would name it, with arguments in braces:
    /// `/datasets/{dataset}`. Where one of several arguments says it, several with a `|` between them:
    /// the first whose arguments are all there counts, and the plugin must refuse a call that has
    /// those of two. Rights that are bound to resources are judged by it; a method without it is not
    /// within such rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Arguments that are secrets: the audit trail keeps that they were there, not what they were.
    /// Names such as `password` and `token` need not be listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Milliseconds it may take; absent: `limits.call_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether a call that was interrupted goes on, or does no harm, when it is made again with the
    /// same arguments: whoever sees an interrupted job is told so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumable: bool,
    /// JSON Schema of the arguments.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
    /// JSON Schema of the result.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// Calls that work on any machine; `sysadmctl plugin check` runs them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
}

impl Method {
    /// The version that holds where none is named.
    const fn first() -> u32 {
        1
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    const fn is_first(since: &u32) -> bool {
        *since == 1
    }
}

/// Whether a method changes anything.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It only looks.
    Query,
    /// It changes something.
    Mutate,
}

/// A call and what it must answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The arguments to send.
    pub args: Value,
    /// The result, or absent when only success is promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
}

/// An event class a plugin may publish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassDeclaration {
    /// The class.
    pub class: Class,
    /// One sentence for people.
    #[serde(default)]
    pub summary: String,
    /// What an event has that says no priority.
    #[serde(default)]
    pub priority_default: Priority,
    /// The least role that hears it, live and in history.
    pub role: Role,
    /// The most urgent it may be; a higher one is lowered to this.
    #[serde(default = "ClassDeclaration::any_priority")]
    pub priority_max: Priority,
    /// How long it is kept.
    #[serde(default)]
    pub retain: Retain,
    /// That it is on its way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Deprecated>,
    /// JSON Schema of `data`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub schema: Value,
}

impl ClassDeclaration {
    fn any_priority() -> Priority {
        Priority::MAX
    }
}

/// How long events of a class are kept.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retain {
    /// In the durable log: numbered, replayed, acknowledged only when it would survive a crash.
    #[default]
    Log,
    /// In memory, the newest of each class and subject: for progress and state.
    Latest,
    /// Not at all: whoever listens now hears it.
    None,
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// A sentence that names the member at fault and what was expected.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self =
            serde_json::from_str(text).map_err(|error| ManifestError(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let refuse = |sentence: String| Err(ManifestError(sentence));
        if self.manifest_version != MANIFEST_VERSION {
            return refuse(format!(
                "manifest_version is {}; this daemon reads version {MANIFEST_VERSION}",
                self.manifest_version
            ));
        }
        if !is_id(&self.id) {
            return refuse(format!("id {:?} must match [a-z][a-z0-9-]{{1,31}}", self.id));
        }
        if self.api.min > self.api.max {
            return refuse("api.min is greater than api.max".to_owned());
        }
        if self.limits.line_bytes < 1024 || self.limits.calls == 0 || self.limits.events_burst == 0
        {
            return refuse(
                "limits.line_bytes must be at least 1024, limits.calls and limits.events_burst at least 1"
                    .to_owned(),
            );
        }
        self.sandbox.check().map_err(ManifestError)?;
        // Nobody could grant what makes no sense there.
        Rights::asked_by(self).check().map_err(ManifestError)?;
        self.methods.iter().try_for_each(check_method)?;
        self.check_versions()?;
        let ending =
            self.events.iter().filter_map(|class| Some((class, class.deprecated.as_ref()?)));
        for (class, deprecated) in ending {
            let say = |what| ManifestError(format!("class {:?}: {what}", class.class.as_str()));
            deprecated.check().map_err(say)?;
        }
        let mut kinds = BTreeSet::new();
        for alert in &self.alerts {
            alert.check().map_err(ManifestError)?;
            if !kinds.insert(&alert.kind) {
                let kind = alert.kind.as_str();
                return refuse(format!("alert {kind:?}: there are two entries for it"));
            }
        }
        Ok(())
    }

    /// Each version of a method has one entry.
    fn check_versions(&self) -> Result<(), ManifestError> {
        let mut seen = BTreeSet::new();
        let twice = self.methods.iter().find(|it| !seen.insert((&it.method, &it.action, it.since)));
        twice.map_or(Ok(()), |Method { method, action, since, .. }| {
            let action = action.as_ref().map(|it| format!(" {it:?}")).unwrap_or_default();
            let sentence =
                format!("method {method:?}{action}: there are two entries for version {since}");
            Err(ManifestError(sentence))
        })
    }

    /// The declaration for a kind of alert.
    pub fn alert(&self, kind: &Class) -> Option<&AlertDeclaration> {
        self.alerts.iter().find(|declared| declared.kind == *kind)
    }

    /// The declaration for a class.
    pub fn class(&self, class: &Class) -> Option<&ClassDeclaration> {
        self.events.iter().find(|declared| declared.class == *class)
    }
}

fn is_id(id: &str) -> bool {
    (2..=32).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn check_method(method: &Method) -> Result<(), ManifestError> {
    let refuse = |expected: &str| {
        Err(ManifestError(format!("method {:?}: expected {expected}", method.method)))
    };
    let Some((namespace, name)) = method.method.split_once('/') else {
        return refuse("\"namespace/name\"");
    };
    let is_word = |word: &str| {
        !word.is_empty()
            && word.len() <= 64
            && word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    if !is_word(namespace) || !is_word(name) {
        return refuse("lower-case letters, digits, `-` and `_` on both sides of the `/`");
    }
    if RESERVED_NAMESPACES.contains(&namespace) {
        let own = RESERVED_NAMESPACES.join(", ");
        return refuse(&format!("a namespace other than the daemon's own ({own})"));
    }
    if !(1..=VERSION_MAX).contains(&method.since) {
        return refuse(&format!("a version from 1 to {VERSION_MAX} in \"since\""));
    }
    if let Some(deprecated) = &method.deprecated
        && let Err(what) = deprecated.check()
    {
        return Err(ManifestError(format!("method {:?}: {what}", method.method)));
    }
    Ok(())
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(String);

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"manifest_version":1,"id":"hello","version":"1.0.0","exec":["./hello"],
        "methods":[{"method":"hello/say","kind":"query","role":"viewer"}],
        "events":[{"class":"hello.said","role":"viewer","priority_max":3}]}"#;

    #[test]
    fn a_small_manifest_gets_the_defaults() {
        let manifest = Manifest::parse(SMALL).unwrap();
        assert_eq!(manifest.limits, Limits::default());
        assert_eq!(manifest.events[0].retain, Retain::Log);
        assert_eq!(manifest.events[0].priority_max, Priority::clamped(3));
    }

    #[test]
    fn a_wrong_manifest_is_refused_with_the_member_at_fault() {
        let cases = [
            (SMALL.replace("\"id\":\"hello\"", "\"id\":\"Hello\""), "id"),
            (SMALL.replace("manifest_version\":1", "manifest_version\":2"), "version 1"),
            (SMALL.replace("hello/say", "rpc/say"), "namespace"),
            (SMALL.replace("hello/say", "hello"), "namespace/name"),
            (SMALL.replace("\"events\"", "\"evnts\""), "evnts"),
            (SMALL.replace("\"kind\"", "\"since\":0,\"kind\""), "since"),
            (
                SMALL.replace(
                    "}],\n",
                    "},{\"method\":\"hello/say\",\"kind\":\"query\",\"role\":\"viewer\"}],\n",
                ),
                "two entries",
            ),
        ];
        for (text, named) in cases {
            let refusal = Manifest::parse(&text).unwrap_err().to_string();
            assert!(refusal.contains(named), "{refusal}");
        }
    }
}
