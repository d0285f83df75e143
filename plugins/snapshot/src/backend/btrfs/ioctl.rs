#![allow(unsafe_code, reason = "the kernel's btrfs interface is ioctls on fixed memory layouts")]
//! The btrfs ioctls this back end needs, each behind a safe function. The only unsafe code here.
//!
//! Layouts and numbers are those of the kernel's `include/uapi/linux/btrfs.h`; the sizes are checked
//! at compile time, because they are part of the ioctl numbers.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use uuid::Uuid;

/// `BTRFS_SUBVOL_RDONLY`.
const RDONLY: u64 = 1 << 1;
/// `BTRFS_SUBVOL_SPEC_BY_ID`.
const SPEC_BY_ID: u64 = 1 << 4;
/// `BTRFS_IOCTL_MAGIC`.
const MAGIC: u8 = 0x94;

/// What the kernel knows about a subvolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subvolume {
    /// Number within the file system, never used twice.
    pub(super) id: u64,
    /// Identity.
    pub(super) uuid: Uuid,
    /// The subvolume it is a snapshot of, nil for none.
    pub(super) parent: Uuid,
    /// Whether it cannot be written to.
    pub(super) read_only: bool,
    /// Transaction it was changed in last.
    pub(super) changed_in: u64,
    /// Transaction it was made in.
    pub(super) made_in: u64,
    /// When it was made: seconds since 1970 and nanoseconds.
    pub(super) made_at: (u64, u32),
    /// The subvolume it was received from, nil for none.
    pub(super) received: Uuid,
    /// Transaction in which its content was last changed, as a stream names it.
    pub(super) sent_as: u64,
    /// For what was received: `sent_as` of its source when that was sent.
    pub(super) sent_in: u64,
}

/// Information about the subvolume `dir` lies in.
pub(super) fn subvolume(dir: BorrowedFd<'_>) -> Result<Subvolume, Errno> {
    let mut args = InfoArgs::default();
    // SAFETY: the kernel writes one `InfoArgs` (its size is in the number); any bytes are a valid one.
    unsafe { get_subvol_info(dir.as_raw_fd(), &raw mut args) }?;
    Ok(Subvolume {
        id: args.treeid,
        uuid: Uuid::from_bytes(args.uuid),
        parent: Uuid::from_bytes(args.parent_uuid),
        read_only: args.flags & 1 != 0,
        changed_in: args.generation,
        made_in: args.otransid,
        made_at: (args.otime.seconds, args.otime.nanos),
        received: Uuid::from_bytes(args.received_uuid),
        sent_as: args.ctransid,
        sent_in: args.stransid,
    })
}

/// Identity of the file system `dir` is on.
pub(super) fn file_system(dir: BorrowedFd<'_>) -> Result<Uuid, Errno> {
    let mut args = FsInfoArgs { words: [0; 128] };
    // SAFETY: the kernel writes one 1024-byte structure; any bytes are valid words.
    unsafe { fs_info(dir.as_raw_fd(), &raw mut args) }?;
    // max_id and num_devices, 8 bytes each, precede the fsid.
    let [_, _, high, low, ..] = args.words;
    let mut uuid = [0; 16];
    let (first, second) = uuid.split_at_mut(8);
    first.copy_from_slice(&high.to_ne_bytes());
    second.copy_from_slice(&low.to_ne_bytes());
    Ok(Uuid::from_bytes(uuid))
}

/// The subvolumes directly below the one `dir` is the root of: id, and the number of the directory
/// the child is in.
pub(super) fn children(dir: BorrowedFd<'_>) -> Result<Vec<(u64, u64)>, Errno> {
    let mut found = Vec::new();
    let mut next = 0;
    loop {
        let mut args =
            RootRefArgs { min_treeid: next, refs: [[0; 2]; 255], count: 0, align: [0; 7] };
        // SAFETY: the kernel reads and writes one `RootRefArgs`; any bytes are a valid one.
        let full = match unsafe { get_subvol_rootref(dir.as_raw_fd(), &raw mut args) } {
            Ok(_) => false,
            // There are more than fit; those that fit are there.
            Err(Errno::EOVERFLOW) => true,
            Err(errno) => return Err(errno),
        };
        found.extend(args.refs.iter().take(usize::from(args.count)).map(|[id, dir]| (*id, *dir)));
        match found.last() {
            Some((last, _)) if full => next = last + 1,
            _ => return Ok(found),
        }
    }
}

/// Path of the child subvolume `id` below the subvolume `dir` is the root of, as bytes; `parent` is
/// the directory number [`children`] gave.
pub(super) fn child_path(dir: BorrowedFd<'_>, id: u64, parent: u64) -> Result<Vec<u8>, Errno> {
    let mut args = LookupArgs { dirid: parent, treeid: id, name: [0; 256], path: [0; 3824] };
    // SAFETY: the kernel reads and writes one `LookupArgs`; any bytes are a valid one.
    unsafe { ino_lookup_user(dir.as_raw_fd(), &raw mut args) }?;
    // The path ends with a slash unless it is empty.
    Ok([until_nul(&args.path), until_nul(&args.name)].concat())
}

