//! The clock of the machine jumps: more than a year ahead, back again and two hours behind, while
//! people are logged in, wait and listen. `libfaketime` tells the daemon the time from a file.

use std::path::{Path, PathBuf};

use kit::client::{Came, SysAdmClient, Target};
use protocol::Time;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::it::harness::{Door, PATIENCE, Site};
use crate::run;

/// Where Debian's packages put it, by machine.
const LIBRARIES: &str = "/usr/lib";
/// The longest that a source is made to wait.
const PENALTY_MAX_MS: u64 = 600_000;

/// The clock of a daemon: a file with how far it is from the machine's.
struct FalseClock(PathBuf);

impl FalseClock {
    fn of(site: &mut Site) -> Self {
        let clock = Self(site.path().join("clock"));
        clock.jump("+0");
        let file = clock.0.display().to_string();
        site.environment = [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // A jump of the clock leaves intervals alone, in the kernel as here.
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        clock
    }

    fn jump(&self, to: &str) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{to}\n")).expect("the file is written");
        std::fs::rename(&new, &self.0).expect("the file is put in its place");
    }
}

fn library() -> PathBuf {
    let machines = std::fs::read_dir(LIBRARIES).expect("a directory").flatten();
    let paths = machines.map(|machine| machine.path().join("faketime/libfaketimeMT.so.1"));
    let found = paths.into_iter().find(|path: &PathBuf| Path::exists(path));
    found.expect("libfaketime is there (apt-get install faketime)")
}

/// Fires an event; its number and time.
async fn fire(client: &mut SysAdmClient) -> (u64, Time) {
    let fired = client.call("events", "fire", json!({"class": "user.n"})).await;
    let fired = fired.expect("it is recorded");
    let time = fired["time"].as_str().and_then(|text| text.parse().ok());
    (fired["seq"].as_u64().expect("a number"), time.expect("a time"))
}

async fn token(door: &Door, args: Value) -> String {
    door.make_token(args).await["token"].as_str().expect("a token").to_owned()
}

async fn gets_in(door: &Door, token: &str) -> bool {
    let target = Target::Tls { addr: door.tls(), token: Some(token.to_owned()) };
    SysAdmClient::connect(target).await.is_ok()
}

/// A wrong login: for how many milliseconds the next one has to wait, if it has to.
async fn has_to_wait(door: &Door) -> Option<u64> {
    let mut client = door.anonymous().await;
    let wrong = json!({"token": "wrong"});
    let refusal = client.call("rpc", "auth_token", wrong).await.expect_err("it is wrong");
    refusal["fault"]["retry_after_ms"].as_u64()
}

/// Reads up to the event of this number; the cursor behind it.
async fn up_to(client: &mut SysAdmClient, seq: u64) -> Value {
    loop {
        let event = client.event().await["args"].take();
        if event["seq"] == seq {
            return event["cursor"].clone();
        }
    }
}

/// A heartbeat comes, whatever the clock has done.
async fn beats(client: &mut SysAdmClient) {
    let beat = async {
        loop {
            match client.came_within(PATIENCE).await {
                Some(Came::Message(message)) if message["name"] == "heartbeat" => return,
                Some(Came::Message(_)) => {}
                other => panic!("no heartbeat: {other:?}"),
            }
        }
    };
    timeout(PATIENCE, beat).await.expect("a heartbeat in time");
}

/// A job is begun and ends, once.
async fn works(client: &mut SysAdmClient) {
    let run = json!({"action": "run", "commands": [["/bin/true"]]});
    let made = client.call("rpc", "jobs", run).await.expect("the job is made");
    let wait = json!({"action": "wait", "id": made["job"]["id"], "wait_s": 20});
    let ended = client.call("rpc", "jobs", wait).await.expect("it is waited for");
    assert_eq!(ended["job"]["state"], "done", "{ended}");
}

#[test]
fn whatever_the_clock_does_nothing_is_lost_repeated_or_let_in() {
    run(async {
        let mut site = Site::new();
        let clock = FalseClock::of(&mut site);
        let program = site.spawn().await;
        let mut admin = program.admin().await;
        let lasting = token(&program, json!({"name": "lasting", "role": "operator"})).await;
        let hour = json!({"name": "hour", "role": "viewer", "expires_s": 3600});
        let hour = token(&program, hour).await;
        let mut expiring = program.remote(&hour).await;
        let mut listener = program.remote(&lasting).await;
        let wanted = json!({"sub": "s", "filter": {"classes": ["user.*"]}, "heartbeat_s": 1});
        listener.subscribe(wanted).await.expect("a subscription");
        let (first, begun) = fire(&mut admin).await;
        up_to(&mut listener, first).await;

        // Four hundred days ahead.
        works(&mut admin).await;
        while has_to_wait(&program).await.is_none() {}
        clock.jump("+400d");
        let (code, why) = expiring.closed().await;
        assert_eq!((code, &*why), (4001, "the login has expired"), "without a word of its client");
        assert!(has_to_wait(&program).await.is_some(), "who guesses waits as long as before");
        let (seq, ahead) = fire(&mut admin).await;
        let days = (ahead.micros() - begun.micros()) / 86_400_000_000;
        assert!(seq > first && days == 400, "{seq} {first} {days}");
        up_to(&mut listener, seq).await;
        assert!(!gets_in(&program, &hour).await && gets_in(&program, &lasting).await);
        beats(&mut listener).await;
        works(&mut admin).await;
        // Nothing has grown old: there was no year in which anybody could have looked at it.
        let jobs = admin.call("rpc", "jobs", json!({"action": "list"})).await.expect("a list");
        assert_eq!(jobs["jobs"].as_array().expect("jobs").len(), 2, "{jobs}");

        // Two hours behind where it began: what is recorded never goes back.
        clock.jump("-2h");
        let (seq, after) = fire(&mut admin).await;
        assert!(after > ahead, "{after:?} {ahead:?}");
        let cursor = up_to(&mut listener, seq).await;
        assert!(gets_in(&program, &lasting).await);
        let wait = has_to_wait(&program).await;
        assert!(wait.is_none_or(|wait| wait <= PENALTY_MAX_MS), "no longer than before: {wait:?}");
        beats(&mut listener).await;
        works(&mut admin).await;

        // So it stays for a daemon that starts with that clock.
        drop((admin, listener));
        let program = program.stop().await.spawn().await;
        let mut admin = program.admin().await;
        let mut listener = program.remote(&lasting).await;
        let wanted = json!({"sub": "s", "filter": {"classes": ["user.*"]}, "from": cursor});
        listener.subscribe(wanted).await.expect("a subscription");
        let (next, later) = fire(&mut admin).await;
        assert!(later > after, "{later:?} {after:?}");
        let came = listener.event().await;
        assert_eq!(came["args"]["seq"], next, "neither skipped nor repeated: {came}");
        let verdict = admin.call("rpc", "audit", json!({"action": "verify"})).await;
        assert_eq!(verdict.expect("a verdict")["intact"], true);
        drop((admin, listener));
        program.stop().await;
    });
}
