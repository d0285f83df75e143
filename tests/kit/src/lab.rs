//! Real file systems for tests that need root: ext4, btrfs, xfs and ZFS on files, in a mount namespace of
//! the test's own.
//!
//! A namespace belongs to a thread, so [`Lab::enter`] changes what the calling thread sees, and with
//! it every thread and process it starts from then on (an async runtime is to be built afterwards).
//! When the thread ends, however it ends, the kernel takes the mounts and loop devices down; what
//! runs beside them (`zfs-fuse`) is ended by its own handle, or by the kernel when the thread dies.
//!
//! A part that is missing fails the test with what to install: a test that did not run has not
//! passed.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "only tests use it, and a panic is how a test says what is missing"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// How often a condition is looked at before a wait is given up; with [`PAUSE`] 20 seconds.
const TRIES: usize = 400;
const PAUSE: Duration = Duration::from_millis(50);

/// A directory for the test's files, and a mount namespace around it.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    mounts: Vec<PathBuf>,
}

impl Lab {
    /// Moves the calling thread into a mount namespace of its own and makes a directory for it.
    ///
    /// # Panics
    /// When the test does not run as root.
    pub fn enter(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        unshare(CloneFlags::CLONE_NEWNS).expect(
            "a test with real file systems needs root and CAP_SYS_ADMIN: run tests/run as root",
        );
        let all = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, all, None::<&str>).expect("make mounts private");
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("sysadmd-lab-{name}-{}-{count}", std::process::id()));
        fs::create_dir_all(&dir).expect("make the lab's directory");
        Self { dir, mounts: Vec::new() }
    }

    /// The lab's own directory. It goes with the lab.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A fresh btrfs file system of 512 MiB, mounted; returns where.
    pub fn btrfs(&mut self, name: &str) -> PathBuf {
        self.file_system(name, "mkfs.btrfs", "btrfs-progs")
    }

    /// A fresh ext4 file system, mounted; returns where.
    pub fn ext4(&mut self, name: &str) -> PathBuf {
        self.file_system(name, "mkfs.ext4", "e2fsprogs")
    }

    /// A fresh xfs file system with reflinks, mounted; returns where.
    pub fn xfs(&mut self, name: &str) -> PathBuf {
        self.file_system(name, "mkfs.xfs", "xfsprogs")
    }

    /// The files of a directory, to be changed; returns where. What is changed goes to memory and ends
    /// with the lab.
    ///
    /// # Panics
    /// When the test does not run as root.
    pub fn overlay(&mut self, lower: &Path) -> PathBuf {
        let (memory, point) = (self.dir.join("changes"), self.dir.join("files"));
        let none = None::<&str>;
        for dir in [&memory, &point] {
            fs::create_dir_all(dir).expect("make the mount point");
        }
        mount(Some("none"), &memory, Some("tmpfs"), MsFlags::empty(), none).expect("mount a tmpfs");
        self.mounts.push(memory.clone());
        let [upper, work] = ["upper", "work"].map(|name| memory.join(name));
        for dir in [&upper, &work] {
            fs::create_dir(dir).expect("make a directory");
        }
        let [lower, upper, work] = [lower, &upper, &work].map(text);
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        mount(Some("overlay"), &point, Some("overlay"), MsFlags::empty(), Some(&*options))
            .expect("mount an overlay");
        self.mounts.push(point.clone());
        point
    }

    /// Starts a ZFS of the lab's own. One per lab: its sockets have fixed names.
    ///
    /// # Panics
    /// When zfs-fuse or `/dev/fuse` is missing, saying what to do.
    pub fn zfs(&mut self) -> Zfs {
        for dir in ["/run/zfs", "/run/lock/zfs", "/var/lib/zfs"] {
            fs::create_dir_all(dir).expect("make ZFS's directories");
            mount(Some("none"), dir, Some("tmpfs"), MsFlags::empty(), None::<&str>)
                .expect("mount a tmpfs over ZFS's directories");
        }
        Zfs { child: start_zfs_fuse(), dir: self.dir.clone(), pools: Vec::new() }
    }

    /// A fresh btrfs file system whose image lies on an xfs, so that [`Lab::power_cut`] can copy it
    /// in an instant; returns where it is mounted.
    pub fn btrfs_to_cut(&mut self, name: &str) -> PathBuf {
        let xfs = self.xfs("images");
        let image = xfs.join(format!("{name}.img"));
        self.image(&image, name, "mkfs.btrfs", "btrfs-progs")
    }

    /// What the disk below [`Lab::btrfs_to_cut`] holds at this moment and nothing of what is only
    /// in memory, mounted; returns where.
    pub fn power_cut(&mut self, name: &str) -> PathBuf {
        let count = self.mounts.len();
        let image = self.dir.join("images").join(format!("{name}.img"));
        let copy = self.dir.join("images").join(format!("{name}-{count}.img"));
        must("cp", "coreutils", &["--reflink=always", text(&image), text(&copy)]);
        let point = self.dir.join(format!("{name}-{count}"));
        self.mount_image(&copy, point)
    }

    fn file_system(&mut self, name: &str, mkfs: &str, package: &str) -> PathBuf {
        let image = self.dir.join(format!("{name}.img"));
        self.image(&image, name, mkfs, package)
    }

    fn image(&mut self, image: &Path, name: &str, mkfs: &str, package: &str) -> PathBuf {
        must("truncate", "coreutils", &["-s", "512M", text(image)]);
        must(mkfs, package, &["-q", text(image)]);
        self.mount_image(image, self.dir.join(name))
    }

    fn mount_image(&mut self, image: &Path, point: PathBuf) -> PathBuf {
        fs::create_dir_all(&point).expect("make the mount point");
        // The loop device frees itself when the last mount of it is gone.
        must("mount", "mount", &["-o", "loop", text(image), text(&point)]);
        self.mounts.push(point.clone());
        point
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for point in self.mounts.iter().rev() {
            // What is still busy goes with the namespace.
            let _busy = umount2(point, MntFlags::MNT_DETACH);
        }
        let _left = fs::remove_dir_all(&self.dir);
    }
}

