//! Which files, network ports and foreign processes the process can reach: Landlock
//! (landlock(7)), which every process may put on itself and none can take off.

use std::path::PathBuf;
use std::sync::OnceLock;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use super::policy::Policy;
use super::{say, say_missing};

/// The newest version whose restrictions are asked for; an older kernel gives what it has.
const VERSION: ABI = ABI::V7;

/// The first version that keeps signals and abstract sockets within.
const SCOPES: u32 = 6;

/// Programs and libraries.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// What programs look up. The rights of the files hold as well, so that secrets stay closed. All of
/// `/etc` and not single files: they are changed by putting new ones in their place, which a rule
/// about a file does not notice.
const LOOKED_UP: [&str; 2] = ["/etc", "/proc"];
/// The same for root, whom the rights of files do not stop.
const LOOKED_UP_BY_ROOT: [&str; 9] = [
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/ssl/certs",
    "/proc",
];
/// What `resolv.conf` may point to, for who may use the network.
const RESOLVER: [&str; 3] = ["/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf"];
/// Not `/dev/zero`: mapped for sharing it is memory that no limit counts.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/full", "/dev/random", "/dev/urandom"];

/// What is going to be closed; the paths that stay open are opened already.
pub(super) struct Files(Option<RulesetCreated>);

/// Opens what stays open.
pub(super) fn open(policy: &Policy) -> Result<Files, String> {
    ruleset(policy).map(Files).map_err(|error| format!("cannot prepare Landlock: {error}"))
}

impl Files {
    /// Closes everything else.
    pub(super) fn close(self) -> Result<(), String> {
        let Some(ruleset) = self.0 else { return Ok(()) };
        let status =
            ruleset.restrict_self().map_err(|error| format!("cannot apply Landlock: {error}"))?;
        match version_of(&status) {
            None => {
                say(
                    "this kernel has no Landlock: files are as open as they are to the plugin's user",
                );
            }
            Some(version) if version < SCOPES => say(&format!(
                "this kernel has an old Landlock ({version}): signals are as open as they are to the \
                 plugin's user"
            )),
            Some(_) => {}
        }
        Ok(())
    }
}

fn ruleset(policy: &Policy) -> Result<Option<RulesetCreated>, RulesetError> {
    let mut scope = Scope::from_all(VERSION);
    if policy.has("KILL") {
        // Whoever may signal everybody is not to be stopped at its own processes.
        scope.remove(Scope::Signal);
    }
    let mut ruleset = Ruleset::default().scope(scope)?;
    if !policy.network {
        ruleset = ruleset.handle_access(AccessNet::from_all(VERSION))?;
    }
    let Some(write) = &policy.write else {
        // Whoever has a rule about files can mount nothing, so there is to be none.
        return ruleset.create().map(Some);
    };
    for path in policy.read.iter().chain(write) {
        if PathFd::new(path).is_err() {
            say_missing(path);
        }
    }
    let (all, run) = (AccessFs::from_all(VERSION), AccessFs::from_read(VERSION));
    let look = AccessFs::ReadFile | AccessFs::ReadDir;
    let ruleset = ruleset
        .handle_access(all)?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM, run))?
        .add_rules(path_beneath_rules(looked_up(policy), look))?
        .add_rules(path_beneath_rules(DEVICES, AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules(policy.code.iter().chain(&policy.read), run))?
        .add_rules(path_beneath_rules([policy.state_dir.as_path()], all))?
        .add_rules(path_beneath_rules(write, all))?;
    Ok(Some(ruleset))
}

fn looked_up(policy: &Policy) -> impl Iterator<Item = &'static str> {
    let is_root = policy.user.is_none() && nix::unistd::geteuid().is_root();
    let looked_up = if is_root { &LOOKED_UP_BY_ROOT[..] } else { &LOOKED_UP[..] };
    let resolver = if policy.network { &RESOLVER[..] } else { &[] };
    looked_up.iter().chain(resolver).copied()
}

/// What the policy leaves open, for people: to be read, and to be written. `None`: all.
pub(crate) fn opened(policy: &Policy) -> Option<(Vec<PathBuf>, Vec<PathBuf>)> {
    let write = policy.write.as_ref()?;
    let general = SYSTEM.into_iter().chain(looked_up(policy)).map(PathBuf::from);
    let read = general.chain(policy.code.iter().chain(&policy.read).cloned());
    let write = std::iter::once(&policy.state_dir).chain(write).cloned();
    Some((read.collect(), write.collect()))
}

/// The version of Landlock that this kernel has and we use; `None` without it.
pub(crate) fn landlock_version() -> Option<u32> {
    static VERSION: OnceLock<Option<u32>> = OnceLock::new();
    // Landlock tells its version to whoever restricts itself. It restricts one thread, which ends.
    let probe = || {
        let restrict = || {
            let ruleset = Ruleset::default().handle_access(AccessFs::Execute).ok()?;
            version_of(&ruleset.create().ok()?.restrict_self().ok()?)
        };
        std::thread::spawn(restrict).join().ok().flatten()
    };
    *VERSION.get_or_init(probe)
}

fn version_of(status: &RestrictionStatus) -> Option<u32> {
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => {
            u32::try_from(effective_abi.min(VERSION) as i32).ok()
        }
        _ => None,
    }
}
