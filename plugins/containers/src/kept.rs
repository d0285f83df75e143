//! The model on disk: what was known when the plugin ended. Only with it can be said what happened
//! while nobody looked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sdk::Raise;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::container::Container;

/// What is kept of one engine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) containers: BTreeMap<String, Container>,
    /// What is wrong, as it was raised.
    pub(crate) raised: Vec<Raise>,
    /// Whether the engine could be reached.
    pub(crate) reachable: bool,
}

fn path(dir: &Path, engine: &str) -> PathBuf {
    dir.join(format!("engine-{engine}.json"))
}

/// What was kept; `None` when the engine was never seen.
///
/// # Errors
/// When there is something that cannot be read.
pub(crate) fn read(dir: &Path, engine: &str) -> io::Result<Option<Kept>> {
    match fs::read(path(dir, engine)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps it, whole or not at all.
///
/// # Errors
/// When the disk does not take it.
pub(crate) fn write(dir: &Path, engine: &str, kept: &Kept) -> io::Result<()> {
    let (path, new) = (path(dir, engine), dir.join(format!("engine-{engine}.new")));
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()?;
    fs::rename(&new, &path)
}

/// What names this machine: its own id, or one that is made once.
///
/// # Errors
/// When neither is to be had.
pub(crate) fn installation(dir: &Path) -> io::Result<String> {
    let own = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if !own.trim().is_empty() {
        return Ok(own.trim().to_owned());
    }
    let path = dir.join("installation");
    if let Ok(text) = fs::read_to_string(&path) {
        return Ok(text);
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let made = Uuid::from_bytes(bytes).to_string();
    fs::write(&path, &made)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_what_is_broken_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path(), "docker").unwrap().is_none());
        let mut kept = Kept { reachable: true, ..Kept::default() };
        kept.containers.insert("a".to_owned(), Container::new("a", "web", "image"));
        write(dir.path(), "docker", &kept).unwrap();
        let back = read(dir.path(), "docker").unwrap().unwrap();
        assert_eq!((back.containers, back.reachable), (kept.containers, true));
        fs::write(dir.path().join("engine-docker.json"), "{").unwrap();
        assert!(read(dir.path(), "docker").is_err());
    }
}
