//! `sysadmd launch --watch`: runs a command and outlives it, but not the daemon.
//!
//! It leads the command's process group. Its standard input is a socket whose other end the daemon
//! holds: when that is closed, also because the daemon was killed, the whole group is ended. On the
//! same socket it says how the command ended.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use nix::sys::resource::Resource;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::getpgrp;
use serde::{Deserialize, Serialize};

use super::{BASE, lower};

/// Asks for this instead of a policy.
pub(super) const WATCH: &str = "--watch";

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
pub(crate) fn arguments() -> [&'static str; 3] {
    ["launch", WATCH, "--"]
}

/// Runs the command to its end.
pub(super) fn over(command: &[OsString]) -> io::Result<()> {
    let [program, arguments @ ..] = command else {
        return Err(io::Error::other("a program is missing after --"));
    };
    // Who ends the group asks first: the command may go, this process has to say how.
    let mut asked = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        asked.add(signal);
    }
    asked.thread_block()?;
    lower(Resource::RLIMIT_CORE, 0)?;
    let daemon = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut line = daemon.try_clone()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(BASE).current_dir("/").stdin(Stdio::null());
    let report = match command.spawn() {
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

/// Ends the group, this process with it, as soon as the daemon is gone.
fn end_with(mut daemon: File) {
    let mut nothing = [0];
    // The daemon says nothing: whatever ends the wait is its end.
    while matches!(daemon.read(&mut nothing), Ok(1..)) {}
    killpg(getpgrp(), Signal::SIGKILL).ok();
}
