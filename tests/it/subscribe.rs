//! What clients that opt in rely on: through real sockets, across restarts, whatever the filter.

mod filters;
mod gaps;
mod overtaking;

use kit::client::SysAdmClient;
use protocol::Cursor;
use serde_json::{Value, json};

use crate::harness::Site;

/// Fires an event and returns its number.
async fn fire(client: &mut SysAdmClient, args: Value) -> u64 {
    let fired = client.call("events", "fire", args).await.expect("it is fired");
    fired["seq"].as_u64().expect("it is recorded")
}

/// Fires `user.tick` events with these numbers in their data.
async fn ticks(client: &mut SysAdmClient, numbers: std::ops::Range<u64>) {
    for number in numbers {
        fire(client, json!({"class": "user.tick", "data": {"n": number}})).await;
    }
}

/// Reads so many ticks; their numbers, and the cursor of the last message.
async fn read_ticks(client: &mut SysAdmClient, count: usize) -> (Vec<u64>, Value) {
    let events = client.events(count).await;
    let numbers = events.iter().map(|event| {
        assert_eq!(event["name"], "event", "{event}");
        event["args"]["data"]["n"].as_u64().expect("a tick")
    });
    (numbers.collect(), events[count - 1]["args"]["cursor"].clone())
}

fn wanted(from: &Value) -> Value {
    json!({"sub": "ticks", "filter": {"classes": ["user.tick"]}, "from": from})
}

#[tokio::test]
async fn a_cursor_neither_skips_nor_repeats_across_clients() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 0..10).await;
    let (mut cursor, mut read) = (json!("oldest"), Vec::new());
    // A client that is lost again and again, while events come.
    for round in 1..=5 {
        let mut client = running.admin().await;
        let answer = client.subscribe(wanted(&cursor)).await.unwrap();
        assert_eq!(answer["gap"], Value::Null);
        ticks(&mut admin, round * 10..round * 10 + 10).await;
        let (numbers, last) = read_ticks(&mut client, 7).await;
        read.extend(numbers);
        cursor = last;
    }
    let mut client = running.admin().await;
    client.subscribe(wanted(&cursor)).await.unwrap();
    read.extend(read_ticks(&mut client, 60 - read.len()).await.0);
    assert_eq!(read, (0..60).collect::<Vec<u64>>());
    drop((admin, client));
    running.stop().await;
}

