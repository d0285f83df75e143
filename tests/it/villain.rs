//! A plugin that means harm beside one that does not, and everything it tries: for a daemon that is
//! root as well as for one that is not.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;

use kit::client::SysAdmClient;
use nix::libc;
use serde_json::{Value, json};

use super::harness::{Program, Site};

/// The plugin that means harm.
pub(crate) const VILLAIN: &str = "bad";
/// The one beside it.
const NEIGHBOUR: &str = "kit";
/// The longest file the villain may write.
const FILE_BYTES: u64 = 4 << 20;
/// The memory it may have: little, because taking it takes time.
const MEMORY_BYTES: u64 = 128 << 20;

/// The daemon and its two plugins, and what the villain is after.
pub(crate) struct Scene {
    pub(crate) program: Program,
    admin: SysAdmClient,
    goal: Goal,
}

/// What listens for the villain, as long as it is there.
struct Goal {
    tcp: TcpListener,
    udp: UdpSocket,
    abstract_name: String,
    _abstract: UnixListener,
}

impl Goal {
    fn new() -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        // As unique as the port.
        let port = udp.local_addr().expect("its address").port();
        let abstract_name = format!("sysadmd-test-{port}");
        let address = SocketAddr::from_abstract_name(&abstract_name).expect("an address");
        Self {
            tcp: TcpListener::bind("127.0.0.1:0").expect("a listener"),
            udp,
            _abstract: UnixListener::bind_addr(&address).expect("a listener"),
            abstract_name,
        }
    }
}

impl Scene {
    /// Both plugins are ready, and the neighbour has a secret.
    pub(crate) async fn begin(mut site: Site, as_person: bool) -> Self {
        site.as_person = as_person;
        let mut manifest = kit::plugins::manifest(VILLAIN, &["good"]);
        manifest["sandbox"]["file_bytes"] = FILE_BYTES.into();
        manifest["limits"]["memory_bytes"] = MEMORY_BYTES.into();
        let program = site.with_kit().with_plugin(manifest).spawn().await;
        program.ready(NEIGHBOUR).await;
        program.ready(VILLAIN).await;
        let admin = program.admin().await;
        let scene = Self { program, admin, goal: Goal::new() };
        let (dir, secret) = (scene.state_of(NEIGHBOUR), scene.secret());
        std::fs::write(&secret, "of the neighbour").expect("a secret");
        let owner = dir.metadata().expect("a directory").uid();
        lchown(&secret, Some(owner), Some(owner)).expect("the neighbour's secret");
        scene
    }

    /// The state directory of a plugin.
    pub(crate) fn state_of(&self, plugin: &str) -> PathBuf {
        self.program.site().path().join("plugin-state").join(plugin)
    }

    fn secret(&self) -> PathBuf {
        self.state_of(NEIGHBOUR).join("secret")
    }

    /// How `rpc/plugins` shows a plugin.
    pub(crate) async fn shown(&mut self, plugin: &str) -> Value {
        let answer = self.admin.call("rpc", "plugins", json!({"action": "list"})).await;
        let mut listed = answer.expect("the plugins are listed");
        let plugins = listed["plugins"].as_array_mut().expect("a list");
        let place = plugins.iter().position(|it| it["id"] == plugin).expect("it is listed");
        plugins.swap_remove(place)
    }

    /// What the kernel said to an act of the villain.
    pub(crate) async fn act(&mut self, act: Value) -> Value {
        let answer = self.admin.call(VILLAIN, "hostile", act.clone()).await;
        answer.unwrap_or_else(|fault| panic!("{act} was not tried: {fault}"))
    }

    /// Fails unless the kernel refuses.
    pub(crate) async fn refused(&mut self, act: Value) {
        let answer = self.act(act.clone()).await;
        assert!(answer["refused"].is_string(), "{act} was let through: {answer}");
    }

    /// Fails unless the kernel refuses with this error.
    pub(crate) async fn refused_as(&mut self, act: Value, errno: i32) {
        let answer = self.act(act.clone()).await;
        assert_eq!(answer["errno"], errno, "{act}: {answer}");
    }

    /// Fails unless it works.
    pub(crate) async fn done(&mut self, act: Value) -> Value {
        let mut answer = self.act(act.clone()).await;
        assert!(answer["done"].is_string(), "{act}: {answer}");
        answer["done"].take()
    }

    /// Starts the villain again.
    pub(crate) async fn restart(&mut self) {
        let args = json!({"action": "restart", "id": VILLAIN});
        self.admin.call("rpc", "plugins", args).await.expect("it starts again");
    }

