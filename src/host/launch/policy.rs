//! What the launcher is told: everything that a plugin's process is confined to.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

use protocol::sandbox::{Capability, Syscalls, User};
use serde::{Deserialize, Serialize};

use crate::host::discover::{Origin, PluginSpec};

/// Where a plugin's own programs are looked for; the daemon's `PATH` is nobody's business.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The confinement of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a permission of its own")]
pub(crate) struct Policy {
    /// The user and group to become; `None` stays who the daemon is.
    pub(crate) user: Option<u32>,
    /// Ends what is left of an earlier life under this user before it begins.
    pub(crate) end_others: bool,
    /// The capabilities to keep, as bits.
    pub(crate) capabilities: u64,
    pub(crate) network: bool,
    pub(crate) unix_sockets: bool,
    /// Whether system calls are filtered.
    pub(crate) filter: bool,
    /// Its own code: read and executed, not written.
    pub(crate) code: Vec<PathBuf>,
    /// What it may read and execute besides what every program needs.
    pub(crate) read: Vec<PathBuf>,
    /// What it may write besides its state directory; `None`: files are not closed at all.
    pub(crate) write: Option<Vec<PathBuf>>,
    pub(crate) state_dir: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) memory_bytes: u64,
    pub(crate) open_files: u64,
    pub(crate) file_bytes: u64,
    pub(crate) processes: Option<u64>,
}

impl Policy {
    /// The confinement of a plugin with this state directory. `own_user` is its own user, where
    /// plugins have one.
    pub(crate) fn of(spec: &PluginSpec, state_dir: PathBuf, own_user: Option<u32>) -> Self {
        let (sandbox, limits) = (&spec.manifest.sandbox, &spec.manifest.limits);
        let user = own_user.filter(|_| sandbox.user == User::Own);
        let mut code = vec![spec.program.clone()];
        // A built-in plugin's directory is the daemon's.
        code.extend((spec.origin == Origin::Directory).then(|| spec.dir.clone()));
        let writes =
            (!sandbox.writes_everywhere()).then(|| sandbox.write.iter().cloned().collect());
        Self {
            user,
            end_others: false,
            capabilities: sandbox.capabilities.iter().map(|it| it.bit()).sum(),
            network: sandbox.network,
            unix_sockets: sandbox.unix_sockets,
            filter: sandbox.syscalls == Syscalls::Harmless,
            code,
            read: sandbox.read.iter().cloned().collect(),
            write: writes,
            state_dir,
            environment: sandbox.environment.clone(),
            memory_bytes: limits.memory_bytes,
            open_files: limits.open_files,
            file_bytes: sandbox.file_bytes,
            // Of any other user it would count processes that are not the plugin's.
            processes: user.map(|_| sandbox.processes),
        }
    }

    /// Whether it keeps the capability of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        Capability::in_set(self.capabilities).any(|capability| capability.name() == name)
    }

    /// The place for its temporary files.
    pub(crate) fn temporary_dir(&self) -> PathBuf {
        self.state_dir.join("tmp")
    }

    /// The plugin's environment, as `NAME=VALUE`.
    pub(crate) fn environment(&self) -> Result<Vec<CString>, String> {
        let temporary_dir = self.temporary_dir().to_string_lossy().into_owned();
        let mut variables = BTreeMap::from(BASE.map(|(name, value)| (name, value)));
        variables.insert("TMPDIR", &temporary_dir);
        variables.extend(self.environment.iter().map(|(name, value)| (&**name, &**value)));
        let texts = variables.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
        texts.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }
}

/// What is in every plugin's environment.
pub(crate) const BASE: [(&str, &str); 4] =
    [("PATH", PATH), ("LANG", "C"), ("LC_ALL", "C"), ("TZ", "UTC")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_may_replace_a_variable_and_add_others() {
        let environment = [("LANG", "de_DE"), ("COLOUR", "green")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let policy = Policy {
            state_dir: "/s".into(),
            environment: BTreeMap::from(environment),
            ..Policy::default()
        };
        let found = policy.environment().unwrap();
        let path = format!("PATH={PATH}");
        let expected = ["COLOUR=green", "LANG=de_DE", "LC_ALL=C", &path, "TMPDIR=/s/tmp", "TZ=UTC"];
        assert_eq!(found, expected.map(|text| CString::new(text).unwrap()));
    }
}
