//! The manifest: what one snapshot of a directory contains.
//!
//! Text, one line each:
//!
//! ```text
//! sysadm-tree 1
//! {header as JSON}
//! f 100644 0 0 1795297689.5 1795297690.0 4711 - etc/hosts 158 <blake3> s
//! …
//! end
//! ```
//!
//! An entry line is `type mode uid gid mtime ctime inode xattrs path` and what the type adds. Entries
//! are in path order (a directory before its content, names by byte), so two manifests can be walked
//! side by side. The BLAKE3 of the whole file is the snapshot's identity and its file name; the
//! `end` line and the header's count make a cut one visible even before that is checked.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::types::Mark;
use super::escape;

/// First line of every manifest.
const MAGIC: &str = "sysadm-tree 1";
/// Longest line read back: twice the largest path (4096) and 64 KiB of attributes in three
/// characters per byte fit many times over, a damaged file cannot ask for more.
const MAX_LINE: u64 = 4 << 20;

/// What stands at the top of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The dataset.
    pub dataset: Uuid,
    /// The snapshot's name.
    pub name: String,
    /// Position among the dataset's snapshots, from 1.
    pub sequence: u64,
    /// When the walk began.
    pub created: DateTime<Utc>,
    /// Who made it; only [`MAKER`] is ours.
    pub maker: Option<String>,
    /// The label given at creation.
    pub label: Option<String>,
    /// The comment given at creation.
    pub comment: Option<String>,
    /// The policy that took it, when one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The directory, escaped like the paths below it.
    pub path: String,
    /// Number of entry lines.
    pub entries: u64,
    /// Bytes of all regular files, hard links counted once.
    pub bytes: u64,
    /// Files that changed while they were read.
    pub torn: u64,
    /// Files whose content could not be read.
    pub unread: u64,
}

/// The owner mark: [`Header::maker`] of a snapshot this project made.
pub const MAKER: &str = "sysadmd";

/// Seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Seconds, may be negative.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

/// One file, directory or other thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the dataset's directory, `/` between names; empty for the directory itself.
    pub path: Vec<u8>,
    /// Permission bits and type as in `st_mode`.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Stamp,
    /// Change time, or nothing when it was too fresh to prove that a later equal one means
    /// "unchanged".
    pub ctime: Option<Stamp>,
    /// Inode number, for the unchanged test only.
    pub inode: u64,
    /// Extended attributes, ACLs among them, in the order the kernel lists them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// What it is.
    pub node: Node,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Bytes in the blob.
        size: u64,
        /// The blob, or nothing when the file could not be read.
        blob: Option<blake3::Hash>,
        /// It changed while it was read.
        torn: bool,
    },
    /// Another name of a file that stands earlier in the manifest.
    HardLink {
        /// That file's path.
        to: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// `st_rdev`.
        device: u64,
    },
    /// A block device.
    BlockDevice {
        /// `st_rdev`.
        device: u64,
    },
}

/// The order entries stand in: by path component, byte-wise, a directory before its content.
pub fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|c| *c == b'/').cmp(b.split(|c| *c == b'/'))
}

impl Entry {
    /// The entry's line, without the newline.
    pub fn encode(&self) -> String {
        let mut line = String::with_capacity(160 + self.path.len());
        let letter = match self.node {
            Node::Dir => 'd',
            Node::File { .. } => 'f',
            Node::HardLink { .. } => 'h',
            Node::Symlink { .. } => 'l',
            Node::Fifo => 'p',
            Node::CharDevice { .. } => 'c',
            Node::BlockDevice { .. } => 'b',
        };
        // Writing to a String cannot fail, here and below.
        let _infallible = write!(line, "{letter} {:o} {} {} ", self.mode, self.uid, self.gid);
        let _infallible = write!(line, "{}.{} ", self.mtime.seconds, self.mtime.nanos);
        let _infallible = match self.ctime {
            Some(at) => write!(line, "{}.{} ", at.seconds, at.nanos),
            None => write!(line, "- "),
        };
        let _infallible = write!(line, "{} ", self.inode);
        push_xattrs(&mut line, &self.xattrs);
        line.push(' ');
        escape::push(&mut line, &self.path);
        self.node.push(&mut line);
        line
    }

    /// The entry a line stands for, or `None` when [`Entry::encode`] could not have written it or
    /// its path would lead out of the directory.
    pub fn decode(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let letter = words.next()?;
        let mode = u32::from_str_radix(spelt(words.next()?)?, 8).ok()?;
        let uid = number(words.next()?)?;
        let gid = number(words.next()?)?;
        let mtime = parse_stamp(words.next()?)?;
        let ctime = match words.next()? {
            "-" => None,
            stamp => Some(parse_stamp(stamp)?),
        };
        let inode = number(words.next()?)?;
        let xattrs = parse_xattrs(words.next()?)?;
        let path = escape::decode(words.next()?).filter(|path| is_inside(path))?;
        let node = Node::parse(letter, &mut words)?;
        let entry = Self { path, mode, uid, gid, mtime, ctime, inode, xattrs, node };
        words.next().is_none().then_some(entry)
    }
}