    /// Fails unless the neighbour answers.
    pub(crate) async fn neighbour_is_well(&mut self) {
        let answer = self.admin.call(NEIGHBOUR, "echo", json!({"n": 1})).await;
        assert_eq!(answer, Ok(json!({"n": 1})));
        let secret = std::fs::read_to_string(self.secret()).expect("its secret");
        assert_eq!(secret, "of the neighbour");
    }

    /// What every plugin may do, so that a refusal means something.
    pub(crate) async fn what_is_allowed_works(&mut self) {
        let own = self.state_of(VILLAIN);
        self.done(json!({"act": "write", "path": own.join("mine")})).await;
        self.done(json!({"act": "append", "path": own.join("mine")})).await;
        self.done(json!({"act": "write", "path": own.join("tmp/mine")})).await;
        self.done(json!({"act": "read", "path": "/etc/passwd"})).await;
        let sum = self.done(json!({"act": "python", "code": "print(20 + 22)"})).await;
        assert_eq!(sum, "42", "programs run");
        let code = "import tempfile; print(tempfile.gettempdir())";
        let tmp = self.done(json!({"act": "python", "code": code})).await;
        assert_eq!(tmp, json!(own.join("tmp")));
    }

    /// Files of the daemon, of the neighbour and of the machine.
    pub(crate) async fn files_are_closed(&mut self) {
        let site = self.program.site().path().to_owned();
        let (database, manifest) =
            (site.join("sysadmd.db"), site.join("plugins/bad/manifest.json"));
        let mut acts = Vec::new();
        for path in self.secrets().await {
            acts.extend(["read", "read-by-link", "append"].map(|act| (act, path.clone())));
        }
        let dirs = [site.clone(), self.state_of(NEIGHBOUR), "/var/log".into()];
        acts.extend(dirs.map(|dir| ("list", dir)));
        let places = ["/etc", "/usr/bin", "/tmp", "/dev/shm", "/var/tmp"].map(PathBuf::from);
        let near = [site.clone(), site.join("plugins/bad"), self.state_of(NEIGHBOUR)];
        acts.extend(places.into_iter().chain(near).map(|dir| ("write", dir.join("sysadmd-test"))));
        for path in
            [manifest, "/proc/self/oom_score_adj".into(), "/proc/sys/kernel/hostname".into()]
        {
            acts.extend(["append", "write-by-link"].map(|act| (act, path.clone())));
        }
        acts.push(("truncate", database.clone()));
        acts.push(("second-name", database));
        acts.push(("remove", site.join("sysadmd.sock")));
        acts.push(("device", PathBuf::new()));
        for (act, path) in acts {
            self.refused(json!({"act": act, "path": path})).await;
        }
    }

    /// What nobody but its owner should read.
    async fn secrets(&mut self) -> Vec<PathBuf> {
        let site = self.program.site().path();
        let mut secrets =
            ["sysadmd.db", "sysadmd.toml", "tls/key.pem"].map(|it| site.join(it)).to_vec();
        secrets.extend([self.secret(), "/etc/shadow".into()]);
        let daemon = self.program.pid().to_string();
        let neighbour = self.shown(NEIGHBOUR).await["pid"].to_string();
        for pid in [daemon, neighbour] {
            let of = PathBuf::from("/proc").join(pid);
            secrets.extend(["mem", "environ", "fd/2", "root/etc/passwd"].map(|file| of.join(file)));
        }
        secrets
    }

    /// Sockets of every kind.
    pub(crate) async fn sockets_are_closed(&mut self) {
        let tcp = self.goal.tcp.local_addr().expect("its address").port();
        let udp = self.goal.udp.local_addr().expect("its address").port();
        let (door, name) = (self.program.socket.clone(), self.goal.abstract_name.clone());
        let daemon = self.program.tls().port();
        for act in [
            json!({"act": "tcp-connect", "port": tcp}),
            json!({"act": "tcp-connect", "port": daemon}),
            json!({"act": "tcp-listen"}),
            json!({"act": "udp-send", "port": udp}),
            json!({"act": "unix-connect", "path": door}),
            json!({"act": "unix-listen"}),
            json!({"act": "pair-send", "path": door}),
            json!({"act": "abstract-connect", "name": name}),
            // AF_NETLINK, AF_PACKET, AF_VSOCK.
            json!({"act": "call", "number": libc::SYS_socket, "arguments": [16, 3, 0]}),
            json!({"act": "call", "number": libc::SYS_socket, "arguments": [17, 3, 0]}),
            json!({"act": "call", "number": libc::SYS_socket, "arguments": [40, 1, 0]}),
        ] {
            self.refused_as(act, libc::EPERM).await;
        }
    }

