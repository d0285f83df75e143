//! Policies on disk: one JSON file each, written whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::Policy;
use crate::backend::{Error, Result, durable};

/// Most policies, so that what the scheduler looks at every few seconds is bounded.
pub const POLICIES_MAX: usize = 256;
/// The largest file that is read, in bytes: a policy with all its lists full is smaller.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A policy as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Counts every change, from 1.
    pub revision: u64,
    /// When it was changed last. Schedules count from here when nothing else is known of them.
    pub saved: DateTime<Utc>,
    /// The policy.
    pub policy: Policy,
}

/// A file that should hold a policy and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Where.
    pub path: PathBuf,
    /// Why, in a sentence.
    pub why: String,
}

/// The directory with the policies.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens the directory, which is made when missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: PathBuf) -> Result<Self> {
        durable::make_dir(&dir)
            .map_err(|cause| Error::io(format!("make {}", dir.display()), cause))?;
        Ok(Self { dir })
    }

    /// All policies by title, and the files that are none.
    ///
    /// # Errors
    /// When the directory cannot be read. Then nobody knows which policies there are.
    pub fn all(&self) -> Result<(Vec<Kept>, Vec<Broken>)> {
        let failed = |cause: io::Error| Error::io("list the policies", cause);
        let (mut found, mut broken) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            // What a write that was killed has left begins with a dot.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || !name.ends_with(".json") {
                continue;
            }
            match read(&path) {
                Ok(kept) if name == file_name(kept.policy.id) => found.push(kept),
                Ok(_) => broken.push(Broken { why: "Its name is not its id.".to_owned(), path }),
                Err(error) => broken.push(Broken { why: error.to_string(), path }),
            }
        }
        found.sort_by(|a, b| (&a.policy.title, a.policy.id).cmp(&(&b.policy.title, b.policy.id)));
        Ok((found, broken))
    }

    /// One policy.
    ///
    /// # Errors
    /// When there is none of that id, or its file is none.
    pub fn get(&self, id: Uuid) -> Result<Kept> {
        let path = self.dir.join(file_name(id));
        if !path.exists() {
            return Err(Error::not_found(format!("There is no policy {id}.")));
        }
        read(&path)
    }

    /// Writes a policy, durably.
    ///
    /// # Errors
    /// When it cannot be written; then the one before is still there.
    pub fn put(&self, kept: &Kept) -> Result<()> {
        let failed = |cause: io::Error| Error::io("write the policy", cause);
        let text = serde_json::to_vec_pretty(kept).map_err(|cause| failed(cause.into()))?;
        durable::write(&self.dir, &file_name(kept.policy.id), &text).map_err(failed)
    }

    /// Removes a policy, durably.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, id: Uuid) -> Result<()> {
        let failed = |cause: io::Error| Error::io("remove the policy", cause);
        fs::remove_file(self.dir.join(file_name(id))).map_err(failed)?;
        durable::sync_dir(&self.dir).map_err(failed)
    }
}

/// A policy from the text of its file.
///
/// # Errors
/// When the text is none, or what it says cannot be meant.
pub fn parse(text: &[u8]) -> Result<Kept> {
    let kept: Kept = serde_json::from_slice(text)
        .map_err(|cause| Error::failed(format!("The file holds no policy: {cause}.")))?;
    kept.policy.check()?;
    Ok(kept)
}

fn read(path: &Path) -> Result<Kept> {
    let failed = |cause: io::Error| Error::io(format!("read {}", path.display()), cause);
    if fs::symlink_metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(Error::failed(format!("{} is no policy: too large.", path.display())));
    }
    parse(&fs::read(path).map_err(failed)?)
}

fn file_name(id: Uuid) -> String {
    format!("{id}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let policy = r#"{"title": "nightly", "datasets": {"include": ["tank/**"]},
            "schedules": [{"label": "daily", "cron": "0 2 * * *"}],
            "retention": {"daily": 7}, "timezone": "Europe/Berlin"}"#;
        Kept {
            revision: 1,
            saved: DateTime::UNIX_EPOCH,
            policy: serde_json::from_str(policy).unwrap(),
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_none_hides_nothing() {
        let dir = std::env::temp_dir().join(format!("sysadmd-policies-{}", Uuid::new_v4()));
        let store = Store::open(dir.clone()).unwrap();
        let kept = kept();
        store.put(&kept).unwrap();
        fs::write(dir.join(".half.json.x"), "{").unwrap();
        fs::write(dir.join(file_name(Uuid::nil())), "{").unwrap();
        let (found, broken) = store.all().unwrap();
        assert_eq!(found, std::slice::from_ref(&kept));
        assert_eq!(broken.len(), 1);
        assert_eq!(store.get(kept.policy.id).unwrap(), kept);
        store.remove(kept.policy.id).unwrap();
        assert!(store.get(kept.policy.id).is_err() && store.all().unwrap().0.is_empty());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn every_cut_of_a_file_is_refused() {
        let text = serde_json::to_vec_pretty(&kept()).unwrap();
        assert!(parse(&text).is_ok());
        for length in 0..text.len() {
            assert!(parse(&text[..length]).is_err(), "{length}");
        }
    }
}
