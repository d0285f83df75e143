//! Replays the examples of `docs/protocols/cloudevents.md`, so that it cannot say what the daemon
//! does not do.

use serde_json::Value;

use super::client::Stream;
use crate::harness::{Door, Site};
use crate::http;
use kit::transcript::Names;

const PAGE: &str = include_str!("../../../docs/protocols/cloudevents.md");

#[tokio::test]
async fn every_example_of_the_page_is_what_happens() {
    let running = Site::new().start().await;
    let mut names = Names::default();
    let blocks = blocks(PAGE);
    assert!(blocks.len() >= 7, "the page has lost its examples: {blocks:?}");
    for (kind, lines) in blocks {
        println!("{kind}: {lines:#?}");
        if kind == "stream" {
            stream(&running, &lines, &mut names).await;
        } else {
            exchange(&running, &lines, &mut names).await;
        }
    }
    running.stop().await;
}

/// The `http` and `stream` blocks of a page, each with its lines.
fn blocks(page: &str) -> Vec<(String, Vec<&str>)> {
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some("") => inside = false,
            Some(kind @ ("http" | "stream")) => {
                inside = true;
                found.push((kind.to_owned(), Vec::new()));
            }
            _ if inside => found.last_mut().expect("it has begun").1.push(line),
            _ => {}
        }
    }
    found
}

async fn stream(door: &Door, lines: &[&str], names: &mut Names) {
    let query = lines[0].strip_prefix("# GET /cloudevents").expect("where the stream is");
    let mut stream = Stream::open(door, query).await;
    let mut lines = lines[1..].iter().peekable();
    while let Some(line) = lines.next() {
        if let Some(said) = line.strip_prefix("> ") {
            stream.say(&names.fill(said)).await;
        } else if let Some(expected) = line.strip_prefix("< ") {
            compare(names, expected, &stream.event().await);
        } else {
            let other = lines.next().expect("two in either order");
            let mut open = vec![&line[3..], &other[3..]];
            while !open.is_empty() {
                let came = stream.event().await;
                let place = open.iter().position(|text| json(text)["type"] == came["type"]);
                let place = place.unwrap_or_else(|| panic!("nobody expects {came}"));
                compare(names, open.remove(place), &came);
            }
        }
    }
}

async fn exchange(door: &Door, lines: &[&str], names: &mut Names) {
    let (sent, came): (Vec<&&str>, Vec<&&str>) =
        lines.iter().partition(|line| line.starts_with('>'));
    let sent: Vec<&str> = sent.iter().map(|line| line[1..].trim_start()).collect();
    let came: Vec<&str> = came.iter().map(|line| line[1..].trim_start()).collect();
    let (method, path) = sent[0].split_once(' ').expect("a method and a path");
    let end = sent.iter().position(|line| line.is_empty()).unwrap_or(sent.len());
    let headers: Vec<String> = sent[1..end].iter().map(|line| (*line).to_owned()).collect();
    let body = sent.get(end + 1..).unwrap_or_default().join("\n");
    let request = http::request(method, path, &headers, &names.fill(&body));
    let reply = http::over_unix(&door.socket, &request).await;
    assert_eq!(reply.status.to_string(), came[1], "{reply:?}");
    let end = came[2..].iter().position(|line| line.is_empty()).map_or(came.len(), |end| end + 2);
    for line in &came[2..end] {
        let (name, expected) = line.split_once(": ").expect("a header");
        let value = reply.header(name).unwrap_or_else(|| panic!("no {name}: {reply:?}"));
        assert!(expected == "*" || expected == value, "{name}: {value}");
    }
    if let Some(body) = came.get(end + 1) {
        compare(names, body, &reply.json());
    }
}

fn compare(names: &mut Names, expected: &str, came: &Value) {
    assert_eq!(names.compare(&json(expected), came), None, "{came}");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}
