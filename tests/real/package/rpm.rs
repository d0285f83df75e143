//! What stands in the .rpm. There is no distribution here that would install it; rpm itself unpacks
//! it into an empty directory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use kit::lab::{Lab, must};

use super::{assets, build, said};

#[test]
fn the_rpm_holds_all_assets_and_is_unpacked() {
    let lab = Lab::enter("rpm");
    let file = build("rpm", "1.2.3-rc.1", lab.dir());
    let file = file.to_str().expect("a path");
    let ask = |options: &[&str]| {
        let words: Vec<&str> = ["-qp"].iter().chain(options).copied().chain([file]).collect();
        must("rpm", "rpm", &words)
    };
    let asked = ask(&["--queryformat", "%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE}"]);
    assert!(asked.starts_with("sysadmd 1.2.3~rc.1 1 x86_64 BSD-2-Clause"), "{asked}");
    let list = ask(&["--queryformat", "[%{FILEMODES:octal} %{FILENAMES}\n]"]);
    let mut there: Vec<(&str, &str)> =
        list.lines().filter_map(|line| line.split_once(' ')).collect();
    there.retain(|(mode, _)| mode.starts_with("10"));
    for asset in assets("rpm") {
        let before = there.len();
        let is_it = |mode: &str, path: &str| asset.is(path) && mode.ends_with(&asset.mode);
        there.retain(|(mode, path)| !is_it(mode, path));
        assert!(there.len() < before, "{} is missing or has another mode:\n{list}", asset.place);
    }
    assert!(there.is_empty(), "not in the list: {there:?}");
    let config = "/etc/pam.d/sysadmd\n/etc/sysadmd/sysadmd.toml\n";
    assert_eq!(ask(&["--configfiles"]), config);
    assert!(ask(&["--requires"]).contains("libpam.so.0"));
    for step in ["systemd-sysusers sysadmd.conf", "disable --now sysadmd.service", "try-restart"] {
        assert!(ask(&["--scripts"]).contains(step), "{step}");
    }
    assert!(said("rpm", "rpm", &["-K", "--nosignature", file]).contains("OK"));
    unpacked_it_is_there(&lab, file);
}

fn unpacked_it_is_there(lab: &Lab, file: &str) {
    let root = lab.dir().join("root");
    fs::create_dir(&root).expect("a directory");
    let to = root.to_str().expect("a path");
    must("rpm", "rpm", &["--root", to, "--install", "--nodeps", "--noscripts", file]);
    let mode = |path: &str| root.join(path).metadata().expect("it is there").permissions().mode();
    assert_eq!(mode("usr/sbin/sysadmd") & 0o7777, 0o755);
    assert_eq!(mode("etc/sysadmd/sysadmd.toml") & 0o7777, 0o640);
    let rules = fs::read_to_string(root.join("etc/pam.d/sysadmd")).expect("the PAM file");
    assert!(rules.contains("password-auth"), "{rules}");
}
