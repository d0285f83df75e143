//! Names made to hurt, in every text that a method takes: nothing of them is run, nothing is taken
//! for an option, and each is answered.
//!
//! Which methods there are say the manifests and the daemon's own description. The tools that change
//! a machine are covered by ones that do nothing, in a mount namespace of the test's own, and
//! `strace` notes every program that is started, with its arguments.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kit::client::{SysAdmClient, Target};
use kit::lab::Lab;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use sysadmd::dispatch::own_methods;

use crate::it::harness::{Door, Site, binary, until};
use crate::it::http;
use crate::run;

/// What tools change: each is covered.
const TOOLS: [&str; 9] = [
    "/usr/sbin/useradd",
    "/usr/sbin/usermod",
    "/usr/sbin/userdel",
    "/usr/sbin/groupadd",
    "/usr/sbin/groupdel",
    "/usr/bin/gpasswd",
    "/usr/sbin/chpasswd",
    "/usr/sbin/zfs",
    "/usr/sbin/zpool",
];
/// What may be started beside them, and change nothing: the daemon's own programs and what asks.
const ASKING: [&str; 1] = ["/usr/bin/getent"];
/// Actions that take no name and would end a machine.
const ENDING: [&str; 2] = ["halt", "reboot"];
/// One pool with one dataset in which nothing can be made.
const TOOL: &str = r#"#!/bin/sh
case "${0##*/} $1 $*" in
"zpool list "*name,guid*) printf 'tank\t1\n' ;;
"zpool list "*) echo tank ;;
"zfs list "*) echo tank ;;
"zfs get "*mountpoint*)
    for it in guid:7 mountpoint:/tank mounted:no used:1 available:1 referenced:1; do
        printf 'tank\t%s\t%s\t-\n' "${it%%:*}" "${it#*:}"
    done ;;
"zfs get "*) printf 'tank\tguid\t7\t-\n' ;;
"zfs "*) echo 'cannot do that: dataset already exists' >&2; exit 1 ;;
esac
"#;

/// Names that have hurt somebody, somewhere; `MARK` stands for a file that none of them may make.
const NAMES: [&str; 44] = [
    "",
    " ",
    "-",
    "--",
    "-rf",
    "-rf /",
    "--help",
    "-o=x",
    "--root=/",
    "-R/",
    ".",
    "..",
    "../..",
    "../../etc/passwd",
    "/../etc",
    "a/../b",
    "tank/../x",
    "~root",
    "$(touch MARK)",
    "`touch MARK`",
    "; touch MARK",
    "a; touch MARK;",
    "| touch MARK",
    "&& touch MARK",
    "> MARK",
    "$HOME",
    "${IFS}touch${IFS}MARK",
    "'; touch MARK; '",
    "\"; touch MARK; \"",
    "a\nb",
    "a\n-rf",
    "\ntouch MARK\n",
    "a\r\nb",
    "a\tb",
    "a\u{0}b",
    "\u{0}",
    "a@b@c",
    "@",
    "tank@-r",
    "%s%n%x",
    "*",
    "\u{202e}fr-\u{200b}",
    "ä\u{308}ß\u{1f480}",
    "a:b:0:0::/:/bin/sh",
];

fn names(mark: &Path) -> Vec<String> {
    let mark = mark.display().to_string();
    let short = NAMES.iter().map(|name| name.replace("MARK", &mark));
    let long = ["a", "-", "/", "../", "ä", "$("].map(|part| part.repeat(65_536 / part.len()));
    short.chain(long).collect()
}

/// A method, one of its texts, and what else it must be told.
struct Place {
    method: String,
    member: String,
    /// Whether the text is one of a list.
    is_list: bool,
    others: Map<String, Value>,
}

