//! Memory that is short for real: programs that read more of a file than a group may keep in memory.
//! The kernel's own trigger is all that can tell the plugin, which looks at nothing else for an hour.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use kit::lab::{Lab, command};
use serde_json::json;

use crate::it::harness::{Site, until};
use crate::run;

/// Bytes that the group may have in memory, and those of the file that it reads.
const ROOM: &str = "20971520";
const FILE: &str = "100000000";
/// Joins the group, writes the file there, and has it read here and there by sixteen programs, which
/// end by themselves when nobody ends them.
const READERS: &str = "
import mmap, os, random, sys, time
group, path, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
open(group, 'w').write(str(os.getpid()))
with open(path, 'wb') as file:
    for _ in range(size // 1000000):
        file.write(os.urandom(1000000))
    file.flush()
    os.fsync(file.fileno())
end = time.time() + 25
for _ in range(15):
    if os.fork() == 0:
        break
read = mmap.mmap(os.open(path, os.O_RDONLY), 0, prot=mmap.PROT_READ)
read.madvise(mmap.MADV_RANDOM)
while time.time() < end:
    for _ in range(200):
        read[random.randrange(size // 4096) * 4096]
";

/// A group of processes with little memory.
struct Group {
    dir: PathBuf,
    readers: Option<Child>,
}

impl Group {
    fn new() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").expect("the groups of this process");
        let old = own.lines().find_map(|line| line.split_once(":memory:"));
        let name = format!("sysadmd-pressure-{}", std::process::id());
        let (dir, limit) = match old {
            Some((_, path)) => {
                let parent = Path::new("/sys/fs/cgroup/memory").join(path.trim_start_matches('/'));
                (parent.join(name), "memory.limit_in_bytes")
            }
            None => (Path::new("/sys/fs/cgroup").join(name), "memory.max"),
        };
        fs::create_dir(&dir).expect("a group of processes");
        let group = Self { dir, readers: None };
        fs::write(group.dir.join(limit), ROOM).expect("its memory is bounded");
        group
    }

    fn read(&mut self, file: &Path) {
        let mut python = command("python3", "python3");
        python.args(["-c", READERS]).arg(self.dir.join("cgroup.procs")).arg(file).arg(FILE);
        let readers = python.stdin(Stdio::null()).spawn();
        self.readers = Some(readers.expect("python3 starts"));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only those that are in it, by their numbers, until it is empty.
        while let Ok(all) = fs::read_to_string(self.dir.join("cgroup.procs")) {
            for pid in all.lines().filter_map(|line| line.parse().ok()) {
                let pid = nix::unistd::Pid::from_raw(pid);
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
            }
            if let Some(mut readers) = self.readers.take() {
                readers.wait().ok();
            }
            fs::remove_dir(&self.dir).ok();
        }
    }
}

/// Hundredths of the last minute in which some program waited for memory.
fn share() -> f64 {
    let said = fs::read_to_string("/proc/pressure/memory").expect("a kernel with PSI");
    let minute = said.split_whitespace().find_map(|word| word.strip_prefix("avg60="));
    minute.expect("the last minute").parse().expect("a number")
}

#[test]
fn the_kernel_tells_that_memory_is_short() {
    let lab = Lab::enter("short");
    // What others do on this machine is no part of it.
    let raise = share().ceil() + 2.0;
    run(async {
        let mut site = Site::new();
        site.system = true;
        site.settings = format!(
            "[plugins.config.system]\nlook_s = 3600\n\
             [plugins.config.system.conditions.memory-pressure]\n\
             for_s = 0\nraise = {raise}\nclear = 0\n\
             [plugins.config.system.conditions.updates-pending]\noff = true\n"
        );
        let program = site.spawn().await;
        program.ready("system").await;
        let mut admin = program.admin().await;
        let mut listed = async || {
            let answer = admin.call("system", "conditions", json!({})).await.expect("a list");
            answer.to_string().contains("\"memory-pressure\"")
        };
        assert!(!listed().await, "it is raised before anybody waits");
        let mut group = Group::new();
        group.read(&lab.dir().join("file"));
        until("memory is short", async || listed().await).await;
        drop(group);
        drop(admin);
        program.stop().await;
    });
    drop(lab);
}
