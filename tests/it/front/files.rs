//! More connections than there are file descriptors.

use std::time::Duration;

use kit::client::{SysAdmClient, Target};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::stranger;
use crate::harness::{PATIENCE, Program, Site, until};

/// How long the daemon is watched, and what it may compute meanwhile: five percent.
const WATCHED: Duration = Duration::from_secs(3);
const CPU_MAX: Duration = Duration::from_millis(150);

/// A daemon that remembers many strangers of one address, and may open this many files.
async fn program(open_files: Option<u64>) -> Program {
    // The test holds the other ends.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the limit is raised");
    let mut site = Site::new();
    site.plain = true;
    site.settings.push_str("[limits]\nanonymous_per_source = 1000\n");
    site.open_files = open_files;
    site.spawn().await
}

/// Somebody who was there before and hears of it.
async fn bystander(program: &Program) -> SysAdmClient {
    let mut client = program.admin().await;
    let filter = json!({"classes": ["daemon.overloaded", "user.*"]});
    client.subscribe(json!({"sub": "s", "filter": filter})).await.expect("a subscription");
    client
}

async fn told(bystander: &mut SysAdmClient, state: &str, want: &str) -> Value {
    let event = timeout(PATIENCE, bystander.event()).await.expect("an event");
    let event = event["args"].clone();
    assert_eq!(event["class"], "daemon.overloaded", "{event}");
    assert_eq!((&event["data"]["state"], &event["data"]["want"]), (&json!(state), &json!(want)));
    event
}

async fn is_unharmed(bystander: &mut SysAdmClient) {
    let fired = bystander.call("events", "fire", json!({"class": "user.event"})).await;
    fired.expect("it is recorded");
    let event = timeout(PATIENCE, bystander.event()).await.expect("its own event");
    assert_eq!(event["args"]["class"], "user.event", "{event}");
}

async fn uses_little(program: &Program, what: &str) {
    let before = program.cpu_time();
    sleep(WATCHED).await;
    let used = program.cpu_time().saturating_sub(before);
    println!("{what}: {used:?} of {WATCHED:?}");
    assert!(used <= CPU_MAX, "{what}: {used:?} of {WATCHED:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_do_not_need_more_files_than_there_are() {
    let program = program(Some(256)).await;
    let plain = program.addresses[1];
    let token = program.token("viewer").await;
    let target = Target::Plain { addr: plain, token: Some(token) };
    let mut bystander = bystander(&program).await;
    let mut strangers = Vec::new();
    for _ in 0..1_000 {
        strangers.push(stranger(1, plain).await);
    }
    uses_little(&program, "a thousand strangers").await;
    is_unharmed(&mut bystander).await;
    let mut known = Vec::new();
    while let Ok(client) = SysAdmClient::connect(target.clone()).await {
        known.push(client);
        assert!(known.len() < 256, "there is no bound");
    }
    assert!(known.len() > 100, "strangers made room for {}", known.len());
    let event = told(&mut bystander, "overloaded", "places").await;
    assert_eq!(event["priority"], "7 - Critical", "{event}");
    is_unharmed(&mut bystander).await;
    known.truncate(50);
    until("there is room again", async || SysAdmClient::connect(target.clone()).await.is_ok())
        .await;
    let event = told(&mut bystander, "over", "places").await;
    assert_eq!(event["priority"], "0 - Information", "{event}");
    for client in &mut known {
        assert!(client.call("rpc", "identify", json!("")).await.is_ok());
    }
    drop((bystander, known, strangers));
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_descriptors_the_daemon_waits_and_recovers() {
    let program = program(None).await;
    let token = program.token("viewer").await;
    let target = Target::Plain { addr: program.addresses[1], token: Some(token) };
    let mut bystander = bystander(&program).await;
    program.limit_open_files(program.open_files() + 20);
    let mut known = Vec::new();
    let soon = Duration::from_secs(1);
    while let Ok(client) = timeout(soon, SysAdmClient::connect(target.clone())).await {
        known.push(client.expect("a login"));
        assert!(known.len() < 30, "the limit does not hold");
    }
    told(&mut bystander, "overloaded", "files").await;
    // Newcomers wait in the kernel's queue.
    let mut waiting = JoinSet::new();
    waiting.spawn(SysAdmClient::connect(target.clone()));
    uses_little(&program, "nothing can be accepted").await;
    is_unharmed(&mut bystander).await;
    assert!(waiting.try_join_next().is_none(), "there is no room for it");
    let begun = Instant::now();
    known.truncate(10);
    let client = timeout(PATIENCE, waiting.join_next()).await.expect("it is let in");
    println!("recovered after {:?}", begun.elapsed());
    let client = client.expect("one waits").expect("no panic").expect("a login");
    told(&mut bystander, "over", "files").await;
    drop((bystander, known, client));
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_descriptors_strangers_make_room_for_whoever_logs_in() {
    let program = program(None).await;
    let plain = program.addresses[1];
    let target = Target::Plain { addr: plain, token: Some(program.token("viewer").await) };
    let mut bystander = bystander(&program).await;
    program.limit_open_files(program.open_files() + 20);
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(stranger(1, plain).await);
    }
    let mut known = Vec::new();
    for _ in 0..5 {
        known.push(SysAdmClient::connect(target.clone()).await.expect("a login"));
    }
    told(&mut bystander, "overloaded", "files").await;
    is_unharmed(&mut bystander).await;
    drop((bystander, known, strangers));
    program.stop().await;
}
