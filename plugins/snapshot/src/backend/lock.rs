//! Locks between processes and threads that end with whoever holds them (flock).

use std::fs::File;
use std::io;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// A held lock; letting it go releases it. The kernel does that too when the process dies.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Waits for a lock that others may share.
    pub(super) fn shared(file: File) -> io::Result<Self> {
        rustix::fs::flock(&file, FlockOperation::LockShared)?;
        Ok(Self(file))
    }

    /// Waits for a lock that nobody else holds.
    pub(super) fn exclusive(file: File) -> io::Result<Self> {
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self(file))
    }

    /// A lock that nobody else holds, or nothing when somebody does.
    pub(super) fn try_exclusive(file: File) -> io::Result<Option<Self>> {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(cause) => Err(cause.into()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that is just being started by another thread holds
        // a copy of the descriptor for a moment, and with it the lock. If this fails, closing is
        // all there is.
        let _closed = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_holder_though_a_copy_of_the_file_is_open() {
        let path = std::env::temp_dir().join(format!("sysadmd-lock-{}", uuid::Uuid::new_v4()));
        let open = || File::options().create(true).append(true).open(&path).unwrap();
        let file = open();
        // What a child process between fork and exec holds.
        let copy = file.try_clone().unwrap();
        let held = Lock::try_exclusive(file).unwrap().unwrap();
        assert!(Lock::try_exclusive(open()).unwrap().is_none());
        drop(held);
        assert!(Lock::try_exclusive(open()).unwrap().is_some());
        drop(copy);
        std::fs::remove_file(path).unwrap();
    }
}
