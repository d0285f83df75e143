//! What keeps a password inside: no core, no debugger, no stream that a PAM module could reach.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{dup2_stdin, dup2_stdout};

/// No core is written, and nobody but root may look into this process.
pub(crate) fn keep_secrets() -> io::Result<()> {
    prctl::set_dumpable(false)?;
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}

/// The question, where no other program started from here finds it.
pub(crate) fn take_stdin() -> io::Result<File> {
    let own = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    dup2_stdin(OpenOptions::new().read(true).open("/dev/null")?)?;
    Ok(own)
}

/// Where the answer goes: a module that prints something does not answer for us.
pub(crate) fn take_stdout() -> io::Result<File> {
    let own = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    dup2_stdout(OpenOptions::new().write(true).open("/dev/null")?)?;
    Ok(own)
}
