//! Two machines: the conversation cut at every frame, and a real SSH server.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread;

use kit::lab::{command, must, wait_for};
use kit::link::Start;
use replication::ends::frame::{Frame, Talk};
use replication::ends::remote::{Receiver, Remote, Sender};
use replication::ends::{self, Target};
use replication::plan::Step;
use replication::serve::{self, Limits};
use serde_json::{Value, json};
use uuid::Uuid;

use super::bench::{Bench, run, save};

/// What is done to frames on their way.
#[derive(Clone, Copy)]
enum Fault {
    /// Nothing after so many.
    Cut(usize),
    /// Half of this one, and nothing after it.
    Half(usize),
    /// One bit of this one's payload.
    Flip(usize),
}

/// A conversation with the other side in this process; what this side says goes through `fault`.
fn connect(
    limits: Limits,
    fault: Fault,
) -> (Result<Arc<Remote>, snapshot::backend::Error>, thread::JoinHandle<()>) {
    let (here, middle) = UnixStream::pair().unwrap();
    let (there, served) = UnixStream::pair().unwrap();
    let other = thread::spawn(move || {
        let mut talk = Talk::new(served.try_clone().unwrap(), served);
        // However it ends, what it has not committed is gone.
        let _ended = serve::serve(&mut talk, &limits);
    });
    let mut back = (there.try_clone().unwrap(), middle.try_clone().unwrap());
    thread::spawn(move || {
        let _over = std::io::copy(&mut back.0, &mut back.1);
        let _shut = back.1.shutdown(std::net::Shutdown::Both);
    });
    thread::spawn(move || pass(middle, there, fault));
    let talk = Talk::new(here.try_clone().unwrap(), here);
    (Remote::over(talk, "there", None), other)
}

fn pass(mut from: UnixStream, mut to: UnixStream, fault: Fault) {
    let mut number = 0;
    while let Ok(Some(frame)) = Frame::read(&mut from) {
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        match fault {
            Fault::Cut(at) if number == at => break,
            Fault::Half(at) if number == at => {
                let _half = to.write_all(&bytes[..bytes.len() / 2]);
                break;
            }
            Fault::Flip(at) if number == at => *bytes.last_mut().unwrap() ^= 1,
            _ => {}
        }
        if to.write_all(&bytes).is_err() {
            break;
        }
        number += 1;
    }
    let _shut = (to.shutdown(std::net::Shutdown::Both), from.shutdown(std::net::Shutdown::Both));
}

/// Pushes the newest snapshot through a connection with a fault; whether it arrived.
fn push(bench: &dyn Bench, target: &str, fault: Fault) -> bool {
    let roots = vec![target.to_owned()];
    let limits = Limits { roots, sources: Vec::new(), store: bench.dir().join("no-store") };
    let (remote, other) = connect(limits, fault);
    let arrived = remote.is_ok_and(|remote| carry(bench, target, remote).is_some());
    other.join().unwrap();
    arrived
}

fn carry(bench: &dyn Bench, target: &str, remote: Arc<Remote>) -> Option<()> {
    let dataset = bench.dataset();
    let source = ends::source(&dataset.id, &bench.store()).ok()?;
    let receiver = Receiver::open(remote, &dataset.id, &dataset.name, (target, 1)).ok()?;
    let originals = source.originals().ok()?;
    let keys = originals.iter().map(|original| original.key.clone()).collect();
    let look = receiver.look(&keys).ok()?;
    receiver.tidy(&look).ok()?;
    let there = |look: &ends::Look| {
        look.copies.iter().any(|copy| Some(&copy.key) == originals.last().map(|one| &one.key))
    };
    // As the planner does: what is there is not sent again.
    if there(&look) {
        return Some(());
    }
    let step = Step { from: None, to: originals.last()?.clone() };
    let mut sending = source.send(&step).ok()?;
    let staged = receiver.stage(Uuid::new_v4(), (&look, &step), &mut sending.stream).ok()?;
    staged.sync().ok()?;
    staged.check().ok()?;
    staged.commit().ok()?;
    let look = receiver.look(&keys).ok()?;
    there(&look).then_some(())
}

