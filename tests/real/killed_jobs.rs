//! The daemon is killed at every state of a job, while each of its records is being written and just
//! after it was: nothing is done twice, what waited is done, what ended keeps its result, and what
//! was cut off says so.
//!
//! strace ends the daemon at a system call of the thread that writes the database. What has been
//! written to the log of the database by then is on record, what has not is not.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use kit::client::{Came, SysAdmClient};
use kit::lab::{command, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sysadmd::clock::Clock;
use sysadmd::store::{Store, StoreSettings};

use crate::it::harness::{PATIENCE, Program, Site, binary, processes_of};
use crate::run;

/// A job, from the request to its end, and what is expected of it.
struct Life {
    /// The arguments of `rpc/jobs run`, for this name of the job and this file of marks.
    ask: fn(&str, &Path) -> Value,
    /// It is told to end when it is in this state.
    abort: Option<&'static str>,
    /// How it ends when it was not begun before the daemon was killed.
    end: &'static str,
    /// What its record says on the way, in order.
    states: &'static [&'static str],
    /// Whether it leaves a mark when it is begun.
    marks: bool,
    /// Whether its method says that it can be made again.
    resumable: bool,
}

#[test]
fn commands_that_work() {
    run(sweep(&Life {
        ask: |name, file| shell(&format!("echo {name} >> {}", file.display())),
        abort: None,
        end: "done",
        states: &["queued", "running", "done"],
        marks: true,
        resumable: false,
    }));
}

#[test]
fn commands_that_fail() {
    run(sweep(&Life {
        ask: |name, file| shell(&format!("echo {name} >> {}; exit 3", file.display())),
        abort: None,
        end: "failed",
        states: &["queued", "running", "failed"],
        marks: true,
        resumable: false,
    }));
}

#[test]
fn commands_that_are_aborted() {
    run(sweep(&Life {
        ask: |name, file| shell(&format!("echo {name} >> {}; sleep 1000", file.display())),
        abort: Some("running"),
        end: "aborted",
        states: &["queued", "running", "asked", "aborted"],
        marks: true,
        resumable: false,
    }));
}

#[test]
fn commands_that_wait_and_are_aborted() {
    run(sweep(&Life {
        ask: |name, file| {
            let mut ask = shell(&format!("echo {name} >> {}", file.display()));
            ask["locks"] = json!([LOCK]);
            ask
        },
        abort: Some("queued"),
        end: "done",
        states: &["queued", "aborted"],
        marks: true,
        resumable: false,
    }));
}

#[test]
fn calls_that_work() {
    run(sweep(&Life {
        ask: |name, _| {
            let draft = json!({"class": "kit.event", "message": name});
            json!({"method": "kit/publish", "args": {"draft": draft, "n": 1, "batch": 1}})
        },
        abort: None,
        end: "done",
        states: &["queued", "running", "done"],
        marks: true,
        resumable: true,
    }));
}

#[test]
fn calls_that_fail() {
    run(sweep(&Life {
        ask: |_, _| {
            let fault = json!({"kind": "conflict", "message": "it is taken"});
            json!({"method": "kit/fault", "args": {"fault": fault}})
        },
        abort: None,
        end: "failed",
        states: &["queued", "running", "failed"],
        marks: false,
        resumable: false,
    }));
}

#[test]
fn calls_that_are_aborted() {
    run(sweep(&Life {
        ask: |_, _| json!({"method": "kit/sleep", "args": {"ms": 600_000}}),
        abort: Some("running"),
        end: "aborted",
        states: &["queued", "running", "asked", "aborted"],
        marks: false,
        resumable: false,
    }));
}

/// What a job holds that keeps another one waiting.
const LOCK: &str = "the only one";

fn shell(script: &str) -> Value {
    json!({"commands": [["/bin/sh", "-c", script]]})
}

/// Whether a record had been written when the daemon was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    /// It was being written.
    Before,
    /// It was written, and nothing had been done since.
    After,
}

/// Rounds until a daemon has been killed everywhere: what belongs to one record, and whether two
/// are written as one, is a little different each time.
const ROUNDS: usize = 6;

/// Has such a job again and again, each time with a daemon that is killed at the next place.
async fn sweep(life: &Life) {
    let site = site();
    let mut program = site.spawn().await;
    program.ready("kit").await;
    let mut seen = BTreeSet::new();
    for round in 0..ROUNDS {
        program = once(program, life, round, &mut seen).await;
        if missing(life, &seen).is_empty() {
            break;
        }
    }
    let missing = missing(life, &seen);
    assert!(missing.is_empty(), "never killed {missing:?}, but {seen:?}");
    program.stop().await;
}

