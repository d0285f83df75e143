//! Replays the examples of `docs/protocols/sysadm.md`, so that it cannot say what the daemon does not
//! do.

use kit::client::SysAdmClient;
use kit::transcript::Names;
use protocol::{Cursor, Gap};
use serde_json::Value;
use sysadmd::wire::sysadm::OPTED_IN;

use crate::harness::{Running, Site};
use crate::http;
use crate::player::{expect, expect_silence};

const PAGE: &str = include_str!("../../docs/protocols/sysadm.md");

/// One fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// The line of the page it begins on.
    pub(crate) line: usize,
    kind: &'static str,
    /// Without a login over TLS; otherwise an administrator on the unix socket.
    pub(crate) anonymous: bool,
    /// Whether it needs the plugin `system`.
    pub(crate) of_the_machine: bool,
    /// Whether the page says that the order does not matter.
    pub(crate) any_order: bool,
    pub(crate) turns: Vec<Turn>,
}

/// What is sent, and what must come back.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) sent: String,
    pub(crate) expected: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transcript_of_the_page_is_what_happens() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut names = Names::default();
    names.set("TOKEN", &running.token("admin").await);
    let blocks = blocks(PAGE, "transcript");
    assert!(blocks.len() >= 8, "the page has lost its transcripts: {blocks:?}");
    for block in blocks.iter().filter(|block| !block.of_the_machine) {
        println!("{} at line {}", block.kind, block.line);
        let mut client = door(&running, block.anonymous).await;
        for turn in &block.turns {
            client.send_raw(&names.fill(&turn.sent)).await;
            let expected: Vec<Value> = turn.expected.iter().map(|line| json_of(line)).collect();
            expect(&mut client, &mut names, &expected, !block.any_order).await;
        }
        expect_silence(&mut client).await;
    }
    running.stop().await;
}

/// On a daemon of its own: what the plugin tells of this machine would stand between the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transcript_about_the_machine_is_what_happens() {
    let mut site = Site::new();
    site.system = true;
    let running = site.start().await;
    running.ready("system").await;
    let mut names = Names::default();
    let mut replayed = 0;
    for block in blocks(PAGE, "transcript").iter().filter(|block| block.of_the_machine) {
        println!("{} at line {}", block.kind, block.line);
        let mut client = running.admin().await;
        for turn in &block.turns {
            client.send_raw(&turn.sent).await;
            let expected: Vec<Value> = turn.expected.iter().map(|line| json_of(line)).collect();
            expect(&mut client, &mut names, &expected, true).await;
        }
        replayed += block.turns.len();
    }
    assert!(replayed >= 6, "{replayed}");
    running.stop().await;
}

/// A gap comes when a client has been too slow, which no example can be; so its words are compared.
#[test]
fn the_gap_of_the_page_is_worded_as_the_daemon_words_it() {
    let line = PAGE.lines().find(|line| line.contains("\"name\":\"gap\"")).expect("a gap");
    let shown = json_of(line);
    let gap: Gap = serde_json::from_value(shown["args"].clone()).unwrap();
    let cursor: Cursor = serde_json::from_value(shown["args"]["cursor"].clone()).unwrap();
    let mut frame = Vec::new();
    (OPTED_IN.gap)(&gap, &cursor, shown["id"].as_str().unwrap(), &mut frame);
    let payload = frame.iter().position(|byte| *byte == b'{').unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&frame[payload..]).unwrap(), shown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_http_exchange_of_the_page_is_what_happens() {
    let running = Site::new().start().await;
    let mut names = Names::default();
    let blocks = blocks(PAGE, "http");
    assert!(!blocks.is_empty());
    for turn in blocks.iter().flat_map(|block| &block.turns) {
        let mut words = turn.sent.splitn(3, ' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let request = http::request(method, path, &[], words.next().unwrap_or(""));
        let reply = http::over_unix(&running.socket, &request).await;
        let (status, body) = turn.expected[0].split_once(' ').unwrap();
        assert_eq!(reply.status.to_string(), status, "{turn:?}");
        assert_eq!(names.compare(&json_of(body), &reply.json()), None, "{turn:?}");
    }
    running.stop().await;
}

async fn door(running: &Running, anonymous: bool) -> SysAdmClient {
    if anonymous { running.anonymous().await } else { running.admin().await }
}

pub(crate) fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

pub(crate) fn blocks(page: &str, kind: &'static str) -> Vec<Block> {
    let fence = format!("```{kind}");
    let lines: Vec<&str> = page.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| ***line == fence);
    starts
        .map(|(start, _)| {
            let inside = lines[start + 1..].iter().take_while(|line| **line != "```");
            let inside: Vec<&str> = inside.copied().collect();
            let after = lines[start + 1 + inside.len()..].iter().skip(1);
            let remark = after.copied().find(|line| !line.is_empty()).unwrap_or_default();
            Block {
                line: start + 1,
                kind,
                of_the_machine: inside.first() == Some(&"# with the plugin system"),
                anonymous: inside.first() == Some(&"# anonymous"),
                any_order: remark.contains("in either order"),
                turns: turns(&inside),
            }
        })
        .collect()
}

fn turns(lines: &[&str]) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    for line in lines {
        if let Some(sent) = line.strip_prefix("> ") {
            turns.push(Turn { sent: sent.to_owned(), expected: Vec::new() });
        } else if let Some(expected) = line.strip_prefix("< ") {
            turns.last_mut().expect("a request first").expected.push(expected.to_owned());
        } else {
            assert!(line.starts_with("# "), "neither said nor heard nor a remark: {line}");
        }
    }
    turns
}
