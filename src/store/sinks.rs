//! How far each sink has come: one small file each beside the database, replaced whole. `sinks`
//! decides what that means.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use protocol::{Cursor, Time};
use serde::{Deserialize, Serialize};

use super::error::io_error;
use super::open::sync_dir;
use super::{Store, StoreError};

/// The directory beside the database.
const DIR: &str = "sinks";

/// The place of one sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSink {
    /// Everything it covers was delivered, or is not wanted.
    pub cursor: Cursor,
    /// What it is to do, in the word `sinks` gives it.
    pub state: String,
    /// Since when it is known to fail.
    pub failing: Option<Time>,
}

impl Store {
    /// The place of the sink of this name, if it has one. Names are those of the configuration.
    ///
    /// # Errors
    /// Also when what is there is no place.
    pub async fn sink_read(&self, name: &str) -> Result<Option<StoredSink>, StoreError> {
        let path = self.sink_file(name);
        let doing = format!("read the place of a sink in {}", path.display());
        blocking(doing, move || read(&path)).await
    }

    /// Keeps the place of a sink; durable when this returns, and whole whatever happens before.
    ///
    /// # Errors
    /// Then the place from before is kept.
    pub async fn sink_write(&self, name: &str, sink: StoredSink) -> Result<(), StoreError> {
        let path = self.sink_file(name);
        let doing = format!("keep the place of a sink in {}", path.display());
        blocking(doing, move || write(&path, &sink)).await
    }

    /// Every sink of which a place is kept, by name; what is there and is no place is left out.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn sink_list(&self) -> Result<Vec<(String, StoredSink)>, StoreError> {
        let dir = self.sinks_dir();
        let doing = format!("list the places of sinks in {}", dir.display());
        blocking(doing, move || list(&dir)).await
    }

    fn sink_file(&self, name: &str) -> PathBuf {
        self.sinks_dir().join(format!("{name}.json"))
    }

    fn sinks_dir(&self) -> PathBuf {
        self.shared.file.parent().unwrap_or(Path::new(".")).join(DIR)
    }
}

async fn blocking<T: Send + 'static>(
    doing: String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Stopped)?;
    done.map_err(io_error(doing))
}

fn read(path: &Path) -> io::Result<Option<StoredSink>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn list(dir: &Path) -> io::Result<Vec<(String, StoredSink)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let ours = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
    let named = ours.filter_map(|path| {
        let sink = read(&path).ok()??;
        Some((path.file_stem()?.to_str()?.to_owned(), sink))
    });
    Ok(named.collect())
}

fn write(path: &Path, sink: &StoredSink) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(sink)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_dir(path)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DIR).join("out.json");
        assert_eq!(read(&path).unwrap(), None);
        let mut sink = StoredSink {
            cursor: Cursor::after(Uuid::from_u128(7), 12),
            state: "running".to_owned(),
            failing: Some(Time::from_micros(1_000)),
        };
        write(&path, &sink).unwrap();
        assert_eq!(read(&path).unwrap(), Some(sink.clone()));
        (sink.cursor.seq, sink.failing) = (13, None);
        write(&path, &sink).unwrap();
        assert_eq!(read(&path).unwrap(), Some(sink));
        // What a crash leaves behind is no place, and in nobody's way.
        fs::write(path.with_extension("new"), "{").unwrap();
        assert!(read(&path).unwrap().is_some());
        assert_eq!(list(path.parent().unwrap()).unwrap().len(), 1);
        assert_eq!(list(&path.with_file_name("none")).unwrap(), []);
        fs::write(&path, "{").unwrap();
        assert!(read(&path).is_err());
        assert_eq!(list(path.parent().unwrap()).unwrap(), []);
    }
}
