//! The daemon is killed while many fires a second are answered.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::talk::{ask_at, index_of, listed};
use crate::chance::Chance;
use crate::harness::{PATIENCE, Site};

/// Names that are fired, each by a client of its own.
const NAMES: usize = 8;
/// Events of one name: no more than a list has, so that each can be looked for.
const EVENTS: usize = 200;
/// Times that the daemon is killed.
const DEATHS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_listed_and_nobody_sees_it_twice() {
    let mut chance = Chance::new();
    let mut program = Site::new().spawn().await;
    let socket = program.socket.clone();
    let is_over = Arc::new(AtomicBool::new(false));
    let (mut firing, mut following) = (JoinSet::new(), JoinSet::new());
    for number in 0..NAMES {
        let name = format!("n{number}");
        firing.spawn(fire_all(socket.clone(), name.clone()));
        if number < 3 {
            following.spawn(follow(socket.clone(), name, Arc::clone(&is_over)));
        }
    }
    for _ in 0..DEATHS {
        sleep(Duration::from_millis(50) + chance.millis(200)).await;
        program = program.kill().await.spawn().await;
    }
    let mut answered: HashMap<String, Vec<Value>> = HashMap::new();
    while let Some(fired) = firing.join_next().await {
        let (name, ids) = fired.expect("it fires to the end");
        answered.insert(name, ids);
    }
    let mut lists: HashMap<String, Vec<Value>> = HashMap::new();
    for (name, ids) in &answered {
        let path = format!("/v1/event/list?name={name}");
        let (events, index) = listed(&ask_at(&socket, "GET", &path, "").await);
        let there: Vec<Value> = events.iter().map(|event| event["ID"].clone()).collect();
        let missing: Vec<&Value> = ids.iter().filter(|id| !there.contains(id)).collect();
        assert!(missing.is_empty(), "{name}: {} of {} are gone", missing.len(), ids.len());
        assert_eq!(index, index_of(events.last().expect("events")));
        assert!(events.windows(2).all(|two| index_of(&two[0]) < index_of(&two[1])), "{name}");
        lists.insert(name.clone(), there);
    }
    is_over.store(true, Ordering::Release);
    while let Some(seen) = timeout(PATIENCE, following.join_next()).await.expect("they end") {
        let (name, seen) = seen.expect("it follows to the end");
        assert_eq!(seen, lists[&name], "{name}: each once, in order");
    }
    program.stop().await;
}

/// Fires so many events, one after the other, on one connection after the other; the ids of those
/// that were answered.
async fn fire_all(socket: PathBuf, name: String) -> (String, Vec<Value>) {
    let (mut answered, mut sent) = (Vec::new(), 0);
    while sent < EVENTS {
        let Ok(mut stream) = UnixStream::connect(&socket).await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        while sent < EVENTS {
            sent += 1;
            // What is not answered is not sent again: it may be there or not.
            match fire(&mut stream, &name).await {
                Some(event) => answered.push(event["ID"].clone()),
                None => break,
            }
        }
    }
    (name, answered)
}

/// One fire on a connection that stays; `None` when it has ended.
async fn fire(stream: &mut UnixStream, name: &str) -> Option<Value> {
    let head = format!("PUT /v1/event/fire/{name} HTTP/1.1\r\nHost: localhost\r\n");
    let request = format!("{head}Content-Length: 4\r\n\r\nbody");
    stream.write_all(request.as_bytes()).await.ok()?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        answer.extend_from_slice(&piece[..read]);
        let text = std::str::from_utf8(&answer).expect("text");
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(event) = serde_json::from_str(body)
        {
            assert!(head.starts_with("HTTP/1.1 200 "), "{text}");
            return Some(event);
        }
    }
}

/// Waits for one event after the other, whatever becomes of the daemon, until all is over and
/// nothing new comes; the ids that it saw.
async fn follow(socket: PathBuf, name: String, is_over: Arc<AtomicBool>) -> (String, Vec<Value>) {
    let (mut seen, mut at) = (Vec::new(), 0);
    loop {
        let last = is_over.load(Ordering::Acquire);
        let Some((events, index)) = wait_for(&socket, &name, at).await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        assert!(index >= at || events.is_empty() && at <= 1, "the index goes back: {at} {index}");
        for event in events.iter().filter(|event| index_of(event) > at) {
            assert!(!seen.contains(&event["ID"]), "twice: {event}");
            seen.push(event["ID"].clone());
        }
        if last && index == at {
            return (name, seen);
        }
        at = index;
    }
}

async fn wait_for(socket: &Path, name: &str, at: u64) -> Option<(Vec<Value>, u64)> {
    let stream = UnixStream::connect(socket).await.ok()?;
    let path = format!("/v1/event/list?name={name}&index={at}&wait=300ms");
    let request = crate::http::request("GET", &path, &[], "");
    let reply = timeout(PATIENCE, crate::http::over(stream, &request)).await;
    let reply = reply.expect("an answer or an end");
    (reply.status == 200 && reply.body.ends_with(']')).then(|| listed(&reply))
}
