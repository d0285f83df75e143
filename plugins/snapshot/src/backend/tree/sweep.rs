//! Removing what no manifest refers to.

use std::collections::HashSet;
use std::fs;
use std::io;

use super::super::error::{Error, Result};
use super::super::lock::Lock;
use super::super::witness::Witness;
use super::manifest::{self, Node, Reader};
use super::store::{self, Store};

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Number of blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes leftovers of killed snapshots, when there are any and nobody takes a snapshot now.
/// A damaged manifest keeps all blobs where they are (what it refers to is unknown); the reason is
/// then written into the marker and shown by the back end's capabilities. So it is when whoever follows
/// it wants it to end: the next one goes on.
pub(super) fn recover(store: &Store, witness: &dyn Witness) -> Result<Swept> {
    let Some(lock) = store.try_exclusive()? else { return Ok(Swept::default()) };
    let failed = |cause: io::Error| Error::io("clean the snapshot store", cause);
    let abandoned = store.abandoned().map_err(failed)?;
    if abandoned.is_empty() && store.sweep_wanted().is_none() {
        return Ok(Swept::default());
    }
    // The marker first: it takes over the workspaces' office.
    store.want_sweep("a snapshot was not finished").map_err(failed)?;
    for path in abandoned {
        fs::remove_dir_all(path).map_err(failed)?;
    }
    match sweep(store, &lock, witness) {
        Ok(swept) => {
            store.sweep_done().map_err(failed)?;
            Ok(swept)
        }
        Err(error) => {
            store.want_sweep(&error.to_string()).map_err(failed)?;
            Ok(Swept::default())
        }
    }
}

/// Marks every blob a manifest refers to and removes the others.
fn sweep(store: &Store, _exclusive: &Lock, witness: &dyn Witness) -> Result<Swept> {
    let failed = |cause: io::Error| Error::io("sweep the snapshot store", cause);
    let marked = mark(store, witness)?;
    let mut swept = Swept::default();
    let shards = store.blob_dirs().map_err(failed)?;
    let total = u64::try_from(shards.len()).ok();
    for (shard, done) in shards.into_iter().zip(0..) {
        say(witness, "freeing space", (done, total), "directories")?;
        let mut kept = 0_usize;
        for path in store::children(&shard).map_err(failed)? {
            let hash = path.file_name().and_then(|name| name.to_str());
            let hash = hash.and_then(|name| blake3::Hash::from_hex(name).ok());
            if hash.is_some_and(|hash| marked.contains(hash.as_bytes())) {
                kept += 1;
                continue;
            }
            swept.bytes += fs::symlink_metadata(&path).map_or(0, |meta| meta.len());
            swept.blobs += 1;
            fs::remove_file(&path).map_err(failed)?;
        }
        if kept == 0 {
            fs::remove_dir(&shard).map_err(failed)?;
        }
    }
    witness.progress("freeing space", (total.unwrap_or_default(), total), "directories", "");
    Ok(swept)
}

/// Tells how far it is; whether it is to go on.
fn say(witness: &dyn Witness, phase: &str, done: (u64, Option<u64>), unit: &str) -> Result<()> {
    witness.progress(phase, done, unit, "");
    if witness.cancelled() { Err(Error::cancelled()) } else { Ok(()) }
}

/// The hashes all manifests refer to; an error when one of them cannot be trusted.
fn mark(store: &Store, witness: &dyn Witness) -> Result<HashSet<[u8; 32]>> {
    let failed = |cause: io::Error| Error::io("read the snapshot store", cause);
    let mut marked = HashSet::new();
    let mut paths = Vec::new();
    for dir in store.snap_dirs().map_err(failed)? {
        paths.extend(store::manifests(&dir).map_err(failed)?);
    }
    let total = u64::try_from(paths.len()).ok();
    for (path, done) in paths.into_iter().zip(0..) {
        say(witness, "reading what others hold", (done, total), "snapshots")?;
        mark_one(&path, &mut marked).map_err(|cause| {
            Error::failed(format!(
                "The manifest {} is damaged, so unreferenced blobs are kept. \
                     Destroy that snapshot to free them.",
                path.display()
            ))
            .because(cause)
        })?;
    }
    Ok(marked)
}

fn mark_one(path: &std::path::Path, marked: &mut HashSet<[u8; 32]>) -> io::Result<()> {
    let hash = manifest::hash_file(path)?;
    if path.file_name().is_none_or(|name| name.to_string_lossy() != hash.to_hex().as_str()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its hash is not its name"));
    }
    let mut reader = Reader::open(path)?;
    while let Some(entry) = reader.next_entry()? {
        if let Node::File { blob: Some(blob), .. } = entry.node {
            marked.insert(*blob.as_bytes());
        }
    }
    Ok(())
}
