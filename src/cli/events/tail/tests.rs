use std::sync::Mutex;

use clap::Parser;
use serde_json::Value;

use super::*;
use crate::cli::fake::{Fake, Visitor};

const INSTANCE: &str = "0198c0de-0000-8000-8000-000000000000";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    options: TailOptions,
}

fn cursor(seq: u64) -> String {
    format!("{INSTANCE}.{seq}")
}

/// Runs a tail with these options; how it ended and what it printed.
async fn tail(fake: &Fake, options: &[&str]) -> (Result<(), u8>, Vec<String>, Option<String>) {
    let command = Command::parse_from([&["tail"], options].concat());
    let printed = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&printed);
    let target = fake.target();
    let style = Style { json: false, colour: false };
    let mut tail = Tail::new(command.options, &target, style).unwrap();
    tail.sink = Arc::new(move |text| {
        kept.lock().unwrap().push_str(text);
        Ok(())
    });
    let ended = tail.follow().await.map_err(|failure| failure.exit.code());
    let text = printed.lock().unwrap().clone();
    let message = |line: &str| match line.rsplit_once("  ") {
        Some((_, message)) => message.to_owned(),
        None => line.to_owned(),
    };
    (ended, text.lines().map(message).collect(), tail.cursor.clone())
}

async fn subscription(visitor: &mut Visitor, from: &str) -> Value {
    let request = visitor.request("events/subscribe").await;
    assert_eq!(request["args"]["from"], from);
    request
}

/// A visitor whose subscription from there has been answered.
async fn subscriber(fake: &Fake, from: &str, head: u64) -> Visitor {
    let mut visitor = fake.accept().await;
    let request = subscription(&mut visitor, from).await;
    let answer = json!({"sub": request["args"]["sub"], "cursor": cursor(head), "gap": null});
    visitor.answer(&request, answer).await;
    visitor
}

async fn push(visitor: &mut Visitor, name: &str, args: Value) {
    let message = json!({"args": args, "id": "sysadmctl", "name": name, "namespace": "events"});
    visitor.send(message).await;
}

async fn event(visitor: &mut Visitor, seq: u64) {
    let args = json!({"class": "user.a", "cursor": cursor(seq), "message": format!("m{seq}"),
        "priority": "0 - Information", "seq": seq, "time": "2026-11-22T10:00:00.000000Z"});
    push(visitor, "event", args).await;
}

#[tokio::test]
async fn a_tail_goes_on_where_it_was_whatever_ends_the_connection() {
    let fake = Fake::new();
    let script = async {
        let mut visitor = subscriber(&fake, "now", 10).await;
        visitor.close(1001, "retry_after_ms=5").await;

        visitor = subscriber(&fake, &cursor(10), 10).await;
        event(&mut visitor, 11).await;
        event(&mut visitor, 12).await;
        drop(visitor);

        visitor = fake.accept().await;
        let request = subscription(&mut visitor, &cursor(12)).await;
        visitor.refuse(&request, "unavailable").await;
        drop(visitor);

        visitor = subscriber(&fake, &cursor(12), 99).await;
        push(&mut visitor, "heartbeat", json!({"cursor": cursor(20)})).await;
        visitor.close(4008, "too slow").await;

        visitor = subscriber(&fake, &cursor(20), 20).await;
        event(&mut visitor, 21).await;
        event(&mut visitor, 22).await;
    };
    let ((), (ended, printed, place)) = tokio::join!(script, tail(&fake, &["--count", "3"]));
    assert_eq!(ended, Ok(()));
    assert_eq!(printed, ["m11", "m12", "m21"]);
    assert_eq!(place, Some(cursor(21)), "the fourth event was not printed");
}

#[tokio::test]
async fn a_cursor_file_carries_the_place_into_the_next_run() {
    let fake = Fake::new();
    let file = fake.folder.path().join("cursor");
    let options = ["--cursor-file", file.to_str().unwrap(), "--from", "oldest", "--count", "1"];
    let first = async {
        let mut visitor = subscriber(&fake, "oldest", 7).await;
        event(&mut visitor, 1).await;
    };
    let ((), (ended, ..)) = tokio::join!(first, tail(&fake, &options));
    assert_eq!(ended, Ok(()));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", cursor(1)));

    let second = async {
        let mut visitor = subscriber(&fake, &cursor(1), 7).await;
        event(&mut visitor, 2).await;
    };
    let ((), (ended, printed, _)) = tokio::join!(second, tail(&fake, &options));
    assert_eq!((ended, printed), (Ok(()), vec!["m2".to_owned()]));
}

#[tokio::test]
async fn the_place_is_kept_before_the_first_event_comes() {
    let fake = Fake::new();
    let file = fake.folder.path().join("cursor");
    let options = ["--cursor-file", file.to_str().unwrap()];
    let script = async {
        drop(subscriber(&fake, "now", 3).await);
        let mut visitor = fake.accept().await;
        let request = subscription(&mut visitor, &cursor(3)).await;
        visitor.refuse(&request, "unauthorized").await;
    };
    let ((), (ended, ..)) = tokio::join!(script, tail(&fake, &options));
    assert_eq!(ended, Err(77), "a login that has ended is not tried for ever");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", cursor(3)));
}

#[tokio::test]
async fn gaps_are_shown_where_they_are() {
    let fake = Fake::new();
    let script = async {
        let mut visitor = fake.accept().await;
        let request = subscription(&mut visitor, "oldest").await;
        let gap = |reason| json!({"from_seq": 1, "to_seq": 4, "missed": 2, "reason": reason});
        visitor.answer(&request, json!({"cursor": cursor(4), "gap": gap("expired")})).await;
        event(&mut visitor, 5).await;
        let mut slow = gap("slow");
        slow["cursor"] = json!(cursor(8));
        push(&mut visitor, "gap", slow).await;
        event(&mut visitor, 9).await;
    };
    let options = ["--from", "oldest", "--count", "2"];
    let ((), (ended, printed, _)) = tokio::join!(script, tail(&fake, &options));
    assert_eq!(ended, Ok(()));
    assert_eq!(printed.len(), 4, "{printed:?}");
    assert!(printed[0].contains("no longer keeps"), "{printed:?}");
    assert_eq!(printed[1], "m5");
    assert!(printed[2].contains("2 events missing"), "{printed:?}");
    assert_eq!(printed[3], "m9");
}

#[tokio::test]
async fn the_first_connection_is_not_tried_for_ever() {
    let fake = Fake::new();
    std::fs::remove_file(fake.folder.path().join("socket")).unwrap();
    let (ended, printed, _) = tail(&fake, &[]).await;
    assert_eq!((ended, printed), (Err(69), Vec::new()));
}

#[test]
fn a_place_to_begin_at_is_checked() {
    let parse = |from: &str| Command::try_parse_from(["tail", "--from", from]).is_ok();
    assert!(parse("oldest") && parse(&cursor(3)) && parse(&format!("{}+5", cursor(3))));
    assert!(!parse("yesterday") && !parse("3"));
}
