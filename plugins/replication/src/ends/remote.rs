//! An end on another machine, spoken with through the OpenSSH client.
//!
//! The other side runs `sysadmd serve --stdio`, as the forced command of a key. Its host key must be
//! known beforehand; a changed one is refused and nothing else is tried. One argument vector, no shell
//! here; the command that is asked for is what the forced command does anyway.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use snapshot::backend::{DatasetId, Error, ErrorKind, Result};
use uuid::Uuid;

use super::child::{self, Tool};
use super::frame::{Broken, Rest, Talk};
use super::words::{self, Ask, VERSION};
use super::{Halt, Look, Sending, Source, Staged, Stream, Target, failed, io_failed};
use crate::plan::{Copied, Original, Step};
use crate::run::Basis;

/// The OpenSSH client.
const SSH: &str = "/usr/bin/ssh";

/// How another machine is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    /// Its name or address.
    pub host: String,
    /// Its port.
    #[serde(default = "port")]
    pub port: u16,
    /// Whom to log in as.
    #[serde(default = "root")]
    pub user: String,
    /// The file with the private key, which must need no passphrase.
    pub identity: PathBuf,
    /// The file that the machine's host key is in.
    pub known_hosts: PathBuf,
}

fn port() -> u16 {
    22
}

fn root() -> String {
    "root".to_owned()
}

impl Ssh {
    /// Whether its parts are what they should be.
    ///
    /// # Errors
    /// The sentence for whoever wrote it.
    pub fn check(&self) -> std::result::Result<(), String> {
        let plain = |text: &str, more: &str| {
            !text.is_empty()
                && text.len() <= 255
                && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !plain(&self.host, "._:-") || !plain(&self.user, "._-") {
            return Err(
                "`ssh.host` and `ssh.user` hold letters, digits, . _ - and : only".to_owned()
            );
        }
        let odd = |path: &Path| {
            let text = path.to_string_lossy();
            !path.is_absolute() || text.len() > 1024 || text.contains(['"', '\\', '%', '\n', ' '])
        };
        if odd(&self.identity) || odd(&self.known_hosts) {
            return Err("`ssh.identity` and `ssh.known_hosts` are absolute paths without blanks, quotes and percent signs".to_owned());
        }
        Ok(())
    }

    /// The command that connects.
    pub fn command(&self) -> Command {
        let mut command = Command::new(SSH);
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
        command.args(["-F", "none", "-T", "-p", &self.port.to_string()]);
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=none",
            "UpdateHostKeys=no",
            "IdentitiesOnly=yes",
            "ClearAllForwardings=yes",
            "ConnectTimeout=20",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
        ] {
            command.args(["-o", option]);
        }
        let known = format!("UserKnownHostsFile={}", self.known_hosts.display());
        command.args(["-o", &known]).arg("-i").arg(&self.identity);
        command.args(["-l", &self.user, "--", &self.host, "sysadmd serve --stdio"]);
        command
    }
}

/// A connection to another machine.
pub struct Remote {
    talk: Mutex<Talk>,
    name: String,
    /// The client program; none where the connection is another one.
    tool: Mutex<Option<Tool>>,
}

impl Remote {
    /// Connects, and agrees on the words.
    ///
    /// # Errors
    /// What the client program says when it cannot.
    pub fn connect(ssh: &Ssh) -> Result<Arc<Self>> {
        let what = format!("connect to {}", ssh.host);
        let (tool, output, input) = child::both(ssh.command(), &what, explain)?;
        Self::over(Talk::new(input, output), &ssh.host, Some(tool))
    }

    /// The same over a connection that is there already.
    ///
    /// # Errors
    /// When the other side speaks other words.
    pub fn over(talk: Talk, name: &str, tool: Option<Tool>) -> Result<Arc<Self>> {
        let remote = Self { talk: Mutex::new(talk), name: name.to_owned(), tool: Mutex::new(tool) };
        match remote.ask::<u32>(&Ask::Hello { version: VERSION }) {
            Ok(VERSION) => Ok(Arc::new(remote)),
            Ok(other) => Err(failed(format!(
                "{name} speaks version {other} of replication, and this side {VERSION}."
            ))),
            Err(halt) => Err(plain(halt)),
        }
    }

    /// Asks, and waits for the answer.
    fn ask<T: DeserializeOwned>(&self, ask: &Ask) -> std::result::Result<T, Halt> {
        let mut talk = locked(&self.talk);
        self.say(&mut talk, ask)?;
        self.hear(&mut talk)
    }

