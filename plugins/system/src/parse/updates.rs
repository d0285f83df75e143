//! What managers of packages print about updates that wait.

/// Updates that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Updates {
    /// Packages.
    pub pending: u64,
    /// Those of them that are for security, or the advisories where only they are told; none where
    /// the distribution does not say.
    pub security: u64,
}

/// What `apt-get --simulate upgrade` would install: lines `Inst NAME [OLD] (NEW ARCHIVE [ARCH])`.
pub fn apt(text: &str) -> Updates {
    let mut updates = Updates::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("Inst ")) {
        updates.pending += 1;
        let archive = line.split_once('(').map_or("", |(_, archive)| archive);
        updates.security += u64::from(archive.to_ascii_lowercase().contains("security"));
    }
    updates
}

/// The packages that `dnf check-update` lists: `NAME.ARCH VERSION REPOSITORY`, up to the list of
/// those that take another's place.
pub fn dnf(text: &str) -> u64 {
    let listed = text.lines().take_while(|line| !line.starts_with("Obsoleting"));
    let is_package = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words[..], [name, _, _] if name.contains('.')) && !line.starts_with(' ')
    };
    count(listed.filter(is_package))
}

/// The packages in the table of `zypper list-updates`: those marked `v` in its first column.
pub fn zypper(text: &str) -> u64 {
    let mark = |line: &str| line.split_once('|').is_some_and(|(mark, _)| mark.trim() == "v");
    count(text.lines().filter(|line| mark(line)))
}

/// The advisories for security in the table of `zypper patch-check`.
pub fn zypper_security(text: &str) -> u64 {
    let figure = |line: &str| {
        let (category, figure) = line.split_once('|')?;
        (category.trim() == "security").then(|| figure.trim().parse().ok())?
    };
    text.lines().find_map(figure).unwrap_or_default()
}

/// What `pacman --query --upgrades` lists: `NAME OLD -> NEW`, without what is to stay as it is.
pub fn pacman(text: &str) -> u64 {
    let is_update = |line: &&str| line.contains(" -> ") && !line.ends_with("[ignored]");
    count(text.lines().filter(is_update))
}

/// What `apk list --upgradable` lists: lines that end with `[upgradable from: OLD]`.
pub fn apk(text: &str) -> u64 {
    count(text.lines().filter(|line| line.contains("[upgradable from: ")))
}

fn count(lines: impl Iterator) -> u64 {
    lines.map(|_| 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_tells_which_are_for_security() {
        let text = "Reading package lists...\nInst libc6 [2.36-9] (2.36-10 Debian-Security:12/\
                    stable-security [amd64])\nInst vim [1] (2 Debian:12.7/stable [amd64])\n\
                    Conf vim (2 Debian:12.7/stable [amd64])\n";
        assert_eq!(apt(text), Updates { pending: 2, security: 1 });
    }

    // As dnf 4.14, zypper 1.14 and pacman 6.0 print it.
    #[test]
    fn tables_of_other_managers_are_counted() {
        let text = "\nalpha.noarch       2.0-1      r\nbeta.noarch   2.0-1    r\n\
                    Obsoleting Packages\nnew.noarch  1-1   r\n    old.noarch   1-1   @System\n";
        assert_eq!(dnf(text), 2);
        let text = "S | Repository | Name  | Current Version | Available Version | Arch\n\
                    --+------------+-------+-----------------+-------------------+-------\n\
                    v | r          | alpha | 1.0-1           | 2.0-1             | noarch\n\
                    v | r          | beta  | 1.0-1           | 2.0-1             | noarch\n";
        assert_eq!(zypper(text), 2);
        let text = "Loading repository data...\nReading installed packages...\n\n\
                    Found 1 applicable patch:\nCategory | Patches\n---------+--------\n\
                    security | 1\n\n1 patch needed (1 security patch)\n";
        assert_eq!(zypper_security(text), 1);
        assert_eq!(pacman("alpha 1.0-1 -> 2.0-1\nbeta 1.0-1 -> 1.5-1 [ignored]\n"), 1);
    }

    // As the documentation of apk-tools has it.
    #[test]
    fn what_apk_can_replace_is_counted() {
        let text = "busybox-1.36.1-r15 x86_64 {busybox} (GPL-2.0-only) \
                    [upgradable from: busybox-1.36.1-r2]\n";
        assert_eq!(apk(text), 1);
    }

    #[test]
    fn whoever_says_nothing_has_nothing() {
        assert_eq!(apt(""), Updates::default());
        for counted in [dnf, zypper, zypper_security, pacman, apk] {
            assert_eq!(counted("\n\nNo updates found.\n"), 0);
        }
    }
}
