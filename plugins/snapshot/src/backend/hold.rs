//! Reasons why a snapshot must stay, for storage that cannot keep them itself: one small file for
//! each, in a directory named by the snapshot's identity.
//!
//! A hold is not a lock: it outlives whoever put it there, and any number of tags may hold one
//! snapshot. A back end refuses to destroy what is held.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::durable;
use super::error::{Error, Result};

/// The holds of one storage.
#[derive(Debug, Clone)]
pub struct Holds {
    dir: PathBuf,
}

impl Holds {
    /// Those kept in `dir`, which need not be there yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Holds a snapshot, durably; doing it twice is doing it once. A tag has 1 to 128 characters of
    /// `[A-Za-z0-9._:-]`.
    pub fn put(&self, identity: &str, tag: &str) -> Result<()> {
        let failed = |cause: io::Error| Error::io("hold a snapshot", cause);
        let dir = self.of(identity, tag)?;
        durable::make_dir(&dir).map_err(failed)?;
        durable::write(&dir, tag, b"").map_err(failed)?;
        durable::sync_dir(&self.dir).map_err(failed)
    }

    /// Lets go of it; what is not held is no error.
    pub fn remove(&self, identity: &str, tag: &str) -> Result<()> {
        let dir = self.of(identity, tag)?;
        match fs::remove_file(dir.join(tag)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("release a snapshot", cause));
            }
            _ => {}
        }
        // Fails while there are other tags, and that is right.
        let _kept = fs::remove_dir(dir);
        Ok(())
    }

    /// The tags that hold a snapshot, in order.
    pub fn tags(&self, identity: &str) -> Result<Vec<String>> {
        let entries = match fs::read_dir(self.dir.join(identity)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|cause| Error::io("read the holds", cause))?,
        };
        let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        // What begins with a dot is half written.
        let mut tags: Vec<String> =
            entries.filter_map(name).filter(|tag| !tag.starts_with('.')).collect();
        tags.sort();
        Ok(tags)
    }

    /// All tags in these directories, by the identities they hold.
    pub(super) fn all(
        dirs: impl IntoIterator<Item = PathBuf>,
    ) -> Result<BTreeMap<String, Vec<String>>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for dir in dirs {
            let entries = match fs::read_dir(&dir) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(|cause| Error::io("read the holds", cause))?,
            };
            for entry in entries {
                let name = entry.map_err(|cause| Error::io("read the holds", cause))?.file_name();
                let Ok(identity) = name.into_string() else { continue };
                let tags = Self::at(&dir).tags(&identity)?;
                if !tags.is_empty() {
                    found.entry(identity).or_default().extend(tags);
                }
            }
        }
        Ok(found)
    }

    /// [`super::ErrorKind::Busy`] when a snapshot is held in any of these directories.
    pub(super) fn refuse(
        dirs: impl IntoIterator<Item = PathBuf>,
        identity: &str,
        name: &str,
    ) -> Result<()> {
        for dir in dirs {
            if let Some(tag) = Self::at(dir).tags(identity)?.first() {
                return Err(Error::busy(format!(
                    "The snapshot {name} is held by {tag}. Release it first."
                )));
            }
        }
        Ok(())
    }

    fn of(&self, identity: &str, tag: &str) -> Result<PathBuf> {
        let sane = |text: &str, max: usize| {
            (1..=max).contains(&text.len())
                && !text.starts_with('.')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
        };
        if !sane(identity, 64) || !sane(tag, 128) {
            return Err(Error::bad_request(
                "A hold's tag has other characters than A-Z a-z 0-9 . _ : -",
            ));
        }
        Ok(Path::new(&self.dir).join(identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_stays_until_its_own_tag_is_released() {
        let dir = std::env::temp_dir().join(format!("sysadmd-holds-{}", uuid::Uuid::new_v4()));
        let holds = Holds::at(&dir);
        assert_eq!(holds.tags("ab").unwrap(), [""; 0]);
        for tag in ["b:cursor", "a:step", "b:cursor"] {
            holds.put("ab", tag).unwrap();
        }
        assert_eq!(holds.tags("ab").unwrap(), ["a:step", "b:cursor"]);
        assert!(
            Holds::refuse([dir.clone()], "ab", "name").unwrap_err().to_string().contains("a:step")
        );
        holds.remove("ab", "a:step").unwrap();
        holds.remove("ab", "never").unwrap();
        assert_eq!(holds.tags("ab").unwrap(), ["b:cursor"]);
        holds.remove("ab", "b:cursor").unwrap();
        Holds::refuse([dir.clone()], "ab", "name").unwrap();
        for wrong in ["", ".x", "a/b", "../x"] {
            assert!(holds.put("ab", wrong).is_err() && holds.put(wrong, "ab").is_err());
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
