//! Events: declared, in order, at their rate, and the plugin's other words.

use protocol::manifest::Retain;

use super::*;

fn draft(class: &str) -> Value {
    json!({ "class": class, "subject": "/s", "message": "m" })
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_recorded_in_the_order_they_were_said() {
    let mut manifest = manifest(&["flood-notifications", "20000"]);
    manifest["limits"]["events_per_s"] = 1_000_000.into();
    let yard = Yard::new(&[manifest]);
    let published = || Some(()).filter(|()| yard.status("kit").events_published == 20_000);
    eventually("20000 events", published).await;
    let events = yard.events("kit.event").await;
    let numbers: Vec<u64> = events.iter().map(|event| data(event)["i"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted(), "out of order");
    assert_eq!(numbers.len(), 20_000);
    assert!(events.iter().all(|event| event.source == "kit" && event.priority.number() == 1));
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_event_is_in_the_log() {
    let yard = Yard::ready(&["good"]).await;
    let args = json!({ "draft": draft("kit.event"), "n": 500, "batch": 16 });
    let told = yard.call("publish", args).await.unwrap();
    assert_eq!(told["published"], 500);
    assert_eq!(yard.events("kit.event").await.len(), 500);
    assert_eq!(yard.status("kit").events_published, 500);
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_waits_for_credit_gets_it_back() {
    let mut manifest = manifest(&["good"]);
    manifest["limits"]["events_burst"] = 3.into();
    let yard = Yard::new(&[manifest]);
    yard.until("kit", State::Ready).await;
    let args = json!({ "draft": draft("kit.event"), "n": 100, "batch": 0 });
    assert_eq!(yard.call("publish", args).await.unwrap()["published"], 100);
    eventually("100 events", || Some(()).filter(|()| yard.status("kit").events_published == 100))
        .await;
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_slowed_to_its_rate_and_calls_still_pass() {
    let mut manifest = manifest(&["flood"]);
    manifest["limits"]["events_per_s"] = 2000.into();
    manifest["limits"]["events_burst"] = 50.into();
    let begin = std::time::Instant::now();
    let yard = Yard::new(&[manifest]);
    yard.until("kit", State::Ready).await;
    for n in 0..3 {
        assert_eq!(yard.call("echo", json!(n)).await, Ok(json!(n)));
    }
    let published = yard.status("kit").events_published;
    let most = 50.0 + begin.elapsed().as_secs_f64() * 2000.0 + 1.0;
    assert!(f64::from(u32::try_from(published).unwrap()) <= most, "{published} > {most}");
    assert_eq!(yard.status("kit").restarts, 0, "slowed down, not cut off");
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_that_is_not_declared_is_refused_both_ways() {
    let yard = Yard::ready(&["undeclared-class"]).await;
    eventually("two refusals", || Some(()).filter(|()| yard.status("kit").events_refused == 2))
        .await;
    assert!(yard.events("never.declared").await.is_empty());
    assert_eq!(yard.status("kit").state, State::Ready);
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_priority_above_the_declared_one_is_lowered() {
    let mut manifest = manifest(&["good"]);
    manifest["events"][0]["priority_max"] = 3.into();
    let yard = Yard::new(&[manifest]);
    yard.until("kit", State::Ready).await;
    let mut urgent = draft("kit.event");
    urgent["priority"] = 9.into();
    yard.call("publish", json!({ "draft": urgent })).await.unwrap();
    yard.call("publish", json!({ "draft": draft("kit.event") })).await.unwrap();
    let events = yard.events("kit.event").await;
    let priorities: Vec<u8> = events.iter().map(|event| event.priority.number()).collect();
    assert_eq!(priorities, [3, 1]);
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_of_a_call_in_flight_becomes_its_newest_event() {
    let yard = Yard::ready(&["good"]).await;
    yard.call("sleep", json!({ "ms": 50 })).await.unwrap();
    let filter = protocol::Filter::default();
    let event = loop {
        match yard.bus.newest(&filter.clone().into()).await.unwrap() {
            Some(event) if event.class.as_str() == "call.progress" => break event,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert!(event.subject.starts_with("/calls/r"), "{}", event.subject);
    assert_eq!((event.source.as_str(), event.seq), ("kit", None));
    let data = data(&event);
    assert_eq!(data["total"], 50);
    let declared = &crate::bus::own_class("call.progress").unwrap().declared;
    for member in data.as_object().unwrap().keys() {
        assert!(declared.schema["properties"].get(member).is_some(), "{member}");
    }
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_and_methods_are_known_with_their_plugin() {
    let yard = Yard::ready(&["good"]).await;
    let classes = yard.host.classes();
    let state = classes.iter().find(|class| class.class.class.as_str() == "kit.state").unwrap();
    assert_eq!((state.plugin.as_str(), state.class.retain), ("kit", Retain::Latest));
    let methods = serde_json::to_value(yard.host.methods()).unwrap();
    assert_eq!(methods[0]["method"], "kit/echo");
    assert_eq!(methods[0]["plugin"], "kit");
    yard.end().await;
}
