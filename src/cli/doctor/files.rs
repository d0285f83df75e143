//! Who may read and write the installation's files.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Finding;
use super::place::Place;
use crate::cli::service;

const STATE: &str = "state-directory";
const KEY: &str = "tls-key";
const PLUGINS: &str = "plugin-directory";

/// The state directory, the key, and where plugins lie.
pub(super) fn check(place: &Place) -> Vec<Finding> {
    let user = place.pid.and_then(user_of);
    vec![state_dir(&place.state_dir, user), key(&place.key), plugin_dir(&place.plugins)]
}

/// The user a process runs as.
fn user_of(pid: u32) -> Option<u32> {
    fs::metadata(format!("/proc/{pid}")).ok().map(|it| it.uid())
}

fn state_dir(path: &Path, user: Option<u32>) -> Finding {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(it) if !it.is_dir() => {
            let mend =
                format!("move the file away; sysadmd makes the directory: mv {shown} {shown}.old");
            Finding::problem(STATE, format!("{shown} is no directory"), mend)
        }
        Ok(it) => judge_state_dir(path, (it.uid(), it.mode()), user),
        Err(error) => missing(STATE, path, &error),
    }
}

fn judge_state_dir(path: &Path, (owner, mode): (u32, u32), user: Option<u32>) -> Finding {
    let shown = path.display();
    if let Some(user) = user.filter(|user| *user != owner) {
        let what = format!("{shown} belongs to user {owner}, and the daemon runs as user {user}");
        return Finding::problem(STATE, what, format!("chown -R {user} {shown}"));
    }
    // As root the daemon lets the users of its plugins pass through (0711).
    if mode & 0o066 != 0 {
        let what = format!("others may look into {shown} (mode {:04o})", mode & 0o7777);
        return Finding::problem(STATE, what, format!("chmod go-rw {shown}"));
    }
    Finding::ok(STATE, format!("{shown} is the daemon's alone"))
}

fn key(path: &Path) -> Finding {
    let shown = path.display();
    match fs::metadata(path).map(|it| it.mode()) {
        Ok(mode) if mode & 0o077 != 0 => {
            let what =
                format!("others may read the private key {shown} (mode {:04o})", mode & 0o7777);
            let mend = format!("chmod 0600 {shown}; if somebody may have read it, make a new pair");
            Finding::problem(KEY, what, mend)
        }
        Ok(_) => Finding::ok(KEY, format!("{shown} is the daemon's alone")),
        Err(error) => missing(KEY, path, &error),
    }
}

fn plugin_dir(dir: &Path) -> Finding {
    let shown = dir.display();
    let Ok(entries) = fs::read_dir(dir) else {
        return match fs::metadata(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Finding::ok(PLUGINS, format!("{shown} is not there: no third-party plugins"))
            }
            _ => Finding::unknown(PLUGINS, format!("you may not look into {shown}")),
        };
    };
    let folders = entries.flatten().map(|entry| entry.path());
    let inside = folders.flat_map(|folder| {
        let files = fs::read_dir(&folder).into_iter().flatten().flatten().map(|file| file.path());
        files.chain([folder]).collect::<Vec<_>>()
    });
    let writable = |path: &PathBuf| fs::metadata(path).is_ok_and(|it| others_write(&it));
    match [dir.to_owned()].into_iter().chain(inside).find(writable) {
        Some(path) => {
            let what = format!(
                "{} can be written by others, and the daemon runs what is there",
                path.display()
            );
            Finding::problem(PLUGINS, what, format!("chmod -R go-w {shown}"))
        }
        None => Finding::ok(PLUGINS, format!("others cannot write {shown}")),
    }
}

fn others_write(metadata: &Metadata) -> bool {
    metadata.mode() & 0o022 != 0
}

fn missing(check: &'static str, path: &Path, error: &io::Error) -> Finding {
    let shown = path.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Finding::unknown(check, format!("you may not look at {shown}: ask as root"));
    }
    let mend = format!(
        "start the daemon once ({}), which makes its own; or name the right place: \
         --state-dir DIR, --config FILE",
        service::command("start")
    );
    Finding::problem(check, format!("{shown}: {error}"), mend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn the_state_directory_is_the_daemons_alone() {
        let verdict =
            |owner, mode, user| judge_state_dir(Path::new("/s"), (owner, mode), user).verdict;
        assert_eq!(verdict(5, 0o40700, Some(5)), Verdict::Ok);
        assert_eq!(verdict(5, 0o40711, None), Verdict::Ok);
        assert_eq!(verdict(5, 0o40700, Some(6)), Verdict::Problem);
        assert_eq!(verdict(5, 0o40750, Some(5)), Verdict::Problem);
    }
}
