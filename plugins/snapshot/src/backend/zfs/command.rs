//! Running `zfs` and `zpool`: absolute path, argument vector, empty environment, a deadline.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::error::{Error, Result};

/// How long a tool may take. A pool under heavy load answers late; one whose devices are gone may
/// never answer.
const DEADLINE: Duration = Duration::from_mins(2);
/// Most that is read of an answer: 100,000 snapshots with their properties.
const MAX_OUTPUT: u64 = 256 << 20;
/// What is kept of what a tool says on standard error.
const MAX_ERROR: u64 = 64 << 10;

/// One of the ZFS tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tool {
    path: PathBuf,
}

/// What a tool said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) success: bool,
    pub(super) output: String,
    pub(super) error: String,
}

impl Tool {
    /// The tool of that name, from the first folder that has it.
    pub(super) fn find(name: &str) -> Option<Self> {
        super::super::tool::find(name).map(|path| Self { path })
    }

    /// The tool with these arguments and an environment of its own, to be started.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        super::super::tool::quiet(&self.path, args)
    }

    /// Runs the tool to its end.
    pub(super) fn run(&self, args: &[&str]) -> Result<Answer> {
        let shown = self.path.display();
        let failed = |cause: io::Error| Error::io(format!("run {shown}"), cause);
        let mut child = self
            .command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        match collect(&mut child) {
            Ok((status, output, error)) => Ok(Answer {
                success: status.success(),
                output: text(output)?,
                error: String::from_utf8_lossy(&error).into_owned(),
            }),
            Err(cause) => {
                // It may be gone already; what matters is that it is not waited for.
                let _killed = child.kill();
                let _reaped = child.try_wait();
                Err(match cause.kind() {
                    io::ErrorKind::TimedOut => Error::failed(format!(
                        "{shown} did not answer within {} seconds. \
                         Look at the state of the pool's devices.",
                        DEADLINE.as_secs()
                    ))
                    .because(cause),
                    _ => failed(cause),
                })
            }
        }
    }
}

/// Reads both outputs at once (a tool blocks when either pipe is full), then the exit status.
fn collect(child: &mut Child) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    // One message per pipe.
    let (sender, receiver) = sync_channel(2);
    let pipes = [
        child.stdout.take().map(|pipe| (0, MAX_OUTPUT, Box::new(pipe) as Box<dyn Read + Send>)),
        child.stderr.take().map(|pipe| (1, MAX_ERROR, Box::new(pipe) as Box<dyn Read + Send>)),
    ];
    for (index, limit, pipe) in pipes.into_iter().flatten() {
        let sender = sender.clone();
        thread::Builder::new().name("zfs-output".to_owned()).spawn(move || {
            let mut bytes = Vec::new();
            let read = pipe.take(limit).read_to_end(&mut bytes).map(|_| bytes);
            // Nobody listens any more after the deadline.
            let _late = sender.send((index, read));
        })?;
    }
    let deadline = Instant::now() + DEADLINE;
    let mut outputs = [Vec::new(), Vec::new()];
    for _ in 0..2 {
        let left = deadline.saturating_duration_since(Instant::now());
        let (index, read): (usize, io::Result<Vec<u8>>) =
            receiver.recv_timeout(left).map_err(|error| match error {
                RecvTimeoutError::Timeout => io::Error::from(io::ErrorKind::TimedOut),
                RecvTimeoutError::Disconnected => io::Error::from(io::ErrorKind::BrokenPipe),
            })?;
        if let Some(output) = outputs.get_mut(index) {
            *output = read?;
        }
    }
    let [output, error] = outputs;
    if u64::try_from(output.len()).is_ok_and(|length| length >= MAX_OUTPUT) {
        return Err(io::Error::other("its answer is too long"));
    }
    Ok((child.wait()?, output, error))
}

fn text(output: Vec<u8>) -> Result<String> {
    String::from_utf8(output)
        .map_err(|cause| Error::failed("ZFS answered with unreadable text.").because(cause))
}
