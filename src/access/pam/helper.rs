//! One run of the helper: start it, give it the question, read its line, see it end.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::Verdict;

/// The longest line that is read from it.
const ANSWER_MAX: u64 = 4 * 1024;
/// The longest sentence of it that is handed on, in characters.
const MESSAGE_MAX: usize = 300;

/// What the helper says.
#[derive(Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
enum Answer {
    Ok,
    Denied,
    Expired { message: String },
    Unavailable { message: String },
}

/// Asks it once. Whatever is odd about it is `Unavailable`: nobody gets in by a helper that fails.
pub(super) async fn ask(program: &Path, request: &[u8]) -> Verdict {
    match answer(program, request).await {
        Ok(line) => verdict_in(&line),
        Err(cause) => Verdict::Unavailable(cause),
    }
}

/// What its line says.
pub fn verdict_in(line: &[u8]) -> Verdict {
    match serde_json::from_slice(line) {
        Ok(Answer::Ok) => Verdict::Ok,
        Ok(Answer::Denied) => Verdict::Denied,
        Ok(Answer::Expired { message }) => Verdict::Expired(plain(&message)),
        Ok(Answer::Unavailable { message }) => Verdict::Unavailable(plain(&message)),
        // What it wrote is not shown: it is not known to be what we think.
        Err(_) => Verdict::Unavailable("the helper's answer is not understood".to_owned()),
    }
}

async fn answer(program: &Path, request: &[u8]) -> Result<Vec<u8>, String> {
    let mut helper = Helper::start(program)
        .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
    let line = helper.say(request).await.map_err(|error| format!("the helper: {error}"))?;
    let status = helper.0.wait().await.map_err(|error| format!("the helper: {error}"))?;
    if !status.success() {
        return Err(ended(status));
    }
    Ok(line)
}

/// A helper that leads its own process group, with what PAM modules start. Dropping it kills the
/// group.
struct Helper(Child);

impl Helper {
    /// In an empty environment: PAM modules read some variables, and no secret of ours is in there.
    fn start(program: &Path) -> io::Result<Self> {
        if !program.is_absolute() {
            return Err(io::Error::other("its path is not absolute"));
        }
        let child = Command::new(program)
            .current_dir("/")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self(child))
    }

    /// Its one line, without more than [`ANSWER_MAX`] of it.
    async fn say(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let (Some(mut stdin), Some(stdout)) = (self.0.stdin.take(), self.0.stdout.take()) else {
            return Err(io::Error::other("a standard stream is missing"));
        };
        // One that ends without reading says by its status why.
        stdin.write_all(request).await.ok();
        drop(stdin);
        let mut line = Vec::new();
        let mut stdout = BufReader::new(stdout.take(ANSWER_MAX));
        stdout.read_until(b'\n', &mut line).await?;
        Ok(line)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Not reaped yet, so the number is nobody else's.
        if let Some(group) = self.0.id().and_then(|pid| i32::try_from(pid).ok()) {
            killpg(Pid::from_raw(group), Signal::SIGKILL).ok();
        }
    }
}

fn ended(status: ExitStatus) -> String {
    match status.code() {
        // What a program that lacks a shared library ends with.
        Some(127) => "the helper does not start; is libpam.so.0 installed?".to_owned(),
        _ => format!("the helper failed: {status}"),
    }
}

/// A sentence for one line of a log or a client.
fn plain(message: &str) -> String {
    message.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect()
}
