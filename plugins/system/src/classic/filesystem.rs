//! `sysadm/fs`: what is in a directory.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, readlinkat, statat,
};
use sdk::{Fault, FaultKind, Request, Value, json};
use serde_json::Map;

use super::{Outcome, action, text, under, unknown_action};
use crate::classic::users::Names;

/// Entries of one answer.
const ENTRIES_MAX: usize = 5000;

pub(crate) fn answer(request: &Request) -> Result<Value, Fault> {
    match action(request).as_str() {
        "dirlist" => Ok(under("dirlist", list(&request.args)?)),
        _ => Err(unknown_action(request, &["dirlist"])),
    }
}

fn list(args: &Value) -> Result<Outcome, Fault> {
    if args.get("dir").is_none() {
        return Ok(Err("Requires dir key".to_owned()));
    }
    let dir = text(args, "dir").unwrap_or_default();
    if dir.is_empty() {
        return Ok(Err("Empty dir name".to_owned()));
    }
    let dir = plain(&dir)?;
    entries(&dir).map(Ok)
}

/// An absolute path that says where it leads: no `..`, no NUL.
pub(crate) fn plain(text: &str) -> Result<PathBuf, Fault> {
    let path = Path::new(text);
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if !path.is_absolute() || climbs || text.contains('\0') || text.len() > 4095 {
        return Err(Fault::bad_request("expected `dir`, an absolute path without `..`"));
    }
    Ok(path.to_path_buf())
}

fn entries(path: &Path) -> Result<Value, Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // Links of the kernel's that lead to what a process has open are not followed.
    let dir = match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        Ok(dir) => dir,
        // As the original answers for what is not there.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(json!({})),
        Err(error) => {
            let sentence = format!("the directory cannot be read: {error}");
            return Err(Fault::new(FaultKind::Failed, sentence));
        }
    };
    let listing = Dir::read_from(&dir).map_err(unreadable)?;
    let mut names = Names::default();
    let mut found = Map::new();
    for entry in listing {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if name.to_bytes().starts_with(b".") {
            continue;
        }
        if found.len() == ENTRIES_MAX {
            let sentence = format!("the directory has more than {ENTRIES_MAX} entries");
            return Err(Fault::new(FaultKind::TooLarge, sentence));
        }
        // One that has gone in between is not there.
        if let Some(row) = row(&dir, name, &mut names) {
            found.insert(OsStr::from_bytes(name.to_bytes()).to_string_lossy().into_owned(), row);
        }
    }
    Ok(found.into())
}

fn row(dir: impl std::os::fd::AsFd, name: &CStr, names: &mut Names) -> Option<Value> {
    // Of the entry itself, never of what it points to.
    let status = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => json!({ "dir": true }),
        FileType::Symlink => {
            let target = readlinkat(&dir, name, Vec::new()).ok()?;
            json!({ "symlink": true, "target": target.to_string_lossy() })
        }
        _ => json!({
            "size": status.st_size,
            "owner": names.user(status.st_uid),
            "group": names.group(status.st_gid),
        }),
    })
}

fn unreadable(error: rustix::io::Errno) -> Fault {
    Fault::new(FaultKind::Failed, format!("the directory cannot be read: {error}"))
}

/// What is looked up once.
pub(crate) type Known = HashMap<u32, String>;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn asked(args: Value) -> Result<Value, Fault> {
        answer(&Request { namespace: "sysadm".to_owned(), name: "fs".to_owned(), args })
    }

    #[test]
    fn a_directory_is_listed_in_the_classic_shape() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("fs-list");
        fs::create_dir_all(dir.join("inner")).unwrap();
        fs::write(dir.join("file"), "12345").unwrap();
        fs::write(dir.join(".hidden"), "").unwrap();
        symlink("/etc/passwd", dir.join("link")).unwrap();
        let listed = asked(json!({"action": "DirList", "dir": dir})).unwrap();
        let listed = &listed["dirlist"];
        assert_eq!(listed["inner"], json!({"dir": true}));
        assert_eq!(listed["link"], json!({"symlink": true, "target": "/etc/passwd"}));
        assert_eq!(listed["file"]["size"], 5);
        assert!(listed["file"]["owner"].is_string() && listed["file"]["group"].is_string());
        assert_eq!(listed.as_object().unwrap().len(), 3);
    }

    #[test]
    fn what_is_not_there_is_empty_and_what_is_no_path_is_refused() {
        let args = |dir: Value| json!({"action": "dirlist", "dir": dir});
        assert_eq!(asked(args(json!("/no/such"))).unwrap(), json!({"dirlist": {}}));
        assert_eq!(asked(args(json!("/etc/passwd"))).unwrap(), json!({"dirlist": {}}));
        let missing = asked(json!({"action": "dirlist"})).unwrap();
        assert_eq!(missing["dirlist"]["error"], "Requires dir key");
        let empty = asked(args(json!(""))).unwrap();
        assert_eq!(empty["dirlist"]["error"], "Empty dir name");
        for bad in ["etc", "/etc/../root", "..", "/a\0b"] {
            assert!(asked(args(json!(bad))).is_err(), "{bad:?}");
        }
        assert!(asked(json!({"action": "remove"})).is_err());
    }
}
