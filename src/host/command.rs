//! A command that an administrator wants run: its own group, no shell, nothing inherited.
//!
//! It is started through `sysadmd launch --watch`, which ends the group when the daemon dies; so
//! nothing goes on that nobody watches.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;
use tokio::time::{Instant, sleep_until};

use super::launch::{INPUT_BYTES_MAX, Report, watch_arguments};
use super::process::{Process, describe};
use crate::lifecycle::Stop;

/// From SIGTERM to SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// Bytes taken from its output in one go: what a pipe holds.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes that are still taken in when it has ended: others may hold its output open and go on.
const REMAINS_BYTES: usize = 1 << 20;
/// Bytes of the longest report.
const REPORT_BYTES: usize = 4096;

/// What is to be run.
pub struct CommandRun<'a> {
    /// Program and arguments.
    pub argv: &'a [String],
    /// What it reads on its standard input, and then its end; up to 1 MiB.
    pub input: &'a [u8],
    /// Whether what it leaves in its group goes on when it has ended by itself: a program that takes
    /// mail may deliver it behind the back of whoever called it.
    pub spares_rest: bool,
    /// Takes what it prints, on standard output and standard error alike. It must not wait.
    pub output: &'a (dyn Fn(&[u8]) + Send + Sync),
    /// Set to have its whole group ended: first SIGTERM, five seconds later SIGKILL.
    pub end: Stop,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandEnd {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// It was never there, and why.
    NotStarted(String),
}

/// Runs it until it has ended, and everything in its group with it.
pub(super) async fn run(launcher: Option<&Path>, run: CommandRun<'_>) -> CommandEnd {
    let Some(launcher) = launcher else {
        return CommandEnd::NotStarted("there is no launcher to start it".to_owned());
    };
    let begun = async {
        let mut running = begin(launcher, &run)?;
        running.hand(run.input).await?;
        Ok::<_, io::Error>(running)
    };
    match begun.await {
        Ok(running) => running.live(&run).await,
        Err(error) => {
            tracing::warn!(%error, "a command could not be begun");
            CommandEnd::NotStarted(error.to_string())
        }
    }
}

struct Running {
    process: Process,
    output: Receiver,
    /// Closed when the daemon is gone; takes the input, and says how the command ended.
    line: UnixStream,
}

fn begin(launcher: &Path, run: &CommandRun<'_>) -> io::Result<Running> {
    if run.input.len() > INPUT_BYTES_MAX {
        return Err(io::Error::other(format!("it would read more than {INPUT_BYTES_MAX} bytes")));
    }
    let (line, other_end) = StdUnixStream::pair()?;
    line.set_nonblocking(true)?;
    let line = UnixStream::from_std(line)?;
    let (output, writer) = io::pipe()?;
    let mut command = Command::new(launcher);
    command
        .env_clear()
        .args(watch_arguments(run.input.len()))
        .args(run.argv)
        .current_dir("/")
        .stdin(OwnedFd::from(other_end))
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut process = Process::own(command)?;
    if run.spares_rest {
        process.spare_rest();
    }
    Ok(Running { process, output: Receiver::from_owned_fd(output.into())?, line })
}

/// What a command is waited for.
enum Wake {
    Said(io::Result<usize>),
    Ended(io::Result<ExitStatus>),
    ToEnd,
    Due,
}

impl Running {
    /// Hands it what it is to read; whoever takes it does so before the command begins.
    async fn hand(&mut self, input: &[u8]) -> io::Result<()> {
        self.line.write_all(input).await
    }

    async fn live(mut self, run: &CommandRun<'_>) -> CommandEnd {
        let mut buffer = BytesMut::with_capacity(PIECE_BYTES);
        let (mut is_open, mut kill_at) = (true, None);
        loop {
            let due = kill_at.unwrap_or_else(Instant::now);
            let wake = tokio::select! {
                read = self.output.read_buf(&mut buffer), if is_open => Wake::Said(read),
                ended = self.process.exited() => Wake::Ended(ended),
                () = run.end.wait(), if kill_at.is_none() => Wake::ToEnd,
                () = sleep_until(due), if kill_at.is_some() => Wake::Due,
            };
            match wake {
                Wake::Said(Ok(1..)) => {
                    (run.output)(&buffer);
                    buffer.clear();
                }
                Wake::Said(_) => is_open = false,
                Wake::Ended(status) => {
                    self.drain(run.output);
                    return self.end_of(status);
                }
                Wake::ToEnd => {
                    self.process.terminate();
                    kill_at = Some(Instant::now() + TERM_GRACE);
                }
                Wake::Due => {
                    self.process.kill();
                    kill_at = Some(Instant::now() + TERM_GRACE);
                }
            }
        }
    }

    /// Takes what is in the pipe, without waiting for whoever still holds it open.
    fn drain(&self, output: &(dyn Fn(&[u8]) + Send + Sync)) {
        let mut piece = vec![0; PIECE_BYTES];
        let mut taken = 0;
        while taken < REMAINS_BYTES {
            match self.output.try_read(&mut piece) {
                Ok(bytes @ 1..) => {
                    output(&piece[..bytes]);
                    taken += bytes;
                }
                _ => return,
            }
        }
    }

    fn end_of(self, status: io::Result<ExitStatus>) -> CommandEnd {
        let mut said = Vec::new();
        // It has ended, so whatever it said is here.
        let mut piece = [0; REPORT_BYTES];
        while said.len() < REPORT_BYTES
            && let Ok(bytes @ 1..) = self.line.try_read(&mut piece)
        {
            said.extend_from_slice(&piece[..bytes]);
        }
        match serde_json::from_slice(&said) {
            Ok(Report::Exited(code)) => CommandEnd::Exited(code),
            Ok(Report::Signalled(signal)) => CommandEnd::Signalled(signal),
            Ok(Report::NotStarted(why)) => CommandEnd::NotStarted(why),
            Err(_) => match status.as_ref().ok().and_then(ExitStatusExt::signal) {
                Some(signal) => CommandEnd::Signalled(signal),
                None => CommandEnd::NotStarted(describe(status)),
            },
        }
    }
}
