//! Which programs root may run for a plugin, and what a plugin may have that asks for more than
//! every plugin has.
//!
//! The rule is osquery's for its extensions: a file that root runs must not be changeable by
//! anybody else, so the file and every directory above it belong to root and are written by root
//! alone. A sticky directory further up (such as `/tmp`) is let pass: in it nobody can replace an
//! entry that belongs to root, and that it does is checked as well.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use protocol::sandbox::Rights;

use super::discover::{Origin, PluginSpec};

/// Why the plugin must not be started with what the administrator has granted it; `None` when it
/// may. Built-in plugins are as trustworthy as the daemon: they have what they ask for.
pub(crate) fn not_granted(spec: &PluginSpec, granted: &Rights) -> Option<String> {
    let asked = Rights::asked_by(&spec.manifest);
    (spec.origin == Origin::Directory && !granted.cover(&asked)).then(|| {
        format!(
            "it asks for more than a plugin has by itself. If it may have that, put this line into \
             the section [plugins] of the configuration and start the daemon again: {}",
            asked.grant(&spec.manifest.id)
        )
    })
}

/// What the rule looks at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The file or directory.
    pub path: PathBuf,
    /// The user it belongs to.
    pub owner: u32,
    /// `st_mode`.
    pub mode: u32,
}

/// Why root must not trust the file at `path`; `None` when it may. Symbolic links are followed
/// first, and the path they lead to is the one that is judged.
pub(crate) fn refusal(path: &Path) -> Option<String> {
    let facts = path.canonicalize().and_then(|real| {
        real.ancestors()
            .map(|part| fs::metadata(part).map(|metadata| facts_of(part, &metadata)))
            .collect::<Result<Vec<_>, _>>()
    });
    match facts {
        Ok(facts) => judge(&facts),
        Err(error) => Some(format!("{} cannot be looked at: {error}", path.display())),
    }
}

fn facts_of(path: &Path, metadata: &fs::Metadata) -> Facts {
    Facts { path: path.to_owned(), owner: metadata.uid(), mode: metadata.mode() }
}

/// The rule: `facts` begins with the file, its directory comes second, and so on up.
pub fn judge(facts: &[Facts]) -> Option<String> {
    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    facts.iter().enumerate().find_map(|(height, facts)| {
        let path = facts.path.display();
        if facts.owner != 0 {
            return Some(format!(
                "{path} belongs to user {}, and this daemon runs as root: it must belong to root",
                facts.owner
            ));
        }
        let sticky_above = height >= 2 && facts.mode & STICKY != 0;
        (facts.mode & OTHERS_WRITE != 0 && !sticky_above).then(|| {
            format!(
                "{path} can be written by others than root (mode {:04o}), and this daemon runs as \
                 root: take group and other write permission away",
                facts.mode & 0o7777
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(modes: &[(u32, u32)]) -> Vec<Facts> {
        let names = ["/opt/p/run", "/opt/p", "/opt", "/"];
        let part = |(name, (owner, mode)): (&&str, &(u32, u32))| Facts {
            path: PathBuf::from(*name),
            owner: *owner,
            mode: *mode,
        };
        names.iter().zip(modes).map(part).collect()
    }

    #[test]
    fn only_what_root_alone_can_change_is_run() {
        let good = (0, 0o755);
        assert_eq!(judge(&tree(&[good, good, good, good])), None);
        let cases = [
            ([(0, 0o775), good, good, good], "/opt/p/run can be written"),
            ([(0, 0o757), good, good, good], "/opt/p/run can be written"),
            ([(1000, 0o755), good, good, good], "/opt/p/run belongs to user 1000"),
            ([good, (0, 0o777), good, good], "/opt/p can be written"),
            ([good, (0, 0o1777), good, good], "/opt/p can be written"),
            ([good, good, (0, 0o777), good], "/opt can be written"),
            ([good, good, (7, 0o755), good], "/opt belongs to user 7"),
        ];
        for (modes, expected) in cases {
            let sentence = judge(&tree(&modes)).unwrap();
            assert!(sentence.starts_with(expected), "{sentence}");
        }
    }

    #[test]
    fn a_sticky_directory_further_up_is_safe() {
        let good = (0, 0o755);
        assert_eq!(judge(&tree(&[good, good, (0, 0o1777), good])), None);
    }
}