    fn say(&self, talk: &mut Talk, ask: &Ask) -> Result<()> {
        let message = serde_json::to_value(ask)
            .map_err(|cause| failed("It cannot be asked.").because(cause))?;
        talk.say(&message).map_err(|cause| self.lost(cause))
    }

    fn hear<T: DeserializeOwned>(&self, talk: &mut Talk) -> std::result::Result<T, Halt> {
        let answer = talk.hear().map_err(|cause| self.lost(cause))?;
        let answer = answer.ok_or_else(|| self.lost(io::ErrorKind::UnexpectedEof.into()))?;
        let value: Value = words::outcome(answer)?;
        serde_json::from_value(value).map_err(|cause| {
            let odd = format!("{} answered in an unexpected form.", self.name);
            failed(odd).because(cause).into()
        })
    }

    /// The connection is gone: what the client program says of it.
    fn lost(&self, cause: io::Error) -> Error {
        let mut tool = locked(&self.tool);
        if let Some(Err(error)) = tool.take().map(|mut tool| tool.end()) {
            return error;
        }
        let sentence = format!("The connection to {} broke off.", self.name);
        Error::new(ErrorKind::Unavailable, sentence).because(cause)
    }
}

/// A dataset on another machine.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Reads snapshots on another machine.
pub struct Sender {
    remote: Arc<Remote>,
}

impl Sender {
    /// Of the dataset that somebody means; also tells which that is.
    ///
    /// # Errors
    /// When there is none, or it is not for us.
    pub fn open(remote: Arc<Remote>, dataset: &str) -> Result<(Self, Found)> {
        let ask = Ask::Source { dataset: dataset.to_owned() };
        let found = remote.ask(&ask).map_err(plain)?;
        Ok((Self { remote }, found))
    }
}

impl Source for Sender {
    fn originals(&self) -> Result<Vec<Original>> {
        self.remote.ask(&Ask::Originals).map_err(plain)
    }

    fn size(&self, step: &Step) -> (Option<u64>, Basis) {
        let unknown = (None, Basis::Unknown);
        self.remote.ask(&Ask::Size { step: step.clone() }).unwrap_or(unknown)
    }

    fn send(&self, step: &Step) -> Result<Sending> {
        let (total, basis) = self.remote.ask(&Ask::Send { step: step.clone() }).map_err(plain)?;
        let stream = Coming {
            remote: Arc::clone(&self.remote),
            left: io::Cursor::default(),
            rest: Rest::default(),
        };
        Ok(Sending { stream: Box::new(stream), total, basis })
    }

    fn hold(&self, identity: &str, tag: &str) -> Result<()> {
        let ask = Ask::Hold { identity: identity.to_owned(), tag: tag.to_owned() };
        self.remote.ask(&ask).map_err(plain)
    }

    fn release(&self, identity: &str, tag: &str) -> Result<()> {
        let ask = Ask::Release { identity: identity.to_owned(), tag: tag.to_owned() };
        self.remote.ask(&ask).map_err(plain)
    }
}

/// A stream from another machine.
struct Coming {
    remote: Arc<Remote>,
    left: io::Cursor<Vec<u8>>,
    rest: Rest,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.left.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            match self.rest.next(&mut locked(&self.remote.talk))? {
                Some(bytes) => self.left = io::Cursor::new(bytes),
                None => return Ok(0),
            }
        }
    }
}

impl Stream for Coming {
    fn finish(&mut self) -> Result<()> {
        if self.rest.whole { Ok(()) } else { Err(failed("The stream did not come to its end.")) }
    }
}

/// Writes snapshots on another machine.
pub struct Receiver {
    remote: Arc<Remote>,
    demands: (bool, bool),
}

impl Receiver {
    /// The copies of a dataset of this name.
    ///
    /// # Errors
    /// When its place is not for us.
    pub fn open(
        remote: Arc<Remote>,
        dataset: &DatasetId,
        name: &str,
        (root, generation): (&str, u32),
    ) -> Result<Self> {
        let demands = remote
            .ask(&Ask::Target {
                dataset: dataset.to_string(),
                name: name.to_owned(),
                root: root.to_owned(),
                generation,
            })
            .map_err(plain)?;
        Ok(Self { remote, demands })
    }
}

/// What is at a target, as it is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Where, for people.
    pub place: String,
    /// What.
    pub copies: Vec<Copied>,
}

impl Target for Receiver {
    fn demands(&self) -> (bool, bool) {
        self.demands
    }

