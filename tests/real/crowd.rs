//! Ten thousand subscribers who say nothing: what they cost, and that each of them is told.

use std::time::Duration;

use kit::client::{SysAdmClient, Target};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::it::harness::{Program, Site};

/// So many subscribe, most without TLS.
const CROWD: usize = 10_000;
/// Of them over TLS: the test is the other end of each, so it bears the same again.
const OVER_TLS: usize = 500;
/// Who connects at the same time.
const AT_ONCE: usize = 8;
/// Files that both ends need beside the connections.
const SPARE: u64 = 200;
/// What ten thousand may cost, in bytes: 150 MB, of which a connection over TLS has its share too.
const MEMORY_MAX: u64 = 150_000_000;

#[test]
fn ten_thousand_idle_subscribers_cost_little_and_are_all_told() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    assert!(most >= CROWD as u64 + SPARE, "this needs `ulimit -Hn` of 10,200 at least: {most}");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the limit is raised");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut site = Site::new();
        site.plain = true;
        site.settings.push_str("[limits]\nper_account = 12000\nping_s = 3600\n");
        let program = site.spawn().await;
        let token = program.token("viewer").await;
        // What is needed once and not for each.
        drop(some(&program, &token, 0..50).await);
        let before = program.resident_bytes();
        let begun = Instant::now();
        let mut crowd = some(&program, &token, 0..CROWD).await;
        let cost = program.resident_bytes().saturating_sub(before);
        println!("{CROWD} subscribers after {:?}, {} bytes each", begun.elapsed(), cost / 10_000);
        assert!(cost <= MEMORY_MAX, "{cost} bytes");
        let mut admin = program.admin().await;
        let begun = Instant::now();
        admin.call("events", "fire", json!({"class": "user.told"})).await.expect("it is fired");
        for client in &mut crowd {
            let event = client.event().await;
            assert_eq!(event["args"]["class"], "user.told", "{event}");
        }
        println!("all told after {:?}", begun.elapsed());
        let grown = program.resident_bytes().saturating_sub(before);
        assert!(grown <= MEMORY_MAX, "{grown} bytes after an event to all");
        drop((crowd, admin));
        program.stop().await;
    });
}

/// Subscribers of these numbers, some at a time.
async fn some(
    program: &Program,
    token: &str,
    numbers: std::ops::Range<usize>,
) -> Vec<SysAdmClient> {
    let (mut coming, mut all) = (JoinSet::new(), Vec::with_capacity(numbers.len()));
    for number in numbers {
        if coming.len() >= AT_ONCE {
            all.push(coming.join_next().await.expect("one comes").expect("it is there"));
        }
        let (plain, tls, login) = (program.addresses[1], program.tls(), format!("Bearer {token}"));
        coming.spawn(async move {
            let target = if number % (CROWD / OVER_TLS) == 0 {
                Target::Tls { addr: tls, token: None }
            } else {
                Target::Plain { addr: plain, token: None }
            };
            let headers = [("Authorization", login.as_str())];
            let client = SysAdmClient::connect_with(target, &headers).await;
            let mut client = client.expect("a connection");
            let filter = json!({"classes": ["user.*"]});
            // Heartbeats as rare as they can be, so that whoever is slow to be read is idle.
            let wanted = json!({"sub": "s", "filter": filter, "heartbeat_s": HEARTBEAT.as_secs()});
            client.subscribe(wanted).await.expect("a subscription");
            client
        });
    }
    while let Some(came) = coming.join_next().await {
        all.push(came.expect("it is there"));
    }
    all
}

const HEARTBEAT: Duration = Duration::from_mins(5);
