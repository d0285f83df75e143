//! Programs that read or write a stream: started, fed, ended, and what they said when they failed.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use snapshot::backend::{Error, Result};

use super::{Stream, failed, io_failed};

/// Bytes of a pipe: as much as an ordinary user may ask for, so that neither side waits for the
/// other's every step.
const PIPE_BYTES: i32 = 1 << 20;
/// What is kept of what a program says.
const COMPLAINT_MAX: u64 = 64 * 1024;
/// Bytes moved at once.
pub const BLOCK: usize = 256 * 1024;

/// Makes an error of what a program said on standard error.
pub type Explain = fn(what: &str, text: &str) -> Error;

/// A running program. It is killed when this is dropped before its end.
#[derive(Debug)]
pub struct Tool {
    child: Child,
    what: String,
    said: Option<JoinHandle<Vec<u8>>>,
    explain: Explain,
}

impl Tool {
    fn start(mut command: Command, what: &str, explain: Explain) -> Result<Self> {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|cause| io_failed(&format!("start the program to {what}"), cause))?;
        let said = child.stderr.take().map(|pipe| {
            thread::Builder::new().name("tool-says".to_owned()).spawn(move || {
                let mut bytes = Vec::new();
                let mut pipe = pipe;
                // What is beyond the bound is read, so that nobody waits, and forgotten.
                let _kept = pipe.by_ref().take(COMPLAINT_MAX).read_to_end(&mut bytes);
                let _rest = io::copy(&mut pipe, &mut io::sink());
                bytes
            })
        });
        let said = said.transpose().map_err(|cause| io_failed("start a thread", cause))?;
        Ok(Self { child, what: what.to_owned(), said, explain })
    }

    /// Ends it, if it has not ended by itself; the error is what it said then.
    pub fn end(&mut self) -> Result<()> {
        // It closes its output a moment before it ends.
        for _ in 0..20 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return self.wait();
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _dead = self.child.kill();
        let _dead = self.child.wait();
        Ok(())
    }

    /// Waits for its end; the error is what it said.
    fn wait(&mut self) -> Result<()> {
        let status = self.child.wait().map_err(|cause| io_failed(&self.what, cause))?;
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&said);
        if text.trim().is_empty() {
            return Err(failed(format!(
                "Could not {}: its program ended with {status}.",
                self.what
            )));
        }
        Err((self.explain)(&self.what, &text))
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _dead = self.child.kill();
        let _dead = self.child.wait();
    }
}

/// Starts a program that reads and writes.
pub fn both(
    mut command: Command,
    what: &str,
    explain: Explain,
) -> Result<(Tool, ChildStdin, ChildStdout)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tool = Tool::start(command, what, explain)?;
    match (tool.child.stdin.take(), tool.child.stdout.take()) {
        (Some(input), Some(output)) => Ok((tool, input, output)),
        _ => Err(failed("The program has no pipes.")),
    }
}

/// A program whose output is a stream.
#[derive(Debug)]
pub struct Outflow {
    tool: Tool,
    pipe: ChildStdout,
}

impl Outflow {
    /// Starts it; `what` fits "Could not …".
    pub fn start(mut command: Command, what: &str, explain: Explain) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut tool = Tool::start(command, what, explain)?;
        let pipe = tool.child.stdout.take().ok_or_else(|| failed("The program has no output."))?;
        widen(&pipe);
        Ok(Self { tool, pipe })
    }
}

impl Read for Outflow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pipe.read(buffer)
    }
}

impl Stream for Outflow {
    fn finish(&mut self) -> Result<()> {
        self.tool.wait()
    }
}

/// Feeds a stream to a program until the stream ends, and waits for the program.
pub fn feed(
    mut command: Command,
    what: &str,
    explain: Explain,
    stream: &mut dyn Read,
) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut tool = Tool::start(command, what, explain)?;
    let mut pipe = tool.child.stdin.take().ok_or_else(|| failed("The program has no input."))?;
    widen(&pipe);
    let mut block = vec![0; BLOCK];
    loop {
        let length = match stream.read(&mut block) {
            Ok(0) => break,
            Ok(length) => length,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            // The program is killed: what it has is not whole.
            Err(cause) => return Err(io_failed(&format!("{what}: the stream broke off"), cause)),
        };
        if let Err(cause) = pipe.write_all(block.get(..length).unwrap_or_default()) {
            // It has ended; why, it says itself.
            drop(pipe);
            tool.wait()?;
            return Err(io_failed(what, cause));
        }
    }
    drop(pipe);
    tool.wait()
}

fn widen(pipe: &impl AsFd) {
    // Where it is not allowed the pipe stays as it is.
    let _wide = fcntl(pipe.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
}
