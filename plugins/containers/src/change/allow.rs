//! Which containers may be changed at all, whoever asks. Pure.

use std::collections::BTreeSet;

use sdk::{Fault, FaultKind};
use serde::Deserialize;

use crate::container::Container;
use crate::group;

/// Which containers this plugin may change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Adopt {
    /// Every one.
    #[default]
    All,
    /// Those of a compose project or a swarm stack, and those with the label `io.sysadmd.adopt`.
    Labelled,
    /// None: it only looks.
    None,
}

/// The label by which somebody says that a container may be changed here.
const ADOPT: &str = "io.sysadmd.adopt";

/// What must not be changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed {
    pub(crate) adopt: Adopt,
    /// Patterns of names that nobody changes through this plugin; `*` is any text, `?` a character.
    pub(crate) protect: Vec<String>,
    /// The ids of the containers that this very process is in.
    pub(crate) own: BTreeSet<String>,
}

impl Allowed {
    /// Whether this container may be changed.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, it: &Container) -> Result<(), Fault> {
        let no = |why: String| Err(Fault::new(FaultKind::Forbidden, why));
        let name = &it.name;
        if self.own.contains(&it.id) {
            return no(format!("{name} is the container that this daemon runs in")).map_err(
                |fault| fault.with_hint("do it from outside, with the engine's own tools"),
            );
        }
        if let Some(pattern) = self.protect.iter().find(|pattern| fits(pattern, name)) {
            return no(format!("{name} is protected by {pattern:?}")).map_err(|fault| {
                fault.with_hint("`protect` in [plugins.config.containers] says so")
            });
        }
        let is_adopted = match self.adopt {
            Adopt::All => true,
            Adopt::Labelled => group::is_labelled(it) || it.label(ADOPT).is_some(),
            Adopt::None => false,
        };
        if is_adopted {
            return Ok(());
        }
        no(format!("{name} may not be changed here"))
            .map_err(|fault| fault.with_hint("`adopt` in [plugins.config.containers] says so"))
    }
}

/// Whether a name fits a pattern.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Which beginnings of the pattern fit what of the name was read so far.
    let mut reach = vec![false; pattern.len() + 1];
    let stars = |reach: &mut Vec<bool>| {
        for at in 0..pattern.len() {
            reach[at + 1] |= reach[at] && pattern[at] == '*';
        }
    };
    reach[0] = true;
    stars(&mut reach);
    for c in name {
        let mut next = vec![false; reach.len()];
        for at in 0..pattern.len() {
            match pattern[at] {
                '*' => next[at + 1] |= reach[at] || reach[at + 1],
                '?' => next[at + 1] |= reach[at],
                other => next[at + 1] |= reach[at] && other == c,
            }
        }
        stars(&mut next);
        reach = next;
    }
    reach[pattern.len()]
}

/// The ids of containers that a process is in, as `/proc/self/cgroup` and `/proc/self/mountinfo` show
/// them: engines name a control group, or the directory that `/etc/hostname` is mounted from, by the
/// whole id.
pub(crate) fn own_ids(cgroup: &str, mounts: &str) -> BTreeSet<String> {
    let own = |line: &&str| {
        ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]
            .iter()
            .any(|path| line.split(' ').nth(4) == Some(path))
    };
    let lines = cgroup.lines().chain(mounts.lines().filter(own));
    lines.flat_map(ids_in).collect()
}

fn ids_in(line: &str) -> impl Iterator<Item = String> {
    let words = line.split(|c: char| !c.is_ascii_hexdigit());
    words.filter(|word| word.len() == 64).map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_protected_or_not_adopted_is_refused_and_the_reason_named() {
        let it = Container::new(&"ab".repeat(32), "db-1", "image");
        let message = |allowed: &Allowed| allowed.check(&it).map_err(|fault| fault.to_string());
        assert_eq!(message(&Allowed::default()), Ok(()));
        let protect = Allowed { protect: vec!["x*".into(), "db-?".into()], ..Allowed::default() };
        assert!(message(&protect).unwrap_err().contains("db-?"));
        let own = Allowed { own: BTreeSet::from([it.id.clone()]), ..Allowed::default() };
        assert!(message(&own).unwrap_err().contains("this daemon"));
        for adopt in [Adopt::Labelled, Adopt::None] {
            let allowed = Allowed { adopt, ..Allowed::default() };
            assert!(message(&allowed).unwrap_err().contains("adopt"));
        }
        let mut labelled = it.clone();
        labelled.labels.insert(ADOPT.to_owned(), "yes".to_owned());
        let allowed = Allowed { adopt: Adopt::Labelled, ..Allowed::default() };
        assert!(allowed.check(&labelled).is_ok());
    }

    #[test]
    fn the_own_container_is_found_under_either_kind_of_control_group() {
        let id = "0123456789abcdef".repeat(4);
        let old =
            format!("12:memory:/docker/{id}\n1:name=systemd:/system.slice/docker-{id}.scope\n");
        assert_eq!(own_ids(&old, ""), BTreeSet::from([id.clone()]));
        let mounts = format!(
            "600 1 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda rw\n\
             601 1 8:1 /x/{} /data rw - ext4 /dev/sda rw\n",
            "f".repeat(64)
        );
        assert_eq!(own_ids("0::/\n", &mounts), BTreeSet::from([id]));
        assert!(own_ids("0::/user.slice\n", "1 1 8:1 / / rw - ext4 /dev/sda rw\n").is_empty());
    }

    proptest! {
        #[test]
        fn a_pattern_made_of_a_name_fits_it(name in "[a-c]{0,6}", cut in 0_usize..7, star: bool) {
            let cut = cut.min(name.len());
            let pattern = if star { format!("{}*{}", &name[..cut], &name[cut..]) } else { name.clone() };
            prop_assert!(fits(&pattern, &name));
            prop_assert!(fits(&"?".repeat(name.len()), &name));
            let one_more = format!("{pattern}?");
            prop_assert!(star || !fits(&one_more, &name));
            let longer = format!("{name}z");
            prop_assert!(!fits(&name, &longer));
        }
    }
}
