//! Programs of the storage: found by absolute path, started with an argument vector and an
//! environment of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where they may be. `PATH` is not asked: whoever sets it is not whom we trust.
const FOLDERS: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin", "/usr/local/bin"];

/// The program of that name, from the first folder that has it.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let mut paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    paths.find(|path| path.is_file())
}

/// The program with these arguments and nothing of this process's environment.
pub(super) fn quiet(path: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(path);
    command
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}