/// Frames are cut between, in the middle, and damaged, each in turn: the snapshot is there whole or
/// not at all, and nothing else is left.
pub(crate) fn cut_at_every_frame(bench: &dyn Bench) {
    // More than one frame of a stream.
    let noise: Vec<u8> = (0..700_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(700_000)
        .collect();
    fs::write(bench.files().join("large"), noise).unwrap();
    bench.snap("one", "first");
    let kinds: [fn(usize) -> Fault; 3] = [Fault::Cut, Fault::Half, Fault::Flip];
    for (kind, make) in kinds.into_iter().enumerate() {
        let mut faults = 0;
        for at in 0..40 {
            let target = bench.target(&format!("target-{kind}-{at}"));
            let arrived = push(bench, &target, make(at));
            let copies = bench.copies(&target);
            assert!(copies.is_empty() || copies == ["one"], "{copies:?}");
            assert_eq!(bench.leftovers(&target).len(), 0, "{kind} at {at}");
            if arrived {
                break;
            }
            faults += 1;
            // Later, without a fault, it arrives.
            assert!(push(bench, &target, Fault::Cut(usize::MAX)));
            assert_eq!(bench.copies(&target), ["one"]);
            assert_eq!(bench.read(&target, "one", "file").as_deref(), Some("first"));
        }
        assert!(faults > 8, "only {faults} faults of kind {kind}");
    }
}

/// What the other side was not started for it refuses.
pub(crate) fn limits_hold(bench: &dyn Bench) {
    bench.snap("one", "first");
    let dataset = bench.dataset();
    let allowed = bench.target("allowed");
    let limits = Limits { roots: vec![allowed], sources: Vec::new(), store: bench.store() };
    let (remote, other) = connect(limits, Fault::Cut(usize::MAX));
    let remote = remote.unwrap();
    let elsewhere = bench.target("elsewhere");
    let refused = Receiver::open(Arc::clone(&remote), &dataset.id, &dataset.name, (&elsewhere, 1));
    assert!(refused.err().unwrap().to_string().contains("does not allow"));
    let refused = Sender::open(Arc::clone(&remote), dataset.id.as_str());
    assert!(refused.err().unwrap().to_string().contains("does not allow"));
    drop(remote);
    other.join().unwrap();
}

/// A real SSH server on loopback whose one key does one thing.
pub(crate) struct Server {
    child: Child,
    dir: PathBuf,
    port: u16,
}

impl Server {
    /// Starts it; the key runs the plugin's other side with these words.
    pub(crate) fn start(dir: &Path, words: &[String]) -> Self {
        let dir = dir.join("ssh");
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        for key in ["host", "key"] {
            let path = dir.join(key);
            let args = ["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()];
            must("ssh-keygen", "openssh-client", &args);
        }
        let example = Start::example("replication", "replication-plugin", &Value::Null).command;
        let forced = format!("{} serve {}", example[0].to_str().unwrap(), words.join(" "));
        let public = fs::read_to_string(dir.join("key.pub")).unwrap();
        fs::write(dir.join("authorized"), format!("restrict,command=\"{forced}\" {public}"))
            .unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = fs::read_to_string(dir.join("host.pub")).unwrap();
        fs::write(dir.join("known"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        let show = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
             StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin forced-commands-only\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\n",
            show("host"),
            show("authorized")
        );
        fs::write(dir.join("config"), config).unwrap();
        fs::set_permissions(dir.join("host"), fs::Permissions::from_mode(0o600)).unwrap();
        let child = command("sshd", "openssh-server")
            .args(["-D", "-e", "-f", &show("config")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, dir, port };
        wait_for("sshd to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }

    /// How a task names it.
    pub(crate) fn ssh(&self) -> Value {
        json!({
            "host": "127.0.0.1", "port": self.port, "user": "root",
            "identity": self.dir.join("key"), "known_hosts": self.dir.join("known"),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _dead = self.child.kill();
        let _dead = self.child.wait();
    }
}

/// Snapshots are pushed to another machine and pulled from it, and its host key counts.
pub(crate) fn over_ssh(bench: &dyn Bench) {
    let pushed = bench.target("pushed");
    let pulled = bench.target("pulled");
    let (store, name) = (bench.store(), bench.dataset().name);
    let words = ["--root", &pushed, "--from", &name, "--store", store.to_str().unwrap()];
    let server = Server::start(&bench.dir(), &words.map(str::to_owned));
    bench.snap("one", "first");
    let mut link = bench.plugin();
    let there = json!({ "target": { "root": pushed, "ssh": server.ssh() } });
    let push = save(&mut link, bench, &pushed, &there);
    let pull =
        save(&mut link, bench, &pulled, &json!({ "source_ssh": server.ssh(), "title": "pull" }));
    for name in ["one", "two"] {
        if name == "two" {
            bench.snap("two", "second");
        }
        for task in [&push, &pull] {
            let done = run(&mut link, task);
            assert_eq!(done["steps_done"], 1, "{done:#}");
        }
    }
    for target in [&pushed, &pulled] {
        assert_eq!(bench.copies(target), ["one", "two"]);
        assert_eq!(bench.read(target, "two", "file").as_deref(), Some("second"));
        assert_eq!(bench.leftovers(target).len(), 0);
    }
    // Another host key, and nothing is sent.
    fs::write(server.dir.join("known"), {
        let other = fs::read_to_string(server.dir.join("key.pub")).unwrap();
        format!("[127.0.0.1]:{} {other}", server.port)
    })
    .unwrap();
    bench.snap("three", "third");
    let fault = link.call("replication/run", &json!({ "task": push })).unwrap_err();
    assert!(fault["message"].as_str().unwrap().contains("host key"), "{fault:#}");
    assert!(link.events.iter().any(|event| event["class"] == "replication.retry"));
    assert_eq!(bench.copies(&pushed), ["one", "two"]);
    link.close();
}
