//! Replays the examples of `docs/protocols/jsonrpc.md`.

use kit::client::{SysAdmClient, Target};
use kit::transcript::Names;
use protocol::{Cursor, Gap};
use serde_json::Value;
use sysadmd::wire::jsonrpc::EVENT;

use super::talk::PATH;
use crate::harness::{Running, Site};
use crate::http;
use crate::player::{expect, expect_silence};
use crate::protocol_page::{blocks, json_of};

const PAGE: &str = include_str!("../../../docs/protocols/jsonrpc.md");

async fn door(running: &Running, anonymous: bool) -> SysAdmClient {
    let target = if anonymous {
        Target::Tls { addr: running.tls(), token: None }
    } else {
        Target::Unix(running.socket.clone())
    };
    SysAdmClient::connect_at(target, PATH, &[]).await.expect("a connection")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transcript_of_the_page_is_what_happens() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut names = Names::default();
    names.set("TOKEN", &running.token("admin").await);
    let blocks = blocks(PAGE, "transcript");
    assert!(blocks.len() >= 8, "the page has lost its transcripts: {blocks:?}");
    for block in &blocks {
        println!("line {}", block.line);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_http_exchange_of_the_page_is_what_happens() {
    let running = Site::new().start().await;
    let mut names = Names::default();
    let blocks = blocks(PAGE, "http");
    let kind = ["Content-Type: application/json".to_owned()];
    assert!(!blocks.is_empty());
    for turn in blocks.iter().flat_map(|block| &block.turns) {
        let mut words = turn.sent.splitn(3, ' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let request = http::request(method, path, &kind, words.next().unwrap_or(""));
        let reply = http::over_unix(&running.socket, &request).await;
        let (status, body) = turn.expected[0].split_once(' ').unwrap();
        assert_eq!(reply.status.to_string(), status, "{turn:?}");
        assert_eq!(names.compare(&json_of(body), &reply.json()), None, "{turn:?}");
    }
    running.stop().await;
}

/// A gap comes when a client has been too slow, which no example can be; so its words are compared.
#[test]
fn the_gap_of_the_page_is_worded_as_the_daemon_words_it() {
    let line = PAGE.lines().find(|line| line.contains("\"type\":\"gap\"")).expect("a gap");
    let shown = json_of(line);
    let result = &shown["params"]["result"];
    let gap: Gap = serde_json::from_value(result.clone()).unwrap();
    let cursor: Cursor = serde_json::from_value(result["cursor"].clone()).unwrap();
    let mut frame = Vec::new();
    let sub = shown["params"]["subscription"].as_str().unwrap();
    (EVENT.gap)(&gap, &cursor, sub, &mut frame);
    let payload = frame.iter().position(|byte| *byte == b'{').unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&frame[payload..]).unwrap(), shown);
}

#[test]
fn the_table_of_codes_on_the_page_is_the_one_in_the_code() {
    use protocol::FaultKind;
    let rows = PAGE.lines().filter(|line| line.starts_with("| -32"));
    let mut shown: Vec<(String, i32)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[2].trim_matches('`').to_owned(), cells[1].parse().unwrap())
        })
        .collect();
    let kinds = shown.iter().map(|(kind, _)| json_of(&format!("{kind:?}")));
    let kinds: Vec<FaultKind> = kinds.map(|kind| serde_json::from_value(kind).unwrap()).collect();
    let codes = |kind: FaultKind| {
        let codes = sysadmd::wire::jsonrpc::fault_codes(kind).into_iter();
        codes.map(move |code| (kind.as_str().to_owned(), code))
    };
    let mut real: Vec<(String, i32)> = kinds.into_iter().flat_map(codes).collect();
    real.sort();
    real.dedup();
    shown.sort();
    assert_eq!(shown, real);
    assert!(shown.len() >= 15);
}