    fn look(&self, keys: &HashSet<String>) -> Result<Look> {
        let ask = Ask::Look { keys: keys.iter().cloned().collect() };
        let seen: Seen = self.remote.ask(&ask).map_err(plain)?;
        let place = PathBuf::from(format!("{}:{}", self.remote.name, seen.place));
        Ok(Look { place, copies: seen.copies })
    }

    fn tidy(&self, _look: &Look) -> Result<()> {
        self.remote.ask(&Ask::Tidy).map_err(plain)
    }

    fn stage(
        &self,
        run: Uuid,
        (_look, step): (&Look, &Step),
        stream: &mut dyn Read,
    ) -> std::result::Result<Box<dyn Staged>, Halt> {
        let mut talk = locked(&self.remote.talk);
        self.remote.say(&mut talk, &Ask::Stage { run, step: step.clone() })?;
        match talk.send(stream) {
            Ok(end) => {
                // If it is gone, its last word says why.
                let _gone = talk.end(&end);
            }
            Err(Broken::There(_)) => {}
            Err(Broken::Here(cause)) => {
                let why = serde_json::json!({ "broken": cause.to_string() });
                let _gone = talk.say(&why);
                let _told: std::result::Result<(), Halt> = self.remote.hear(&mut talk);
                return Err(io_failed("send the snapshot: the stream broke off", cause).into());
            }
        }
        self.remote.hear::<()>(&mut talk)?;
        Ok(Box::new(Received { remote: Arc::clone(&self.remote), committed: false }))
    }

    fn hold(&self, _look: &Look, identity: &str, tag: &str) -> Result<()> {
        let ask = Ask::HoldCopy { identity: identity.to_owned(), tag: tag.to_owned() };
        self.remote.ask(&ask).map_err(plain)
    }

    fn release(&self, _look: &Look, identity: &str, tag: &str) -> Result<()> {
        let ask = Ask::ReleaseCopy { identity: identity.to_owned(), tag: tag.to_owned() };
        self.remote.ask(&ask).map_err(plain)
    }
}

/// What another machine has received.
struct Received {
    remote: Arc<Remote>,
    committed: bool,
}

impl Staged for Received {
    fn sync(&self) -> Result<()> {
        self.remote.ask(&Ask::Sync).map_err(plain)
    }

    fn check(&self) -> Result<()> {
        self.remote.ask(&Ask::Check).map_err(plain)
    }

    fn commit(mut self: Box<Self>) -> Result<()> {
        self.committed = true;
        self.remote.ask(&Ask::Commit).map_err(plain)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.committed {
            // If the connection is gone, so is what was received.
            let _dropped: std::result::Result<(), Halt> = self.remote.ask(&Ask::Drop);
        }
    }
}

fn plain(halt: Halt) -> Error {
    match halt {
        Halt::Failed(error) => error,
        Halt::Conflict(_) => failed("The other side found a conflict where none can be."),
    }
}

/// What the client program says; the host key is what it is, and nothing else is tried.
fn explain(what: &str, text: &str) -> Error {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let cause: String = text.chars().take(2000).collect();
    let sentence = if text.contains("Host key verification failed") {
        format!("Could not {what}: its host key is not the one that is known. Nothing was sent.")
    } else if text.contains("Permission denied") {
        format!("Could not {what}: it does not take the key.")
    } else {
        format!("Could not {what}: ssh says \"{}\".", line.trim())
    };
    Error::new(ErrorKind::Unavailable, sentence).because(cause)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(host: &str, identity: &str) -> Ssh {
        Ssh {
            host: host.to_owned(),
            port: 22,
            user: root(),
            identity: identity.into(),
            known_hosts: "/etc/sysadmd/known_hosts".into(),
        }
    }

    #[test]
    fn nothing_in_a_host_is_an_option_or_a_word_of_a_shell() {
        assert_eq!(ssh("backup.example.org", "/etc/key").check(), Ok(()));
        assert_eq!(ssh("::1", "/etc/key").check(), Ok(()));
        for host in ["", "-oProxyCommand=x", "a b", "a;b", "$(x)", "user@host", "a\nb"] {
            assert!(ssh(host, "/etc/key").check().is_err(), "{host}");
        }
        for path in ["key", "/a b", "/a%h", "/a\"b", ""] {
            assert!(ssh("host", path).check().is_err(), "{path}");
        }
        let command = ssh("host", "/etc/key").command();
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        assert!(args.ends_with(&["--".into(), "host".into(), "sysadmd serve --stdio".into()]));
        assert!(args.iter().any(|arg| arg == "StrictHostKeyChecking=yes"));
    }
}
