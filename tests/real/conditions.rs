//! What goes wrong with a real machine: a pool that misses a disk, a file system with errors, memory
//! that is short, updates that wait. Each is raised once, repeated with its count, and cleared.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kit::client::SysAdmClient;
use kit::lab::{Lab, must};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::it::harness::{Program, Site, until};
use crate::run;

const SETTINGS: &str = "[plugins.config.system]\nlook_s = 1\n\
    [plugins.config.system.conditions.disk-faulty]\nrepeat_s = 2\n\
    [plugins.config.system.conditions.memory-pressure]\nfor_s = 1\nclear_s = 1\nrepeat_s = 2\n";

/// A daemon with the plugin, in the mount namespace of this thread.
async fn daemon() -> (Program, SysAdmClient) {
    let mut site = Site::new();
    (site.system, site.settings) = (true, SETTINGS.to_owned());
    let program = site.spawn().await;
    program.ready("system").await;
    let admin = program.admin().await;
    (program, admin)
}

/// What was told of a condition, oldest first: what happened, and the count.
async fn story(admin: &mut SysAdmClient, condition: &str, subject: &str) -> Vec<(String, u64)> {
    let filter = json!({"classes": ["system.condition.*"], "subject": subject});
    let page = admin.call("events", "list", json!({"filter": filter})).await.expect("a page");
    let events = page["events"].as_array().expect("events").iter();
    let own = events.filter(|event| event["data"]["condition"] == condition);
    let told = own.map(|event| {
        let class = event["class"].as_str().expect("a class");
        let verb = class.rsplit('.').next().unwrap_or_default().to_owned();
        (verb, event["data"]["count"].as_u64().expect("a count"))
    });
    told.collect()
}

/// It is raised and stays so until it has been repeated, each time with the next count.
async fn goes_on(admin: &mut SysAdmClient, condition: &str, subject: &str) -> Value {
    until(&format!("{condition} of {subject} is repeated"), async || {
        story(admin, condition, subject).await.len() > 1
    })
    .await;
    let told = story(admin, condition, subject).await;
    for (count, (verb, said)) in (1..).zip(&told) {
        let expected = if count == 1 { "raised" } else { "repeated" };
        assert_eq!((verb.as_str(), *said), (expected, count), "{told:?}");
    }
    let listed = admin.call("system", "conditions", json!({})).await.expect("a list");
    let mut rows = listed["conditions"].as_array().expect("rows").iter();
    let row = rows.find(|row| row["condition"] == condition && row["subject"] == subject);
    row.expect("it is listed").clone()
}

/// It is over, and nothing is told of it any more.
async fn is_over(admin: &mut SysAdmClient, condition: &str, subject: &str) {
    until(&format!("{condition} of {subject} is cleared"), async || {
        let told = story(admin, condition, subject).await;
        told.last().is_some_and(|(verb, _)| verb == "cleared")
    })
    .await;
    let told = story(admin, condition, subject).await;
    let count = |wanted: &str| told.iter().filter(|(verb, _)| verb == wanted).count();
    assert_eq!((count("raised"), count("cleared")), (1, 1), "{told:?}");
    let listed = admin.call("system", "conditions", json!({})).await.expect("a list");
    let mut rows = listed["conditions"].as_array().expect("rows").iter();
    assert!(rows.all(|row| row["condition"] != condition || row["subject"] != subject));
}

#[test]
fn a_pool_that_misses_a_disk_and_a_file_system_with_errors() {
    let mut lab = Lab::enter("conditions");
    let ext4 = lab.ext4("ext4");
    let zfs = lab.zfs();
    let disks = ["one", "two"].map(|name| lab.dir().join(format!("{name}.disk")));
    let [one, two] = disks.each_ref().map(|disk| disk.to_str().expect("a path"));
    must("truncate", "coreutils", &["-s", "100M", one, two]);
    must("zpool", "zfs-fuse", &["create", "-m", "none", "pair", "mirror", one, two]);
    run(async {
        let (program, mut admin) = daemon().await;
        must("zpool", "zfs-fuse", &["offline", "pair", two]);
        let row = goes_on(&mut admin, "disk-faulty", "/pools/pair").await;
        assert_eq!((&row["priority"], &row["message"]), (&json!(9), &json!("pair is DEGRADED")));
        let state = admin.call("system", "state", json!({})).await.expect("a state");
        assert_eq!(state["zpools"]["pair"]["health"], "DEGRADED");
        assert_eq!(state["zpools"]["pair"]["priority"], "9 - Urgent", "{state:#}");
        must("zpool", "zfs-fuse", &["online", "pair", two]);
        is_over(&mut admin, "disk-faulty", "/pools/pair").await;

        let subject = format!("/disks/{}", ext4.to_str().expect("a path").replace('/', "%2F"));
        fs::write(driver_of(&ext4).join("trigger_fs_error"), "1").expect("the driver takes it");
        let row = goes_on(&mut admin, "disk-faulty", &subject).await;
        let message = row["message"].as_str().expect("a message");
        assert!(message.contains("the kernel has found 1 errors"), "{message}");
        umount(&ext4).expect("it is not in use");
        is_over(&mut admin, "disk-faulty", &subject).await;
        drop(admin);
        program.stop().await;
    });
    drop((zfs, lab));
}