/// Where nobody has been killed yet: each record, and the state the job was in.
fn missing(life: &Life, seen: &BTreeSet<(Edge, String)>) -> Vec<(Edge, &'static str)> {
    let before = life.states.iter().rev().skip(1).map(|state| (Edge::Before, *state));
    let after = life.states.iter().map(|state| (Edge::After, *state));
    let all = before.chain(after).chain([(Edge::Before, "none")]);
    all.filter(|(edge, state)| !seen.contains(&(*edge, (*state).to_owned()))).collect()
}

async fn once(
    mut program: Program,
    life: &Life,
    round: usize,
    seen: &mut BTreeSet<(Edge, String)>,
) -> Program {
    let marks = program.site().path().join("marks");
    let places = places(&program, life, &marks).await;
    for (number, (edge, fault)) in places.into_iter().enumerate() {
        let name = format!("job-{round}-{number}");
        hold(&program, life).await;
        let trap = Trap::set(&program, &["-e", &format!("inject={fault}")]);
        let is_gone = live(&program, life, &name, &marks).await.is_none();
        if is_gone {
            wait_for("strace to say that it has killed it", || was_killed(&trap.log));
        }
        drop(trap);
        let site = program.kill().await;
        let kept = kept(site.path(), &name).await;
        program = site.spawn().await;
        program.ready("kit").await;
        check(&program, life, &name, (&marks, kept.as_ref())).await;
        if is_gone {
            seen.insert((edge, state_of(kept.as_ref())));
        }
    }
    program
}

fn site() -> Site {
    let mut manifest = kit::plugins::manifest("kit", &["good"]);
    let methods = manifest["methods"].as_array_mut().expect("methods");
    let publish = methods.iter_mut().find(|method| method["method"] == "kit/publish");
    publish.expect("it publishes")["resumable"] = true.into();
    Site::new().with_plugin(manifest)
}

/// What is written on the way of such a job: for each record a place while it is being written and
/// one when it is.
async fn places(program: &Program, life: &Life, marks: &Path) -> Vec<(Edge, String)> {
    hold(program, life).await;
    let trap = Trap::set(program, &[]);
    live(program, life, &format!("whole-{}", program.pid()), marks)
        .await
        .expect("nobody is killed");
    let calls = fs::read_to_string(&trap.log).expect("what was written");
    drop(trap);
    release(program).await;
    let (mut places, mut writes, mut syncs, mut first) = (Vec::new(), 0, 0, 1);
    for call in calls.lines() {
        if call.starts_with("pwrite64") {
            writes += 1;
        } else if call.starts_with("fdatasync") {
            syncs += 1;
            // In the midst of what belongs to one record, so that one page more or less before it
            // makes no other record of it.
            let place = usize::midpoint(first, writes);
            places.push((Edge::Before, format!("pwrite64:signal=KILL:when={place}")));
            places.push((Edge::After, format!("fdatasync:signal=KILL:when={syncs}")));
            first = writes + 1;
        }
    }
    places
}

/// strace on the thread that writes the database.
struct Trap {
    strace: Child,
    log: PathBuf,
}

impl Trap {
    fn set(program: &Program, more: &[&str]) -> Self {
        let threads = fs::read_dir(format!("/proc/{}/task", program.pid())).expect("its threads");
        let is_writer = |thread: &PathBuf| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == "store-writer")
        };
        let mut threads = threads.flatten().map(|entry| entry.path());
        let writer = threads.find(is_writer).expect("a thread that writes");
        let id = writer.file_name().and_then(|name| name.to_str()).expect("a number");
        let log = program.site().path().join("strace.log");
        fs::remove_file(&log).ok();
        let mut strace = tracer(program.site().path(), &log);
        let strace = strace.args(["-p", id]).args(more).spawn().expect("strace starts");
        wait_for("strace to look", || {
            let status = fs::read_to_string(writer.join("status")).unwrap_or_default();
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
            tracer.is_some_and(|tracer| tracer.trim() != "0")
        });
        Self { strace, log }
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.strace.id()).expect("a process number"));
        // It has ended with the daemon when that was killed.
        kill(pid, Signal::SIGTERM).ok();
        drop(self.strace.wait());
    }
}

fn was_killed(log: &Path) -> bool {
    // A call of which nobody will ever know what came of it.
    fs::read_to_string(log).is_ok_and(|log| log.lines().any(|line| line.ends_with("= ?")))
}

/// strace that sees only what is written to the log of this site's database.
fn tracer(site: &Path, log: &Path) -> std::process::Command {
    let mut strace = command("strace", "strace");
    strace.args(["-qq", "-e", "trace=pwrite64,fdatasync", "-e", "signal=none"]);
    strace.arg("-P").arg(site.join("sysadmd.db-wal")).arg("-o").arg(log);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    strace
}

