//! `sysadmd backup` and `sysadmd restore`: the state of a daemon as one archive.
//!
//! A backup is taken while the daemon runs or not: the database as it is at one moment, the
//! certificate and its key, and what plugins keep; not the snapshots of directories, which are data
//! and not state. What is restored gets a new name, so that no client takes the numbers of its events
//! for those that were given since; what was there is put aside and not removed.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Error, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;

use super::StartError;
use crate::store::{Store, StoreError};

/// What belongs to the state besides the database.
const PARTS: [&str; 3] = ["tls", "plugin-state", "vault"];
const DATABASE: &str = "sysadmd.db";
/// Content of directories, as large as these: data, not state.
const LEFT_OUT: &str = "plugin-state/snapshot/store";
/// Where a backup is put together, and where one is unpacked before anything is moved.
const WORK: &str = "backup.tmp";
/// How deep directories may be.
const DEPTH_MAX: usize = 64;

/// Why it does not go. Written for the administrator.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackupError {
    /// The database.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The file system.
    #[error("{doing}: {cause}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        cause: Error,
    },
}

impl BackupError {
    /// The sysexits number for it.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Store(error) => StartError::Store(error).exit_code(),
            Self::Io { .. } => super::EX_IOERR,
        }
    }
}

fn io(doing: impl Into<String>) -> impl FnOnce(Error) -> BackupError {
    let doing = doing.into();
    |cause| BackupError::Io { doing, cause }
}

/// Writes the state in `dir` into a new file that only its owner may read.
///
/// # Errors
/// When there is no state, the file is there already, or something cannot be read or written; then
/// there is no file.
pub(super) fn save(dir: &Path, file: &Path) -> Result<(), BackupError> {
    let work = Work::new(dir)?;
    let copy = work.0.join(DATABASE);
    Store::copy(dir, &copy)?;
    let archive = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let archive = archive.map_err(io(format!("cannot make {}", file.display())))?;
    let written = write(dir, &copy, archive);
    if written.is_err() {
        // Half of a backup is none.
        fs::remove_file(file).ok();
    }
    written.map_err(io(format!("cannot write {}", file.display())))
}

fn write(dir: &Path, database: &Path, archive: File) -> io::Result<()> {
    let mut archive = tar::Builder::new(archive);
    archive.append_path_with_name(database, DATABASE)?;
    let dir = File::open(dir)?;
    for part in PARTS {
        append(&mut archive, (&dir, OsStr::new(part)), Path::new(part))?;
    }
    archive.into_inner()?.sync_all()
}

/// A file, or a directory with all in it, under this place; what is gone by now, and what is no file,
/// is left out. Plugins run meanwhile, and their directories are theirs: each name is opened below the
/// directory that is open, and never followed, so that none can have root read elsewhere.
fn append(
    archive: &mut tar::Builder<File>,
    (dir, name): (&File, &OsStr),
    place: &Path,
) -> io::Result<()> {
    let open = |flags: OFlags| {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(dir, name, flags, Mode::empty()).map(File::from)
    };
    let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat?,
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if place == Path::new(LEFT_OUT) => Ok(()),
        FileType::Directory => append_all(archive, &open(OFlags::DIRECTORY)?, place),
        FileType::RegularFile => {
            let file = open(OFlags::empty())?;
            let mut header = header(&file)?;
            let bytes = header.size()?;
            // It may become shorter or longer meanwhile; what was promised is what there is.
            archive.append_data(&mut header, place, file.chain(io::repeat(0)).take(bytes))
        }
        FileType::Symlink => {
            let target = readlinkat(dir, name, Vec::new())?;
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_uid(stat.st_uid.into());
            header.set_gid(stat.st_gid.into());
            header.set_size(0);
            archive.append_link(&mut header, place, OsStr::from_bytes(target.to_bytes()))
        }
        _ => Ok(()),
    }
}

fn append_all(archive: &mut tar::Builder<File>, dir: &File, place: &Path) -> io::Result<()> {
    if place.components().count() > DEPTH_MAX {
        return Err(Error::other(format!("directories more than {DEPTH_MAX} deep")));
    }
    let mut header = header(dir)?;
    header.set_size(0);
    archive.append_data(&mut header, place, io::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        names.push(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned());
    }
    names.retain(|name| name != "." && name != "..");
    names.sort();
    names.iter().try_for_each(|name| append(archive, (dir, name), &place.join(name)))
}

/// What an open file is, whatever stands by its name now.
fn header(file: &File) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&file.metadata()?);
    Ok(header)
}

/// Puts a backup in the place of the state in `dir`; where what was there is now, if there was
/// anything.
///
/// # Errors
/// When a daemon runs on it, the backup cannot be used, or something cannot be moved. Until all of the
/// backup was found good, nothing is changed.
pub(super) fn restore(dir: &Path, file: &Path) -> Result<Option<PathBuf>, BackupError> {
    make_private(dir).map_err(io(format!("cannot make {}", dir.display())))?;
    let held = Store::hold(dir)?;
    let work = Work::new(dir)?;
    let reading = || format!("cannot use the backup {}", file.display());
    unpack(file, &work.0).map_err(io(reading()))?;
    if !work.0.join(DATABASE).is_file() {
        return Err(io(reading())(Error::other("there is no database in it")));
    }
    Store::check_all(&work.0)?;
    Store::rename(&work.0)?;
    let aside = exchange(dir, &work.0);
    drop(held);
    aside.map_err(io("cannot put the backup in its place; what was moved lies beside it"))
}

fn unpack(file: &Path, to: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(File::open(file)?);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(nix::unistd::geteuid().is_root());
    archive.unpack(to)
}