/// A private zfs-fuse and the pools on it.
#[derive(Debug)]
pub struct Zfs {
    child: Child,
    dir: PathBuf,
    pools: Vec<String>,
}

impl Zfs {
    /// Makes a pool on a file, mounted below the lab's directory; returns where.
    pub fn pool(&mut self, name: &str) -> PathBuf {
        let image = self.dir.join(format!("{name}.pool"));
        let point = self.dir.join(name);
        must("truncate", "coreutils", &["-s", "300M", text(&image)]);
        must("zpool", "zfs-fuse", &["create", "-m", text(&point), name, text(&image)]);
        self.pools.push(name.to_owned());
        point
    }

    /// Pulls the plug (SIGKILL), then starts zfs-fuse again, which finds its pools by their cache
    /// file and mounts them.
    pub fn power_cut(&mut self) {
        self.stop();
        self.child = start_zfs_fuse();
        for pool in &self.pools {
            must("zfs", "zfs-fuse", &["mount", pool]);
        }
    }

    fn stop(&mut self) {
        // Fails only when it is dead already.
        let _dead = self.child.kill();
        let _dead = self.child.wait();
        for pool in &self.pools {
            let point = self.dir.join(pool);
            while umount2(&point, MntFlags::MNT_DETACH).is_ok() {}
        }
    }
}

impl Drop for Zfs {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a program that must succeed, and returns what it printed.
///
/// # Panics
/// When it is missing (saying what to install) or fails (saying what it said).
pub fn must(program: &str, package: &str, args: &[&str]) -> String {
    let output = command(program, package).args(args).output().expect("start the program");
    assert!(
        output.status.success(),
        "{program} {args:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A program of a package, by the folder it is in.
///
/// # Panics
/// When it is not installed, with the line that installs it.
pub fn command(program: &str, package: &str) -> Command {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
    let path = folders.iter().map(|folder| Path::new(folder).join(program)).find(|p| p.is_file());
    let Some(path) = path else {
        panic!(
            "{program} is missing: apt-get update && \
             apt-get install -y --no-install-recommends {package}"
        );
    };
    Command::new(path)
}

/// Waits until `ready` says yes.
///
/// # Panics
/// When it has not after 20 seconds, naming `what`.
pub fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    for _ in 0..TRIES {
        if ready() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("waited in vain for {what}");
}

fn start_zfs_fuse() -> Child {
    assert!(
        Path::new("/dev/fuse").exists(),
        "/dev/fuse is missing: load the module fuse, or give the container that device"
    );
    let program = command("zfs-fuse", "zfs-fuse");
    let quiet = File::options().write(true).open("/dev/null").expect("open /dev/null");
    // setpriv asks the kernel to end zfs-fuse when the thread that started it ends.
    let child = command("setpriv", "util-linux")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program.get_program())
        .args(["-n", "--no-kstat-mount"])
        .stdin(Stdio::null())
        .stdout(quiet.try_clone().expect("share /dev/null"))
        .stderr(quiet)
        .spawn()
        .expect("start zfs-fuse");
    wait_for("zfs-fuse to answer", || {
        let asked = command("zpool", "zfs-fuse").arg("list").output();
        asked.is_ok_and(|output| output.status.success())
    });
    child
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the lab's paths are plain")
}
