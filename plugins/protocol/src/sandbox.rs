//! What a plugin may do to the machine. By default next to nothing: its manifest says what it needs
//! beyond that, and an administrator grants it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Manifest;
use crate::manifest::Limits;

/// The member `sandbox` of a manifest: what the plugin's process is confined to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// Whom it runs as when the daemon is root. Otherwise it runs as the daemon does.
    pub user: User,
    /// The Linux capabilities it keeps (capabilities(7)), such as `SYS_ADMIN`.
    pub capabilities: BTreeSet<Capability>,
    /// Whether it may open internet sockets, to connect as well as to listen.
    pub network: bool,
    /// Whether it may open unix sockets. Pairs of connected ones are always allowed.
    pub unix_sockets: bool,
    /// Which system calls are let through.
    pub syscalls: Syscalls,
    /// Absolute paths that it may read, and execute from, with all that is below them.
    pub read: BTreeSet<PathBuf>,
    /// Absolute paths that it may also write, with all that is below them. `/` leaves the file
    /// system as open as it is to its user and its capabilities.
    pub write: BTreeSet<PathBuf>,
    /// Environment variables, with their values. Nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// Processes and threads it may have at once (`RLIMIT_NPROC`); it holds for a user of its own.
    pub processes: u64,
    /// Bytes of the longest file it may write (`RLIMIT_FSIZE`).
    pub file_bytes: u64,
}

/// Processes and threads without a word about them.
const PROCESSES: u64 = 256;
/// Bytes of the longest file without a word about it.
const FILE_BYTES: u64 = 1 << 30;

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            user: User::Own,
            capabilities: BTreeSet::new(),
            network: false,
            unix_sockets: false,
            syscalls: Syscalls::Harmless,
            read: BTreeSet::new(),
            write: BTreeSet::new(),
            environment: BTreeMap::new(),
            processes: PROCESSES,
            file_bytes: FILE_BYTES,
        }
    }
}

impl Sandbox {
    /// Whether the file system is as open to it as to any process of its user.
    pub fn writes_everywhere(&self) -> bool {
        self.write.contains(Path::new("/"))
    }

    /// What is wrong with it, named with its member.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_paths(&self.read, &self.write).map_err(|sentence| format!("sandbox.{sentence}"))?;
        let is_bad =
            |name: &str| name.is_empty() || name.bytes().any(|byte| byte == b'=' || byte == 0);
        let mut variables = self.environment.iter();
        if let Some((name, _)) =
            variables.find(|(name, value)| is_bad(name) || value.as_bytes().contains(&0))
        {
            return Err(format!("sandbox.environment: {name:?} cannot be set"));
        }
        if self.processes == 0 {
            return Err("sandbox.processes must be at least 1".to_owned());
        }
        Ok(())
    }
}

/// Whom a plugin runs as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum User {
    /// A user that is nobody else's, the same at every start.
    #[default]
    Own,
    /// Root, with no more than the capabilities that are named.
    Root,
}

/// Which system calls are let through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Syscalls {
    /// Those that do not reach beyond the process, and those its capabilities are about.
    #[default]
    Harmless,
    /// All: for kernels without seccomp, and for programs that need others.
    Any,
}

/// A Linux capability. Prints as its name without `CAP_`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capability(u8);

/// By number, from `linux/capability.h`.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl Capability {
    /// Its bit in a set of capabilities, as the kernel has it.
    pub fn bit(self) -> u64 {
        1 << self.0
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        CAPABILITIES.get(usize::from(self.0)).copied().unwrap_or_default()
    }

    /// The capabilities in a set; bits without a name are left out.
    pub fn in_set(bits: u64) -> impl Iterator<Item = Self> {
        (0..41).map(Self).filter(move |capability| bits & capability.bit() != 0)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.name().to_owned()
    }
}

impl TryFrom<String> for Capability {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let place = CAPABILITIES.iter().position(|known| *known == name);
        place.and_then(|place| u8::try_from(place).ok()).map(Self).ok_or_else(|| {
            format!("{name:?} is no capability; expected a name such as \"SYS_ADMIN\"")
        })
    }
}