/// Asks; `None` when the daemon goes before it has answered.
async fn ask(client: &mut SysAdmClient, action: &str, mut args: Value) -> Option<Value> {
    args["action"] = action.into();
    let id = client.try_send("rpc", "jobs", args).await?;
    loop {
        match client.came_within(PATIENCE).await.expect("an answer or an end") {
            Came::Closed(..) => return None,
            Came::Message(answer) if answer["id"] == *id => {
                assert_eq!(answer["name"], "response", "{answer}");
                return Some(answer["args"].clone());
            }
            Came::Message(_) => {}
        }
    }
}

/// Something that keeps another one waiting, when that is what is tried.
async fn hold(program: &Program, life: &Life) {
    if life.abort == Some("queued") {
        let run = json!({"method": "kit/sleep", "args": {"ms": 600_000}, "locks": [LOCK]});
        let mut admin = program.admin().await;
        let made = ask(&mut admin, "run", run).await.expect("it is made");
        until_state(&mut admin, &made["job"]["id"], "running").await.expect("it runs");
    }
}

async fn release(program: &Program) {
    let mut admin = program.admin().await;
    let running = json!({"states": ["running"]});
    let listed = ask(&mut admin, "list", running).await.expect("a list");
    for job in listed["jobs"].as_array().expect("jobs") {
        ask(&mut admin, "abort", json!({"id": job["id"]})).await.expect("it is aborted");
        end(&mut admin, &job["id"]).await.expect("it ends");
    }
}

/// A client that has the job done; `None` when the daemon goes before it has ended.
async fn live(program: &Program, life: &Life, name: &str, marks: &Path) -> Option<()> {
    let mut client = program.admin().await;
    let made = ask(&mut client, "run", named((life.ask)(name, marks), name)).await?;
    assert_eq!(made["new"], true);
    let id = &made["job"]["id"];
    if let Some(state) = life.abort {
        until_state(&mut client, id, state).await?;
        ask(&mut client, "abort", json!({"id": id})).await?;
    }
    let ended = end(&mut client, id).await?;
    assert_eq!(ended["job"]["state"], *life.states.last().expect("an end"), "{ended}");
    Some(())
}

fn named(mut ask: Value, name: &str) -> Value {
    ask["key"] = name.into();
    ask
}

