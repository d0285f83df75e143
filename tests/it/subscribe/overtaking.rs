//! What is urgent does not wait behind what is not.

use std::collections::BTreeSet;

use kit::client::SysAdmClient;
use serde_json::{Value, json};

use super::fire;
use crate::harness::{Running, Site};

/// More than the kernel and the queue (256 KiB) hold for a client that does not read.
const BACKLOG: u64 = 3_000;

async fn kit() -> Running {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    running
}

/// Publishes `BACKLOG` events of a kilobyte.
async fn publish_backlog(admin: &mut SysAdmClient) {
    let draft = json!({"class": "kit.event", "message": "x".repeat(1_000)});
    let args = json!({"draft": draft, "n": BACKLOG, "batch": 64});
    admin.call("kit", "publish", args).await.expect("they are published");
}

fn wanted(from: &Value) -> Value {
    let filter = json!({"classes": ["kit.event", "user.alarm"]});
    json!({"sub": "s", "filter": filter, "from": from, "heartbeat_s": 300})
}

/// Reads events until `last`, which must come once like each other; what came, in order.
async fn read_until(client: &mut SysAdmClient, last: u64) -> Vec<Value> {
    let mut came = Vec::new();
    loop {
        let event = client.event().await;
        assert_eq!(event["name"], "event", "lossless: {event}");
        let seq = event["args"]["seq"].as_u64().unwrap();
        came.push(event);
        if seq == last {
            return came;
        }
    }
}

fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["args"]["seq"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_overtakes_what_a_slow_client_has_not_read() {
    let running = kit().await;
    let mut client = running.admin().await;
    let answer = client.subscribe(wanted(&json!("now"))).await.unwrap();
    let head = answer["head_seq"].as_u64().unwrap();
    let mut admin = running.admin().await;
    publish_backlog(&mut admin).await;
    let alarm = fire(&mut admin, json!({"class": "user.alarm", "priority": 9})).await;
    let last = fire(&mut admin, json!({"class": "user.alarm", "priority": 0})).await;
    let came = read_until(&mut client, last).await;
    let order = seqs(&came);
    let place = order.iter().position(|seq| *seq == alarm).unwrap();
    assert!(place < order.len() - 2, "it came in its turn, at {place} of {}", order.len());
    let distinct: BTreeSet<u64> = order.iter().copied().collect();
    assert_eq!(distinct.len(), order.len(), "nothing comes twice");
    assert_eq!(order.len() as u64, BACKLOG + 2, "nothing is left out");
    assert!(order.iter().all(|seq| *seq > head));
    let others: Vec<u64> = order.iter().copied().filter(|seq| *seq != alarm).collect();
    assert!(others.is_sorted(), "the others stay in order");
    resume_after_each(&running, &came, place, last).await;
    drop((client, admin));
    running.stop().await;
}

/// Resumes with the cursors around the one that overtook: what came before does not come again.
async fn resume_after_each(running: &Running, came: &[Value], place: usize, last: u64) {
    let all: BTreeSet<u64> = seqs(came).into_iter().collect();
    for at in [place.saturating_sub(1), place, place + 1, came.len() - 2] {
        let before: BTreeSet<u64> = seqs(&came[..=at]).into_iter().collect();
        let mut client = running.admin().await;
        client.subscribe(wanted(&came[at]["args"]["cursor"])).await.unwrap();
        let rest: BTreeSet<u64> = seqs(&read_until(&mut client, last).await).into_iter().collect();
        assert!(before.is_disjoint(&rest), "after {at} something came again");
        assert_eq!(before.union(&rest).copied().collect::<BTreeSet<u64>>(), all, "after {at}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_long_replay_alarms_come_first() {
    let running = kit().await;
    let mut admin = running.admin().await;
    let early = fire(&mut admin, json!({"class": "user.alarm", "priority": 6})).await;
    publish_backlog(&mut admin).await;
    let mut alarms = vec![early];
    for priority in [7, 10] {
        alarms.push(fire(&mut admin, json!({"class": "user.alarm", "priority": priority})).await);
    }
    let last = fire(&mut admin, json!({"class": "user.alarm", "priority": 5})).await;
    let mut client = running.admin().await;
    let answer = client.subscribe(wanted(&json!("oldest"))).await.unwrap();
    assert_eq!(answer["replay"]["to_seq"], last);
    let order = seqs(&read_until(&mut client, last).await);
    let first: BTreeSet<u64> = order[..3].iter().copied().collect();
    assert_eq!(first, alarms.iter().copied().collect(), "{:?}", &order[..5]);
    assert!(order[3..].is_sorted());
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len() as u64, BACKLOG + 4);
    assert_eq!(order.len() as u64, BACKLOG + 4);
    drop((client, admin));
    running.stop().await;
}
