//! A task: which snapshots are copied where. Plain data, kept as one small file each.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ends::remote::Ssh;
use crate::ends::{Destination, Way};
use crate::plan::{Initial, Intermediate, Original, Rules};
use crate::state_file;

/// Tasks there can be.
pub const TASKS_MAX: usize = 256;
/// Datasets of one task.
pub const SOURCES_MAX: usize = 64;
/// Bytes of a title, and characters of a target.
const TITLE_MAX: usize = 100;
const ROOT_MAX: usize = 1024;
/// The slowest rate: slower, a stream would seem to stand still.
const RATE_MIN: u64 = 16 * 1024;

/// Which snapshots are copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// Those that this project made.
    #[default]
    Ours,
    /// All there are.
    All,
}

/// Where copies go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// A directory on a btrfs, a ZFS dataset, or a directory for copies of directories.
    pub root: String,
    /// The machine it is on; none: this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,
}

/// What was decided about one of its datasets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// 1, and one more for each time that it was begun anew beside what was there.
    pub generation: u32,
    /// All may be sent again although copies are there, once.
    pub again: bool,
}

impl Default for Standing {
    fn default() -> Self {
        Self { generation: 1, again: false }
    }
}

/// A task as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its identity; the title may change.
    pub id: Uuid,
    /// What people call it.
    pub title: String,
    /// The datasets, by id.
    pub sources: Vec<String>,
    /// The machine that the datasets are on; none: this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ssh: Option<Ssh>,
    /// Where their copies go.
    pub target: Place,
    /// Which snapshots.
    #[serde(default)]
    pub snapshots: Select,
    /// Only snapshots with one of these labels; empty: any.
    #[serde(default)]
    pub labels: Vec<String>,
    /// When nothing is at the target yet.
    #[serde(default)]
    pub initial: Initial,
    /// Between the last copy and the newest snapshot.
    #[serde(default)]
    pub intermediate: Intermediate,
    /// Whether it runs.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Bytes a second at most.
    #[serde(default)]
    pub rate_bytes_per_s: Option<u64>,
    /// What was decided about its datasets.
    #[serde(default)]
    pub standing: BTreeMap<String, Standing>,
}

fn yes() -> bool {
    true
}

/// What somebody wants a task to be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// The task to change, or the identity of a new one; none: a new one gets one.
    #[serde(default)]
    pub id: Option<Uuid>,
    /// What people call it.
    pub title: String,
    /// The datasets, by id, name or path.
    pub sources: Vec<String>,
    /// The machine that the datasets are on; none: this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ssh: Option<Ssh>,
    /// Where their copies go.
    pub target: Place,
    /// Which snapshots.
    #[serde(default)]
    pub snapshots: Select,
    /// Only snapshots with one of these labels.
    #[serde(default)]
    pub labels: Vec<String>,
    /// When nothing is at the target yet.
    #[serde(default)]
    pub initial: Initial,
    /// Between the last copy and the newest snapshot.
    #[serde(default)]
    pub intermediate: Intermediate,
    /// Whether it runs.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Bytes a second at most.
    #[serde(default)]
    pub rate_bytes_per_s: Option<u64>,
}

impl Wish {
    /// Whether its parts make sense in themselves.
    ///
    /// # Errors
    /// The sentence for whoever wished it.
    pub fn check(&self) -> Result<(), String> {
        let title = &self.title;
        if title.is_empty() || title.len() > TITLE_MAX || title.chars().any(char::is_control) {
            return Err(format!("`title` is one line of 1 to {TITLE_MAX} bytes"));
        }
        if self.sources.is_empty() || self.sources.len() > SOURCES_MAX {
            return Err(format!("`sources` names 1 to {SOURCES_MAX} datasets"));
        }
        let root = &self.target.root;
        if root.is_empty() || root.len() > ROOT_MAX || root.chars().any(char::is_control) {
            return Err(format!("`target.root` has 1 to {ROOT_MAX} characters"));
        }
        if self.source_ssh.is_some() && self.target.ssh.is_some() {
            return Err(
                "one of both sides is this machine: `source_ssh` or `target.ssh`".to_owned()
            );
        }
        for ssh in self.source_ssh.iter().chain(&self.target.ssh) {
            ssh.check()?;
        }
        if self.labels.len() > 32 || self.labels.iter().any(|label| label.len() > 64) {
            return Err("`labels` are at most 32, of at most 64 bytes each".to_owned());
        }
        if self.rate_bytes_per_s.is_some_and(|rate| rate < RATE_MIN) {
            return Err(format!("`rate_bytes_per_s` is at least {RATE_MIN}"));
        }
        Ok(())
    }

    /// The task it becomes, with its datasets by id; of one that exists already what was decided
    /// stays.
    pub fn settle(self, sources: Vec<String>, old: Option<&Task>) -> Task {
        let mut standing = old.map(|old| old.standing.clone()).unwrap_or_default();
        // Another target is another beginning.
        standing.retain(|dataset, _| {
            sources.contains(dataset) && old.is_some_and(|old| old.target == self.target)
        });
        Task {
            id: self.id.unwrap_or_else(Uuid::new_v4),
            title: self.title,
            sources,
            source_ssh: self.source_ssh,
            target: self.target,
            snapshots: self.snapshots,
            labels: self.labels,
            initial: self.initial,
            intermediate: self.intermediate,
            enabled: self.enabled,
            rate_bytes_per_s: self.rate_bytes_per_s,
            standing,
        }
    }
}

