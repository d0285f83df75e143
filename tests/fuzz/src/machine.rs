//! What the system plugin reads: files of the kernel, answers of tools, names that callers choose.

use serde_json::Value;
use system::fuzzing::{self, Loaded, Ticks};

use crate::{line_and_rest, utf8};

/// `/proc/meminfo`, `/proc/stat`, `/proc/pressure`, `/proc/mdstat`, and files of `NAME=VALUE`.
pub fn kernel_files(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    let memory = fuzzing::memory(text);
    assert!(memory.wired() <= memory.total);
    let ticks = fuzzing::ticks(text);
    assert!(ticks.len() <= text.lines().count());
    for one in &ticks {
        assert!(one.busy <= one.total && one.percent_since(Ticks::default()) <= 100);
    }
    let _share = fuzzing::pressure(text);
    for array in fuzzing::arrays(text) {
        assert!(array.name.starts_with("md") && text.contains(&array.name));
    }
    let (name, rest) = line_and_rest(data);
    if let (Some(name), Some(rest)) = (utf8(name), utf8(rest)) {
        for value in
            [fuzzing::assigned(rest, name), fuzzing::colon(rest, name)].into_iter().flatten()
        {
            assert!(rest.contains(value) && !value.contains('\n'));
        }
        if let Some(gateway) = fuzzing::gateway(rest, name) {
            assert!(gateway.parse::<std::net::Ipv4Addr>().is_ok_and(|it| !it.is_unspecified()));
        }
    }
}

/// `/proc/PID/stat` and `status`.
pub fn process_files(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    if let Some(stat) = fuzzing::stat(text) {
        assert!(text.contains(&stat.name));
        let shown = fuzzing::short_bytes(stat.virtual_bytes);
        assert!(shown.len() <= 6, "{shown}");
    }
    let _owner = fuzzing::owner(text);
}

/// `/proc/self/mounts`, and the disks among them.
pub fn mount_table(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    let table = fuzzing::table(text);
    assert!(table.len() <= text.lines().count());
    let disks = fuzzing::disks(table);
    for (place, disk) in disks.iter().enumerate() {
        let others = &disks[place + 1..];
        assert!(others.iter().all(|it| it.source != disk.source && it.target != disk.target));
    }
}

/// `getent`, managers of packages, `zpool list`, `pci.ids`.
pub fn tool_output(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    for user in fuzzing::users(text) {
        assert!(!user.name.is_empty() && user.uid.parse::<u32>().is_ok());
    }
    for group in fuzzing::groups(text) {
        assert!(group.members.iter().all(|name| !name.is_empty()));
    }
    let updates = fuzzing::apt(text);
    assert!(updates.security <= updates.pending);
    for counted in [fuzzing::dnf, fuzzing::zypper, fuzzing::pacman, fuzzing::apk] {
        assert!(counted(text) <= text.lines().count() as u64);
    }
    fuzzing::zypper_security(text);
    for pool in fuzzing::pools(text) {
        assert!(text.contains(&pool.name) && text.contains(&pool.health));
    }
    let (ids, list) = line_and_rest(data);
    if let (Some(ids), Some(list)) = (utf8(ids), utf8(list)) {
        let (vendor, device) = ids.split_once(' ').unwrap_or((ids, ""));
        let names = fuzzing::names(list, vendor, device);
        assert!(names.device.is_none() || names.vendor.is_some());
    }
}

/// Unit files and lists of units.
pub fn units(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    if let Some(description) = fuzzing::description(text) {
        assert!(!description.is_empty() && text.contains(description));
    }
    let loaded = text.lines().map(|name| Loaded {
        name: name.to_owned(),
        description: String::new(),
        load: "loaded".to_owned(),
        active: "active".to_owned(),
        sub: "running".to_owned(),
    });
    let files = text.lines().map(|line| (line.to_owned(), "enabled".to_owned()));
    for (name, unit) in fuzzing::services(loaded.collect(), files, |_| None) {
        assert!(name == unit.name && !name.is_empty());
        assert!(unit.path.is_empty() || !name.contains('/'));
    }
}

/// Names in requests: services, settings of the kernel, accounts; and the configuration.
pub fn chosen_names(data: &[u8]) {
    let Some(text) = utf8(data) else { return };
    if let Ok(unit) = fuzzing::unit_name(text) {
        assert!(unit.ends_with(".service") && unit.len() <= 255);
        assert!(!unit.contains(['/', ' ', '\n', '\0']) && !unit.starts_with('-'));
    }
    if let Some(path) = fuzzing::setting(text) {
        assert!(!path.starts_with('/') && !path.contains('\0'));
        assert!(path.split('/').all(|part| !part.is_empty() && part != ".."));
    }
    if fuzzing::is_name(text) {
        assert!(!text.starts_with('-') && !text.contains([':', ',', '/', '\n', '\0', ' ']));
    }
    if let Ok(section) = serde_json::from_str::<Value>(text) {
        let _legal = fuzzing::config(&section);
    }
}
