//! The services of the machine, as systemd tells of them. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

/// What the name of every service's unit ends with.
pub(crate) const SUFFIX: &str = ".service";

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Its unit's name without `.service`.
    pub name: String,
    /// One line for people; the name where the unit has not been loaded.
    pub description: String,
    /// Its unit file; empty for one that systemd has been given otherwise.
    pub path: String,
    /// Whether it is started by itself: `enabled`, `disabled`, `static`, `masked` and so on.
    pub enabled: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating` or `reloading`.
    pub active: String,
    /// The same in more detail, such as `running` or `exited`.
    pub sub: String,
}

impl Unit {
    /// Whether it is started by itself.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.starts_with("enabled")
    }

    /// Whether it does something, or has done what it is for and counts as there.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading")
    }
}

/// A unit that is loaded: name, description, active state, sub state, and whether it exists at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// With its ending.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// `loaded`, `not-found` and so on.
    pub load: String,
    /// The active state, as in `Unit`.
    pub active: String,
    /// The sub state, as in `Unit`.
    pub sub: String,
}

/// All services: those that are loaded, and those that only have a file, which `describe` reads.
/// Templates are none, and other names of a service are not others.
pub fn services(
    loaded: Vec<Loaded>,
    files: impl IntoIterator<Item = (String, String)>,
    mut describe: impl FnMut(&str) -> Option<String>,
) -> BTreeMap<String, Unit> {
    let mut found = BTreeMap::new();
    for (path, enabled) in files.into_iter().filter(|(_, enabled)| enabled != "alias") {
        let Some(name) = path.rsplit('/').next().and_then(|name| name.strip_suffix(SUFFIX)) else {
            continue;
        };
        if name.is_empty() || name.ends_with('@') {
            continue;
        }
        let name = name.to_owned();
        let unit = Unit {
            name: name.clone(),
            description: describe(&path).unwrap_or_else(|| name.clone()),
            path,
            enabled,
            active: "inactive".to_owned(),
            sub: "dead".to_owned(),
        };
        found.insert(name, unit);
    }
    // What somebody only mentions is not there.
    for unit in loaded.into_iter().filter(|unit| unit.load != "not-found") {
        let Some(name) = unit.name.strip_suffix(SUFFIX).filter(|name| !name.is_empty()) else {
            continue;
        };
        let row = found.entry(name.to_owned()).or_insert_with(|| Unit {
            name: name.to_owned(),
            description: String::new(),
            path: String::new(),
            enabled: String::new(),
            active: String::new(),
            sub: String::new(),
        });
        row.description = unit.description;
        (row.active, row.sub) = (unit.active, unit.sub);
    }
    found
}

/// What a unit file says of its unit: the last `Description=` of its section `[Unit]`.
pub fn description(file: &str) -> Option<&str> {
    let (mut is_unit, mut found) = (false, None);
    for line in file.lines().map(str::trim) {
        if line.starts_with('[') {
            is_unit = line == "[Unit]";
        } else if let (true, Some(value)) = (is_unit, line.strip_prefix("Description=")) {
            found = Some(value.trim()).filter(|value| !value.is_empty());
        }
    }
    found
}

/// The unit that a client means by a name: with or without its ending, and nothing that could be
/// taken for another kind of unit or a path.
///
/// # Errors
/// A sentence about the name.
pub fn unit_name(name: &str) -> Result<String, String> {
    let stem = name.strip_suffix(SUFFIX).unwrap_or(name);
    let is_fine = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    // systemd takes names of up to 255 bytes.
    let fits = !stem.is_empty() && stem.len() + SUFFIX.len() <= 255 && stem.chars().all(is_fine);
    if !fits || stem.starts_with(['-', '.']) || stem.ends_with('@') {
        let shown: String = name.chars().take(64).collect();
        return Err(format!("{shown:?} is not the name of a service"));
    }
    Ok(format!("{stem}{SUFFIX}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loaded(name: &str, load: &str, active: &str) -> Loaded {
        let own = str::to_owned;
        Loaded {
            name: own(name),
            description: own("what it does"),
            load: own(load),
            active: own(active),
            sub: own("running"),
        }
    }

    #[test]
    fn files_and_loaded_units_become_one_list() {
        let file = |path: &str, state: &str| (path.to_owned(), state.to_owned());
        let files = [
            file("/lib/systemd/system/ssh.service", "enabled"),
            file("/lib/systemd/system/getty@.service", "enabled"),
            file("/lib/systemd/system/cron.service", "disabled"),
            file("/lib/systemd/system/a.socket", "enabled"),
            file("/lib/systemd/system/sshd.service", "alias"),
        ];
        let loaded = vec![
            loaded("ssh.service", "loaded", "active"),
            loaded("getty@tty1.service", "loaded", "failed"),
            loaded("gone.service", "not-found", "inactive"),
            loaded("dev-sda.device", "loaded", "active"),
        ];
        let services =
            services(loaded, files, |path| path.contains("cron").then(|| "Cron".to_owned()));
        assert_eq!(services["cron"].description, "Cron");
        assert_eq!(services.keys().collect::<Vec<_>>(), ["cron", "getty@tty1", "ssh"]);
        assert!(services["ssh"].is_running() && services["ssh"].is_enabled());
        assert!(!services["cron"].is_running() && !services["cron"].is_enabled());
        assert_eq!(services["ssh"].path, "/lib/systemd/system/ssh.service");
    }

    #[test]
    fn a_unit_file_describes_its_unit() {
        let file = "[Service]\nDescription=no\n[Unit]\nDescription=A\n Description= B \n";
        assert_eq!(description(file), Some("B"));
        assert_eq!(description("[Unit]\nDescription=A\nDescription=\n"), None);
    }

    #[test]
    fn only_names_of_services_are_taken() {
        assert_eq!(unit_name("ssh").as_deref(), Ok("ssh.service"));
        assert_eq!(unit_name("getty@tty1.service").as_deref(), Ok("getty@tty1.service"));
        for bad in ["", "a b", "../x", "/etc/x", "a\nb", "a\0", "-f", "getty@", ".service", "ä"] {
            assert!(unit_name(bad).is_err(), "{bad:?}");
        }
        assert!(unit_name(&"a".repeat(248)).is_err());
        assert_eq!(unit_name("reboot.target").as_deref(), Ok("reboot.target.service"));
    }

    proptest! {
        #[test]
        fn a_taken_name_is_one_plain_word(name in ".{0,40}") {
            if let Ok(unit) = unit_name(&name) {
                prop_assert!(unit.ends_with(SUFFIX) && !unit.contains(['/', ' ', '\n', '\0']));
                prop_assert_eq!(unit_name(&unit), Ok(unit.clone()));
            }
        }
    }
}
