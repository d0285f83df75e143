//! Deliveries to receivers that take them, refuse them, hang, break, and are gone.

mod alerts;
mod faults;
mod life;

use std::time::Duration;

use kit::client::SysAdmClient;
use kit::receiver::Receiver;
use serde_json::{Value, json};

use crate::harness::{Site, until};

/// A site with one sink named `out` at this receiver; `settings` are further lines of it.
fn site(receiver: &Receiver, settings: &str) -> Site {
    let mut site = Site::new();
    let url = format!("http://{}/in?key=canary-in-url", receiver.addr);
    site.settings = format!(
        "[sinks.out]\nurl = \"{url}\"\nclasses = [\"user.*\"]\nretry_max_s = 1\n{settings}\n"
    );
    site
}

/// Fires `user.tick` events with these numbers in their data.
async fn ticks(client: &mut SysAdmClient, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let args = json!({"class": "user.tick", "message": format!("tick {number}"),
                          "data": {"n": number}});
        client.call("events", "fire", args).await.expect("it is fired");
    }
}

/// The numbers of the ticks in these bodies, each an event or a batch.
fn numbers(bodies: &[String]) -> Vec<u64> {
    let events = bodies.iter().flat_map(|body| match serde_json::from_str(body).expect("JSON") {
        Value::Array(events) => events,
        event => vec![event],
    });
    events.filter_map(|event| event["data"]["data"]["n"].as_u64()).collect()
}

/// Waits until the receiver has taken the tick of this number.
async fn until_taken(receiver: &Receiver, number: u64) {
    until(&format!("tick {number} is taken"), async || {
        numbers(&receiver.taken()).contains(&number)
    })
    .await;
}

/// How the sink `out` is.
async fn status(client: &mut SysAdmClient) -> Value {
    let answer = client.call("rpc", "sinks", json!({"action": "list"})).await;
    answer.expect("the sinks are listed")["sinks"][0].clone()
}

/// The classes of the events about sinks, in order.
async fn said(client: &mut SysAdmClient) -> Vec<String> {
    let args = json!({"filter": {"classes": ["sink.*"]}});
    let page = client.call("events", "list", args).await.expect("history");
    let events = page["events"].as_array().expect("events").clone();
    events.iter().map(|event| event["class"].as_str().expect("a class").to_owned()).collect()
}

const SOON: Duration = Duration::from_millis(100);
