//! The back ends together: which one is meant, the work, and the events about it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use sdk::{Context, Draft, Fault, Level};

use super::config::Config;
use super::events::{self, Occasion};
use super::faults;
use crate::backend::btrfs::Btrfs;
use crate::backend::tree::Tree;
use crate::backend::zfs::Zfs;
use crate::backend::{
    Backend, Dataset, DatasetId, Error, ErrorKind, Kind, NewSnapshot, Pool, Result, Snapshot,
    SnapshotId, Witness,
};

/// Bytes of a dataset's id, name or path: what a path has at most (`PATH_MAX`).
const NAME_BYTES_MAX: usize = 4096;

/// So many failures in a row are told one by one.
const TOLD_EACH: u32 = 4;

/// All back ends of this machine.
pub(super) struct Engine {
    tree: Tree,
    /// Failed snapshots in a row, by dataset. Bounded by the number of datasets there are.
    failures: Mutex<HashMap<DatasetId, u32>>,
}

/// A back end that could not be asked, and why.
pub(super) type Problem = (Kind, Error);

/// What is longer is no path that the kernel takes, however it is made shorter: of a thousand slashes
/// all but one mean nothing, and the one that is left means everything.
fn check_length(name: impl AsRef<OsStr>) -> Result<()> {
    if name.as_ref().len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::bad_request(format!(
        "A dataset's id, name or path has at most {NAME_BYTES_MAX} bytes."
    )))
}

impl Engine {
    /// Opens the tree store; the others need nothing.
    pub(super) fn open(state_dir: &Path, config: Config) -> Result<Self> {
        let store = config.store.unwrap_or_else(|| state_dir.join("store"));
        let tree = Tree::open(&store, config.directories)?;
        Ok(Self { tree, failures: Mutex::default() })
    }

    pub(super) fn all(&self) -> [&dyn Backend; 3] {
        [&Zfs, &Btrfs, &self.tree]
    }

    fn backend(&self, kind: Kind) -> &dyn Backend {
        match kind {
            Kind::Zfs => &Zfs,
            Kind::Btrfs => &Btrfs,
            Kind::Tree => &self.tree,
        }
    }

    /// Every dataset, and which back ends could not tell theirs. One that does not exist on this
    /// machine is no problem.
    pub(super) fn datasets(&self) -> (Vec<Dataset>, Vec<Problem>) {
        self.gather(|backend| backend.datasets())
    }

    /// Every pool, likewise.
    pub(super) fn pools(&self) -> (Vec<Pool>, Vec<Problem>) {
        self.gather(|backend| backend.pools())
    }

    fn gather<T>(&self, ask: impl Fn(&dyn Backend) -> Result<Vec<T>>) -> (Vec<T>, Vec<Problem>) {
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for backend in self.all() {
            match ask(backend) {
                Ok(some) => found.extend(some),
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                Err(error) => problems.push((backend.kind(), error)),
            }
        }
        (found, problems)
    }

