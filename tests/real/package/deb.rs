//! What stands in the .deb.

use std::fs;

use kit::lab::{Lab, must};
use serde_json::Value;

use super::{assets, build, said};

#[test]
fn the_package_is_clean_whole_and_the_same_twice() {
    let lab = Lab::enter("deb");
    let first = build("deb", "1.2.3", &lab.dir().join("a"));
    let second = build("deb", "1.2.3", &lab.dir().join("b"));
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap(), "two builds differ");
    let file = first.to_str().expect("a path");
    let complaints = said("lintian", "lintian", &["--allow-root", "--tag-display-limit=0", file]);
    let of_lintian = |line: &&str| line.starts_with("E: ") || line.starts_with("W: ");
    assert_eq!(complaints.lines().find(of_lintian), None, "lintian:\n{complaints}");
    holds_all_assets(file);
    names_what_is_linked_in(file, &lab);
}

/// Each line of the list is in the package, with its mode, and nothing else is.
fn holds_all_assets(file: &str) {
    let list = must("dpkg-deb", "dpkg", &["--contents", file]);
    let mut there: Vec<(&str, &str)> = list
        .lines()
        .map(|line| (line, line.rsplit(' ').next().unwrap_or_default().trim_start_matches('.')))
        .map(|(line, path)| (&line[..10], path))
        .filter(|(mode, _)| !mode.starts_with('d'))
        .collect();
    for asset in assets("deb") {
        let mode = match &*asset.mode {
            "0755" => "-rwxr-xr-x",
            "0644" => "-rw-r--r--",
            "0640" => "-rw-r-----",
            other => panic!("what is {other}?"),
        };
        let before = there.len();
        there.retain(|(has, path)| !(asset.is(path) && *has == mode));
        assert!(there.len() < before, "{} is not there, or not with {mode}:\n{list}", asset.place);
    }
    there.retain(|(_, path)| *path != "/usr/share/lintian/overrides/sysadmd");
    assert!(there.is_empty(), "not in the list: {there:?}");
}

/// Every part has a version, a licence and a hash, and those that the programs surely need are there.
fn names_what_is_linked_in(file: &str, lab: &Lab) {
    let to = lab.dir().join("unpacked");
    must("dpkg-deb", "dpkg", &["--extract", file, to.to_str().expect("a path")]);
    let text = fs::read_to_string(to.join("usr/share/doc/sysadmd/sbom.cdx.json")).expect("it");
    let bom: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let parts = bom["components"].as_array().expect("parts");
    let names: Vec<&str> = parts.iter().filter_map(|part| part["name"].as_str()).collect();
    for needed in ["rusqlite", "rustls", "tokio", "sysadmd-snapshot", "sysadmd-pam"] {
        assert!(names.contains(&needed), "{needed} is missing");
    }
    for tests_only in ["proptest", "jsonschema", "sysadmd-kit"] {
        assert!(!names.contains(&tests_only), "{tests_only} is not linked in");
    }
    for part in parts {
        let own = part["name"].as_str().is_some_and(|name| name.starts_with("sysadmd"));
        let whole = part["licenses"][0]["expression"].is_string()
            && (own || part["hashes"][0]["content"].as_str().is_some_and(|it| it.len() == 64));
        assert!(whole, "{part}");
    }
}