    /// Signals, tracing, more rights.
    pub(crate) async fn processes_are_closed(&mut self) {
        let neighbour = self.shown(NEIGHBOUR).await;
        let own = self.shown(VILLAIN).await["confinement"].take();
        // Between processes of one user only a Landlock of version 6 (Linux 6.12) stands.
        let is_apart = own["user"] != neighbour["confinement"]["user"];
        let signals: &[i32] = match own["landlock"].as_u64() {
            Some(6..) => &[0, libc::SIGSTOP, libc::SIGKILL],
            _ if is_apart => &[0, libc::SIGSTOP, libc::SIGKILL],
            _ => &[],
        };
        for pid in [json!(self.program.pid()), neighbour["pid"].clone()] {
            for signal in signals {
                self.refused(json!({"act": "signal", "pid": pid, "signal": signal})).await;
            }
            self.refused(json!({"act": "trace", "pid": pid})).await;
        }
        self.refused(json!({"act": "signal", "pid": 1, "signal": 0})).await;
        for act in ["mount", "namespace", "chroot"] {
            self.refused_as(json!({"act": act}), libc::EPERM).await;
        }
    }

    /// What a process can do to others of its user, and to their files, without opening anything.
    pub(crate) async fn others_are_left_alone(&mut self) {
        let daemon = self.program.pid();
        let database = self.program.site().path().join("sysadmd.db");
        let database = database.to_str().expect("a plain path");
        for code in [
            format!("import resource; resource.prlimit({daemon}, resource.RLIMIT_CPU, (1, 1))"),
            format!("import os; os.sched_setaffinity({daemon}, [0])"),
            format!("import os; os.setpriority(os.PRIO_PROCESS, {daemon}, 19)"),
            format!("import os; os.chmod({database:?}, 0o666)"),
            format!("import os; os.chown({database:?}, os.getuid(), -1)"),
            format!("import os; os.utime({database:?}, (0, 0))"),
            format!("import os; os.setxattr({database:?}, 'user.x', b'x')"),
        ] {
            self.refused(json!({"act": "python", "code": code})).await;
        }
        // To itself it may.
        let code = "import os, resource\n\
                    resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))\n\
                    os.setpriority(os.PRIO_PROCESS, 0, 5)\n\
                    os.sched_setaffinity(0, os.sched_getaffinity(0))";
        self.done(json!({"act": "python", "code": code})).await;
    }

    /// Calls that nobody needs.
    pub(crate) async fn calls_are_closed(&mut self) {
        let closed = [
            libc::SYS_io_uring_setup,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_open_by_handle_at,
            libc::SYS_finit_module,
            libc::SYS_kexec_load,
            libc::SYS_fsopen,
            libc::SYS_process_vm_readv,
            libc::SYS_pidfd_getfd,
            libc::SYS_clock_settime,
            libc::SYS_acct,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_setns,
            libc::SYS_memfd_create,
            libc::SYS_shmget,
        ];
        for number in closed {
            self.refused_as(json!({"act": "call", "number": number}), libc::EPERM).await;
        }
        // A new namespace by `clone`, memory that no limit counts.
        let namespace = [libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0];
        let clone = json!({"act": "call", "number": libc::SYS_clone, "arguments": namespace});
        self.refused_as(clone, libc::EPERM).await;
        let shared = "import mmap; mmap.mmap(-1, 4096)";
        self.refused(json!({"act": "python", "code": shared})).await;
        // `clone3`, calls of the future, and `getpid` of the x32 ABI.
        for number in [libc::SYS_clone3, 600, 0x4000_0000 + libc::SYS_getpid] {
            self.refused_as(json!({"act": "call", "number": number}), libc::ENOSYS).await;
        }
    }

    /// More than its share.
    pub(crate) async fn limits_hold(&mut self) {
        self.refused(json!({"act": "open-all"})).await;
        let fill = json!({"act": "fill", "bytes": 2 * FILE_BYTES});
        self.refused_as(fill, libc::EFBIG).await;
        let filled = self.state_of(VILLAIN).join("fill").metadata().expect("the file").len();
        assert_eq!(filled, FILE_BYTES);
        let ten = 10_u64 << 30;
        let eaten = self.admin.call(VILLAIN, "eat", json!({"bytes": ten})).await;
        let eaten = eaten.expect("it lives on")["eaten"].as_u64().expect("a number");
        assert!(eaten <= MEMORY_BYTES, "{eaten} bytes of memory");
    }

    /// Nothing of all that has harmed anybody, also not the villain.
    pub(crate) async fn end(mut self) {
        self.neighbour_is_well().await;
        let shown = self.shown(VILLAIN).await;
        assert_eq!(shown["state"], "ready", "{shown:#}");
        let Self { program, admin, .. } = self;
        drop(admin);
        program.stop().await;
    }
}
