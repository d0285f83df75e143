//! Replays the examples of `docs/protocols/consul.md`.

use kit::transcript::Names;
use serde_json::Value;

use crate::harness::{Running, Site};
use crate::http::{self, Reply};

const PAGE: &str = include_str!("../../../docs/protocols/consul.md");

/// A request and what must come back.
#[derive(Debug, Default)]
struct Turn {
    sent: Half,
    expected: Half,
}

#[derive(Debug, Default)]
struct Half {
    first: String,
    headers: Vec<String>,
    body: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_exchange_of_the_page_is_what_happens() {
    let running = Site::new().start().await;
    let mut names = Names::default();
    names.set("TOKEN", &running.token("operator").await);
    let blocks: Vec<&str> = PAGE.split("```http\n").skip(1).map(block).collect();
    assert!(blocks.len() >= 5, "the page has lost its examples");
    let mut exchanges = 0;
    for block in blocks {
        let stranger = block.starts_with("# stranger\n");
        for turn in turns(block) {
            let reply = have(&running, &names, stranger, &turn.sent).await;
            check(&mut names, &turn, &reply);
            exchanges += 1;
        }
    }
    assert!(exchanges >= 14, "{exchanges}");
    running.stop().await;
}

fn block(rest: &str) -> &str {
    rest.split("```\n").next().expect("an end")
}

fn turns(block: &str) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    let mut was_sent = false;
    for line in block.lines().filter(|line| !line.starts_with("# ")) {
        let (mark, text) = line.split_at(1);
        let text = text.strip_prefix(' ').unwrap_or(text);
        let is_sent = mark == ">";
        assert!(is_sent || mark == "<", "neither a request nor an answer: {line}");
        if is_sent && (!was_sent || turns.is_empty()) {
            turns.push(Turn::default());
        }
        let turn = turns.last_mut().expect("a request first");
        let half = if is_sent { &mut turn.sent } else { &mut turn.expected };
        half.take(text);
        was_sent = is_sent;
    }
    turns
}

impl Half {
    fn take(&mut self, line: &str) {
        if self.first.is_empty() {
            line.clone_into(&mut self.first);
        } else if self.headers.last().is_some_and(String::is_empty) {
            self.body.push_str(line);
        } else {
            self.headers.push(line.to_owned());
        }
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().filter_map(|line| line.split_once(": "))
    }
}

async fn have(running: &Running, names: &Names, stranger: bool, sent: &Half) -> Reply {
    let line = names.fill(&sent.first);
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let headers = sent.headers().map(|(name, value)| format!("{name}: {}", names.fill(value)));
    let request = http::request(method, path, &headers.collect::<Vec<_>>(), &sent.body);
    if stranger {
        http::over_tls(running.tls(), &request).await
    } else {
        http::over_unix(&running.socket, &request).await
    }
}

fn check(names: &mut Names, turn: &Turn, reply: &Reply) {
    assert_eq!(reply.status.to_string(), turn.expected.first, "{turn:?} {reply:?}");
    for (name, value) in turn.expected.headers() {
        let has = reply.header(name).unwrap_or_else(|| panic!("no {name}: {turn:?}"));
        let differs = names.compare(&value.into(), &has.into());
        assert_eq!(differs, None, "{name}: {turn:?}");
    }
    let expected = &turn.expected.body;
    match serde_json::from_str::<Value>(expected) {
        Ok(json) => assert_eq!(names.compare(&json, &reply.json()), None, "{turn:?}"),
        Err(_) if expected.is_empty() => {}
        Err(_) => assert_eq!(reply.body, *expected, "{turn:?}"),
    }
}