async fn until_state(client: &mut SysAdmClient, id: &Value, state: &str) -> Option<()> {
    loop {
        let shown = ask(client, "show", json!({"id": id})).await?;
        if shown["job"]["state"] == state {
            return Some(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn end(client: &mut SysAdmClient, id: &Value) -> Option<Value> {
    loop {
        let waited = ask(client, "wait", json!({"id": id, "wait_s": 5})).await?;
        if waited["ended"] == true {
            return Some(waited);
        }
    }
}

/// The job of this key as a daemon that was killed has left it, and its result.
async fn kept(site: &Path, key: &str) -> Option<(Value, Value)> {
    let store = Store::open(site, Clock::system(), StoreSettings::default()).expect("it is whole");
    let jobs = store.job_list().await.expect("the jobs").jobs;
    let read = |job: &sysadmd::store::StoredJob| job.job.read::<Value>().expect("a job");
    let found = jobs.iter().find(|job| read(job)["key"] == key);
    let kept = match found {
        None => None,
        Some(job) => {
            let (_, result) = store.job(job.id).await.expect("a job").expect("it is there");
            Some((read(job), result.read().expect("a result")))
        }
    };
    store.close();
    kept
}

fn state_of(kept: Option<&(Value, Value)>) -> String {
    let Some((job, _)) = kept else { return "none".to_owned() };
    let state = job["state"].as_str().expect("a state");
    if state == "running" && job["abort_asked"] == true { "asked" } else { state }.to_owned()
}

/// A client that was not answered asks again, with the same key.
async fn check(
    program: &Program,
    life: &Life,
    name: &str,
    (marks, kept): (&Path, Option<&(Value, Value)>),
) {
    let mut client = program.admin().await;
    let run = named((life.ask)(name, marks), name);
    let made = ask(&mut client, "run", run).await.expect("it is made");
    assert_eq!(made["new"], kept.is_none(), "{made}");
    let id = &made["job"]["id"];
    if life.abort == Some("running") {
        ask(&mut client, "abort", json!({"id": id})).await.expect("it is aborted");
    }
    let ended = end(&mut client, id).await.expect("it ends");
    let (job, marked) = (&ended["job"], marked(&mut client, life, name, marks).await);
    match state_of(kept).as_str() {
        "none" | "queued" => check_waited(life, job, marked),
        "running" | "asked" => {
            check_cut_off(life, job, marked);
            assert_eq!(ended_count(&mut client, id).await, 1, "its end is told once");
        }
        _ => {
            let (before, result) = kept.expect("it is there");
            assert_eq!((job, &ended["result"]), (before, result), "what ended stays as it was");
            let begun = life.marks && before["started"].is_string();
            let is_aborted = marked == 0 && life.abort.is_some();
            assert!(marked == usize::from(begun) || is_aborted, "it was done {marked} times");
        }
    }
    release(program).await;
}

fn check_waited(life: &Life, job: &Value, marked: usize) {
    assert_eq!(job["state"], life.end, "what waited is done: {job}");
    let is_aborted = marked == 0 && life.abort == Some("running");
    assert!(marked == usize::from(life.marks) || is_aborted, "it was done {marked} times");
}

fn check_cut_off(life: &Life, job: &Value, marked: usize) {
    assert_eq!(job["state"], "interrupted", "{job}");
    assert_eq!(job["resumable"], life.resumable, "{job}");
    let hint = job["error"]["hint"].as_str().expect("what to do");
    assert_eq!(hint.contains("goes on where it stopped"), life.resumable, "{hint}");
    assert!(marked <= 1, "it was done {marked} times");
}

/// How often the job was begun, as far as that is seen from outside.
async fn marked(client: &mut SysAdmClient, life: &Life, name: &str, marks: &Path) -> usize {
    if !life.marks {
        return 0;
    }
    let file = fs::read_to_string(marks).unwrap_or_default();
    let question = json!({"filter": {"classes": ["kit.event"]}, "newest_first": true});
    let told = client.call("events", "list", question).await.expect("the log");
    let told = told["events"].as_array().expect("events").iter();
    let told = told.filter(|event| event["message"] == name).count();
    told + file.lines().filter(|line| *line == name).count()
}

async fn ended_count(client: &mut SysAdmClient, id: &Value) -> usize {
    let subject = format!("/jobs/{}", id.as_str().expect("an id"));
    let filter = json!({"classes": ["job.finished"], "subject": subject});
    let told = client.call("events", "list", json!({"filter": filter})).await.expect("the log");
    told["events"].as_array().expect("events").len()
}

#[test]
fn a_daemon_that_finds_what_was_cut_off_may_be_killed_too() {
    run(async {
        let mut program = site().spawn().await;
        let mut found = BTreeSet::new();
        for call in ["fdatasync", "pwrite64"] {
            // Every record of a start, and every second page of one.
            for when in (1_usize..).step_by(if call == "fdatasync" { 1 } else { 3 }) {
                let marks = program.site().path().join("marks");
                let name = format!("{call}-{when}");
                let script = format!("echo {name} >> {}; sleep 1000", marks.display());
                let mut client = program.admin().await;
                let run = named(shell(&script), &name);
                let made = ask(&mut client, "run", run).await.expect("it is made");
                let id = &made["job"]["id"];
                until_state(&mut client, id, "running").await.expect("it runs");
                let site = program.kill().await;
                let is_killed =
                    start_and_kill(site.path(), &format!("{call}:signal=KILL:when={when}"));
                found.insert(state_of(kept(site.path(), &name).await.as_ref()));
                program = site.spawn().await;
                let mut client = program.admin().await;
                let ended = end(&mut client, id).await.expect("it has ended");
                assert_eq!(ended["job"]["state"], "interrupted", "{ended}");
                assert_eq!(ended_count(&mut client, id).await, 1, "its end is told once");
                let begun = fs::read_to_string(&marks).unwrap_or_default();
                assert!(begun.lines().filter(|line| **line == name).count() <= 1);
                if !is_killed {
                    break;
                }
            }
        }
        assert_eq!(found, BTreeSet::from(["interrupted".to_owned(), "running".to_owned()]));
        program.stop().await;
    });
}

/// A start that is ended at a system call; whether it was: it is ended when it is done, too.
fn start_and_kill(site: &Path, fault: &str) -> bool {
    let log = site.join("strace.log");
    fs::remove_file(&log).ok();
    let mut strace = tracer(site, &log);
    strace.args(["-D", "-f", "-e", &format!("inject={fault}")]).arg(binary());
    strace.arg("--config").arg(site.join("sysadmd.toml"));
    strace.arg("--state-dir").arg(site).args(["--listen", "127.0.0.1:0"]);
    let mut daemon = strace.stderr(Stdio::piped()).spawn().expect("strace starts");
    let lines = BufReader::new(daemon.stderr.take().expect("a pipe")).lines();
    let is_up = lines.map_while(Result::ok).any(|line| line.contains(" ready "));
    daemon.kill().expect("it is there until it is waited for");
    daemon.wait().expect("it has ended");
    wait_for("all of it to end", || processes_of(site).is_empty());
    if !is_up {
        wait_for("strace to say that it has killed it", || was_killed(&log));
    }
    !is_up
}
