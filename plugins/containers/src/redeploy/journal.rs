//! What a redeploy is about to do, on disk before it does it: so whoever comes after one that was
//! killed knows whether to go back or to go on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What is to be done, and all that is needed to undo or to finish it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// What the new container's label says.
    pub(crate) action: Uuid,
    pub(crate) engine: String,
    /// The service that nobody else changes meanwhile.
    pub(crate) service: Uuid,
    /// The engine's id of the container that is replaced.
    pub(crate) old: String,
    pub(crate) name: String,
    /// Whether it runs.
    pub(crate) runs: bool,
    pub(crate) start_first: bool,
    /// Whether its volumes without a name go with it.
    pub(crate) drops_volumes: bool,
    /// Seconds it is given to end.
    pub(crate) grace_s: Option<u32>,
    /// Those that use its network, in their order: they are replaced next.
    pub(crate) dependants: Vec<String>,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mark {
    Create,
    StartNew,
    StopOld,
    RenameOld,
    RenameNew,
    /// From here on there is no way back.
    Commit,
    RemoveOld,
    Dependants,
}

impl Plan {
    fn tag(&self) -> String {
        self.action.simple().to_string()[..8].to_owned()
    }

    /// What the new container is called until it has the name.
    pub(crate) fn new_name(&self) -> String {
        format!("{}.new-{}", self.name, self.tag())
    }

    /// What the old one is called from then on.
    pub(crate) fn old_name(&self) -> String {
        format!("{}.old-{}", self.name, self.tag())
    }
}

/// One redeploy's lines.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    last: Option<Mark>,
}

/// Bytes that are written, and so taken from the disk, before anything is changed: more than all
/// lines. A disk that is full then ends nothing half way.
const ROOM: usize = 16 * 1024;
const ENDING: &str = "journal";

impl Journal {
    /// Writes down what is to be done.
    ///
    /// # Errors
    /// When the disk does not take it; nothing must be changed then.
    pub(crate) fn begin(dir: &Path, plan: &Plan) -> io::Result<Self> {
        let path = dir.join(format!("redeploy-{}.{ENDING}", plan.action));
        let begun = Self::begin_at(&path, dir, plan);
        if begun.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
            fs::remove_file(&path).ok();
        }
        begun
    }

    fn begin_at(path: &Path, dir: &Path, plan: &Plan) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let mut journal = Self { path: path.to_owned(), file, last: None };
        let line = serde_json::to_vec(plan)?;
        if line.len() + 1_024 > ROOM {
            return Err(io::Error::other("there is too much to write down"));
        }
        let mut room = vec![b'\n'; ROOM];
        room[..line.len()].copy_from_slice(&line);
        journal.file.write_all(&room)?;
        journal.file.seek(SeekFrom::Start(u64::try_from(line.len() + 1).unwrap_or(0)))?;
        journal.file.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(journal)
    }

    /// Notes what is done next.
    ///
    /// # Errors
    /// When the disk does not take it; it must not be done then.
    pub(crate) fn mark(&mut self, mark: Mark) -> io::Result<()> {
        let mut line = serde_json::to_vec(&mark)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.last = Some(mark);
        Ok(())
    }

    /// What was noted last.
    pub(crate) fn last(&self) -> Option<Mark> {
        self.last
    }

    /// All is as it should be; nothing is left to know.
    pub(crate) fn end(self) {
        // What is there once more is done once more, which changes nothing.
        fs::remove_file(&self.path).ok();
    }

    /// What was begun and not ended, the newest first: what followed of another comes before it.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn left(dir: &Path, engine: &str) -> io::Result<Vec<(Self, Plan, Vec<Mark>)>> {
        let mut left = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            let (text, changed) = (fs::read_to_string(&path)?, fs::metadata(&path)?.modified()?);
            let Some((plan, marks)) = read(&text) else {
                // It was killed while it wrote the plan, before it changed anything.
                fs::remove_file(&path)?;
                continue;
            };
            if plan.engine == engine {
                let file = OpenOptions::new().append(true).open(&path)?;
                let last = marks.last().copied();
                left.push((changed, (Self { path, file, last }, plan, marks)));
            }
        }
        left.sort_by_key(|(changed, _)| std::cmp::Reverse(*changed));
        Ok(left.into_iter().map(|(_, found)| found).collect())
    }
}

/// What the lines say; a last one that is torn was not written, and what it is about not done.
fn read(text: &str) -> Option<(Plan, Vec<Mark>)> {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let plan = serde_json::from_str(lines.next()?).ok()?;
    Some((plan, lines.map_while(|line| serde_json::from_str(line).ok()).collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(engine: &str) -> Plan {
        Plan {
            action: Uuid::from_u128(0x1234_5678_9abc_4def_8000_0000_0000_0001),
            engine: engine.to_owned(),
            service: Uuid::from_u128(2),
            old: "ab".repeat(32),
            name: "web".to_owned(),
            runs: true,
            start_first: false,
            drops_volumes: false,
            grace_s: None,
            dependants: Vec::new(),
        }
    }

    #[test]
    fn what_was_begun_is_found_and_what_was_ended_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan("docker");
        assert_eq!(plan.new_name(), "web.new-12345678");
        let mut journal = Journal::begin(dir.path(), &plan).unwrap();
        assert!(Journal::begin(dir.path(), &plan).is_err(), "each has its own");
        for mark in [Mark::Create, Mark::StopOld] {
            journal.mark(mark).unwrap();
        }
        assert!(Journal::left(dir.path(), "podman").unwrap().is_empty());
        let (mut again, read, marks) = Journal::left(dir.path(), "docker").unwrap().pop().unwrap();
        assert_eq!((read, marks), (plan, vec![Mark::Create, Mark::StopOld]));
        again.mark(Mark::Commit).unwrap();
        let (again, _, marks) = Journal::left(dir.path(), "docker").unwrap().pop().unwrap();
        assert_eq!(marks.last(), Some(&Mark::Commit));
        again.end();
        assert!(Journal::left(dir.path(), "docker").unwrap().is_empty());
    }

    proptest! {
        /// Wherever the writing was cut off: what was whole is read, and nothing else.
        #[test]
        fn a_torn_line_was_not_written(cut in 0_usize..600) {
            let marks = [Mark::Create, Mark::RenameOld, Mark::Commit];
            let plan = plan("docker");
            let lines: Vec<String> = marks.iter().map(|mark| serde_json::to_string(mark).unwrap()).collect();
            let head = serde_json::to_string(&plan).unwrap();
            let text = format!("{head}\n{}\n", lines.join("\n"));
            let torn = &text[..cut.min(text.len())];
            match read(torn) {
                None => prop_assert!(cut < head.len()),
                Some((read, found)) => {
                    prop_assert_eq!(read, plan);
                    prop_assert!(marks.starts_with(&found));
                }
            }
        }
    }
}