/// Makes a read-only snapshot of the subvolume `source` is the root of, as `name` in `dir`. An
/// existing `name` is an error, never a directory to put it into.
pub(super) fn snapshot(
    source: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    name: &CStr,
) -> Result<(), Errno> {
    let mut args = VolArgs { fd: i64::from(source.as_raw_fd()), flags: RDONLY, ..VolArgs::new() };
    args.put_name(name)?;
    // SAFETY: the kernel reads one `VolArgs` with a NUL-terminated name and a descriptor that
    // lives as long as `source`.
    unsafe { snap_create_v2(dir.as_raw_fd(), &raw const args) }?;
    Ok(())
}

/// Deletes the subvolume with the number `id`, wherever it is on the mount `dir` belongs to. A
/// number is never used again, so nothing that took the name meanwhile can be hit.
pub(super) fn delete(dir: BorrowedFd<'_>, id: u64) -> Result<(), Errno> {
    let mut args = VolArgs { flags: SPEC_BY_ID, ..VolArgs::new() };
    // With SPEC_BY_ID the name's place holds the number.
    if let Some(place) = args.name.get_mut(..8) {
        place.copy_from_slice(&id.to_ne_bytes());
    }
    // SAFETY: the kernel reads one `VolArgs`.
    unsafe { snap_destroy_v2(dir.as_raw_fd(), &raw const args) }?;
    Ok(())
}

/// Returns when everything that was done to the file system before has reached the disk.
pub(super) fn commit(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut transaction = 0_u64;
    // SAFETY: the kernel writes one u64.
    unsafe { start_sync(dir.as_raw_fd(), &raw mut transaction) }?;
    // SAFETY: the kernel reads one u64.
    unsafe { wait_sync(dir.as_raw_fd(), &raw const transaction) }?;
    Ok(())
}

/// A name as the calls above take it.
pub(super) fn name(text: &[u8]) -> Result<CString, Errno> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

nix::ioctl_write_ptr!(snap_create_v2, MAGIC, 23, VolArgs);
nix::ioctl_write_ptr!(snap_destroy_v2, MAGIC, 63, VolArgs);
nix::ioctl_write_ptr!(wait_sync, MAGIC, 22, u64);
nix::ioctl_read!(start_sync, MAGIC, 24, u64);
nix::ioctl_read!(fs_info, MAGIC, 31, FsInfoArgs);
nix::ioctl_read!(get_subvol_info, MAGIC, 60, InfoArgs);
nix::ioctl_readwrite!(get_subvol_rootref, MAGIC, 61, RootRefArgs);
nix::ioctl_readwrite!(ino_lookup_user, MAGIC, 62, LookupArgs);

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
pub(super) struct VolArgs {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

impl VolArgs {
    fn new() -> Self {
        Self { fd: 0, transid: 0, flags: 0, unused: [0; 4], name: [0; 4040] }
    }

    fn put_name(&mut self, name: &CStr) -> Result<(), Errno> {
        let bytes = name.to_bytes_with_nul();
        self.name.get_mut(..bytes.len()).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(bytes);
        Ok(())
    }
}

/// `struct btrfs_ioctl_fs_info_args` as words.
#[repr(C)]
pub(super) struct FsInfoArgs {
    words: [u64; 128],
}

/// `struct btrfs_ioctl_timespec`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Time {
    seconds: u64,
    nanos: u32,
}

/// `struct btrfs_ioctl_get_subvol_info_args`.
#[repr(C)]
pub(super) struct InfoArgs {
    treeid: u64,
    name: [u8; 256],
    parent_id: u64,
    dirid: u64,
    generation: u64,
    flags: u64,
    uuid: [u8; 16],
    parent_uuid: [u8; 16],
    received_uuid: [u8; 16],
    ctransid: u64,
    otransid: u64,
    stransid: u64,
    rtransid: u64,
    ctime: Time,
    otime: Time,
    stime: Time,
    rtime: Time,
    reserved: [u64; 8],
}

impl Default for InfoArgs {
    fn default() -> Self {
        Self {
            treeid: 0,
            name: [0; 256],
            parent_id: 0,
            dirid: 0,
            generation: 0,
            flags: 0,
            uuid: [0; 16],
            parent_uuid: [0; 16],
            received_uuid: [0; 16],
            ctransid: 0,
            otransid: 0,
            stransid: 0,
            rtransid: 0,
            ctime: Time::default(),
            otime: Time::default(),
            stime: Time::default(),
            rtime: Time::default(),
            reserved: [0; 8],
        }
    }
}

/// `struct btrfs_ioctl_get_subvol_rootref_args`.
#[repr(C)]
pub(super) struct RootRefArgs {
    min_treeid: u64,
    refs: [[u64; 2]; 255],
    count: u8,
    align: [u8; 7],
}

/// `struct btrfs_ioctl_ino_lookup_user_args`.
#[repr(C)]
pub(super) struct LookupArgs {
    dirid: u64,
    treeid: u64,
    name: [u8; 256],
    path: [u8; 3824],
}

const _: () = assert!(size_of::<VolArgs>() == 4096);
const _: () = assert!(size_of::<FsInfoArgs>() == 1024);
const _: () = assert!(size_of::<InfoArgs>() == 504);
const _: () = assert!(size_of::<RootRefArgs>() == 4096);
const _: () = assert!(size_of::<LookupArgs>() == 4096);

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