impl Node {
    fn push(&self, line: &mut String) {
        let _infallible = match self {
            Self::Dir | Self::Fifo => Ok(()),
            Self::File { size, blob, torn } => {
                let blob = blob.map_or_else(|| "-".to_owned(), |hash| hash.to_hex().to_string());
                write!(line, " {size} {blob} {}", if *torn { 't' } else { 's' })
            }
            Self::HardLink { to: bytes } | Self::Symlink { target: bytes } => {
                line.push(' ');
                escape::push(line, bytes);
                Ok(())
            }
            Self::CharDevice { device } | Self::BlockDevice { device } => write!(line, " {device}"),
        };
    }

    fn parse(letter: &str, words: &mut std::str::Split<'_, char>) -> Option<Self> {
        Some(match letter {
            "d" => Self::Dir,
            "p" => Self::Fifo,
            "f" => Self::File {
                size: number(words.next()?)?,
                blob: match words.next()? {
                    "-" => None,
                    hash if hash.contains(|c: char| c.is_ascii_uppercase()) => return None,
                    hash => Some(blake3::Hash::from_hex(hash).ok()?),
                },
                torn: match words.next()? {
                    "t" => true,
                    "s" => false,
                    _ => return None,
                },
            },
            "h" => {
                Self::HardLink { to: escape::decode(words.next()?).filter(|path| is_inside(path))? }
            }
            "l" => Self::Symlink { target: escape::decode(words.next()?)? },
            "c" => Self::CharDevice { device: number(words.next()?)? },
            "b" => Self::BlockDevice { device: number(words.next()?)? },
            _ => return None,
        })
    }
}

/// Reads a manifest line by line; memory does not grow with its length.
#[derive(Debug)]
pub struct Reader<R = File> {
    lines: BufReader<R>,
    header: Header,
    left: u64,
}

impl Reader {
    /// Opens a manifest and reads its header. The rest is not looked at yet.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::over(File::open(path)?)
    }
}

impl<R: Read> Reader<R> {
    /// The same from anywhere.
    pub fn over(source: R) -> io::Result<Self> {
        let mut lines = BufReader::new(source);
        if read_line(&mut lines)?.as_deref() != Some(MAGIC) {
            return Err(damaged("is not a manifest of this version"));
        }
        let header: Header = read_line(&mut lines)?
            .and_then(|line| serde_json::from_str(&line).ok())
            .ok_or_else(|| damaged("has a damaged header"))?;
        let left = header.entries;
        Ok(Self { lines, header, left })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next entry, nothing after the last, or an error when the manifest is damaged.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let line = read_line(&mut self.lines)?.ok_or_else(|| damaged("is cut short"))?;
        if self.left == 0 {
            return if line == "end" { Ok(None) } else { Err(damaged("has more than it says")) };
        }
        self.left -= 1;
        Entry::decode(&line).map(Some).ok_or_else(|| damaged("has a damaged line"))
    }
}

/// The text before the entries.
pub(super) fn preamble(header: &Header) -> io::Result<String> {
    Ok(format!("{MAGIC}\n{}\n", serde_json::to_string(header)?))
}

/// The text after the entries.
pub(super) const END: &str = "end\n";

/// BLAKE3 of a file, read in pieces.
pub(super) fn hash_file(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize())
}

fn read_line(lines: &mut BufReader<impl Read>) -> io::Result<Option<String>> {
    let mut line = String::new();
    lines.by_ref().take(MAX_LINE).read_line(&mut line)?;
    // A line without its newline was cut.
    Ok(line.ends_with('\n').then(|| line.trim_end_matches('\n').to_owned()))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the manifest {what}"))
}

fn push_xattrs(line: &mut String, xattrs: &[(Vec<u8>, Vec<u8>)]) {
    if xattrs.is_empty() {
        line.push('-');
    }
    for (index, (name, value)) in xattrs.iter().enumerate() {
        if index > 0 {
            line.push(',');
        }
        escape::push(line, name);
        line.push('=');
        escape::push(line, value);
    }
}

fn parse_xattrs(word: &str) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    if word == "-" {
        return Some(Vec::new());
    }
    word.split(',')
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((escape::decode(name)?, escape::decode(value)?))
        })
        .collect()
}

fn parse_stamp(word: &str) -> Option<Stamp> {
    let (seconds, nanos) = word.split_once('.')?;
    let nanos = number(nanos).filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Stamp { seconds: number(seconds)?, nanos })
}

fn number<T: FromStr>(word: &str) -> Option<T> {
    spelt(word)?.parse().ok()
}

/// The word, if it is how its number is printed: without a plus and without needless zeros.
fn spelt(word: &str) -> Option<&str> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let is_zero = word == "0";
    (is_zero || digits.starts_with(|c| matches!(c, '1'..='9'))).then_some(word)
}

/// Whether joining `path` to a directory stays below it.
fn is_inside(path: &[u8]) -> bool {
    let name = |part: &[u8]| !part.is_empty() && part != b"." && part != b"..";
    path.is_empty() || (path.split(|b| *b == b'/').all(name) && !path.contains(&0))
}

#[cfg(test)]
mod tests;
