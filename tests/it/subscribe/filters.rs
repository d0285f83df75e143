//! A filter means the same for what was, what comes and what is looked up.

use kit::client::SysAdmClient;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use super::fire;
use crate::harness::{Running, Site};

const CLASSES: [&str; 4] = ["user.a", "user.a.b", "user.ab", "user.b"];
const SUBJECTS: [&str; 5] = ["", "/a", "/a/b", "/ab", "/\u{c4}*"];
const MESSAGES: [&str; 5] = ["", "Disk full", "DISK FULL", "stra\u{df}e", "100% *?_"];

fn event() -> impl Strategy<Value = Value> {
    (select(CLASSES.to_vec()), select(SUBJECTS.to_vec()), 0u8..=10, select(MESSAGES.to_vec())).prop_map(
        |(class, subject, priority, message)| {
            json!({"class": class, "subject": subject, "priority": priority, "message": message})
        },
    )
}

fn filter() -> impl Strategy<Value = Value> {
    let patterns = vec!["*", "user.*", "user.a", "user.a.*", "user.b", "none.*", "user"];
    let subjects = vec!["", "*", "/a", "/a*", "/a/*", "/\u{c4}**", "/\u{c4}*"];
    let texts = vec!["", "disk", "FULL", "STRASSE", "stra\u{df}", "%", "_", "*"];
    (
        vec(select(patterns), 0..3),
        option::of(0u8..=10),
        option::of(select(subjects)),
        option::of(select(vec!["client", "kit", "sysadmd"])),
        option::of(select(texts)),
    )
        .prop_map(|(classes, min_priority, subject, source, text)| {
            let mut filter = json!({});
            if !classes.is_empty() {
                filter["classes"] = json!(classes);
            }
            let parts = [("subject", subject), ("source", source), ("text", text)];
            for (name, part) in parts.into_iter().filter_map(|(name, part)| Some((name, part?))) {
                filter[name] = part.into();
            }
            if let Some(least) = min_priority {
                filter["min_priority"] = least.into();
            }
            filter
        })
}

/// What the protocol page says, in other words than the daemon's code.
fn should_match(filter: &Value, event: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let begins = |pattern: &str, text: &str| match pattern
        .split_at_checked(pattern.len().saturating_sub(1))
    {
        Some((start, "*")) => text.starts_with(start),
        _ => pattern == text,
    };
    let class = text(&event["class"]);
    let covers = |pattern: &Value| match pattern.as_str().unwrap() {
        "*" => true,
        pattern if pattern.ends_with(".*") => {
            let stem = pattern.trim_end_matches(".*");
            class == stem || class.starts_with(&format!("{stem}."))
        }
        pattern => class == pattern,
    };
    filter["classes"].as_array().is_none_or(|patterns| patterns.iter().any(covers))
        && filter["min_priority"]
            .as_u64()
            .is_none_or(|least| event["priority"].as_u64().unwrap() >= least)
        && filter["subject"]
            .as_str()
            .is_none_or(|pattern| begins(pattern, event["subject"].as_str().unwrap()))
        && filter["source"].as_str().is_none_or(|source| source == "client")
        && filter["text"].as_str().is_none_or(|part| {
            text(&event["message"]).to_lowercase().contains(&part.to_lowercase())
        })
}

#[test]
fn replay_live_and_list_agree() {
    let runtime = Runtime::new().unwrap();
    let running = runtime.block_on(Site::new().start());
    let firing = Mutex::new(runtime.block_on(running.admin()));
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let cases = (vec(event(), 1..12), filter());
    let outcome = TestRunner::new(config).run(&cases, |(events, filter)| {
        runtime.block_on(async {
            let mut firing = firing.lock().await;
            let seen = see(&running, &mut firing, &events, &filter).await;
            prop_assert_eq!(&seen.live, &seen.expected, "live");
            prop_assert_eq!(&seen.replayed, &seen.expected, "replayed");
            prop_assert_eq!(&seen.listed, &seen.expected, "listed");
            Ok(())
        })
    });
    outcome.unwrap();
    drop(firing);
    runtime.block_on(running.stop());
}

/// The numbers of the events that came each way.
struct Seen {
    expected: Vec<u64>,
    live: Vec<u64>,
    replayed: Vec<u64>,
    listed: Vec<u64>,
}

async fn see(
    running: &Running,
    firing: &mut SysAdmClient,
    events: &[Value],
    filter: &Value,
) -> Seen {
    let mut live = running.admin().await;
    let end = json!({"sub": "end", "filter": {"classes": ["user.end"]}});
    live.subscribe(end.clone()).await.unwrap();
    let mut sub = json!({"sub": "it", "filter": filter});
    let standing = live.subscribe(sub.clone()).await.unwrap();
    let mut expected = Vec::new();
    for event in events {
        let seq = fire(firing, event.clone()).await;
        expected.extend(should_match(filter, event).then_some(seq));
    }
    let live = collect(&mut live, firing, 0).await;
    let mut replay = running.admin().await;
    replay.subscribe(end).await.unwrap();
    sub["from"] = standing["cursor"].clone();
    replay.subscribe(sub).await.unwrap();
    let replayed = collect(&mut replay, firing, expected.len()).await;
    let asked = json!({"filter": filter, "after_seq": standing["head_seq"], "limit": 1_000});
    let list = firing.call("events", "list", asked).await.unwrap();
    let listed =
        list["events"].as_array().unwrap().iter().filter(|event| event["class"] != "user.end");
    let listed = listed.map(|event| event["seq"].as_u64().unwrap()).collect();
    Seen { expected, live, replayed, listed }
}

/// The numbers that come for subscription `it`: at least so many, and all that come before two ends
/// have come. The second end is fired after the first was seen, and by then everything before the
/// first was handed to every subscription.
async fn collect(client: &mut SysAdmClient, firing: &mut SysAdmClient, count: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    let mut ends = 0;
    loop {
        if ends > 0 || seqs.len() >= count {
            fire(firing, json!({"class": "user.end"})).await;
        }
        loop {
            let event = client.event().await;
            if event["id"] == "it" && event["args"]["class"] != "user.end" {
                seqs.push(event["args"]["seq"].as_u64().unwrap());
                if ends == 0 && seqs.len() == count {
                    break;
                }
            } else if event["id"] == "end" {
                ends += 1;
                break;
            }
        }
        if ends == 2 {
            return seqs;
        }
    }
}
