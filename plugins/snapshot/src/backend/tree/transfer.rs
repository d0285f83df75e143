//! Moving snapshots of directories from one store to another, as one stream of bytes.
//!
//! ```text
//! sysadm-tree-stream 1\n
//! B <32 bytes BLAKE3> <8 bytes size, big-endian> <content>     each blob the base does not have
//! M <32 bytes BLAKE3> <8 bytes size, big-endian> <content>     the manifest, last
//! ```
//!
//! (The blanks are not there.) The same snapshot and base always make the same bytes. The receiver
//! hashes what it reads before it believes it; the snapshot appears when its manifest is renamed into
//! place, after everything it refers to is on the disk.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use uuid::Uuid;

use super::super::durable;
use super::super::error::{Error, Result};
use super::super::hold::Holds;
use super::super::lock::Lock;
use super::super::witness::Nobody;
use super::manifest::{Header, Node, Reader};
use super::store::{self, Store, Workspace};
use super::{registry, sweep};

const MAGIC: &[u8] = b"sysadm-tree-stream 1\n";
const BLOCK: usize = 128 * 1024;
/// Bytes of the longest manifest that is received: some forty million entries.
const MANIFEST_MAX: u64 = 8 << 30;

/// A store, as a place that snapshots are copied from or to.
#[derive(Debug)]
pub struct Vault {
    store: Store,
}

/// A snapshot in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// BLAKE3 of its manifest: what it is known by everywhere.
    pub hash: String,
    /// What its manifest says.
    pub header: Header,
}

impl Vault {
    /// Opens the store in `root`. It is made when there is nothing; a directory with other things in
    /// it is refused.
    pub fn open(root: &Path) -> Result<Self> {
        let strange = store::children(root)
            .map(|found| !found.is_empty() && !found.iter().any(|path| path.ends_with("version")));
        if strange.map_err(|cause| Error::io(format!("read {}", root.display()), cause))? {
            return Err(Error::bad_request(format!(
                "{} holds other things. Choose an empty directory, or one that does not exist.",
                root.display()
            )));
        }
        let store = Store::open(root)?;
        sweep::recover(&store, &Nobody)?;
        Ok(Self { store })
    }

    /// Whether both are the same store.
    pub fn is(&self, other: &Self) -> bool {
        self.store.root() == other.store.root()
    }

    /// The snapshots of a dataset, oldest first.
    pub fn snapshots(&self, dataset: Uuid) -> Result<Vec<Kept>> {
        let failed = |cause: io::Error| Error::io("list the snapshots in the store", cause);
        let mut found = Vec::new();
        for path in store::manifests(&self.store.snaps(dataset)).map_err(failed)? {
            let hash = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // A damaged one is no base and nothing to send; its hash is compared when it is read.
            if let Ok(reader) = Reader::open(&path) {
                found.push(Kept { hash, header: reader.header().clone() });
            }
        }
        found.sort_by(|a, b| (a.header.sequence, &a.hash).cmp(&(b.header.sequence, &b.hash)));
        Ok(found)
    }

    /// The holds on the store's snapshots.
    pub fn holds(&self) -> Holds {
        Holds::at(self.store.holds())
    }

    /// Begins to read the snapshot `to` as what `from` does not have, or as a whole.
    pub fn outgoing(&self, dataset: Uuid, from: Option<&str>, to: &str) -> Result<Outgoing> {
        let lock = self.store.reading()?;
        let failed = |cause: io::Error| Error::io("read the snapshot to be sent", cause);
        let mut known = HashSet::new();
        if let Some(from) = from {
            let base = self.store.manifest(dataset, from);
            blobs(&base, |hash, _| {
                known.insert(*hash.as_bytes());
            })
            .map_err(failed)?;
        }
        let path = self.store.manifest(dataset, to);
        let mut pieces = Vec::new();
        let mut total = u64::try_from(MAGIC.len()).unwrap_or(0);
        blobs(&path, |hash, size| {
            if known.insert(*hash.as_bytes()) {
                total += HEAD + size;
                pieces.push((hash, size));
            }
        })
        .map_err(failed)?;
        let size = fs::metadata(&path).map_err(failed)?.len();
        total += HEAD + size;
        pieces.reverse();
        Ok(Outgoing {
            head: io::Cursor::new(MAGIC.to_vec()),
            body: None,
            pieces,
            manifest: Some((to.to_owned(), dataset, size)),
            total,
            store: Store::open(self.store.root())?,
            _lock: lock,
        })
    }

