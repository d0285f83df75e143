//! `getsysctl`, `setsysctl`, `sysctllist`: the kernel's settings in `/proc/sys`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use sdk::{Value, json};
use serde_json::Map;

use super::{Outcome, text, texts};
use crate::facts::names_in;

const ROOT: &str = "/proc/sys";
/// The longest value that is read or written, in bytes.
const VALUE_MAX: u64 = 4096;
/// Settings in one list.
const SETTINGS_MAX: usize = 4000;
/// How deep settings lie.
const DEPTH_MAX: usize = 8;

pub(super) fn get(args: &Value) -> Outcome {
    let names = texts(args, "sysctl").ok_or("Missing required key 'sysctl'")?;
    let values = names.into_iter().take(SETTINGS_MAX).map(|name| {
        let value = read(&name)?;
        Ok((name, value.into()))
    });
    values.collect::<Result<Map<_, _>, String>>().map(Value::from)
}

pub(super) fn set(args: &Value) -> Outcome {
    let name = text(args, "sysctl").ok_or("Missing required key 'sysctl'")?;
    let value = text(args, "value").ok_or("Missing required key 'value'")?;
    if value.len() as u64 > VALUE_MAX || value.contains('\0') {
        return Err(format!("the value may have {VALUE_MAX} bytes and no NUL"));
    }
    let before = read(&name).unwrap_or_default();
    let mut file = open(&name, OFlags::WRONLY)?;
    file.write_all(value.as_bytes()).map_err(|error| format!("{name} was not set: {error}"))?;
    // What the kernel made of it.
    let after = read(&name).unwrap_or_else(|_| value.clone());
    Ok(json!({
        "sysctl": name, "value": value, "response": format!("{name}: {before} -> {after}"),
    }))
}

/// Those that anybody on this machine may read.
pub(super) fn list() -> Value {
    let mut names = Vec::new();
    walk("", 0, &mut names);
    let row = |name: String| {
        let value = read(&name).ok()?;
        let kind = if value.parse::<i64>().is_ok() { "integer" } else { "string" };
        Some((name, json!({ "value": value, "type": kind })))
    };
    names.into_iter().filter_map(row).collect::<Map<_, _>>().into()
}

fn walk(dir: &str, depth: usize, names: &mut Vec<String>) {
    for entry in names_in(&format!("{ROOT}/{dir}")) {
        let path = if dir.is_empty() { entry } else { format!("{dir}/{entry}") };
        let Ok(status) = std::fs::symlink_metadata(format!("{ROOT}/{path}")) else { continue };
        if names.len() >= SETTINGS_MAX {
            return;
        }
        if status.is_dir() && depth < DEPTH_MAX {
            walk(&path, depth + 1, names);
        } else if status.is_file() {
            names.push(dotted(&path));
        }
    }
}

/// `net/ipv4/conf/eth0.5/forwarding` as sysctl(8) writes it: dots and slashes change places.
fn dotted(path: &str) -> String {
    swapped(path)
}

fn swapped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

/// The file of a setting, without a way out of `/proc/sys`. sysctl(8) takes both spellings: which
/// one it is says the first of the two signs.
pub(crate) fn path_of(name: &str) -> Option<String> {
    let first = name.find(['.', '/']).and_then(|place| name.get(place..=place));
    let path = if first == Some("/") { name.to_owned() } else { swapped(name) };
    let is_word = |part: &str| !part.is_empty() && part != "." && part != "..";
    (path.len() <= 255 && path.split('/').all(is_word) && !path.contains('\0')).then_some(path)
}

fn open(name: &str, flags: OFlags) -> Result<File, String> {
    let unknown = || format!("there is no setting {name:?}");
    let path = path_of(name).ok_or_else(unknown)?;
    let root = openat(CWD, ROOT, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = root.map_err(|error| format!("{ROOT} cannot be opened: {error}"))?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match openat2(&root, &*path, flags, Mode::empty(), inside) {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(unknown()),
        Err(error) => Err(format!("{name} cannot be opened: {error}")),
    }
}

fn read(name: &str) -> Result<String, String> {
    let mut file = open(name, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let unreadable = |error: std::io::Error| format!("{name} cannot be read: {error}");
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o004 == 0 {
        // Such as keys: the file's own rights say who may know them.
        return Err(format!("{name} is not for everybody to read"));
    }
    let mut bytes = Vec::new();
    (&mut file).take(VALUE_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn settings_are_read_in_both_spellings() {
        let name = nix::unistd::gethostname().unwrap().into_string().unwrap();
        for spelling in ["kernel.hostname", "kernel/hostname"] {
            let read = get(&json!({"sysctl": spelling})).unwrap();
            assert_eq!(read[spelling], *name);
        }
        let both = get(&json!({"sysctl": ["kernel.ostype", "kernel.osrelease"]})).unwrap();
        assert_eq!(both["kernel.ostype"], "Linux");
        let list = list();
        assert_eq!(list["kernel.ostype"], json!({"value": "Linux", "type": "string"}));
        assert_eq!(list["kernel.pid_max"]["type"], "integer");
    }

    #[test]
    fn there_is_no_way_out() {
        for bad in [
            "",
            "..",
            "../../etc/passwd",
            "kernel/../../../etc/passwd",
            "/etc/passwd",
            "kernel.",
            "kernel",
            "kernel.no-such",
            "a\0b",
        ] {
            assert!(get(&json!({"sysctl": bad})).is_err(), "{bad:?}");
            assert!(set(&json!({"sysctl": bad, "value": "1"})).is_err(), "{bad:?}");
        }
        assert_eq!(get(&json!({})).unwrap_err(), "Missing required key 'sysctl'");
    }

    proptest! {
        #[test]
        fn every_path_stays_inside(name in "[a-z./]{0,30}") {
            if let Some(path) = path_of(&name) {
                prop_assert!(!path.starts_with('/') && path.split('/').all(|part| part != ".."));
            }
        }

        #[test]
        fn a_setting_is_found_under_the_name_it_is_listed_with(
            first in "[a-z]{1,5}", rest in proptest::collection::vec("[a-z][a-z0-9_.]{0,5}", 1..4),
        ) {
            // The first of a path has no dot in it: `kernel`, `net`, `fs` and so on.
            let path = format!("{first}/{}", rest.join("/"));
            prop_assert_eq!(path_of(&dotted(&path)), Some(path));
        }
    }
}