/// Where the driver of ext4 tells of the disk that is mounted there.
fn driver_of(mounted: &Path) -> PathBuf {
    let device = device_at(mounted);
    Path::new("/sys/fs/ext4").join(Path::new(&device).file_name().expect("a device"))
}

#[test]
fn memory_that_is_short_as_the_kernel_tells_it() {
    let lab = Lab::enter("pressure");
    // Recorded in /proc/pressure/memory (Documentation/accounting/psi.rst of the kernel).
    let said = |ten: &str, sixty: &str| {
        format!(
            "some avg10={ten} avg60={sixty} avg300=4.00 total=115200995\n\
             full avg10=1.05 avg60=2.05 avg300=0.09 total=24478239\n"
        )
    };
    let file = lab.dir().join("memory");
    fs::write(&file, said("0.00", "0.00")).expect("a file");
    let none = None::<&str>;
    mount(Some(&file), "/proc/pressure/memory", none, MsFlags::MS_BIND, none).expect("a mount");
    run(async {
        let (program, mut admin) = daemon().await;
        fs::write(&file, said("80.00", "31.50")).expect("a file");
        let row = goes_on(&mut admin, "memory-pressure", "/host").await;
        let message = "programs wait for memory 31 % of the time";
        assert_eq!((&row["message"], &row["priority"]), (&json!(message), &json!(5)));
        fs::write(&file, said("0.00", "2.00")).expect("a file");
        is_over(&mut admin, "memory-pressure", "/host").await;
        drop(admin);
        program.stop().await;
    });
    umount("/proc/pressure/memory").expect("it is not in use");
    drop(lab);
}

async fn is_seen_at(admin: &mut SysAdmClient, figure: &str) -> bool {
    let listed = admin.call("system", "conditions", json!({})).await.expect("a list");
    listed.to_string().contains(figure)
}

#[test]
fn updates_that_wait_in_the_distributions_own_files() {
    let lab = Lab::enter("updates");
    let none = None::<&str>;
    for dir in ["/var/lib/apt/lists", "/etc/apt"] {
        mount(none, dir, Some("tmpfs"), MsFlags::empty(), none).expect("an empty directory");
    }
    fs::create_dir_all("/var/lib/apt/lists/partial").expect("a directory");
    fs::create_dir_all("/etc/apt/apt.conf.d").expect("a directory");
    let archive = lab.dir().join("archive");
    fs::create_dir(&archive).expect("a directory");
    let source = format!("deb [trusted=yes] file:{} ./\n", archive.display());
    fs::write("/etc/apt/sources.list", source).expect("a list of sources");
    offer(&archive, "");
    run(async {
        let (program, mut admin) = daemon().await;
        let status = async |admin: &mut SysAdmClient| {
            let state = admin.call("system", "state", json!({})).await.expect("a state");
            state["updates"]["status"].clone()
        };
        until("nothing is to be done", async || status(&mut admin).await == "noupdates").await;
        offer(&archive, &newer("bash"));
        until("an update is seen", async || status(&mut admin).await == "updatesavailable").await;
        let told = story(&mut admin, "updates-pending", "/host").await;
        assert_eq!(told, [("raised".to_owned(), 1)]);
        assert!(is_seen_at(&mut admin, "1 updates are available, 0 of them for security").await);
        offer(&archive, "");
        is_over(&mut admin, "updates-pending", "/host").await;
        drop(admin);
        program.stop().await;
    });
    for dir in ["/var/lib/apt/lists", "/etc/apt"] {
        umount(dir).expect("nobody uses it");
    }
    drop(lab);
}

/// What an archive says of a package that is newer than the installed one.
fn newer(package: &str) -> String {
    let machine = must("dpkg", "dpkg", &["--print-architecture"]);
    format!(
        "Package: {package}\nVersion: 99.0\nArchitecture: {}\nMaintainer: Nobody\n\
         Filename: ./{package}.deb\nSize: 10\nSHA256: {}\nDescription: a newer one\n\n",
        machine.trim(),
        "0".repeat(64)
    )
}

/// An archive on this disk has these packages, and the machine knows it.
fn offer(archive: &Path, packages: &str) {
    fs::write(archive.join("Packages"), packages).expect("an archive");
    must("apt-get", "apt", &["update", "--quiet=2"]);
}

