//! The real binary as a process of its own: for what must not happen to the test itself, such as
//! `kill -9`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Door, PATIENCE, Site, binary, until};

/// `nobody`, who may as much as any person.
pub(crate) const PERSON: u32 = 65_534;
/// Lines of its log that are kept: enough to see why a test failed, and all of one
/// that says everything.
pub(crate) const LINES_MAX: usize = 20_000;

/// A daemon as a process of its own. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Program {
    process: Process,
    door: Door,
    site: Site,
}

#[derive(Debug)]
struct Process {
    child: Child,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Program {
    pub(super) async fn start(site: Site) -> Self {
        let config = site.path().join("sysadmd.toml");
        std::fs::write(&config, site.toml()).expect("the configuration is written");
        let mut command = command(&site);
        command.arg("--config").arg(&config).arg("--state-dir").arg(site.path());
        command.args(["--listen", "127.0.0.1:0"]);
        if site.plain {
            command.args(["--listen-plain", "127.0.0.1:0"]);
        }
        command.envs(site.environment.iter().cloned());
        command.envs(site.log.map(|wanted| ("SYSADMD_LOG", wanted)));
        let process = Process::start(&mut command);
        let log = Arc::clone(&process.log);
        let ready = tokio::task::spawn_blocking(move || log.line_with("ready")).await;
        let line = ready.expect("the wait for the line ends");
        let door = Door::new(site.socket(), addresses(&line));
        Self { process, door, site }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Files it has open.
    pub(crate) fn open_files(&self) -> u64 {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("its files");
        u64::try_from(open.count()).expect("a number of files")
    }

    /// Lowers or raises the number of files it may open, up to what it began with.
    pub(crate) fn limit_open_files(&self, files: u64) {
        let mut command = Command::new("prlimit");
        command.arg("--pid").arg(self.pid().to_string()).arg(format!("--nofile={files}:"));
        let status = command.status().expect("prlimit (apt-get install util-linux)");
        assert!(status.success(), "prlimit: {status}");
    }

    /// Processor time it has used so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let stat = stat.expect("the process lives");
        // Behind its name, which may hold spaces: proc(5) fields 14 and 15, hundredths of a second.
        let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.map(|field| field.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Bytes of memory it holds.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most bytes of memory it has ever held.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// Lets [`Self::peak_bytes`] begin anew at what it holds now (proc(5), `clear_refs`).
    pub(crate) fn forget_peak(&self) {
        let file = format!("/proc/{}/clear_refs", self.pid());
        std::fs::write(file, "5").expect("the peak is reset");
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.expect("memory in /proc") * 1024
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log.lines().join("\n")
    }

    /// Where it lives.
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Ends it as a power cut would, and waits until its plugins have noticed.
    pub(crate) async fn kill(mut self) -> Site {
        self.signal(Signal::SIGKILL);
        self.ended().await;
        let Self { site, .. } = self;
        until("the plugins of a killed daemon have ended", async || {
            super::processes_of(site.path()).is_empty()
        })
        .await;
        site
    }

    /// Asks it to stop and proves that it does, rightly and wholly.
    pub(crate) async fn stop(mut self) -> Site {
        self.signal(Signal::SIGTERM);
        let status = self.ended().await;
        assert!(status.success(), "the daemon ended with {status}:\n{}", self.log());
        let Self { site, door, .. } = self;
        site.check_empty(&door.addresses).await;
        site
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process number");
        kill(Pid::from_raw(pid), signal).expect("the signal is sent");
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        let child = &mut self.process.child;
        until("the daemon's process has ended", async || {
            status = child.try_wait().expect("it can be waited for");
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }
}

/// The binary, run by root or by a person, perhaps with few files.
fn command(site: &Site) -> Command {
    if let Some(files) = site.open_files {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={files}")).arg(binary());
        return command;
    }
    if !(site.as_person && nix::unistd::geteuid().is_root()) {
        return Command::new(binary());
    }
    let mut program = binary();
    if !kit::plugins::is_open_to_others(&program) {
        let copy = site.path().join("sysadmd");
        std::fs::copy(&program, &copy).expect("the binary is copied");
        program = copy;
    }
    give(site.path(), PERSON);
    let mut command = Command::new(program);
    command.uid(PERSON).gid(PERSON);
    command
}

/// Gives a directory and all in it to a user.
fn give(path: &Path, user: u32) {
    if path.symlink_metadata().is_ok_and(|it| it.is_dir()) {
        for entry in path.read_dir().expect("a directory").flatten() {
            give(&entry.path(), user);
        }
    }
    std::os::unix::fs::lchown(path, Some(user), Some(user)).expect("it changes hands");
}

impl Deref for Program {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let spawned = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.expect("the binary starts (prlimit: apt-get install util-linux)");
        let log = Arc::new(Log::default());
        let (stderr, heard) = (child.stderr.take().expect("a pipe"), Arc::clone(&log));
        thread::spawn(move || heard.listen(stderr));
        Self { child, log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already when the test went well.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

impl Log {
    fn listen(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut lines = self.lines();
            if lines.len() < LINES_MAX {
                lines.push(line);
            }
            self.more.notify_all();
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line_with(&self, word: &str) -> String {
        let is_it = |line: &&String| line.split_whitespace().any(|part| part == word);
        let waiting = |lines: &mut Vec<String>| !lines.iter().any(|line| is_it(&line));
        let waited = self.more.wait_timeout_while(self.lines(), PATIENCE, waiting);
        let (lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let line = lines.iter().find(is_it).cloned();
        line.unwrap_or_else(|| panic!("the daemon did not say {word:?}:\n{}", lines.join("\n")))
    }
}

/// The addresses in the line that says "ready".
fn addresses(line: &str) -> Vec<SocketAddr> {
    let listed = line.split_once("addresses=\"").and_then(|(_, rest)| rest.split_once('"'));
    let words = listed.map_or("", |(listed, _)| listed);
    let addresses = words.split(' ').filter_map(|word| word.parse().ok()).collect::<Vec<_>>();
    assert!(!addresses.is_empty(), "no addresses in {line:?}");
    addresses
}
