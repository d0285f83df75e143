//! A container engine of the test's own: its files in a directory that goes with it, its network in a
//! namespace, so that it takes nothing of the machine's.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use kit::lab::{command, wait_for};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The image that every container here is of.
pub(crate) const IMAGE: &str = "lab:1";

/// A Docker Engine.
pub(crate) struct Dockerd {
    dir: TempDir,
    options: Vec<String>,
    process: Option<Child>,
}

impl Dockerd {
    /// One that is not started yet.
    pub(crate) fn new(options: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("sysadmd-engine-").tempdir();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Self { dir: dir.expect("a directory"), options, process: None }
    }

    /// One that is up and has the image.
    pub(crate) fn up(options: &[&str]) -> Self {
        let mut engine = Self::new(options);
        engine.start();
        engine.load();
        engine
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// What the plugin is told of it.
    pub(crate) fn settings(&self) -> String {
        settings(&self.socket())
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&mut self) {
        let mut unshare = command("unshare", "util-linux");
        let script = "ip link set lo up; exec \"$@\"";
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        unshare.args(["--net", "--mount", "--", "sh", "-c", script, "sh", "dockerd"]);
        unshare.args(["--data-root", &path("data"), "--exec-root", &path("exec")]);
        unshare.args(["-p", &path("pid"), "-H", &format!("unix://{}", path("docker.sock"))]);
        unshare.args(&self.options).stdin(Stdio::null());
        unshare.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(unshare.spawn().expect("unshare starts"));
        let answers = || self.docker(&["version"]).is_ok_and(|output| output.status.success());
        // One that was killed ends what it finds, which may take it longer than any other wait.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) && !answers() {
            std::thread::sleep(Duration::from_millis(50));
        }
        wait_for("the engine to answer (apt-get install docker.io)", answers);
    }

    /// Makes the image: one program that is many.
    pub(crate) fn load(&self) {
        self.image(IMAGE, &["CMD [\"/bin/busybox\",\"sleep\",\"3600\"]"]);
    }

    /// Makes an image of this name, of the same program, with these lines of a Dockerfile.
    pub(crate) fn image(&self, name: &str, lines: &[&str]) {
        let busybox = Path::new("/bin/busybox");
        let archive = self.dir.path().join("image.tar");
        let file = std::fs::File::create(&archive).expect("an archive");
        let mut tar = tar::Builder::new(file);
        tar.append_path_with_name(busybox, "bin/busybox")
            .expect("busybox (apt-get install busybox-static)");
        tar.append_path_with_name(busybox, "bin/sh").expect("busybox");
        tar.into_inner().expect("an archive").flush().expect("it is written");
        let archive = archive.display().to_string();
        let changes = lines.iter().flat_map(|line| ["--change", line]);
        let words: Vec<&str> =
            ["import"].into_iter().chain(changes).chain([archive.as_str(), name]).collect();
        self.must(&words);
    }

    fn docker(&self, words: &[&str]) -> std::io::Result<Output> {
        let mut docker = Command::new("docker");
        docker.args(["-H", &format!("unix://{}", self.socket().display())]).args(words);
        // What the engine of Debian 12 speaks; newer programs speak it, too.
        docker.env("DOCKER_API_VERSION", "1.41").output()
    }

    /// Runs docker, whatever comes of it.
    pub(crate) fn try_to(&self, words: &[&str]) -> Output {
        self.docker(words).expect("docker starts (apt-get install docker.io)")
    }

    /// Runs docker, which must succeed; what it says.
    pub(crate) fn must(&self, words: &[&str]) -> String {
        let output = self.try_to(words);
        let said = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        assert!(output.status.success(), "docker {words:?}: {}", said.join("\n"));
        said[0].trim().to_owned()
    }

    /// Runs a container in the background, with these options, of the image; its id.
    pub(crate) fn run(&self, name: &str, options: &[&str], program: &[&str]) -> String {
        let begin = ["run", "-d", "--name", name];
        let words: Vec<&str> =
            begin.iter().chain(options).chain(&[IMAGE]).chain(program).copied().collect();
        self.must(&words)
    }

    /// Sends the engine a signal and waits until it has ended.
    pub(crate) fn end(&mut self, signal: Signal) {
        let Some(mut process) = self.process.take() else { return };
        let pid = Pid::from_raw(i32::try_from(process.id()).expect("a process id"));
        kill(pid, signal).expect("the engine is there");
        wait_for("the engine to end", || matches!(process.try_wait(), Ok(Some(_))));
        // Its helper ends a moment later, and would be taken for a living one.
        let helper = self.dir.path().join("exec/containerd/containerd.pid");
        let number = std::fs::read_to_string(&helper).ok().and_then(|it| it.trim().parse().ok());
        wait_for("the engine's helper to end", || number.is_none_or(Self::has_ended));
        std::fs::remove_file(helper).ok();
        // What it has left: a socket that nobody answers at.
        std::fs::remove_file(self.socket()).ok();
        std::fs::remove_file(self.dir.path().join("pid")).ok();
    }

    /// Whether a process has ended, whatever its engine does.
    pub(crate) fn has_ended(pid: i32) -> bool {
        kill(Pid::from_raw(pid), None).is_err()
    }
}

/// What the plugin is told of an engine at this socket.
pub(crate) fn settings(socket: &Path) -> String {
    format!(
        "[plugins.config.containers]\nreconcile_s = 2\n\
         [[plugins.config.containers.engine]]\nname = \"lab\"\nsocket = \"{}\"\n",
        socket.display()
    )
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if self.process.is_none() {
            self.start();
        }
        let ids = self.try_to(&["ps", "-aq"]);
        let ids = String::from_utf8_lossy(&ids.stdout).into_owned();
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            let words: Vec<&str> = ["rm", "-f"].iter().chain(&ids).copied().collect();
            self.try_to(&words);
        }
        self.end(Signal::SIGTERM);
        // Namespaces of networks that it has pinned below its directory.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let here = self.dir.path().display().to_string();
        let own = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for mounted in own.filter(|path| path.starts_with(&here)) {
            umount2(mounted, MntFlags::MNT_DETACH).ok();
        }
    }
}