/// Every place for a text of a method, with the least that goes with it and with all that may.
fn places(method: &str, action: Option<&str>, schema: &Value, found: &mut Vec<Place>) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let members = schema["properties"].as_object().cloned().unwrap_or_default();
    let texts = members.iter().filter(|(name, it)| *name != "action" && takes_text(it, schema));
    for (member, it) in texts {
        for all in [false, true] {
            let wanted = |name: &str| all || required.contains(&name);
            let others = members.iter().filter(|(name, _)| *name != member && wanted(name));
            let mut others: Map<String, Value> =
                others.filter_map(|(name, it)| Some((name.clone(), harmless(name, it)?))).collect();
            others.extend(action.map(|action| ("action".to_owned(), action.into())));
            if all && found.last().is_some_and(|it: &Place| it.others == others) {
                continue;
            }
            let is_list = kinds(it).contains("array") && !kinds(it).contains("string");
            let (method, member) = (method.to_owned(), member.clone());
            found.push(Place { method, member, is_list, others });
        }
    }
}

fn kinds(schema: &Value) -> BTreeSet<String> {
    let named = match &schema["type"] {
        Value::String(kind) => vec![kind.clone()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let within = ["anyOf", "oneOf"].into_iter().filter_map(|word| schema[word].as_array());
    let within = within.flatten().flat_map(kinds);
    named.into_iter().chain(within).collect()
}

fn takes_text(schema: &Value, whole: &Value) -> bool {
    let kinds = kinds(schema);
    // What is only pointed to may be a text, too.
    let named =
        schema["$ref"].as_str().and_then(|name| whole.pointer(name.trim_start_matches('#')));
    let of_list = kinds.contains("array") && takes_text(&schema["items"], whole);
    kinds.contains("string") || of_list || named.is_some_and(|it| takes_text(it, whole))
}

/// A value that means nothing bad; `None` where the member is better left out.
fn harmless(name: &str, schema: &Value) -> Option<Value> {
    let kinds = kinds(schema);
    Some(match name {
        // Running commands is what these are for; a call takes no name of theirs.
        "commands" | "process_id" => return None,
        "expire" => "2030-01-01".into(),
        "dataset" | "pool" | "zpool" => "tank".into(),
        "class" => "user.x".into(),
        "method" => "snapshot/list".into(),
        "role" => "viewer".into(),
        "priority" | "limit" | "timeout_s" | "expires_s" => 1.into(),
        "uid" | "gid" => "4999".into(),
        "home_dir" | "shell" | "dir" | "path" => "/nowhere/at-all".into(),
        _ if kinds.contains("string") => "good".into(),
        _ if kinds.contains("boolean") => false.into(),
        _ => return None,
    })
}

/// From the manifests of all built-in plugins, and from what the daemon says of itself.
fn all_places() -> Vec<Place> {
    let mut found = Vec::new();
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    for dir in fs::read_dir(plugins).expect("plugins").flatten() {
        let Ok(text) = fs::read_to_string(dir.path().join("manifest.json")) else { continue };
        let manifest: Value = serde_json::from_str(&text).expect("a manifest");
        for method in manifest["methods"].as_array().into_iter().flatten() {
            let action = method["action"].as_str();
            if action.is_none_or(|action| !ENDING.contains(&action)) {
                let name = method["method"].as_str().expect("a method");
                places(name, action, &method["params"], &mut found);
            }
        }
    }
    for own in own_methods().filter(|own| !own.method.starts_with("rpc/auth")) {
        places(own.method, own.action, &(own.args)(), &mut found);
    }
    found
}

/// A daemon below `strace`, which notes every program that is started.
struct Traced {
    child: Child,
    site: Site,
    notes: PathBuf,
}

impl Traced {
    async fn start(site: Site, notes: PathBuf) -> Self {
        let config = site.path().join("sysadmd.toml");
        fs::write(&config, site.toml()).expect("the configuration is written");
        fs::create_dir(&notes).expect("a directory");
        let mut command = Command::new("strace");
        command.args(["-D", "-q", "-ff", "--seccomp-bpf", "-e", "trace=execve", "-xx", "-v"]);
        command.args(["-s", "200000", "-o"]).arg(notes.join("of")).arg(binary());
        command.arg("--config").arg(&config).arg("--state-dir").arg(site.path());
        command.args(["--listen", "127.0.0.1:0"]);
        let log = fs::File::create(site.path().join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("strace is there (apt-get install strace)");
        let socket = site.socket();
        until("the daemon answers", async || {
            let said = fs::read_to_string(site.path().join("log")).expect("a log");
            said.contains("addresses=")
                && SysAdmClient::connect(Target::Unix(socket.clone())).await.is_ok()
        })
        .await;
        Self { child, site, notes }
    }

    fn door(&self) -> Door {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("addresses=")).expect("its addresses");
        let word = line.split("addresses=\"").nth(1).and_then(|rest| rest.split(['"', ' ']).next());
        let address = word.and_then(|word| word.parse().ok()).expect("an address");
        Door { socket: self.site.socket(), addresses: vec![address] }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.site.path().join("log")).expect("a log")
    }

    /// Asks it to stop, and waits; every argument vector of a program that was started.
    async fn end(mut self) -> Vec<Vec<String>> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, Signal::SIGTERM).expect("it is asked");
        let mut status = None;
        until("the daemon has ended", async || {
            status = self.child.try_wait().expect("it can be waited for");
            status.is_some()
        })
        .await;
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        let notes = fs::read_dir(&self.notes).expect("notes").flatten();
        let lines = notes.flat_map(|file| {
            let text = fs::read_to_string(file.path()).expect("notes are text");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        lines.filter(|line| line.ends_with("= 0")).filter_map(|line| vector(&line)).collect()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // It has ended already when the test went well.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// `execve("\x2f…", ["\x2f…", …], …) = 0`: the program, then its arguments.
fn vector(line: &str) -> Option<Vec<String>> {
    let rest = line.strip_prefix("execve(")?;
    let (program, rest) = rest.split_once(", [")?;
    let (args, _) = rest.split_once("], ")?;
    Some(std::iter::once(program).chain(args.split(", ")).map(text).collect())
}

/// A text that `strace` has written as one hexadecimal number for each byte.
fn text(quoted: &str) -> String {
    assert!(!quoted.ends_with("..."), "cut off: {}", &quoted[..80]);
    let bytes = quoted.trim_matches('"').split("\\x").skip(1);
    let bytes: Vec<u8> =
        bytes.map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Nothing that a call does can reach the machine: its tools do nothing, and what they change is
/// covered.
fn cover(lab: &Lab) {
    let none = None::<&str>;
    let bind = |from: &Path, to: &Path| {
        mount(Some(from), to, none, MsFlags::MS_BIND, none).expect("it is covered");
    };
    for tool in TOOLS {
        let name = Path::new(tool).file_name().expect("a name");
        let fake = lab.dir().join(name);
        fs::write(&fake, TOOL).expect("a tool");
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).expect("it may be run");
        assert!(Path::new(tool).is_file(), "{tool} (apt-get install passwd zfs-fuse)");
        bind(&fake, Path::new(tool));
    }
    let etc = lab.dir().join("etc");
    let copied = Command::new("cp").args(["-a", "/etc"]).arg(&etc).status().expect("cp");
    assert!(copied.success());
    bind(&etc, Path::new("/etc"));
    // Among others the sockets of buses and engines: none of them is within reach.
    for dir in ["/home", "/var/mail", "/run"] {
        mount(Some("none"), dir, Some("tmpfs"), MsFlags::empty(), none).expect("it is covered");
    }
    bind(Path::new("/proc/sys"), Path::new("/proc/sys"));
    let closed = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, "/proc/sys", none, closed, none).expect("it is closed");
}

/// Asks for it in this place; what is wrong with the answer, if anything.
async fn ask(client: &mut SysAdmClient, place: &Place, name: &str) -> Option<String> {
    let mut args = place.others.clone();
    let name = if place.is_list { json!([name]) } else { json!(name) };
    args.insert(place.member.clone(), name);
    let (space, method) = place.method.rsplit_once('/').expect("a method");
    let refusal = client.call(space, method, Value::Object(args)).await.err()?;
    let (kind, said) = (refusal["fault"]["kind"].as_str(), refusal["error"].as_str());
    let is_clear =
        kind.is_some_and(|kind| kind != "internal") && said.is_some_and(|it| it.len() > 5);
    (!is_clear).then(|| refusal.to_string())
}

/// What is no text at all comes over HTTP.
async fn ask_in_bytes(door: &Door, method: &str) {
    let login = [format!("Authorization: Bearer {}", door.token("admin").await)];
    let body = http::request("POST", &format!("/{method}"), &login, r#"{"name":"XX"}"#);
    let at = body.windows(2).rposition(|two| two == b"XX").expect("its place");
    let mut bytes = body;
    bytes[at..at + 2].copy_from_slice(&[0xff, 0xfe]);
    let answer = http::over_tls(door.tls(), &bytes).await;
    assert_eq!(answer.status, 400, "{method}: {answer:?}");
    for path in ["/%ff/%fe", "/rpc/%00", "/rpc/..%2f..%2fetc", "/-rf/--help", "/rpc/$(id)"] {
        let answer = http::over_tls(door.tls(), &http::request("POST", path, &login, "{}")).await;
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
    }
}

#[test]
fn no_name_is_run_or_taken_for_an_option_and_each_is_answered() {
    let lab = Lab::enter("names");
    cover(&lab);
    let mark = lab.dir().join("mark");
    run(async {
        let mut site = Site::new();
        (site.built_in, site.replication) = (true, true);
        (site.system, site.containers) = (true, true);
        // No bus of this machine is within reach.
        let nowhere = format!("unix:path={}", lab.dir().join("no-bus").display());
        let quiet = "[plugins.config.system.conditions.updates-pending]\noff = true\n";
        site.settings = format!("[plugins.config.system]\nbus = '{nowhere}'\n{quiet}");
        let daemon = Traced::start(site, lab.dir().join("notes")).await;
        let door = daemon.door();
        for plugin in ["snapshot", "replication", "system", "containers"] {
            door.ready(plugin).await;
        }
        let (places, names) = (all_places(), names(&mark));
        assert!(places.len() > 100, "{}", places.len());
        let mut client = door.admin().await;
        let mut wrong = Vec::new();
        for place in &places {
            for name in &names {
                if let Some(answer) = ask(&mut client, place, name).await {
                    let name: String = name.chars().take(40).collect();
                    wrong.push(format!("{} {} {name:?}: {answer}", place.method, place.member));
                }
            }
        }
        println!("{} places, {} names each", places.len(), names.len());
        assert_eq!(wrong, [""; 0]);
        for method in ["snapshot/create", "sysadm/users", "rpc/tokens"] {
            ask_in_bytes(&door, method).await;
        }
        let plugins = client.call("rpc", "plugins", json!({"action": "list"})).await.unwrap();
        for plugin in plugins["plugins"].as_array().unwrap() {
            assert_eq!((&plugin["state"], &plugin["restarts"]), (&json!("ready"), &json!(0)));
        }
        drop(client);
        assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
        let started = daemon.end().await;
        check(&started, &names);
        assert!(!mark.exists(), "a name was run");
    });
}

/// What was started, and with what.
fn check(started: &[Vec<String>], names: &[String]) {
    let own = binary().display().to_string();
    let known = |program: &str| {
        program == own
            || program == "/proc/self/exe"
            || TOOLS.contains(&program)
            || ASKING.contains(&program)
    };
    let strangers: BTreeSet<&String> =
        started.iter().map(|vector| &vector[0]).filter(|program| !known(program)).collect();
    assert!(strangers.is_empty(), "started: {strangers:?}");
    let of_tools: Vec<_> = started.iter().filter(|it| TOOLS.contains(&&*it[0])).collect();
    let by_names = of_tools.iter().filter(|it| it.iter().any(|arg| names.contains(arg))).count();
    println!(
        "{} programs started, {} of them tools, {by_names} with a name",
        started.len(),
        of_tools.len()
    );
    assert!(of_tools.iter().any(|it| it[0].ends_with("useradd")), "no name has reached the tools");
    assert!(of_tools.iter().any(|it| it[1..].iter().any(|arg| arg == "snapshot")), "nor ZFS");
    let words: BTreeSet<&str> =
        names.iter().flat_map(|name| name.split_whitespace().chain([name.as_str()])).collect();
    for vector in &of_tools {
        // Behind the program, its name; behind two dashes nothing is an option.
        for arg in vector[2..].iter().take_while(|arg| *arg != "--") {
            let is_option = arg.starts_with('-') && words.contains(&**arg);
            assert!(!is_option, "a name was taken for an option: {vector:?}");
        }
    }
}
