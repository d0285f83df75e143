//! Where a tail keeps its place between two runs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use protocol::Cursor;

use crate::cli::exit::{Exit, Failure};

/// A file that holds one cursor and is replaced whole, so that a crash leaves the old or the new.
#[derive(Debug)]
pub(super) struct CursorFile {
    path: PathBuf,
}

impl CursorFile {
    /// The file at this path; it may not exist yet.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The cursor in it; `None` before the first run.
    pub(super) fn load(&self) -> Result<Option<String>, Failure> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::file("read", &self.path, &error)),
        };
        let cursor = cursor_in(&text).ok_or_else(|| {
            let sentence = format!("{} holds no cursor", self.path.display());
            let hint = "if it is the right file, delete it; the next run begins at --from";
            Failure::new(Exit::File, sentence).with_hint(hint)
        })?;
        Ok(Some(cursor.to_owned()))
    }

    /// Keeps the cursor. What was printed before is not printed again, even after a power cut
    /// right now.
    pub(super) fn store(&self, cursor: &str) -> Result<(), Failure> {
        replace(&self.path, cursor).map_err(|error| Failure::file("write", &self.path, &error))
    }
}

/// The one cursor that is all there is in the text.
pub fn cursor_in(text: &str) -> Option<&str> {
    let cursor = text.trim();
    cursor.parse::<Cursor>().is_ok().then_some(cursor)
}

fn replace(path: &Path, cursor: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let new = path.with_file_name(name);
    let written = write_new(&new, cursor).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The error that counts is the one above.
        fs::remove_file(&new).ok();
    }
    written
}

fn write_new(path: &Path, cursor: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(format!("{cursor}\n").as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Folder;

    #[test]
    fn a_cursor_is_found_again_and_a_damaged_file_is_refused() {
        let folder = Folder::new();
        let path = folder.path().join("cursor");
        let file = CursorFile::at(path.clone());
        let cursor = "0198c0de-0000-8000-8000-000000000000.42+44";

        assert!(file.load().unwrap().is_none());
        file.store(cursor).unwrap();
        file.store(cursor).unwrap();
        assert_eq!(file.load().unwrap().as_deref(), Some(cursor));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the file is left");

        fs::write(path, "42").unwrap();
        assert_eq!(file.load().unwrap_err().exit, Exit::File);
        drop(folder);
        assert_eq!(file.store(cursor).unwrap_err().exit, Exit::File);
    }
}