/// What goes beyond the default: a plugin asks for it, an administrator grants it. The members are
/// those of [`Sandbox`] and [`Limits`]; what is left out is not beyond the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rights {
    /// [`Sandbox::user`]
    #[serde(skip_serializing_if = "is_default")]
    pub user: User,
    /// [`Sandbox::capabilities`]
    #[serde(skip_serializing_if = "is_default")]
    pub capabilities: BTreeSet<Capability>,
    /// [`Sandbox::network`]
    #[serde(skip_serializing_if = "is_default")]
    pub network: bool,
    /// [`Sandbox::unix_sockets`]
    #[serde(skip_serializing_if = "is_default")]
    pub unix_sockets: bool,
    /// [`Sandbox::syscalls`]
    #[serde(skip_serializing_if = "is_default")]
    pub syscalls: Syscalls,
    /// [`Sandbox::read`]
    #[serde(skip_serializing_if = "is_default")]
    pub read: BTreeSet<PathBuf>,
    /// [`Sandbox::write`]
    #[serde(skip_serializing_if = "is_default")]
    pub write: BTreeSet<PathBuf>,
    /// [`Sandbox::processes`]
    #[serde(skip_serializing_if = "is_default")]
    pub processes: Option<u64>,
    /// [`Sandbox::file_bytes`]
    #[serde(skip_serializing_if = "is_default")]
    pub file_bytes: Option<u64>,
    /// [`Limits::memory_bytes`]
    #[serde(skip_serializing_if = "is_default")]
    pub memory_bytes: Option<u64>,
    /// [`Limits::open_files`]
    #[serde(skip_serializing_if = "is_default")]
    pub open_files: Option<u64>,
}

impl Rights {
    /// What the manifest asks for.
    pub fn asked_by(manifest: &Manifest) -> Self {
        let Sandbox { processes, file_bytes, .. } = manifest.sandbox;
        let Sandbox { user, network, unix_sockets, syscalls, .. } = manifest.sandbox;
        let Limits { memory_bytes, open_files, .. } = manifest.limits;
        let more = |asked: u64, default: u64| (asked > default).then_some(asked);
        let defaults = Limits::default();
        Self {
            user,
            network,
            unix_sockets,
            syscalls,
            capabilities: manifest.sandbox.capabilities.clone(),
            read: manifest.sandbox.read.clone(),
            write: manifest.sandbox.write.clone(),
            processes: more(processes, PROCESSES),
            file_bytes: more(file_bytes, FILE_BYTES),
            memory_bytes: more(memory_bytes, defaults.memory_bytes),
            open_files: more(open_files, defaults.open_files),
        }
    }

    /// Whether it is nothing beyond the default.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether these rights hold all that is asked for.
    pub fn cover(&self, asked: &Self) -> bool {
        let may = |asked: bool, granted: bool| granted || !asked;
        let below = |path: &Path, granted: &BTreeSet<PathBuf>| {
            granted.iter().any(|granted| path.starts_with(granted))
        };
        may(asked.user == User::Root, self.user == User::Root)
            && asked.capabilities.is_subset(&self.capabilities)
            && may(asked.network, self.network)
            && may(asked.unix_sockets, self.unix_sockets)
            && may(asked.syscalls == Syscalls::Any, self.syscalls == Syscalls::Any)
            && asked.read.iter().all(|path| below(path, &self.read) || below(path, &self.write))
            && asked.write.iter().all(|path| below(path, &self.write))
            // Nothing is less than any number.
            && asked.processes <= self.processes
            && asked.file_bytes <= self.file_bytes
            && asked.memory_bytes <= self.memory_bytes
            && asked.open_files <= self.open_files
    }

    /// What is wrong with them, named with the member.
    ///
    /// # Errors
    /// A sentence about a path that is not absolute or not plain, or a number that the configuration
    /// cannot hold.
    pub fn check(&self) -> Result<(), String> {
        let numbers = [
            ("processes", self.processes),
            ("file_bytes", self.file_bytes),
            ("memory_bytes", self.memory_bytes),
            ("open_files", self.open_files),
        ];
        let too_great = |number: Option<u64>| number.is_some_and(|it| i64::try_from(it).is_err());
        if let Some((member, _)) = numbers.iter().find(|(_, number)| too_great(*number)) {
            return Err(format!("{member} must be at most {}", i64::MAX));
        }
        check_paths(&self.read, &self.write)
    }

