//! A stand-in for a Docker Engine: one container, whose list, inspection and events are as those of an
//! engine 20.10 were recorded.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

const ID: &str = "8e19bc92173a1c3aa32145f69bf3ca1f0123456789abcdef0123456789abcdef";

/// What the engine has to say.
#[derive(Default)]
struct State {
    running: bool,
    exit_code: i64,
    /// Events, as lines.
    events: Vec<String>,
    ended: bool,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// The engine. Its threads end with it, or with the test.
pub(super) struct StandIn {
    dir: TempDir,
    shared: Shared,
}

impl StandIn {
    pub(super) fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("sysadmd-stand-in-").tempdir();
        let dir = dir.expect("a directory");
        let state = State { running: true, ..State::default() };
        let shared: Shared = Arc::new((Mutex::new(state), Condvar::new()));
        let listener = UnixListener::bind(dir.path().join("engine.sock")).expect("a socket");
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                // A client that has gone is no matter.
                thread::spawn(move || serve(stream, &shared).ok());
            }
        });
        Self { dir, shared }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("engine.sock")
    }

    pub(super) fn settings(&self) -> String {
        format!(
            "[plugins.config.containers]\nreconcile_s = 1\n\
             [[plugins.config.containers.engine]]\nname = \"lab\"\nsocket = \"{}\"\n",
            self.socket().display()
        )
    }

    /// Somebody stops the container.
    pub(super) fn stops(&self) {
        self.change(|state| {
            (state.running, state.exit_code) = (false, 137);
            state.say("kill", &[("signal", "15")]);
            state.say("die", &[("exitCode", "137")]);
        });
    }

    /// It is started again.
    pub(super) fn starts(&self) {
        self.change(|state| {
            state.running = true;
            state.say("start", &[]);
        });
    }

    /// It ends, and no event tells it.
    pub(super) fn stops_unheard(&self) {
        self.change(|state| (state.running, state.exit_code) = (false, 5));
    }

    /// So many events come at once.
    pub(super) fn storms(&self, count: usize) {
        self.change(|state| (0..count).for_each(|_| state.say("update", &[])));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.0.lock().expect("no panic"));
        self.shared.1.notify_all();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.change(|state| state.ended = true);
    }
}

impl State {
    fn say(&mut self, action: &str, more: &[(&str, &str)]) {
        let mut attributes = labels();
        attributes["image"] = "web:1".into();
        attributes["name"] = "shop_web_1".into();
        for (name, value) in more {
            attributes[*name] = (*value).into();
        }
        let at = 1_795_298_094_056_095_857 + self.events.len();
        let event = json!({
            "status": action, "id": ID, "from": "web:1", "Type": "container", "Action": action,
            "Actor": {"ID": ID, "Attributes": attributes}, "scope": "local",
            "time": at / 1_000_000_000, "timeNano": at,
        });
        self.events.push(event.to_string() + "\n");
    }

    fn listing(&self) -> Value {
        let (state, status) = if self.running {
            ("running", "Up 5 minutes".to_owned())
        } else {
            ("exited", format!("Exited ({}) 1 second ago", self.exit_code))
        };
        json!([{
            "Id": ID, "Names": ["/shop_web_1"], "Image": "web:1", "ImageID": "sha256:5178ff3d",
            "Command": "sleep 3600", "Created": 1_795_298_090, "Ports": [], "Labels": labels(),
            "State": state, "Status": status, "HostConfig": {"NetworkMode": "default"},
            "NetworkSettings": {"Networks": {}}, "Mounts": [],
        }])
    }

    fn inspection(&self) -> Value {
        json!({
            "Id": ID, "Created": "2026-11-26T10:00:00.123456789Z", "Path": "sleep", "Args": ["3600"],
            "State": {
                "Status": if self.running { "running" } else { "exited" }, "Running": self.running,
                "Paused": false, "Restarting": false, "OOMKilled": false, "Dead": false, "Pid": 4242,
                "ExitCode": self.exit_code, "Error": "", "StartedAt": "2026-11-26T10:00:01.5Z",
                "FinishedAt": if self.running { "0001-01-01T00:00:00Z" } else { "2026-11-26T11:00:00Z" },
            },
            "Image": "sha256:5178ff3d", "Name": "/shop_web_1", "RestartCount": 0,
            "HostConfig": {"NetworkMode": "default", "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}},
            "Mounts": [],
            "Config": {
                "Hostname": "8e19bc92173a", "User": "", "Tty": false, "OpenStdin": false,
                "ExposedPorts": {"80/tcp": {}}, "Env": ["PASSWORD=secret"], "Cmd": ["sleep", "3600"],
                "Image": "web:1", "WorkingDir": "", "Entrypoint": null, "Labels": labels(),
            },
            "NetworkSettings": {
                "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]},
                "Networks": {"bridge": {"IPAddress": "172.17.0.2"}},
            },
        })
    }
}

fn labels() -> Value {
    json!({"com.docker.compose.project": "shop", "com.docker.compose.service": "web"})
}

/// Answers one request, and closes.
fn serve(mut stream: UnixStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    reader.read_line(&mut head)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    // Clients put the version before the path.
    let path = path
        .find("/v1.")
        .map_or(path, |at| path[at + 1..].find('/').map_or(path, |to| &path[at + 1 + to..]));
    let state = shared.0.lock().expect("no panic");
    let (status, body) = match path {
        "/events" => {
            drop(state);
            return tell(&mut stream, shared);
        }
        "/_ping" => ("200 OK", "OK".to_owned()),
        "/version" => ("200 OK", json!({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "linux", "Arch": "amd64"}).to_string()),
        "/info" => ("200 OK", json!({"Name": "lab", "Driver": "overlay2", "NCPU": 2, "MemTotal": 1_048_576, "Containers": 1}).to_string()),
        "/containers/json" => ("200 OK", state.listing().to_string()),
        _ if path == format!("/containers/{ID}/json") => ("200 OK", state.inspection().to_string()),
        _ => ("404 Not Found", json!({"message": "no such container"}).to_string()),
    };
    drop(state);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// Tells every event from now on, as they come.
fn tell(stream: &mut UnixStream, shared: &Shared) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )?;
    let (state, more) = (&shared.0, &shared.1);
    let mut told = state.lock().expect("no panic").events.len();
    loop {
        let mut now = state.lock().expect("no panic");
        while now.events.len() == told && !now.ended {
            now = more.wait(now).expect("no panic");
        }
        if now.ended {
            return Ok(());
        }
        let lines = now.events[told..].concat();
        told = now.events.len();
        drop(now);
        write!(stream, "{:x}\r\n{lines}\r\n", lines.len())?;
    }
}
