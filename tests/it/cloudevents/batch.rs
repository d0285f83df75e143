//! Batches of the past, page by page, and waiting for the next.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{fire, get, refusal, tick, ticks};
use crate::harness::{PATIENCE, Site};
use crate::http::Reply;

fn next_of(reply: &Reply) -> String {
    let link = reply.header("Link").expect("a link");
    let target = link.strip_prefix("</cloudevents").and_then(|rest| rest.split_once('>'));
    assert!(link.ends_with("; rel=\"next\""), "{link}");
    target.expect("a target").0.to_owned()
}

fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("Content-Type"), Some("application/cloudevents-batch+json"));
    let events = reply.json().as_array().expect("an array").clone();
    for event in &events {
        sysadmd::wire::cloudevents::parse(&event.to_string()).expect("a CloudEvent");
    }
    events
}

#[tokio::test]
async fn pages_follow_each_other_without_a_seam() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 0..25).await;
    fire(&mut admin, json!({"class": "user.other"})).await;
    let (mut query, mut read) = ("?classes=user.tick&limit=10".to_owned(), Vec::new());
    for expected in [10, 10, 5, 0] {
        let reply = get(&running.socket, &query).await;
        let page = events(&reply);
        assert_eq!(page.len(), expected);
        read.extend(page.iter().map(tick));
        query = next_of(&reply);
        assert!(query.contains("classes=user.tick") && query.contains("limit=10"), "{query}");
    }
    ticks(&mut admin, 25..30).await;
    let reply = get(&running.socket, &query).await;
    read.extend(events(&reply).iter().map(tick));
    assert_eq!(read, (0..30).collect::<Vec<u64>>());
    assert_eq!(events(&get(&running.socket, "?after=now").await), Vec::<Value>::new());
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes_and_loses_nothing_by_it() {
    let mut site = Site::new();
    site.settings = "[limits]\nmessage_bytes = 65536".to_owned();
    let running = site.start().await;
    let mut admin = running.admin().await;
    for number in 0..8 {
        let data = json!({"n": number, "x": "x".repeat(20_000)});
        fire(&mut admin, json!({"class": "user.tick", "data": data})).await;
    }
    let (mut query, mut read, mut pages) = ("?classes=user.tick".to_owned(), Vec::new(), 0);
    while read.len() < 8 {
        let reply = get(&running.socket, &query).await;
        assert!(reply.body.len() < 65_536 + 25_000, "{}", reply.body.len());
        read.extend(events(&reply).iter().map(tick));
        query = next_of(&reply);
        pages += 1;
    }
    assert_eq!((read, pages), ((0..8).collect::<Vec<u64>>(), 2));
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn whoever_waits_is_answered_by_the_first_event_that_is_wanted() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    let begun = Instant::now();
    let waiting = get(&running.socket, "?classes=user.tick&after=now&wait=300");
    let firing = async {
        // Until it waits, they are answered at once or wake it; either way only the tick counts.
        for _ in 0..5 {
            fire(&mut admin, json!({"class": "user.other"})).await;
            let volatile = json!({"class": "user.volatile.x"});
            admin.call("events", "fire", volatile).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        ticks(&mut admin, 7..8).await;
    };
    let (reply, ()) = tokio::join!(waiting, firing);
    assert_eq!(events(&reply).iter().map(tick).collect::<Vec<_>>(), [7]);
    assert!(begun.elapsed() < PATIENCE * 5, "it did not wait for its end");
    let reply =
        get(&running.socket, &format!("{}&wait=1", next_of(&reply).replace("&wait=300", ""))).await;
    assert_eq!(events(&reply), Vec::<Value>::new());
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn whoever_waits_does_not_hold_up_the_daemon() {
    let running = Site::new().start().await;
    let socket = running.socket.clone();
    let (reply, _) = tokio::join!(get(&socket, "?after=now&wait=300"), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        running.stop().await
    });
    // Cut, or told; never left waiting.
    assert!(matches!(reply.status, 0 | 503), "{reply:?}");
}

#[tokio::test]
async fn a_cursor_that_leads_nowhere_is_told_as_a_gap() {
    let running = Site::new().start().await;
    let foreign = format!("?after={}.7", uuid::Uuid::from_u128(7));
    let page = events(&get(&running.socket, &foreign).await);
    assert_eq!(page[0]["type"], "cloudevents.gap");
    assert_eq!(page[0]["data"]["reason"], "other-instance");
    assert_eq!(page[1]["type"], "daemon.started");
    running.stop().await;
}

#[tokio::test]
async fn a_question_that_is_wrong_is_refused_by_name() {
    let running = Site::new().start().await;
    for (query, named) in [
        ("?limit=1001", "limit"),
        ("?limit=-1", "limit"),
        ("?wait=301", "wait"),
        ("?after=7", "cursor"),
        ("?after=snapshot", "snapshot"),
        ("?overflow=drop", "overflow"),
        ("?classes=user.a&nonsense=1", "nonsense"),
        ("?classes=%FF", "classes"),
        ("?classes=user..a", "\"user..a\""),
        ("?classes=user.*,.b", "\".b\""),
        ("?classes=User", "\"User\""),
    ] {
        let reply = get(&running.socket, query).await;
        assert_eq!(reply.status, 400, "{query}");
        assert!(refusal(&reply).contains(named), "{query}: {reply:?}");
    }
    let many = format!("?classes={}", "a,".repeat(65));
    assert_eq!(get(&running.socket, &many).await.status, 400);
    running.stop().await;
}
