//! Many who wait for the same event.

use std::path::Path;

use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::talk::{ask_at, fire, index_of, listed};
use crate::harness::{PATIENCE, Site, until};

/// Clients that wait at once.
const WAITERS: usize = 1_000;

async fn question(socket: &Path, index: u64, wait: &str) -> (Vec<Value>, u64) {
    let path = format!("/v1/event/list?name=many&index={index}&wait={wait}");
    let reply = ask_at(socket, "GET", &path, "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    listed(&reply)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_wakes_everybody_who_waits_and_each_of_them_once() {
    let running = Site::new().start().await;
    let alive = || Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let mut waiters: JoinSet<(Vec<Value>, u64)> = JoinSet::new();
    for _ in 0..WAITERS {
        let socket = running.socket.clone();
        waiters.spawn(async move { question(&socket, 1, "10m").await });
    }
    // One task of the client's and one of the daemon's for each.
    until("all of them wait", async || alive() >= before + 2 * WAITERS).await;
    assert!(waiters.try_join_next().is_none(), "nothing has happened yet");
    let fired = fire(&running, "many", "x").await;
    let mut answered = 0;
    while let Some(answer) = timeout(PATIENCE, waiters.join_next()).await.expect("all are woken") {
        let (events, index) = answer.expect("it is answered");
        assert_eq!((events.len(), &events[0]["ID"]), (1, &fired["ID"]));
        assert_eq!(index, index_of(&fired));
        answered += 1;
    }
    assert_eq!(answered, WAITERS);
    // Nobody is woken by it again.
    for _ in 0..WAITERS {
        let (socket, index) = (running.socket.clone(), index_of(&fired));
        waiters.spawn(async move { question(&socket, index, "300ms").await });
    }
    while let Some(answer) = timeout(PATIENCE, waiters.join_next()).await.expect("time passes") {
        let (events, index) = answer.expect("it is answered");
        assert_eq!((events.len(), index), (1, index_of(&fired)));
    }
    running.stop().await;
}