    /// Begins to receive a snapshot of a dataset.
    pub fn incoming(&self, dataset: Uuid) -> Result<Incoming> {
        let store = Store::open(self.store.root())?;
        Ok(Incoming { workspace: Some(store.workspace()?), store, dataset, manifest: None })
    }
}

/// Bytes in front of each piece.
const HEAD: u64 = 41;

/// Every blob a manifest refers to, in its order.
fn blobs(path: &Path, mut each: impl FnMut(blake3::Hash, u64)) -> io::Result<()> {
    let mut reader = Reader::open(path)?;
    while let Some(entry) = reader.next_entry()? {
        if let Node::File { blob: Some(hash), size, .. } = entry.node {
            each(hash, size);
        }
    }
    Ok(())
}

/// A snapshot as a stream; reading gives the bytes.
#[derive(Debug)]
pub struct Outgoing {
    head: io::Cursor<Vec<u8>>,
    body: Option<io::Take<File>>,
    /// Blobs still to come, the next one last.
    pieces: Vec<(blake3::Hash, u64)>,
    manifest: Option<(String, Uuid, u64)>,
    total: u64,
    store: Store,
    _lock: Lock,
}

impl Outgoing {
    /// Bytes of the whole stream.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Opens the next piece; whether there is one.
    fn next_piece(&mut self) -> io::Result<bool> {
        let (kind, hash, size, path) = if let Some((hash, size)) = self.pieces.pop() {
            (b'B', hash, size, self.store.blob(&hash))
        } else if let Some((hash, dataset, size)) = self.manifest.take() {
            let path = self.store.manifest(dataset, &hash);
            let hash = blake3::Hash::from_hex(&hash).map_err(io::Error::other)?;
            (b'M', hash, size, path)
        } else {
            return Ok(false);
        };
        let file = File::open(path)?;
        if file.metadata()?.len() != size {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a blob has another size"));
        }
        let mut head = vec![kind];
        head.extend(hash.as_bytes());
        head.extend(size.to_be_bytes());
        self.head = io::Cursor::new(head);
        self.body = Some(file.take(size));
        Ok(true)
    }
}

impl Read for Outgoing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.head.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            if let Some(body) = &mut self.body {
                let length = body.read(buffer)?;
                if length > 0 {
                    return Ok(length);
                }
                if body.limit() > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            if !self.next_piece()? {
                return Ok(0);
            }
        }
    }
}

/// A snapshot that is being received. Dropped before [`Incoming::commit`], nothing of it is left.
#[derive(Debug)]
pub struct Incoming {
    store: Store,
    workspace: Option<Workspace>,
    dataset: Uuid,
    manifest: Option<blake3::Hash>,
}

impl Incoming {
    /// Reads a whole stream into the store's workspace, and believes nothing that it has not hashed.
    pub fn take(&mut self, stream: &mut dyn Read) -> Result<()> {
        let workspace = self.workspace.as_ref().ok_or_else(over)?;
        let store = &self.store;
        let found = pieces(stream, |kind, hash, size, body| {
            let name = if kind == b'B' { "blob" } else { "manifest" };
            let path = workspace.path().join(name);
            write(&path, hash, body, size)?;
            let failed = |cause: io::Error| Error::io("write to the snapshot store", cause);
            if kind == b'B' { store.adopt_blob(&path, hash, size).map_err(failed) } else { Ok(()) }
        })?;
        self.manifest = Some(found);
        Ok(())
    }

    /// Returns when all of it is on the disk.
    pub fn sync(&self) -> Result<()> {
        self.store.sync_all().map_err(|cause| Error::io("write to the disk", cause))
    }

    /// Whether it is the snapshot `hash`, and whole: every blob that it refers to is there.
    pub fn check(&self, hash: &str) -> Result<()> {
        let wrong = |what: &str| Err(Error::failed(format!("What was received is wrong: {what}.")));
        let workspace = self.workspace.as_ref().ok_or_else(over)?;
        if self.manifest.is_none_or(|manifest| manifest.to_hex().as_str() != hash) {
            return wrong("it is another snapshot");
        }
        let path = workspace.path().join("manifest");
        let header = Reader::open(&path).map(|reader| reader.header().clone());
        if header.is_ok_and(|header| header.dataset != self.dataset) {
            return wrong("it is of another dataset");
        }
        let mut missing = 0_u64;
        let read =
            blobs(&path, |hash, size| missing += u64::from(!self.store.has_blob(&hash, size)));
        if read.is_err() {
            return wrong("its manifest is damaged");
        }
        if missing > 0 {
            return wrong(&format!("the content of {missing} files is missing"));
        }
        Ok(())
    }

