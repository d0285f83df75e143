//! What the kernel may do to the daemon: end it within any system call that writes, and refuse any
//! that keeps something. Whatever it has acknowledged is there afterwards, once.
//!
//! `strace` does it: the N-th call of a kind fails or is the last one. Which N is chance; more of
//! them with `SYSADMD_TEST_ROUNDS`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kit::client::{Came, SysAdmClient, Target};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::it::chance::Chance;
use crate::it::harness::{PATIENCE, Site, binary};
use crate::run;

/// Events and tokens that are asked for in one life.
const CHANGES: u64 = 20;
/// How often a life is ended within a call.
const DEATHS: u64 = 16;
/// Calls by which something is kept: `write` is mostly to sockets and pipes, and kills as well.
const KEEPING: &str = "pwrite64,write,fdatasync,fsync,ftruncate,renameat,renameat2,rename,unlink";

/// Calls that fail, and how.
const FAILING: [(&str, [&str; 3]); 10] = [
    ("pwrite64", ["EIO", "ENOSPC", "EINTR"]),
    ("fdatasync", ["EIO", "ENOSPC", "EINTR"]),
    ("fsync", ["EIO", "ENOSPC", "EINTR"]),
    ("openat", ["EIO", "ENOSPC", "EMFILE"]),
    ("ftruncate", ["EIO", "ENOSPC", "EINTR"]),
    ("rename", ["EIO", "ENOSPC", "EINTR"]),
    ("unlink", ["EIO", "ENOSPC", "EINTR"]),
    ("pread64", ["EIO", "ENOMEM", "EINTR"]),
    ("fstat", ["EIO", "ENOMEM", "EINTR"]),
    ("fcntl", ["EIO", "ENOLCK", "EINTR"]),
];

/// A daemon below strace.
struct Traced {
    child: Child,
}

