//! Acts of malice: each tries one thing that a plugin must not be able to do, and tells what the
//! kernel said. Whether that is as it should be, the test says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{Pid, Uid, chroot, setuid};
use sdk::{Context, Fault, Value, json};

use crate::rude::HOLD;

/// The most of anything that is taken when nothing stops us.
const AT_MOST: usize = 2_000;

/// What an act works with.
struct Act<'a> {
    args: &'a Value,
    state_dir: &'a Path,
}

/// Does `args.act` and answers `{"done": …}` when it worked, `{"refused": …}` when the kernel did
/// not let it, with the number of the error.
pub(crate) fn act(ctx: &Context, args: &Value) -> Result<Value, Fault> {
    let name = args["act"].as_str().unwrap_or_default();
    let act = Act { args, state_dir: ctx.state_dir() };
    let outcome = act.on_files(name).or_else(|| act.on_sockets(name));
    let outcome = outcome.or_else(|| act.on_processes(name)).or_else(|| act.on_limits(name));
    match outcome {
        None => Err(Fault::bad_request(format!("there is no act {name:?}"))),
        Some(Ok(done)) => Ok(json!({ "done": done })),
        Some(Err(error)) => {
            Ok(json!({ "refused": error.to_string(), "errno": error.raw_os_error() }))
        }
    }
}

type Outcome = io::Result<String>;

impl Act<'_> {
    fn on_files(&self, name: &str) -> Option<Outcome> {
        let own = |name: &str| self.state_dir.join(name);
        Some(match name {
            "read" => read(&self.path()),
            "list" => fs::read_dir(self.path()).map(|entries| format!("{} names", entries.count())),
            "write" => write(&self.path()),
            "append" => append(&self.path()),
            "truncate" => File::create(self.path()).map(|_| "truncated".to_owned()),
            "remove" => fs::remove_file(self.path()).map(|()| "removed".to_owned()),
            // The way out through a name of our own.
            "read-by-link" => replace(&own("way-out"), |link| symlink(self.path(), link))
                .and_then(|()| read(&own("way-out"))),
            "write-by-link" => replace(&own("way-out"), |link| symlink(self.path(), link))
                .and_then(|()| append(&own("way-out"))),
            "second-name" => replace(&own("name"), |name| fs::hard_link(self.path(), name))
                .map(|()| "linked".to_owned()),
            // For whoever touches the state directory as somebody mightier.
            "trap" => trap(self.state_dir, &self.path()),
            "device" => {
                let disk = nix::sys::stat::makedev(254, 0);
                let made = mknod(&own("disk"), SFlag::S_IFBLK, Mode::S_IRWXU, disk);
                made.map(|()| "a disk".to_owned()).map_err(io::Error::from)
            }
            _ => return None,
        })
    }

    fn on_sockets(&self, name: &str) -> Option<Outcome> {
        let port = u16::try_from(self.number("port")).unwrap_or_default();
        Some(match name {
            "tcp-connect" => {
                TcpStream::connect(("127.0.0.1", port)).map(|_| "connected".to_owned())
            }
            "tcp-listen" => TcpListener::bind("127.0.0.1:0").map(|_| "listening".to_owned()),
            "udp-send" => UdpSocket::bind("127.0.0.1:0")
                .and_then(|socket| socket.send_to(b"x", ("127.0.0.1", port)))
                .map(|_| "sent".to_owned()),
            "unix-connect" => UnixStream::connect(self.path()).map(|_| "connected".to_owned()),
            "unix-listen" => {
                UnixListener::bind(self.state_dir.join("s")).map(|_| "listening".to_owned())
            }
            "abstract-connect" => SocketAddr::from_abstract_name(self.text("name"))
                .and_then(|address| UnixStream::connect_addr(&address))
                .map(|_| "connected".to_owned()),
            // Both ends of a pair are ours; one is turned to somebody else.
            "pair-send" => UnixDatagram::pair()
                .and_then(|(end, _other)| end.send_to(b"x", self.path()))
                .map(|_| "sent".to_owned()),
            _ => return None,
        })
    }

    fn on_processes(&self, name: &str) -> Option<Outcome> {
        let pid = i32::try_from(self.number("pid")).unwrap_or_default();
        let done = |outcome: nix::Result<()>| outcome.map_err(io::Error::from);
        let outcome = match name {
            "signal" => {
                let signal = i32::try_from(self.number("signal")).unwrap_or_default();
                // Number 0 asks whether one could be sent.
                done(kill(Pid::from_raw(pid), Signal::try_from(signal).ok()))
            }
            "trace" => done(ptrace::attach(Pid::from_raw(pid))),
            "become-root" => done(setuid(Uid::from_raw(0))),
            "mount" => {
                let target = self.state_dir.join("tmp");
                done(mount(Some("x"), &target, Some("tmpfs"), MsFlags::empty(), None::<&str>))
            }
            "namespace" => done(unshare(CloneFlags::CLONE_NEWUSER)),
            "chroot" => done(chroot(self.state_dir)),
            // What a program says of itself that would run as its owner.
            "setuid-program" => return Some(output(Command::new(self.path()).arg("-u"))),
            // Calls that have no safe word here, by their numbers.
            "call" => return Some(self.call()),
            "python" => return Some(output(&mut python(self.text("code")))),
            _ => return None,
        };
        Some(outcome.map(|()| name.to_owned()))
    }

    fn on_limits(&self, name: &str) -> Option<Outcome> {
        Some(match name {
            "open-all" => take(|| File::open("/dev/null")),
            "fork-all" => take(leave_behind),
            "leave" => leave_behind().map(|child| child.id().to_string()),
            "fill" => fill(&self.state_dir.join("fill"), self.number("bytes")),
            _ => return None,
        })
    }

    /// `number` and up to five `arguments` go to the kernel as they are.
    fn call(&self) -> Outcome {
        let code = "import ctypes, os, sys\n\
                    libc = ctypes.CDLL(None, use_errno=True)\n\
                    libc.syscall.restype = ctypes.c_long\n\
                    words = [ctypes.c_long(int(word)) for word in sys.argv[1:]]\n\
                    answer = libc.syscall(*words)\n\
                    print(answer if answer >= 0 else -ctypes.get_errno())\n";
        let arguments = self.args["arguments"].as_array().cloned().unwrap_or_default();
        let words = arguments.iter().map(ToString::to_string);
        let mut command = python(code);
        command.arg(self.number("number").to_string()).args(words);
        let answer = output(&mut command)?;
        match answer.parse::<i32>() {
            Ok(errno @ ..=-1) => Err(io::Error::from_raw_os_error(-errno)),
            _ => Ok(answer),
        }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(self.text("path"))
    }

    fn text(&self, name: &str) -> &str {
        self.args[name].as_str().unwrap_or_default()
    }

    fn number(&self, name: &str) -> i64 {
        self.args[name].as_i64().unwrap_or_default()
    }
}