impl Task {
    /// Whether a snapshot is among those that it copies.
    pub fn wants(&self, original: &Original) -> bool {
        let label = || original.label.as_ref().is_some_and(|label| self.labels.contains(label));
        (self.snapshots == Select::All || original.ours) && (self.labels.is_empty() || label())
    }

    /// From where to where a dataset is copied.
    pub fn way(&self, dataset: &str) -> Way<'_> {
        let generation = self.standing(dataset).generation;
        let destination = Destination { root: &self.target.root, generation };
        Way { from: self.source_ssh.as_ref(), to: self.target.ssh.as_ref(), destination }
    }

    /// What was decided about a dataset.
    pub fn standing(&self, dataset: &str) -> Standing {
        self.standing.get(dataset).cloned().unwrap_or_default()
    }

    /// The planner's rules for a dataset, at a target with these demands.
    pub fn rules(&self, dataset: &str, (tip, names): (bool, bool)) -> Rules {
        let again = self.standing(dataset).again;
        Rules { initial: self.initial, intermediate: self.intermediate, tip, names, again }
    }
}

/// Reads all tasks. What is damaged is named and left alone.
pub(crate) fn read_all(dir: &Path) -> io::Result<(BTreeMap<Uuid, Task>, Vec<PathBuf>)> {
    let (mut tasks, mut damaged) = (BTreeMap::new(), Vec::new());
    let entries = match fs::read_dir(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok((tasks, damaged)),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match serde_json::from_slice::<Task>(&fs::read(&path)?) {
            Ok(task)
                if path.file_stem().is_some_and(|stem| stem == task.id.to_string().as_str()) =>
            {
                tasks.insert(task.id, task);
            }
            _ => damaged.push(path),
        }
    }
    Ok((tasks, damaged))
}

/// Keeps a task, durably.
pub(crate) fn write(dir: &Path, task: &Task) -> io::Result<()> {
    state_file::write(&path(dir, task.id), &serde_json::to_vec_pretty(task)?)
}

/// Forgets a task, durably.
pub(crate) fn remove(dir: &Path, task: Uuid) -> io::Result<()> {
    state_file::remove(&path(dir, task))
}

fn path(dir: &Path, task: Uuid) -> PathBuf {
    dir.join(format!("{task}.json"))
}

#[cfg(test)]
mod tests {
    use sdk::json;

    use super::*;

    fn wish() -> Wish {
        serde_json::from_value(json!({
            "title": "nightly", "sources": ["/srv"], "target": {"root": "/backup"},
        }))
        .unwrap()
    }

    #[test]
    fn a_wish_is_checked_and_named() {
        assert_eq!(wish().check(), Ok(()));
        for (wrong, part) in [
            (Wish { title: String::new(), ..wish() }, "title"),
            (Wish { title: "a\nb".to_owned(), ..wish() }, "title"),
            (Wish { sources: Vec::new(), ..wish() }, "sources"),
            (Wish { target: Place { root: "x".repeat(2000), ssh: None }, ..wish() }, "target.root"),
            (Wish { rate_bytes_per_s: Some(1), ..wish() }, "rate_bytes_per_s"),
            (Wish { labels: vec!["x".repeat(65)], ..wish() }, "labels"),
        ] {
            assert!(wrong.check().unwrap_err().contains(part), "{part}");
        }
        let odd = json!({"title": "a", "sources": ["b"], "target": {"root": "/c", "force": true}});
        assert!(serde_json::from_value::<Wish>(odd).is_err());
    }

    #[test]
    fn what_was_decided_stays_with_its_target() {
        let mut task = wish().settle(vec!["tree:1".to_owned()], None);
        task.standing.insert("tree:1".to_owned(), Standing { generation: 2, again: false });
        let same = wish().settle(task.sources.clone(), Some(&task));
        assert_eq!(same.standing("tree:1").generation, 2);
        let mut elsewhere = wish();
        elsewhere.target.root = "/other".to_owned();
        let moved = elsewhere.settle(task.sources.clone(), Some(&task));
        assert_eq!(moved.standing("tree:1").generation, 1);
    }

    #[test]
    fn tasks_are_kept_and_damaged_ones_left_alone() {
        let dir = std::env::temp_dir().join(format!("sysadmd-tasks-{}", Uuid::new_v4()));
        assert!(read_all(&dir).unwrap().0.is_empty());
        let task = wish().settle(vec!["tree:1".to_owned()], None);
        write(&dir, &task).unwrap();
        fs::write(dir.join("odd.json"), "{").unwrap();
        let (tasks, damaged) = read_all(&dir).unwrap();
        assert_eq!(tasks.get(&task.id), Some(&task));
        assert_eq!(damaged, [dir.join("odd.json")]);
        remove(&dir, task.id).unwrap();
        remove(&dir, task.id).unwrap();
        assert!(read_all(&dir).unwrap().0.is_empty());
        fs::remove_dir_all(dir).unwrap();
    }
}