impl Traced {
    fn start(site: &Site, options: &[&str]) -> Self {
        let config = site.path().join("sysadmd.toml");
        std::fs::write(&config, site.toml()).expect("the configuration is written");
        let mut command = Command::new("strace");
        // The tracer is the grandchild, so that the daemon is ours to wait for.
        command.args(["-D", "-q", "-f"]).args(options).arg(binary());
        command.arg("--config").arg(&config).arg("--state-dir").arg(site.path());
        command.args(["--listen", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().expect("strace is there (apt-get install strace)") }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_some()
    }

    /// A client, unless the daemon ends before it takes one.
    async fn client(&mut self, site: &Site) -> Option<SysAdmClient> {
        for _ in 0..PATIENCE.as_millis() / 20 {
            if self.has_ended() {
                return None;
            }
            if site.socket().exists()
                && let Ok(client) = SysAdmClient::connect(Target::Unix(site.socket())).await
            {
                return Some(client);
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the daemon neither answers nor ends");
    }

    /// Asks it to stop, if it is still there, and waits for its end.
    async fn end(mut self) -> std::process::ExitStatus {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        if !self.has_ended() {
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it is asked");
        }
        for _ in 0..PATIENCE.as_millis() / 20 {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the daemon does not stop");
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // It has ended already when all is well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What was acknowledged: numbers of events, and ids of tokens.
#[derive(Debug, Default)]
struct Acknowledged {
    events: BTreeSet<u64>,
    tokens: BTreeSet<String>,
    refused: u64,
}

impl Acknowledged {
    /// Asks for changes until all are made or the daemon is gone.
    async fn work(&mut self, client: &mut SysAdmClient, first: u64) {
        for number in first..first + CHANGES {
            let event = json!({"class": "user.n", "data": {"n": number}});
            match answer(client, "events", "fire", event).await {
                None => return,
                Some(Ok(_)) => drop(self.events.insert(number)),
                Some(Err(_)) => self.refused += 1,
            }
            if number % 4 == 0 {
                let token = json!({"action": "create", "name": "t", "role": "viewer"});
                match answer(client, "rpc", "tokens", token).await {
                    None => return,
                    Some(Ok(made)) => {
                        self.tokens.insert(made["id"].as_str().expect("an id").to_owned());
                    }
                    Some(Err(_)) => self.refused += 1,
                }
            }
        }
    }

    /// All of it is there, once, for a daemon that nobody disturbs; and its files are whole.
    async fn check(&self, site: Site, what: &str) -> Site {
        let program = site.spawn().await;
        let mut admin = program.admin().await;
        let question = json!({"filter": {"classes": ["user.n"]}, "limit": 1000});
        let page = admin.call("events", "list", question).await.expect("a page");
        let events = page["events"].as_array().expect("events").iter();
        let numbers: Vec<u64> =
            events.map(|event| event["data"]["n"].as_u64().expect("a number")).collect();
        let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(distinct.len(), numbers.len(), "{what}: something is there twice: {numbers:?}");
        assert!(
            self.events.is_subset(&distinct),
            "{what}: lost of {:?}: {distinct:?}",
            self.events
        );
        let tokens = admin.call("rpc", "tokens", json!({"action": "list"})).await.expect("tokens");
        let tokens = tokens["tokens"].as_array().expect("a list").iter();
        let tokens: BTreeSet<String> =
            tokens.map(|token| token["id"].as_str().expect("an id").to_owned()).collect();
        assert!(self.tokens.is_subset(&tokens), "{what}: lost of {:?}", self.tokens);
        let verdict = admin.call("rpc", "audit", json!({"action": "verify"})).await;
        assert_eq!(verdict.expect("a verdict")["intact"], true, "{what}");
        admin.close().await;
        program.stop().await
    }
}

/// The answer; `None` when the daemon is gone.
async fn answer(
    client: &mut SysAdmClient,
    namespace: &str,
    name: &str,
    args: Value,
) -> Option<Result<Value, Value>> {
    let id = client.try_send(namespace, name, args).await?;
    loop {
        match client.came_within(PATIENCE).await.expect("it answers or ends") {
            Came::Closed(..) => return None,
            Came::Message(mut message) if message["id"] == id.as_str() => {
                let is_refusal = message["namespace"] == "error";
                let args = message["args"].take();
                return Some(if is_refusal { Err(args) } else { Ok(args) });
            }
            Came::Message(_) => {}
        }
    }
}

/// How often the thread that does so most makes each of these calls in one life: strace counts them
/// by thread.
async fn calls_of_a_life(calls: &str) -> BTreeMap<String, u64> {
    let site = Site::new();
    let log = site.path().join("calls");
    let trace = format!("trace={calls}");
    let mut traced = Traced::start(&site, &["-o", text(&log), "-e", &trace, "-e", "signal=none"]);
    let mut client = traced.client(&site).await.expect("nothing disturbs it");
    let mut all = Acknowledged::default();
    all.work(&mut client, 0).await;
    assert_eq!(all.events.len() as u64, CHANGES);
    client.close().await;
    assert!(traced.end().await.success());
    let lines = std::fs::read_to_string(&log).expect("what strace has seen");
    let mut by_thread: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for line in lines.lines().filter(|line| !line.contains("resumed>")) {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((call, _)) = call.trim_start().split_once('(') else { continue };
        *by_thread.entry((thread, call)).or_default() += 1;
    }
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let known = most.entry(call.to_owned()).or_default();
        *known = count.max(*known);
    }
    println!("{most:?}");
    most
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn rounds(usual: u64) -> u64 {
    let times = std::env::var("SYSADMD_TEST_ROUNDS").ok().and_then(|text| text.parse().ok());
    usual * times.unwrap_or(1)
}

#[test]
fn ended_within_any_call_that_writes_it_has_lost_nothing() {
    run(async {
        let mut chance = Chance::new();
        let all: Vec<(String, u64)> = calls_of_a_life(KEEPING).await.into_iter().collect();
        assert!(all.iter().any(|(call, _)| call == "pwrite64"), "{all:?}");
        let (mut site, mut acknowledged, mut deaths) = (Site::new(), Acknowledged::default(), 0);
        for round in 0..rounds(DEATHS) {
            // Every fourth life is the first one, which makes the database and the certificate.
            if round % 4 == 0 {
                (site, acknowledged) = (Site::new(), Acknowledged::default());
            }
            let (call, most) =
                &all[usize::try_from(chance.below(all.len() as u64)).expect("small")];
            let at = 1 + chance.below(*most);
            let inject = format!("inject={call}:signal=KILL:when={at}");
            let options = ["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject];
            let mut traced = Traced::start(&site, &options);
            if let Some(mut client) = traced.client(&site).await {
                acknowledged.work(&mut client, round * CHANGES).await;
            }
            deaths += u64::from(!traced.end().await.success());
            site = acknowledged.check(site, &format!("killed at {call} {at}")).await;
        }
        println!("{deaths} deaths of {}", rounds(DEATHS));
        // In a later life fewer calls are made than in the first one.
        assert!(deaths * 2 >= rounds(DEATHS), "{deaths} deaths");
    });
}

#[test]
fn whatever_call_fails_it_answers_or_ends_and_has_lost_nothing() {
    run(async {
        let mut chance = Chance::new();
        let wanted: Vec<&str> = FAILING.iter().map(|(call, _)| *call).collect();
        let all = calls_of_a_life(&wanted.join(",")).await;
        let (mut tried, mut hit, mut refused) = (0, 0, 0);
        let cases = FAILING.iter().flat_map(|(call, errors)| errors.map(|error| (*call, error)));
        for (call, error) in cases.filter(|(call, _)| all.contains_key(*call)) {
            for _ in 0..rounds(1) {
                // Once, some times, or from then on.
                let at = 1 + chance.below(all[call]);
                let when = match chance.below(3) {
                    0 => format!("{at}"),
                    // Whoever is interrupted tries again, as often as it takes.
                    1 => format!("{at}..{}", at + 5),
                    _ if error == "EINTR" => format!("{at}..{}", at + 50),
                    _ => format!("{at}+"),
                };
                let what = format!("{call} fails with {error} at {when}");
                println!("{what}");
                let (site, mut acknowledged) = (Site::new(), Acknowledged::default());
                let log = site.path().join("calls");
                let inject = format!("inject={call}:error={error}:when={when}");
                let trace = format!("trace={call}");
                let options = ["-o", text(&log), "-e", &trace, "-e", &inject];
                let mut traced = Traced::start(&site, &options);
                if let Some(mut client) = traced.client(&site).await {
                    acknowledged.work(&mut client, 0).await;
                }
                traced.end().await;
                let seen = std::fs::read_to_string(&log).unwrap_or_default();
                (tried, hit) = (tried + 1, hit + u64::from(seen.contains("INJECTED")));
                refused += acknowledged.refused;
                acknowledged.check(site, &what).await;
            }
        }
        println!("{hit} of {tried} calls failed, {refused} changes were refused");
        assert!(hit * 4 >= tried * 3, "{hit} of {tried}");
        assert!(refused > 0, "nothing was disturbed");
    });
}