    /// The line that grants them, in the section `[plugins]` of the configuration.
    pub fn grant(&self, plugin: &str) -> String {
        // What JSON and TOML write differently (`:`, null, objects) does not occur within a member.
        let members = match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            _ => serde_json::Map::new(),
        };
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        // The one character of a text that JSON leaves as it is and TOML does not take.
        let members = members.join(", ").replace('\u{7f}', "\\u007f");
        format!("grants.{plugin} = {{ {members} }}")
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn check_paths(read: &BTreeSet<PathBuf>, write: &BTreeSet<PathBuf>) -> Result<(), String> {
    let is_plain = |path: &Path| {
        path.is_absolute()
            && path
                .components()
                .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
            && !path.as_os_str().as_encoded_bytes().contains(&0)
    };
    let mut named = [("read", read), ("write", write)].into_iter();
    named.try_for_each(|(member, paths)| match paths.iter().find(|path| !is_plain(path)) {
        None => Ok(()),
        Some(path) => {
            Err(format!("{member}: {} is not an absolute path without `..`", path.display()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(text: &str) -> Result<Sandbox, String> {
        let sandbox: Sandbox = serde_json::from_str(text).map_err(|error| error.to_string())?;
        sandbox.check().map(|()| sandbox)
    }

    fn rights(text: &str) -> Rights {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn without_a_word_nothing_is_asked_for() {
        let text = r#"{"manifest_version":1,"id":"hello","version":"1.0.0","exec":["./hello"]}"#;
        let mut manifest = Manifest::parse(text).unwrap();
        assert!(Rights::asked_by(&manifest).is_nothing());
        manifest.sandbox.environment.insert("LANG".to_owned(), "de_DE".to_owned());
        manifest.limits.memory_bytes -= 1;
        manifest.sandbox.processes = 3;
        assert!(Rights::asked_by(&manifest).is_nothing(), "its own words, and less of everything");
        manifest.limits.memory_bytes += 2;
        let asked = Rights::asked_by(&manifest);
        assert_eq!(asked.grant("hello"), "grants.hello = { memory_bytes = 1073741825 }");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, named) in [
            (r#"{"capabilities":["CAP_SYS_ADMIN"]}"#, "SYS_ADMIN"),
            (r#"{"read":["var/log"]}"#, "sandbox.read"),
            (r#"{"write":["/var/../etc"]}"#, "sandbox.write"),
            (r#"{"environment":{"A=B":"c"}}"#, "sandbox.environment"),
            (r#"{"processes":0}"#, "sandbox.processes"),
            (r#"{"user":"nobody"}"#, "nobody"),
            (r#"{"netwrok":true}"#, "netwrok"),
        ] {
            let refusal = sandbox(text).unwrap_err();
            assert!(refusal.contains(named), "{refusal}");
        }
    }

    #[test]
    fn a_number_that_nobody_could_grant_is_refused() {
        let refusal = rights(r#"{"processes":18446744073709551615}"#).check().unwrap_err();
        assert!(refusal.contains("processes"), "{refusal}");
    }

    #[test]
    fn rights_cover_what_is_within_them() {
        let granted = rights(
            r#"{"capabilities":["KILL","CHOWN"],"read":["/var"],"write":["/srv/a"],
                "network":true,"processes":500}"#,
        );
        for inside in [
            "{}",
            r#"{"capabilities":["KILL"]}"#,
            r#"{"read":["/var/log","/srv/a/b"],"network":true}"#,
            r#"{"write":["/srv/a"],"processes":500}"#,
        ] {
            assert!(granted.cover(&rights(inside)), "{inside}");
        }
        for outside in [
            r#"{"capabilities":["SYS_ADMIN"]}"#,
            r#"{"user":"root"}"#,
            r#"{"unix_sockets":true}"#,
            r#"{"syscalls":"any"}"#,
            r#"{"read":["/"]}"#,
            r#"{"read":["/variable"]}"#,
            r#"{"write":["/var"]}"#,
            r#"{"processes":501}"#,
            r#"{"file_bytes":2000000000}"#,
        ] {
            assert!(!granted.cover(&rights(outside)), "{outside}");
        }
    }

    #[test]
    fn a_set_of_capabilities_is_told_by_name() {
        let names: Vec<&str> =
            Capability::in_set(0x20_0021 | 1 << 63).map(Capability::name).collect();
        assert_eq!(names, ["CHOWN", "KILL", "SYS_ADMIN"]);
    }
}