/// Changes what lies on the disk below a file of a btrfs, as a disk that forgets does.
fn spoil(image: &Path, written: &[u8]) {
    let bytes = fs::read(image).expect("the image");
    let at = bytes.windows(written.len()).position(|part| part == written).expect("it is there");
    let file = fs::OpenOptions::new().write(true).open(image).expect("the image");
    file.write_all_at(b"spoiled", u64::try_from(at).expect("a place")).expect("it is written");
    file.sync_all().expect("it is written");
}

#[test]
fn a_btrfs_whose_disk_forgets() {
    let mut lab = Lab::enter("forgets");
    let btrfs = lab.btrfs("btrfs");
    let image = lab.dir().join("btrfs.img");
    let file = btrfs.join("file");
    // Longer than what is kept with the name, so that it has a place and a sum of its own.
    let text = "remember this ".repeat(20_000);
    fs::write(&file, &text).expect("a file");
    umount(&btrfs).expect("it is not in use");
    spoil(&image, &text.as_bytes()[..4096]);
    let [disk, point] = [&image, &btrfs].map(|path| path.to_str().expect("a path"));
    must("mount", "mount", &["-o", "loop", disk, point]);
    run(async {
        let (program, mut admin) = daemon().await;
        fs::read(&file).expect_err("its sum is wrong");
        let name = btrfs.to_str().expect("a path");
        let subject = format!("/disks/{}", name.replace('/', "%2F"));
        let row = goes_on(&mut admin, "disk-faulty", &subject).await;
        let message = row["message"].as_str().expect("a message");
        assert!(message.contains("has had errors: corruption_errs"), "{message}");
        // As the advice has it: whoever has looked counts anew.
        must("btrfs", "btrfs-progs", &["device", "stats", "--reset", name]);
        is_over(&mut admin, "disk-faulty", &subject).await;
        drop(admin);
        program.stop().await;
    });
    drop(lab);
}

/// The device that is mounted there.
fn device_at(mounted: &Path) -> String {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").expect("the mounts");
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == mounted.to_str());
    line.and_then(|line| line.split(' ').next()).expect("it is mounted").to_owned()
}

/// How many events the kernel keeps for a watcher that does not read. What it was comes back.
struct QueueLimit(String);

impl QueueLimit {
    const FILE: &'static str = "/proc/sys/fs/inotify/max_queued_events";

    fn lower(to: u32) -> Self {
        let before = fs::read_to_string(Self::FILE).expect("a number");
        fs::write(Self::FILE, to.to_string()).expect("root may");
        Self(before)
    }
}

impl Drop for QueueLimit {
    fn drop(&mut self) {
        fs::write(Self::FILE, &self.0).expect("root may");
    }
}

#[test]
fn what_a_watcher_misses_is_read_again() {
    let lab = Lab::enter("overflow");
    let none = None::<&str>;
    mount(none, "/run", Some("tmpfs"), MsFlags::empty(), none).expect("an empty directory");
    run(async {
        let mut site = Site::new();
        // Nothing is looked at but what is told.
        site.settings = "[plugins.config.system]\nlook_s = 3600\n".to_owned();
        site.system = true;
        let limit = QueueLimit::lower(8);
        let program = site.spawn().await;
        program.ready("system").await;
        let mut admin = program.admin().await;
        let status = async |admin: &mut SysAdmClient| {
            let state = admin.call("system", "state", json!({})).await.expect("a state");
            state["updates"]["status"].clone()
        };
        until("nothing is to be done", async || status(&mut admin).await != "rebootrequired").await;
        drop(limit);
        let pid = plugin_of(program.pid());
        kill(pid, Signal::SIGSTOP).expect("it is there");
        for number in 0..64 {
            fs::write(format!("/run/other-{number}"), "").expect("a file");
        }
        fs::write("/run/reboot-required", "").expect("a file");
        kill(pid, Signal::SIGCONT).expect("it is there");
        until("what was missed is seen", async || status(&mut admin).await == "rebootrequired")
            .await;
        drop(admin);
        program.stop().await;
    });
    umount("/run").expect("nobody uses it");
    drop(lab);
}

/// The process of the plugin `system` of the daemon with this number.
fn plugin_of(daemon: u32) -> Pid {
    let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children"));
    let tasks = fs::read_dir(format!("/proc/{daemon}/task")).expect("its threads").flatten();
    let each = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let all: String = each.chain(children).collect::<Vec<_>>().join(" ");
    let is_it = |pid: &&str| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("plugin\0system")
    };
    let pid = all.split_whitespace().find(is_it).expect("it runs");
    Pid::from_raw(pid.parse().expect("a number"))
}
