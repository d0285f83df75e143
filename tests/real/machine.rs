//! A small Debian with a systemd of its own as its first process, booted by systemd-nspawn from a
//! root that is made once and kept in the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use kit::lab::{command, must, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PACKAGES: &str = "systemd,systemd-sysv,dbus,passwd,libpam-modules,libpam0g,dma";

/// The machine. It is turned off with the test.
pub(crate) struct Machine {
    nspawn: Child,
    options: Vec<String>,
}

impl Machine {
    /// Boots it from this root, with these options of systemd-nspawn besides the usual ones.
    pub(crate) fn boot(root: &Path, name: &str, options: &[String]) -> Self {
        let usual = ["--boot", "--quiet", "--register=no", "--keep-unit", "--private-network"];
        let mut all: Vec<String> = usual.map(str::to_owned).to_vec();
        all.extend(["--console=pipe".to_owned(), format!("--machine={name}")]);
        all.extend_from_slice(options);
        all.extend(["-D".to_owned(), root.display().to_string()]);
        let machine = Self { nspawn: start(&all), options: all };
        machine.wait_until_up();
        machine
    }

    /// One without a system manager: this program is all that runs in it.
    pub(crate) fn with_only(root: &Path, name: &str, program: &[&str]) -> Self {
        let usual = ["--as-pid2", "--quiet", "--register=no", "--keep-unit", "--private-network"];
        let mut all: Vec<String> = usual.map(str::to_owned).to_vec();
        all.extend(["--console=pipe".to_owned(), format!("--machine={name}")]);
        all.extend(["-D".to_owned(), root.display().to_string()]);
        all.extend(program.iter().copied().map(str::to_owned));
        let machine = Self { nspawn: start(&all), options: all };
        wait_for("the machine's first process", || machine.first().is_some());
        machine
    }

    /// Has it shut down and boot again. What its root does not keep is gone.
    pub(crate) fn reboot(&mut self) {
        // The program that asks for it ends with the machine.
        self.output(&["systemctl", "reboot"]);
        wait_for("the machine to shut down", || self.is_off());
        self.nspawn = start(&self.options);
        self.wait_until_up();
    }

    fn wait_until_up(&self) {
        wait_for("the machine to have booted", || {
            let up = |_| self.inside(&["systemctl", "is-system-running"]);
            self.first().map(up).is_some_and(|it| ["running", "degraded"].contains(&it.trim()))
        });
    }

    /// The number of its first process.
    pub(crate) fn first(&self) -> Option<u32> {
        let pid = self.nspawn.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().find_map(|child| {
            let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
            // Without a system manager nspawn puts a stub in its place.
            ["systemd", "(sd-stubinit)"].contains(&name.trim()).then(|| child.parse().ok())?
        })
    }

    /// Runs a program in it and returns what it prints, whatever its exit code.
    pub(crate) fn inside(&self, words: &[&str]) -> String {
        String::from_utf8_lossy(&self.output(words).stdout).into_owned()
    }

    /// Runs a program in it that must succeed, and returns what it prints.
    pub(crate) fn must(&self, words: &[&str]) -> String {
        let output = self.output(words);
        let said = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        assert!(output.status.success(), "{words:?}: {}\n{}", output.status, said.join("\n"));
        said[0].clone().into_owned()
    }

    /// Runs a program in it.
    pub(crate) fn output(&self, words: &[&str]) -> Output {
        let first = self.first().expect("the machine runs").to_string();
        let mut nsenter = command("nsenter", "util-linux");
        nsenter.args(["-t", &first, "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--"]).args(words);
        nsenter.output().expect("nsenter starts")
    }

    /// Whether it has been turned off.
    pub(crate) fn is_off(&mut self) -> bool {
        matches!(self.nspawn.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.nspawn.id()).expect("a process id"));
        // It may have been turned off already.
        kill(pid, Signal::SIGTERM).ok();
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && !self.is_off() {
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(self.nspawn.kill());
        drop(self.nspawn.wait());
    }
}

fn start(options: &[String]) -> Child {
    let mut nspawn = command("systemd-nspawn", "systemd-container");
    nspawn.args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    nspawn.spawn().expect("systemd-nspawn starts")
}

/// The files of a machine with systemd.
pub(crate) fn root() -> PathBuf {
    made("booted-root", PACKAGES, "usr/sbin/dma")
}

/// The files of a machine with OpenRC and without systemd.
pub(crate) fn openrc_root() -> PathBuf {
    made("openrc-root", "openrc,passwd", "usr/sbin/rc-service")
}

/// A Debian with these packages, made at the first use by whichever test comes first; `proof` is
/// of the last of them: a root from before it was one of them is made anew.
fn made(name: &str, packages: &str, proof: &str) -> PathBuf {
    use std::sync::{Mutex, PoisonError};
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !root.join(proof).exists() {
        drop(fs::remove_dir_all(&root));
        let new = root.with_extension("new");
        drop(fs::remove_dir_all(&new));
        let include = format!("--include={packages}");
        let target = new.to_str().expect("a path");
        must("mmdebstrap", "mmdebstrap", &["--variant=minbase", &include, "bookworm", target]);
        fs::rename(&new, &root).expect("it takes its place");
    }
    root
}