    /// Gives it its place, durably.
    pub fn commit(mut self) -> Result<()> {
        let failed = |cause: io::Error| Error::io("write the snapshot to the store", cause);
        let workspace = self.workspace.take().ok_or_else(over)?;
        let hash = self.manifest.take().ok_or_else(over)?;
        let draft = workspace.path().join("manifest");
        let header = Reader::open(&draft).map_err(failed)?.header().clone();
        let dir = self.store.snaps(self.dataset);
        if !dir.exists() {
            durable::make_dir(&dir).map_err(failed)?;
            durable::sync_dir(&self.store.root().join("snaps")).map_err(failed)?;
        }
        registry::adopt(&self.store, self.dataset, &header.path).map_err(failed)?;
        let path = self.store.manifest(self.dataset, hash.to_hex().as_str());
        fs::rename(draft, path).map_err(failed)?;
        durable::sync_dir(&dir).map_err(failed)?;
        workspace.close().map_err(failed)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let Some(workspace) = self.workspace.take() else { return };
        // If either fails, the next opener of the store finds the workspace.
        let _marked = self.store.want_sweep("a copy was not finished");
        let _closed = workspace.close();
        let _swept = sweep::recover(&self.store, &Nobody);
    }
}

/// Takes a stream apart: each blob and then the manifest is handed on, with its hash, its size and the
/// bytes that are said to be it. Returns the manifest's hash.
pub(crate) fn pieces(
    stream: &mut dyn Read,
    mut each: impl FnMut(u8, &blake3::Hash, u64, &mut dyn Read) -> Result<()>,
) -> Result<blake3::Hash> {
    let mut magic = vec![0; MAGIC.len()];
    stream.read_exact(&mut magic).map_err(cut)?;
    if magic != MAGIC {
        return Err(Error::failed("What was received is not a snapshot of a directory."));
    }
    loop {
        let (kind, hash, size) = head(stream)?;
        if kind == b'M' && size > MANIFEST_MAX {
            return Err(Error::failed("The manifest received is too long."));
        }
        let mut body = stream.take(size);
        each(kind, &hash, size, &mut body)?;
        if kind == b'B' {
            continue;
        }
        let mut more = [0];
        return match stream.read(&mut more).map_err(cut)? {
            0 => Ok(hash),
            _ => Err(Error::failed("More was received than belongs to the snapshot.")),
        };
    }
}

fn head(stream: &mut dyn Read) -> Result<(u8, blake3::Hash, u64)> {
    let (mut kind, mut hash, mut size) = ([0], [0; 32], [0; 8]);
    for part in [&mut kind[..], &mut hash[..], &mut size[..]] {
        stream.read_exact(part).map_err(cut)?;
    }
    let [kind] = kind;
    if !matches!(kind, b'B' | b'M') {
        return Err(Error::failed("What was received is damaged."));
    }
    Ok((kind, blake3::Hash::from_bytes(hash), u64::from_be_bytes(size)))
}

/// Writes what a piece holds to a file, and compares its hash.
fn write(path: &Path, hash: &blake3::Hash, mut body: impl Read, size: u64) -> Result<()> {
    let failed = |cause: io::Error| Error::io("write to the snapshot store", cause);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o400).open(path).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK];
    let mut done = 0_u64;
    loop {
        let length = match body.read(&mut block) {
            Ok(0) => break,
            Ok(length) => length,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cut(cause)),
        };
        let read = block.get(..length).unwrap_or_default();
        hasher.update(read);
        done += u64::try_from(length).unwrap_or(0);
        // Holes stay holes, as when a snapshot is taken.
        if length == BLOCK && read.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Start(done)).map_err(failed)?;
        } else {
            file.write_all(read).map_err(failed)?;
        }
    }
    if done != size {
        return Err(cut(io::ErrorKind::UnexpectedEof.into()));
    }
    file.set_len(size).map_err(failed)?;
    if hasher.finalize() != *hash {
        return Err(Error::failed("What was received is damaged: a hash is wrong."));
    }
    Ok(())
}

fn cut(cause: io::Error) -> Error {
    if cause.kind() == io::ErrorKind::UnexpectedEof {
        return Error::failed("The stream ended before the snapshot was whole.").because(cause);
    }
    Error::failed(format!("The stream broke off: {cause}.")).because(cause)
}

fn over() -> Error {
    Error::failed("The copy is over already.")
}
