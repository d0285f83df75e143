//! Waiting for what is new.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::talk::{NOTHING, ask, ask_at, fire, index_of, list, listed, names, remote, site};
use crate::harness::{PATIENCE, Running, Site, until};
use crate::http::Reply;

/// Asks in a task of its own.
fn waiting(running: &Running, query: &str) -> JoinHandle<Reply> {
    let (socket, path) = (running.socket.clone(), format!("/v1/event/list?{query}"));
    Handle::current().spawn(async move { ask_at(&socket, "GET", &path, "").await })
}

async fn answered(waiter: JoinHandle<Reply>) -> (Vec<Value>, u64) {
    let reply = timeout(PATIENCE, waiter).await.expect("an answer in time").unwrap();
    listed(&reply)
}

async fn still_waits(waiter: &mut JoinHandle<Reply>, why: &str) {
    assert!(timeout(NOTHING, waiter).await.is_err(), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_event_ends_the_waiting_and_others_do_not() {
    let running = Site::new().start().await;
    let mut empty = waiting(&running, "index=1");
    still_waits(&mut empty, "an empty list has the index 1").await;
    fire(&running, "first", "").await;
    let (first, index) = answered(empty).await;
    assert_eq!((names(&first), index), (vec!["first"], index_of(&first[0])));

    let mut any = waiting(&running, &format!("index={index}"));
    let mut named = waiting(&running, &format!("index={index}&name=first"));
    still_waits(&mut any, "nothing has happened").await;
    let mut admin = running.admin().await;
    admin.call("events", "fire", json!({"message": "no Consul event"})).await.unwrap();
    still_waits(&mut any, "an event of another class").await;
    fire(&running, "first?node=no-such-node", "").await;
    still_waits(&mut any, "an event for another node").await;
    fire(&running, "second", "").await;
    let (both, newer) = answered(any).await;
    assert_eq!(names(&both), ["first", "second"]);
    assert!(newer > index);
    still_waits(&mut named, "an event of another name").await;
    fire(&running, "first", "again").await;
    assert_eq!(names(&answered(named).await.0), ["first", "first"]);
    admin.close().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_very_index_of_the_list_waits() {
    let running = Site::new().start().await;
    let fired = fire(&running, "x", "").await;
    let index = index_of(&fired);
    for other in [0, 1, index - 1, index + 1, u64::MAX] {
        let (found, same) = list(&running, &format!("index={other}&wait=600s")).await;
        assert_eq!((found.len(), same), (1, index), "{other}");
    }
    let (found, same) = list(&running, &format!("index={index}&wait=50ms")).await;
    assert_eq!((found.len(), same), (1, index), "the time has passed");
    let (none, one) = list(&running, "index=1&wait=50ms&name=y").await;
    assert_eq!((none.len(), one), (0, 1));
    for bad in [
        "wait=2",
        "wait=abc",
        "wait=-1s",
        "index=abc",
        "index=-1",
        "index=1.5",
        "index=18446744073709551616",
    ] {
        let reply = ask(&running, "GET", &format!("/v1/event/list?{bad}"), "").await;
        let text = if bad.starts_with("wait") { "Invalid wait time" } else { "Invalid index" };
        assert_eq!((reply.status, reply.body.as_str()), (400, text), "{bad}");
    }
    let mut longest = waiting(&running, &format!("index={index}&wait=87600h"));
    still_waits(&mut longest, "ten minutes at most, but not less").await;
    longest.abort();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_sees_each_event_once_and_in_order() {
    let running = Site::new().start().await;
    let socket = running.socket.clone();
    let follower = Handle::current().spawn(async move {
        let (mut seen, mut index) = (Vec::new(), 1);
        while seen.len() < 60 {
            let path = format!("/v1/event/list?name=n&index={index}");
            let (events, next) = listed(&ask_at(&socket, "GET", &path, "").await);
            assert!(next > index, "the index grows");
            let new = events.iter().filter(|event| index_of(event) > index);
            seen.extend(new.map(|event| event["ID"].clone()));
            index = next;
        }
        seen
    });
    let mut fired = Vec::new();
    for n in 0..60 {
        fired.push(fire(&running, "n", &n.to_string()).await["ID"].clone());
        fire(&running, "other", "").await;
    }
    assert_eq!(timeout(PATIENCE, follower).await.unwrap().unwrap(), fired);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_ends_with_its_token_its_client_and_the_daemon() {
    let running = Site::new().start().await;
    let alive = || Handle::current().metrics().num_alive_tasks();
    let before = settled(alive).await;
    let made = running.make_token(json!({"name": "w", "role": "viewer"})).await;
    let token = format!("X-Consul-Token: {}", made["token"].as_str().unwrap());
    let tls = running.tls();
    let request = crate::http::request("GET", "/v1/event/list?index=1", &[token], "");
    let waiter = Handle::current().spawn(async move { crate::http::over_tls(tls, &request).await });
    tokio::time::sleep(NOTHING).await;
    assert!(!waiter.is_finished());
    let mut admin = running.admin().await;
    let revoke = json!({"action": "revoke", "id": made["id"]});
    admin.call("rpc", "tokens", revoke).await.unwrap();
    let reply = timeout(PATIENCE, waiter).await.expect("it ends").unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (403, "ACL not found"));
    admin.close().await;

    until("nobody is there any more", async || alive() <= before).await;
    let gone = waiting(&running, "index=1");
    until("it waits", async || alive() > before + 1).await;
    gone.abort();
    until("its task has ended with its client", async || alive() <= before).await;

    let stopped = waiting(&running, "index=1");
    until("it waits", async || alive() > before + 1).await;
    running.stop().await;
    let reply = timeout(PATIENCE, stopped).await.expect("it ends with the daemon").unwrap();
    assert_eq!(reply.status, 0, "{reply:?}");
}

/// What is counted when it has stayed the same for a while: what a start leaves to do is done.
async fn settled(count: impl Fn() -> usize) -> usize {
    let (mut last, mut same) = (count(), 0);
    while same < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = count();
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_waits_no_longer_than_strangers_may_stay() {
    let site = site("[limits]\nlogin_s = 1\n");
    let running = site.start().await;
    let path = "/v1/event/list?index=1&wait=10m";
    let reply = timeout(Duration::from_secs(10), remote(&running, ("GET", path), &[])).await;
    let reply = reply.expect("it is answered");
    assert_eq!((reply.status, listed(&reply)), (200, (Vec::new(), 1)));
    running.stop().await;
}
