//! Updates that wait, as the distribution's own files tell of them. Nothing here uses the network or
//! takes a lock: what the manager of packages fetched last is what there is.

use std::path::Path;

use crate::facts::names_in;
use crate::parse::updates::{Updates, apk, apt, dnf, pacman, zypper, zypper_security};
use crate::tool::{self, TOOL_TIME};

/// A manager of packages.
struct Manager {
    /// It, by its absolute path.
    program: &'static str,
    /// Where it keeps what it fetched; without anything in one of them it knows nothing.
    lists: &'static [&'static str],
    /// How it is asked.
    ask: fn(&str) -> Option<Updates>,
    /// The command that installs them.
    install: &'static str,
}

/// In the order in which they are asked: the first that has fetched anything is the machine's.
const MANAGERS: [Manager; 5] = [
    Manager {
        program: "/usr/bin/apt-get",
        lists: &["/var/lib/apt/lists"],
        ask: ask_apt,
        install: "apt-get upgrade",
    },
    Manager {
        program: "/usr/bin/dnf",
        lists: &["/var/cache/libdnf5", "/var/cache/dnf"],
        ask: ask_dnf,
        install: "dnf upgrade",
    },
    Manager {
        program: "/usr/bin/zypper",
        lists: &["/var/cache/zypp/raw"],
        ask: ask_zypper,
        install: "zypper update",
    },
    Manager {
        program: "/usr/bin/pacman",
        lists: &["/var/lib/pacman/sync"],
        ask: ask_pacman,
        install: "pacman -Syu",
    },
    Manager {
        program: "/sbin/apk",
        lists: &["/var/cache/apk", "/etc/apk/cache", "/var/lib/apk"],
        ask: ask_apk,
        install: "apk upgrade",
    },
];

/// Files beside the lists that managers keep in such a directory even when they have fetched nothing.
const EMPTY: [&str; 4] = ["lock", "partial", "auxfiles", "expired_repos.json"];

/// The updates that wait and the command that installs them; `None` where nobody knows.
pub(crate) fn pending() -> Option<(Updates, &'static str)> {
    let has_lists = |manager: &Manager| {
        let fetched = |dir: &&str| names_in(dir).iter().any(|name| !EMPTY.contains(&&**name));
        Path::new(manager.program).exists() && manager.lists.iter().any(fetched)
    };
    let manager = MANAGERS.iter().find(|manager| has_lists(manager))?;
    Some(((manager.ask)(manager.program)?, manager.install))
}

/// What it prints, when it ends with one of these.
fn said(program: &str, args: &[&str], ends: &[i32]) -> Option<String> {
    let answer = tool::run(program, args, None, TOOL_TIME).ok()?;
    answer.code.is_some_and(|code| ends.contains(&code)).then_some(answer.output)
}

fn ask_apt(program: &str) -> Option<Updates> {
    // No network, no lock, no cache of its own: the lists that are there, and nothing written.
    let args = [
        "--simulate",
        "--quiet=2",
        "--option=Debug::NoLocking=1",
        "--option=Dir::Cache::pkgcache=",
        "--option=Dir::Cache::srcpkgcache=",
        "upgrade",
    ];
    Some(apt(&said(program, &args, &[0])?))
}

/// It ends with 100 when there are any (dnf(8)).
fn ask_dnf(program: &str) -> Option<Updates> {
    let count = |more: &[&str]| {
        let args = [&["--cacheonly", "--quiet", "check-update"], more].concat();
        Some(dnf(&said(program, &args, &[0, 100])?))
    };
    Some(Updates { pending: count(&[])?, security: count(&["--security"]).unwrap_or_default() })
}

/// `patch-check` ends with 100 when there are any, with 101 when some are for security (zypper(8)).
fn ask_zypper(program: &str) -> Option<Updates> {
    let args = ["--no-refresh", "--quiet", "--non-interactive", "list-updates"];
    let pending = zypper(&said(program, &args, &[0])?);
    let args = ["--no-refresh", "--non-interactive", "patch-check"];
    let security = said(program, &args, &[0, 100, 101]);
    Some(Updates { pending, security: security.as_deref().map_or(0, zypper_security) })
}

/// It ends with 1 when there are none, as when something is wrong (pacman(8)).
fn ask_pacman(program: &str) -> Option<Updates> {
    let listed = said(program, &["--query", "--upgrades"], &[0, 1])?;
    Some(Updates { pending: pacman(&listed), security: 0 })
}

fn ask_apk(program: &str) -> Option<Updates> {
    let listed = said(program, &["--no-network", "list", "--upgradable"], &[0])?;
    Some(Updates { pending: apk(&listed), security: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manager_is_asked_by_an_absolute_path() {
        for manager in &MANAGERS {
            assert!(manager.program.starts_with('/') && !manager.lists.is_empty());
            assert!(manager.program.ends_with(manager.install.split(' ').next().unwrap_or("?")));
        }
    }

    #[test]
    fn a_tool_that_fails_says_nothing() {
        assert_eq!(said("/usr/bin/false", &[], &[0]), None);
        assert_eq!(said("/usr/bin/false", &[], &[0, 1]).as_deref(), Some(""));
        assert_eq!(said("/no/such/tool", &[], &[0]), None);
    }
}