#[tokio::test]
async fn a_cursor_outlives_the_daemon() {
    let mut site = Site::new();
    let (mut cursor, mut read, mut fired) = (json!("oldest"), Vec::new(), 0);
    for _ in 0..3 {
        let running = site.start().await;
        let mut admin = running.admin().await;
        let mut client = running.admin().await;
        client.subscribe(wanted(&cursor)).await.unwrap();
        ticks(&mut admin, fired..fired + 10).await;
        fired += 10;
        let (numbers, last) = read_ticks(&mut client, 6).await;
        read.extend(numbers);
        cursor = last;
        site = running.stop().await;
        // What was on its way to the client is still to be had.
        drop((admin, client));
    }
    // And one that was killed.
    let program = site.spawn().await;
    let mut admin = program.admin().await;
    ticks(&mut admin, fired..fired + 10).await;
    fired += 10;
    drop(admin);
    let running = program.kill().await.start().await;
    let mut client = running.admin().await;
    let answer = client.subscribe(wanted(&cursor)).await.unwrap();
    assert_eq!(answer["gap"], Value::Null);
    let rest = usize::try_from(fired).unwrap() - read.len();
    read.extend(read_ticks(&mut client, rest).await.0);
    assert_eq!(read, (0..fired).collect::<Vec<u64>>());
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn a_heartbeat_moves_the_cursor_past_what_the_filter_leaves_out() {
    let running = Site::new().start().await;
    let mut client = running.admin().await;
    let mut wanted = wanted(&json!("now"));
    wanted["heartbeat_s"] = 1.into();
    client.subscribe(wanted).await.unwrap();
    let mut admin = running.admin().await;
    let mut last = 0;
    for _ in 0..5 {
        last = fire(&mut admin, json!({"class": "user.other"})).await;
    }
    let cursor = loop {
        let message = client.next().await;
        assert_eq!((&message["name"], &message["id"]), (&json!("heartbeat"), &json!("ticks")));
        assert!(message["args"]["time"].is_string());
        let cursor = message["args"]["cursor"].clone();
        let seq: u64 = cursor.as_str().unwrap().rsplit('.').next().unwrap().parse().unwrap();
        if seq >= last {
            break cursor;
        }
    };
    let mut again = running.admin().await;
    let answer = again.subscribe(json!({"sub": "s", "from": cursor})).await.unwrap();
    assert_eq!((&answer["replay"], &answer["gap"]), (&Value::Null, &Value::Null), "{answer}");
    drop((client, admin, again));
    running.stop().await;
}

#[tokio::test]
async fn a_snapshot_is_the_newest_of_everything_and_then_what_follows() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut admin = running.admin().await;
    for (subject, message) in [("/a", "1"), ("/b", "2"), ("/a", "3"), ("/b", "4"), ("/c", "5")] {
        fire(&mut admin, json!({"class": "user.x", "subject": subject, "message": message})).await;
    }
    for (subject, message) in [("/a", "6"), ("/a", "7")] {
        fire(&mut admin, json!({"class": "user.y", "subject": subject, "message": message})).await;
    }
    // State that is not recorded is part of it, and the newest only.
    for message in ["8", "9"] {
        let draft = json!({"class": "kit.state", "subject": "/a", "message": message});
        admin.call("kit", "publish", json!({"draft": draft, "n": 1, "batch": 1})).await.unwrap();
    }
    let mut client = running.admin().await;
    let filter = json!({"classes": ["user.*", "kit.state"]});
    client.subscribe(json!({"sub": "s", "filter": filter, "from": "snapshot"})).await.unwrap();
    let messages = |events: &[Value]| -> Vec<String> {
        let message = |event: &Value| event["args"]["message"].as_str().unwrap().to_owned();
        events.iter().map(message).collect()
    };
    let snapshot = client.events(5).await;
    assert_eq!(messages(&snapshot), ["3", "4", "5", "7", "9"]);
    assert_eq!(snapshot[4]["args"].get("seq"), None);
    fire(&mut admin, json!({"class": "user.x", "subject": "/a", "message": "10"})).await;
    assert_eq!(messages(&client.events(1).await), ["10"]);
    drop((admin, client));
    running.stop().await;
}

#[tokio::test]
async fn a_subscription_of_the_same_name_takes_its_place() {
    let running = Site::new().start().await;
    let mut client = running.admin().await;
    let sub = |class: &str| json!({"sub": "same", "filter": {"classes": [class]}});
    client.subscribe(sub("user.old")).await.unwrap();
    client.subscribe(sub("user.new")).await.unwrap();
    for class in ["user.old", "user.new", "user.old", "user.new"] {
        fire(&mut client, json!({"class": class})).await;
    }
    for event in client.events(2).await {
        assert_eq!(event["args"]["class"], "user.new");
    }
    // Many times over, in the middle of a stream: what comes behind the answer is exactly what
    // follows the cursor, and nothing of the one before.
    client.subscribe(json!({"sub": "same", "filter": {"classes": ["user.tick"]}})).await.unwrap();
    let mut admin = running.admin().await;
    let mut cursor = json!("oldest");
    for round in 0..20 {
        ticks(&mut admin, round * 3..round * 3 + 2).await;
        let mut again = wanted(&cursor);
        again["sub"] = "same".into();
        client.send("events", "subscribe", again).await;
        let third = json!({"class": "user.tick", "data": {"n": round * 3 + 2}});
        let firing = admin.send("events", "fire", third).await;
        while client.next().await["name"] != "response" {}
        let (numbers, last) = read_ticks(&mut client, 3).await;
        assert_eq!(numbers, (round * 3..round * 3 + 3).collect::<Vec<u64>>());
        cursor = last;
        admin.answer(&firing).await.unwrap();
    }
    drop((client, admin));
    running.stop().await;
}

