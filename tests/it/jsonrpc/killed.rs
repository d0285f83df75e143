//! The daemon is killed while a subscriber reads: it goes on where it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kit::client::{Came, SysAdmClient, Target};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::talk::{PATH, Talk};
use crate::chance::Chance;
use crate::harness::{PATIENCE, Site};

/// Events that are fired.
const EVENTS: u64 = 600;
/// Times that the daemon is killed.
const DEATHS: u64 = 6;
/// What `last` holds while events are still fired.
const NOT_YET: u64 = u64::MAX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_resumes_by_its_cursor_without_loss_or_repeat() {
    let mut chance = Chance::new();
    let mut program = Site::new().spawn().await;
    let socket = program.socket.clone();
    let last = Arc::new(AtomicU64::new(NOT_YET));
    let firing = Handle::current().spawn(fire_all(socket.clone()));
    let following = Handle::current().spawn(follow(socket.clone(), Arc::clone(&last)));
    for _ in 0..DEATHS {
        sleep(Duration::from_millis(50) + chance.millis(200)).await;
        program = program.kill().await.spawn().await;
    }
    let answered = firing.await.expect("it fires to the end");
    let unanswered = EVENTS - answered.len() as u64;
    assert!(unanswered <= DEATHS, "{unanswered} were not answered");
    // One more, after which there is none.
    let mut admin = Talk::admin(&program).await;
    let end = admin.call("events.fire", json!({"class": "user.tick", "data": {"n": EVENTS}})).await;
    let end = end.expect("it is recorded")["seq"].as_u64().expect("a number");
    last.store(end, Ordering::Release);
    let (seen, lines) = following.await.expect("it follows to the end");
    assert!(lines > 1, "it was never cut off");
    assert!(seen.windows(2).all(|two| two[0] < two[1]), "each once, in order: {seen:?}");
    let gone: Vec<&u64> = answered.iter().filter(|seq| !seen.contains(seq)).collect();
    assert!(gone.is_empty(), "answered, but not delivered: {gone:?}");
    let (id, _) =
        admin.subscribe(json!({"filter": {"classes": ["user.tick"]}, "from": "oldest"})).await;
    let mut recorded = Vec::new();
    while recorded.last() != Some(&end) {
        recorded.push(admin.event(&id).await["seq"].as_u64().expect("a number"));
    }
    assert_eq!(seen, recorded, "what is on record and what was delivered");
    drop(admin);
    program.stop().await;
}

/// Fires one event after the other, on one connection after the other; the numbers in the log of
/// those that were answered. What is not answered is not fired again: it may be there or not.
async fn fire_all(socket: PathBuf) -> Vec<u64> {
    let (mut answered, mut fired) = (Vec::new(), 0);
    while fired < EVENTS {
        let Some(mut line) = connect(&socket).await else { continue };
        while fired < EVENTS {
            let event = json!({"class": "user.tick", "data": {"n": fired}});
            fired += 1;
            if !line.try_send_raw(&request("events.fire", &event)).await {
                break;
            }
            match line.came_within(PATIENCE).await.expect("an answer or the end") {
                Came::Message(answer) => {
                    answered.push(answer["result"]["seq"].as_u64().expect("it is recorded"));
                }
                Came::Closed(..) => break,
            }
        }
    }
    answered
}

/// Reads on from its cursor, on one connection after the other, until it has come to `last`; the
/// numbers in the log of what it was given, and how many connections it took.
async fn follow(socket: PathBuf, last: Arc<AtomicU64>) -> (Vec<u64>, usize) {
    let (mut seen, mut from, mut lines) = (Vec::new(), "oldest".to_owned(), 0);
    while seen.last().is_none_or(|seq| *seq < last.load(Ordering::Acquire)) {
        let Some(mut line) = connect(&socket).await else { continue };
        let filter = json!({"classes": ["user.tick"]});
        let wanted = json!({"sub": "f", "filter": filter, "from": from, "heartbeat_s": 1});
        if !line.try_send_raw(&request("events.subscribe", &wanted)).await {
            continue;
        }
        lines += 1;
        while seen.last().is_none_or(|seq| *seq < last.load(Ordering::Acquire)) {
            let Came::Message(message) = line.came_within(PATIENCE).await.expect("a heartbeat")
            else {
                break;
            };
            if message.get("id").is_some() {
                assert_eq!(message["result"], "f", "{message}");
                continue;
            }
            let told = &message["params"]["result"];
            match told["type"].as_str() {
                Some("event") => seen.push(told["seq"].as_u64().expect("a number")),
                Some("standing") => assert_eq!(told["gap"], Value::Null, "{told}"),
                Some("heartbeat") => {}
                _ => panic!("unexpected: {message}"),
            }
            if told["type"] != "standing" {
                told["cursor"].as_str().expect("a cursor").clone_into(&mut from);
            }
        }
    }
    (seen, lines)
}

/// A connection, or none when there is no daemon at the moment.
async fn connect(socket: &Path) -> Option<SysAdmClient> {
    let target = Target::Unix(socket.to_owned());
    let line = SysAdmClient::connect_at(target, PATH, &[]).await.ok();
    if line.is_none() {
        sleep(Duration::from_millis(5)).await;
    }
    line
}

fn request(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}