    /// The dataset somebody means by an id, a name or a path.
    pub(super) fn find(&self, text: &str) -> Result<Dataset> {
        check_length(text)?;
        if text.starts_with('/') {
            return self.at(Path::new(text))?.ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!("{text} is not a dataset yet. Register it, or take a snapshot of it."),
                )
            });
        }
        let id = text.parse::<DatasetId>();
        // A dataset's name never holds what makes an id; if it is one, only its back end is asked.
        let candidates = match &id {
            Ok(id) => self.backend(id.kind()).datasets()?,
            Err(_) => Zfs.datasets().or_else(|error| match error.kind() {
                ErrorKind::Unavailable => Ok(Vec::new()),
                _ => Err(error),
            })?,
        };
        let meant = |dataset: &Dataset| match &id {
            Ok(id) => dataset.id == *id,
            Err(_) => dataset.name == text,
        };
        candidates.into_iter().find(meant).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("There is no dataset \"{}\".", text.escape_debug()),
            )
        })
    }

    /// The same, and a directory that is no dataset becomes one.
    pub(super) fn find_or_register(&self, text: &str) -> Result<Dataset> {
        check_length(text)?;
        let path = Path::new(text);
        if !path.is_absolute() {
            return self.find(text);
        }
        match self.at(path)? {
            Some(dataset) => Ok(dataset),
            None => self.tree.register(path),
        }
    }

    /// Makes a directory a dataset of the tree back end.
    pub(super) fn register(&self, path: &Path) -> Result<Dataset> {
        check_length(path)?;
        self.tree.register(path)
    }

    /// The snapshots of a dataset.
    pub(super) fn list(&self, dataset: &Dataset) -> Result<Vec<Snapshot>> {
        self.backend(dataset.kind).list(&dataset.id)
    }

    /// Takes a snapshot and tells everybody once it is durable.
    pub(super) fn create(
        &self,
        ctx: &Context,
        dataset: &Dataset,
        new: &NewSnapshot,
    ) -> std::result::Result<Vec<Snapshot>, Fault> {
        let backend = self.backend(dataset.kind);
        match backend.create_told(&dataset.id, new, ctx) {
            Ok(made) => {
                self.succeeded(&dataset.id);
                self.tell_created(ctx, dataset, &made);
                Ok(made)
            }
            Err(error) => {
                self.tell_failure(ctx, dataset, &error);
                Err(faults::of(ctx, &format!("snapshot of {}", dataset.name), &error))
            }
        }
    }

    /// Counts a failure of a dataset and tells it: the first ones, then each time there are twice as
    /// many.
    pub(super) fn tell_failure(&self, ctx: &Context, dataset: &Dataset, error: &Error) {
        if events::is_failure(error) {
            let row = self.failed(&dataset.id);
            if row <= TOLD_EACH || row.is_power_of_two() {
                tell(ctx, events::failed(occasion(ctx), dataset, error, row));
            }
        }
    }

    /// How often in a row a dataset has failed.
    pub(super) fn in_a_row(&self, dataset: &DatasetId) -> u32 {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(dataset).copied().unwrap_or(0)
    }

    /// What holds the snapshots of a dataset.
    pub(super) fn holds(&self, dataset: &Dataset) -> Result<BTreeMap<String, Vec<String>>> {
        self.backend(dataset.kind).holds(&dataset.id)
    }

    /// Whether a dataset is still what it was in a snapshot of it, if its back end can tell.
    pub(super) fn unchanged_since(
        &self,
        dataset: &Dataset,
        one: &Snapshot,
    ) -> Result<Option<bool>> {
        self.backend(dataset.kind).unchanged_since(&dataset.id, one)
    }

    /// Destroys a snapshot. Whoever asks tells it.
    pub(super) fn remove(&self, ctx: &Context, id: &SnapshotId) -> Result<Snapshot> {
        self.backend(id.dataset.kind()).destroy_told(id, ctx)
    }

    /// Destroys a snapshot and tells everybody once that is durable.
    pub(super) fn destroy(
        &self,
        ctx: &Context,
        id: &SnapshotId,
    ) -> std::result::Result<Snapshot, Fault> {
        let backend = self.backend(id.dataset.kind());
        let gone = self
            .remove(ctx, id)
            .map_err(|error| faults::of(ctx, &format!("destroy {id}"), &error))?;
        let dataset = named(backend, &id.dataset);
        tell(ctx, events::destroyed(occasion(ctx), &dataset, &gone));
        Ok(gone)
    }

    /// The dataset whose files are at `path`, in the best back end that works for it.
    fn at(&self, path: &Path) -> Result<Option<Dataset>> {
        // What cannot be resolved may still be the name of a dataset whose directory is gone.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if is_mount(&path) {
            for backend in [&Zfs as &dyn Backend, &Btrfs] {
                let listed = match backend.datasets() {
                    Ok(listed) => listed,
                    Err(error) if error.kind() == ErrorKind::Unavailable => continue,
                    Err(error) => return Err(error),
                };
                let found = listed.into_iter().find(|d| d.mount.as_deref() == Some(&path));
                // Without privileges a btrfs subvolume is still a directory.
                if found.is_some() && backend.capabilities().available {
                    return Ok(found);
                }
            }
        }
        self.tree.find_path(&path)
    }

    /// Tells everybody of new snapshots.
    pub(super) fn tell_created(&self, ctx: &Context, dataset: &Dataset, made: &[Snapshot]) {
        let on = occasion(ctx);
        let names = if made.len() > 1 {
            self.backend(dataset.kind).datasets().unwrap_or_default()
        } else {
            Vec::new()
        };
        for snapshot in made {
            let of = names.iter().find(|other| other.id == snapshot.dataset).unwrap_or(dataset);
            tell(ctx, events::created(on, of, snapshot));
            if let Some(torn) = events::torn(on, of, snapshot) {
                tell(ctx, torn);
            }
        }
    }

    fn succeeded(&self, dataset: &DatasetId) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(dataset);
    }

    fn failed(&self, dataset: &DatasetId) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let row = failures.entry(dataset.clone()).or_insert(0);
        *row = row.saturating_add(1);
        *row
    }
}

impl Witness for Context {
    fn progress(&self, phase: &str, done: (u64, Option<u64>), unit: &str, message: &str) {
        self.progress_in(phase, done, unit, message);
    }

    fn cancelled(&self) -> bool {
        Self::cancelled(self)
    }
}

/// The time, and who asks.
fn occasion(ctx: &Context) -> Occasion<'_> {
    Occasion { at: now(), actor: ctx.actor() }
}

/// The clock of this plugin.
pub(super) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Publishes what can be published. The work is done by now: an event that cannot be told must not
/// make it look undone.
pub(super) fn tell(ctx: &Context, draft: std::result::Result<Draft, Fault>) {
    if let Err(fault) = draft.and_then(|draft| ctx.publish(&draft)) {
        ctx.log(Level::Error, &format!("an event could not be published: {fault}"));
    }
}

/// A dataset for an event about it; only its id when it is gone.
fn named(backend: &dyn Backend, id: &DatasetId) -> Dataset {
    let listed = backend.datasets().unwrap_or_default();
    listed.into_iter().find(|dataset| dataset.id == *id).unwrap_or_else(|| Dataset {
        id: id.clone(),
        kind: id.kind(),
        name: id.to_string(),
        pool: String::new(),
        mount: None,
        used: None,
        available: None,
        referenced: None,
    })
}

/// Whether another file system or subvolume begins here: the root, or another device than above.
fn is_mount(path: &Path) -> bool {
    let device = |path: &Path| path.symlink_metadata().map(|meta| meta.dev()).ok();
    path.parent().is_none_or(|above| device(path) != device(above))
}