#[tokio::test]
async fn twenty_subscriptions_and_no_more() {
    let running = Site::new().start().await;
    let mut client = running.admin().await;
    client.subscribe(json!("dispatcher")).await.unwrap();
    let sub = |number: u64| json!({"sub": number.to_string(), "filter": {"classes": ["user.a"]}});
    for number in 1..20 {
        client.subscribe(sub(number)).await.unwrap();
    }
    for refused in [sub(20), json!("life-preserver"), json!(["life-preserver", "system-state"])] {
        assert_eq!(client.subscribe(refused).await.unwrap_err()["code"], "429");
    }
    client.subscribe(sub(7)).await.expect("in place of one there is room");
    client.subscribe(json!("dispatcher")).await.expect("the same class once more is no more");
    client.call("events", "unsubscribe", json!({"sub": "8"})).await.unwrap();
    client.subscribe(sub(20)).await.unwrap();
    fire(&mut client, json!({"class": "user.a"})).await;
    let mut subs: Vec<Value> =
        client.events(19).await.iter().map(|event| event["id"].clone()).collect();
    subs.sort_by_key(|sub| sub.as_str().unwrap().parse::<u64>().unwrap());
    let expected: Vec<Value> =
        (1..=20).filter(|number| *number != 8).map(|number| json!(number.to_string())).collect();
    assert_eq!(subs, expected);
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn after_unsubscribing_nothing_comes() {
    let running = Site::new().start().await;
    let mut client = running.admin().await;
    for sub in ["gone", "stays"] {
        client.subscribe(json!({"sub": sub, "filter": {"classes": ["user.*"]}})).await.unwrap();
    }
    client.call("events", "unsubscribe", json!({"sub": "gone"})).await.unwrap();
    for _ in 0..3 {
        fire(&mut client, json!({"class": "user.a"})).await;
    }
    for event in client.events(3).await {
        assert_eq!(event["id"], "stays");
    }
    let again = client.call("events", "unsubscribe", json!({"sub": "gone"})).await;
    assert_eq!(again.unwrap_err()["code"], "404");
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_kept_is_delivered_without_a_number() {
    let running = Site::new().with_kit().start().await;
    running.ready("kit").await;
    let mut client = running.admin().await;
    let filter = json!({"classes": ["user.volatile.*", "kit.*"]});
    let answer = client.subscribe(json!({"sub": "s", "filter": filter})).await.unwrap();
    let start: Cursor = answer["cursor"].as_str().unwrap().parse().unwrap();
    let fired = client.call("events", "fire", json!({"class": "user.volatile.x"})).await.unwrap();
    assert_eq!(fired.get("seq"), None);
    for class in ["kit.pulse", "kit.state"] {
        let draft = json!({"class": class});
        client.call("kit", "publish", json!({"draft": draft, "n": 1, "batch": 1})).await.unwrap();
    }
    for (event, class) in
        client.events(3).await.iter().zip(["user.volatile.x", "kit.pulse", "kit.state"])
    {
        assert_eq!(event["args"]["class"], class);
        assert_eq!(event["args"].get("seq"), None);
        let cursor: Cursor = event["args"]["cursor"].as_str().unwrap().parse().unwrap();
        assert!(cursor.seq >= start.seq && cursor.instance == start.instance, "that of the log");
    }
    let list = client.call("events", "list", json!({"filter": filter})).await.unwrap();
    assert_eq!(list["events"], json!([]));
    drop(client);
    running.stop().await;
}
