//! A child process: the narrow place where one is started, signalled and reaped.
//!
//! It knows nothing of what the child says. Nothing else in the daemon starts a process or sends a
//! signal, so that this can move behind a privileged helper one day.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use super::discover::PluginSpec;
use super::launch::{self, Policy};

/// How long ending the processes of a user may take.
const END_GRACE: Duration = Duration::from_secs(5);

/// A child that leads its own process group. Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Woken when any child of the daemon changes.
    changed: SignalStream,
    /// It lived when that was looked for last, and no child has changed since.
    lived: bool,
    /// Whether what is left of its group when it ends goes on.
    spares_rest: bool,
}

/// The child's standard streams.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

impl Process {
    /// Starts the plugin's program in the plugin's directory: through the launcher, which confines
    /// it to the policy, or without one as it is.
    pub(crate) fn start(
        spec: &PluginSpec,
        launcher: Option<&Path>,
        policy: &Policy,
    ) -> io::Result<(Self, Pipes)> {
        let mut command = match launcher {
            None => {
                let mut command = Command::new(&spec.program);
                // The launcher sets them itself, and must not have them before.
                command.env_clear().envs(launch::BASE).envs(&policy.environment);
                command
            }
            Some(launcher) => {
                let mut command = Command::new(launcher);
                command.env_clear().args(launch::arguments(policy)?).arg(&spec.program);
                command
            }
        };
        command
            .args(&spec.args)
            .current_dir(&spec.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Self::own(command)?;
        let child = &mut process.child;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("a standard stream of the child is missing"));
        };
        Ok((process, Pipes { stdin, stdout, stderr }))
    }

    /// Starts a command as the leader of a group of its own.
    pub(crate) fn own(mut command: Command) -> io::Result<Self> {
        let changed = signal(SignalKind::child())?;
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        Ok(Self { child, changed, lived: false, spares_rest: false })
    }

    /// What is left of its group when it ends by itself goes on.
    pub(crate) fn spare_rest(&mut self) {
        self.spares_rest = true;
    }

    /// Its process id while it has not been reaped.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks the whole group to end.
    pub(crate) fn terminate(&self) {
        self.signal_group(Signal::SIGTERM);
    }

    /// Ends the whole group.
    pub(crate) fn kill(&self) {
        self.signal_group(Signal::SIGKILL);
    }

    /// Waits until the child itself has ended, whoever else holds its pipes. What is left of its
    /// group is killed first, while the dead child still keeps the group's number from being used
    /// by somebody else; unless it is spared. Whoever waits anew, again and again, asks the kernel no more than once.
    pub(crate) async fn exited(&mut self) -> io::Result<ExitStatus> {
        while let Some(pid) = self.child.id() {
            if !self.lived && has_ended(pid)? {
                if !self.spares_rest {
                    self.kill();
                }
                break;
            }
            self.lived = true;
            self.changed.recv().await;
            self.lived = false;
        }
        self.child.wait().await
    }

    /// Sends to the group of a child that has not been reaped: its number cannot be anybody else's.
    fn signal_group(&self, signal: Signal) {
        let group = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(group) = group
            && let Err(error) = killpg(Pid::from_raw(group), signal)
        {
            tracing::debug!(group, %signal, %error, "no process left to signal");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ends every process of a plugin's own user: also one that has left the plugin's group.
pub(crate) async fn end_user(launcher: &Path, uid: u32) {
    let mut command = Command::new(launcher);
    command.env_clear().args(launch::end_arguments(uid)).stdin(Stdio::null());
    let ended = async { command.kill_on_drop(true).status().await };
    match tokio::time::timeout(END_GRACE, ended).await {
        Ok(Ok(status)) if status.success() => {}
        outcome => tracing::error!(uid, ?outcome, "processes of a plugin's user may be left"),
    }
}

/// Whether the child has ended; it is not reaped by this.
fn has_ended(pid: u32) -> io::Result<bool> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    Ok(waitid(Id::Pid(Pid::from_raw(pid)), look)? != WaitStatus::StillAlive)
}

/// How a process ended, for people.
pub(crate) fn describe(status: io::Result<ExitStatus>) -> String {
    match status {
        Err(error) => format!("it ended, and how cannot be told: {error}"),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("it exited with status {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(signal) => format!("it was ended by {signal}"),
                Err(_) => format!("it was ended by signal {signal}"),
            },
            (None, None) => "it ended".to_owned(),
        },
    }
}