/// A process that has left our group and holds none of our pipes.
fn leave_behind() -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(HOLD).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn()
}

fn read(path: &Path) -> Outcome {
    let mut first = [0; 64];
    let length = File::open(path)?.read(&mut first)?;
    Ok(format!("{length} bytes"))
}

fn write(path: &Path) -> Outcome {
    OpenOptions::new().write(true).create_new(true).open(path).map(|_| "made".to_owned())
}

fn append(path: &Path) -> Outcome {
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(b"\n").map(|()| "changed".to_owned())
}

fn replace(name: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    match fs::remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => make(name),
    }
}

/// Puts a link to `victim` where the directory for temporary files was.
fn trap(state_dir: &Path, victim: &Path) -> Outcome {
    let tmp = state_dir.join("tmp");
    fs::remove_dir_all(&tmp)?;
    symlink(victim, &tmp).map(|()| "laid".to_owned())
}

/// Takes until no more is given, and gives all back; how much there was, as an error if there was
/// an end to it.
fn take<T>(mut one: impl FnMut() -> io::Result<T>) -> Outcome {
    let mut taken = Vec::new();
    while taken.len() < AT_MOST {
        match one() {
            Ok(more) => taken.push(more),
            Err(error) => return Err(io::Error::other(format!("{error} after {}", taken.len()))),
        }
    }
    Ok(format!("{AT_MOST} and no end"))
}

/// Writes this much, without dying of the signal that tells the end of it.
fn fill(path: &Path, bytes: i64) -> Outcome {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block()?;
    let mut file = File::create(path)?;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..bytes >> 20 {
        file.write_all(&piece)?;
    }
    Ok("filled".to_owned())
}

fn python(code: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-I", "-c", code]);
    command
}

/// What a program prints, or what it says that went wrong.
fn output(command: &mut Command) -> Outcome {
    let ended = command.stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if ended.status.success() {
        return Ok(text(&ended.stdout));
    }
    Err(io::Error::other(format!("{}: {}", ended.status, text(&ended.stderr))))
}