/// Moves what is there aside and what is new in.
fn exchange(dir: &Path, new: &Path) -> io::Result<Option<PathBuf>> {
    let aside = (1_u32..=9999)
        .map(|number| dir.join(format!("before-restore.{number}")))
        .find(|path| !path.exists())
        .ok_or(ErrorKind::AlreadyExists)?;
    let mut parts: Vec<PathBuf> =
        ["", "-wal", "-shm"].iter().map(|end| format!("{DATABASE}{end}").into()).collect();
    parts.extend(parts_in(dir)?);
    parts.retain(|part| dir.join(part).symlink_metadata().is_ok());
    for part in &parts {
        move_to(&dir.join(part), &aside.join(part))?;
    }
    let mut moved = vec![PathBuf::from(DATABASE)];
    moved.extend(parts_in(new)?);
    for part in &moved {
        move_to(&new.join(part), &dir.join(part))?;
    }
    File::open(dir)?.sync_all()?;
    Ok((!parts.is_empty()).then_some(aside))
}

/// What is moved as a whole: everything of [`PARTS`] around what is left out.
fn parts_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = PARTS.iter().map(PathBuf::from).collect();
    while let Some(name) = open.pop() {
        let path = dir.join(&name);
        if name == Path::new(LEFT_OUT) || path.symlink_metadata().is_err() {
            continue;
        }
        if !(path.is_dir() && Path::new(LEFT_OUT).starts_with(&name)) {
            found.push(name);
            continue;
        }
        for entry in fs::read_dir(&path)? {
            open.push(name.join(entry?.file_name()));
        }
    }
    Ok(found)
}

fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(above) = to.parent().filter(|above| !above.exists()) {
        make_private(above)?;
    }
    fs::rename(from, to)
}

fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// A directory of our own in the state directory, gone with this.
struct Work(PathBuf);

impl Work {
    fn new(dir: &Path) -> Result<Self, BackupError> {
        let path = dir.join(WORK);
        let made = match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => DirBuilder::new().mode(0o700).create(&path),
        };
        made.map_err(io(format!("cannot make {}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What could not be removed is removed by the next one.
        fs::remove_dir_all(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::clock::Clock;
    use crate::store::StoreSettings;

    fn store(dir: &Path) -> Store {
        Store::open(dir, Clock::system(), StoreSettings::default()).unwrap()
    }

    fn put(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn what_was_saved_comes_back_under_a_new_name_and_the_rest_is_kept() {
        let place = tempfile::tempdir().unwrap();
        let (dir, file) = (place.path().join("state"), place.path().join("backup"));
        let running = store(&dir);
        let before = running.instance();
        put(&dir, "tls/key.pem", "old key");
        put(&dir, "plugin-state/snapshot/ledger", "old");
        put(&dir, "plugin-state/snapshot/store/snaps/a", "a snapshot");
        put(&dir, "plugin-state/other/x", "old");
        // While the daemon runs.
        save(&dir, &file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(save(&dir, &file), Err(BackupError::Io { .. })), "it is not overwritten");
        assert!(matches!(restore(&dir, &file), Err(BackupError::Store(_))), "a daemon runs");
        running.close();
        drop(running);
        put(&dir, "tls/key.pem", "new key");
        put(&dir, "plugin-state/other/x", "new");
        put(&dir, "plugin-state/snapshot/store/snaps/b", "a later snapshot");
        let aside = restore(&dir, &file).unwrap().expect("something was there");
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&dir.join("tls/key.pem")), "old key");
        assert_eq!(read(&dir.join("plugin-state/other/x")), "old");
        assert_eq!(read(&dir.join("plugin-state/snapshot/store/snaps/b")), "a later snapshot");
        assert_eq!(read(&aside.join("tls/key.pem")), "new key");
        assert!(!dir.join(WORK).exists());
        let restored = store(&dir);
        assert_ne!(restored.instance(), before);
        restored.close();
    }

    #[test]
    fn a_link_of_a_plugin_leads_a_backup_nowhere() {
        use std::os::unix::fs::symlink;
        let place = tempfile::tempdir().unwrap();
        let (dir, file) = (place.path().join("state"), place.path().join("backup"));
        store(&dir).close();
        put(place.path(), "secret/key", "canary-of-others");
        put(&dir, "plugin-state/other/x", "own");
        let other = dir.join("plugin-state/other");
        let long = "d".repeat(120);
        fs::create_dir_all(other.join(&long).join(&long)).unwrap();
        for (name, to) in
            [("file", "secret/key"), ("dir", "secret"), (&*format!("{long}/l"), "secret/key")]
        {
            symlink(place.path().join(to), other.join(name)).unwrap();
        }
        nix::unistd::mkfifo(&other.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        save(&dir, &file).unwrap();
        let archive = fs::read(&file).unwrap();
        let canary = b"canary-of-others";
        assert!(!archive.windows(canary.len()).any(|part| part == canary));
        restore(&dir, &file).unwrap();
        for name in ["file", "dir", &format!("{long}/l")] {
            assert!(fs::symlink_metadata(other.join(name)).unwrap().is_symlink(), "{name}");
        }
        assert!(other.join(&long).join(&long).is_dir());
        assert_eq!(fs::read_to_string(other.join("x")).unwrap(), "own");
        assert!(!other.join("pipe").exists());
    }

    #[test]
    fn what_is_no_backup_changes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let (dir, file) = (place.path().join("state"), place.path().join("backup"));
        store(&dir).close();
        let database = fs::read(dir.join(DATABASE)).unwrap();
        for wrong in [&b"nonsense"[..], b"", &[0; 1024]] {
            fs::write(&file, wrong).unwrap();
            assert!(restore(&dir, &file).is_err());
            assert_eq!(fs::read(dir.join(DATABASE)).unwrap(), database);
        }
    }
}
