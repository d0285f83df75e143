//! `sysadmd launch --watch`: runs a command and outlives it, but not the daemon.
//!
//! It leads the command's process group. Its standard input is a socket whose other end the daemon
//! holds: from there comes what the command is to read, before it begins. When that end is closed, also because the daemon was killed, the whole group is ended. On the
//! same socket it says how the command ended.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::Resource;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::getpgrp;
use serde::{Deserialize, Serialize};

use super::{BASE, lower};

/// Asks for this instead of a policy; behind it stands how many bytes the command is to read.
const WATCH: &str = "--watch=";
/// The most that a command can be given to read: it is kept in memory.
pub(crate) const INPUT_BYTES_MAX: usize = 1 << 20;

/// How a command ended, as one line of JSON on the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// It could not be started, and why.
    NotStarted(String),
}

/// The arguments before the program.
pub(crate) fn arguments(input: usize) -> [String; 3] {
    ["launch".to_owned(), format!("{WATCH}{input}"), "--".to_owned()]
}

/// How many bytes the command is to read, if this is asked for.
pub(super) fn bytes_of(argument: &OsStr) -> Option<usize> {
    let bytes = argument.to_str()?.strip_prefix(WATCH)?.parse().ok()?;
    (bytes <= INPUT_BYTES_MAX).then_some(bytes)
}

/// Runs the command to its end.
pub(super) fn over(input: usize, command: &[OsString]) -> io::Result<()> {
    let [program, arguments @ ..] = command else {
        return Err(io::Error::other("a program is missing after --"));
    };
    lower(Resource::RLIMIT_CORE, 0)?;
    let mut daemon = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let input = taken(&mut daemon, input)?;
    let mut line = daemon.try_clone()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(BASE).current_dir("/").stdin(input);
    let started = command.spawn();
    hold_out()?;
    let report = match started {
        Err(error) => Report::NotStarted(error.to_string()),
        Ok(mut child) => {
            std::thread::Builder::new().spawn(move || end_with(daemon))?;
            let status = child.wait()?;
            match (status.code(), status.signal()) {
                (Some(code), _) => Report::Exited(code),
                (None, signal) => Report::Signalled(signal.unwrap_or_default()),
            }
        }
    };
    let mut text = serde_json::to_vec(&report)?;
    text.push(b'\n');
    line.write_all(&text)
}

/// Who ends the group asks first: the command may go, this process has to say how. Only now, because
/// a command begins with what is blocked here, and could not be asked.
fn hold_out() -> io::Result<()> {
    let mut asked = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        asked.add(signal);
    }
    Ok(asked.thread_block()?)
}

/// What the command is to read: in memory, so that it need not read it and nobody waits for it.
/// Without anything to read it is at the end at once.
fn taken(daemon: &mut File, bytes: usize) -> io::Result<Stdio> {
    if bytes == 0 {
        return Ok(Stdio::null());
    }
    let mut input = vec![0; bytes];
    daemon.read_exact(&mut input)?;
    let mut file = File::from(memfd_create(c"input", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&input)?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

/// Ends the group, this process with it, as soon as the daemon is gone.
fn end_with(mut daemon: File) {
    let mut nothing = [0];
    // The daemon says nothing: whatever ends the wait is its end.
    while matches!(daemon.read(&mut nothing), Ok(1..)) {}
    killpg(getpgrp(), Signal::SIGKILL).ok();
}
