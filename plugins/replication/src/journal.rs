//! What was begun and how it ended: JSON lines, appended, each on the disk before the work it tells
//! of begins.
//!
//! The journal says what a run was at when it was cut off; what has become of that is asked of the
//! storage. A line that is torn, at the end or anywhere, is skipped: the last complete record counts.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::run::{Phase, Run};
use crate::state_file;

/// Bytes above which the journal is written anew when it is opened, with the newest runs only.
const LONG: usize = 1 << 20;
/// Runs that are remembered.
pub const RUNS_MAX: usize = 200;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// A run begins.
    Began {
        /// As it is then.
        run: Run,
    },
    /// A phase of one of its steps begins.
    Phase {
        /// The run.
        run: Uuid,
        /// When.
        at: DateTime<Utc>,
        /// The phase.
        phase: Phase,
        /// The dataset's id.
        dataset: String,
        /// The snapshot that is sent, by its identity; empty while planning.
        #[serde(default)]
        to: String,
    },
    /// A run has ended.
    Ended {
        /// As it is then.
        run: Run,
    },
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens the journal (made if missing) and tells the runs in it, oldest first. Those that were
    /// cut off are still `running`, in the phase they were at.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Run>)> {
        let mut text = Vec::new();
        match File::open(path) {
            Ok(mut file) => file.read_to_end(&mut text).map(drop)?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
        let runs = runs(&text);
        let torn = text.last().is_some_and(|byte| *byte != b'\n');
        if text.len() > LONG {
            state_file::write(path, &shortened(&runs)?)?;
        }
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(path)?;
        let mut journal = Self { file, path: path.to_owned() };
        if torn {
            // So that the next record does not become part of the torn one.
            journal.file.write_all(b"\n")?;
        }
        journal.file.sync_all()?;
        Ok((journal, runs))
    }

    /// Writes a record down; it is on the disk when this returns.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The runs a journal tells of, oldest first and at most [`RUNS_MAX`].
pub fn runs(text: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(record) = serde_json::from_slice::<Record>(line) else { continue };
        match record {
            Record::Began { run } | Record::Ended { run } => {
                match runs.iter_mut().find(|known| known.id == run.id) {
                    Some(known) => *known = run,
                    None => runs.push(run),
                }
            }
            Record::Phase { run, phase, dataset, .. } => {
                if let Some(known) = runs.iter_mut().find(|known| known.id == run) {
                    known.phase = Some(phase);
                    known.dataset = dataset;
                }
            }
        }
        // Of a long journal only the newest are kept while it is read.
        if runs.len() > 2 * RUNS_MAX {
            runs.drain(..RUNS_MAX);
        }
    }
    let surplus = runs.len().saturating_sub(RUNS_MAX);
    runs.drain(..surplus);
    runs
}

fn shortened(runs: &[Run]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut seen = HashSet::new();
    for run in runs.iter().filter(|run| seen.insert(run.id)) {
        serde_json::to_writer(&mut text, &Record::Began { run: run.clone() })?;
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::State;

    fn run() -> Run {
        Run::new(Uuid::new_v4(), "nightly", ("manual", "local:root"), DateTime::UNIX_EPOCH)
    }

    fn line(record: &Record) -> Vec<u8> {
        let mut line = serde_json::to_vec(record).unwrap();
        line.push(b'\n');
        line
    }

    #[test]
    fn whatever_is_torn_off_the_last_complete_record_counts() {
        let mut done = run();
        let begin = line(&Record::Began { run: done.clone() });
        let phase = line(&Record::Phase {
            run: done.id,
            at: DateTime::UNIX_EPOCH,
            phase: Phase::Commit,
            dataset: "tree:1".to_owned(),
            to: "ab".to_owned(),
        });
        done.state = State::Done;
        let end = line(&Record::Ended { run: done });
        let text = [begin.clone(), phase.clone(), end].concat();
        for cut in 0..=text.len() {
            let found = runs(&text[..cut]);
            // All but the line end of a record is as good as the record.
            let records = [begin.len(), begin.len() + phase.len(), text.len()];
            let complete = records.iter().filter(|length| cut + 1 >= **length).count();
            assert_eq!(found.len(), usize::from(complete > 0), "{cut}");
            let Some(run) = found.first() else { continue };
            assert_eq!(run.phase.is_some_and(|phase| phase == Phase::Commit), complete == 2);
            assert_eq!(run.state == State::Done, complete == 3);
        }
    }

    #[test]
    fn it_goes_on_behind_a_torn_line_and_does_not_grow_for_ever() {
        let dir = std::env::temp_dir().join(format!("sysadmd-journal-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("journal");
        std::fs::write(&path, b"{\"record\":\"beg").unwrap();
        let (mut journal, found) = Journal::open(&path).unwrap();
        assert_eq!(found, []);
        let first = run();
        journal.write(&Record::Began { run: first.clone() }).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().1, [first]);
        let mut text = Vec::new();
        while text.len() <= LONG {
            text.extend(line(&Record::Began { run: run() }));
        }
        std::fs::write(&path, text).unwrap();
        let (journal, found) = Journal::open(&path).unwrap();
        assert_eq!(found.len(), RUNS_MAX);
        assert!(journal.file.metadata().unwrap().len() < 400_000);
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().1, found);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
