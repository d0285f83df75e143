//! Calls: answers, deadlines, places, and what becomes of them when the plugin goes.

use protocol::FaultKind;
use tokio::time::timeout;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_and_knows_its_caller() {
    let yard = Yard::ready(&["good"]).await;
    let args = json!({ "n": [1, "two", null] });
    assert_eq!(yard.call("echo", args.clone()).await, Ok(args));
    let own = yard.call("self", Value::Null).await.unwrap();
    assert_eq!(own["actor"], "local:test");
    assert_eq!(own["role"], "operator");
    assert_eq!(own["config"]["colour"], "green");
    let status = yard.status("kit");
    assert_eq!((status.calls, status.calls_failed), (2, 0));
    let info = yard.host.method("kit/echo", None, 1).unwrap();
    assert_eq!((info.plugin.as_str(), info.ready), ("kit", true));
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_declares_is_not_found_and_a_fault_arrives_whole() {
    let yard = Yard::ready(&["good"]).await;
    let fault = yard.call("dance", Value::Null).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotFound);
    let own = Fault::new(FaultKind::Conflict, "it is busy").with_hint("wait");
    let answer = yard.call("fault", json!({ "fault": own })).await;
    assert_eq!(answer, Err(own));
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_hangs_costs_its_callers_their_deadline_and_no_more() {
    let mut manifest = manifest(&["good"]);
    manifest["methods"][0]["timeout_ms"] = 60_000.into();
    manifest["limits"]["call_ms"] = 200.into();
    let yard = Yard::new(&[manifest]);
    yard.until("kit", State::Ready).await;
    let fault = yard.call("hang", Value::Null).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Timeout, "{fault}");
    assert_eq!(yard.call("echo", json!(1)).await, Ok(json!(1)));
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_after_the_deadline_is_nobodys() {
    let mut manifest = manifest(&["late", "30"]);
    manifest["limits"]["call_ms"] = 50.into();
    let yard = Yard::new(&[manifest]);
    yard.until("kit", State::Ready).await;
    for _ in 0..5 {
        let fault = yard.call("echo", Value::Null).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Timeout);
    }
    let status = yard.status("kit");
    assert_eq!((status.state, status.restarts, status.calls_failed), (State::Ready, 0, 5));
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_away_cancels_the_call_in_the_plugin() {
    let mut manifest = manifest(&["good"]);
    manifest["limits"]["calls"] = 1.into();
    manifest["methods"][1]["timeout_ms"] = 3_600_000.into();
    let yard = Yard::new(&[manifest]);
    yard.until("kit", State::Ready).await;
    let sleep = yard.call("sleep", json!({ "ms": 3_000_000 }));
    assert!(timeout(Duration::from_millis(100), sleep).await.is_err());
    // The plugin works on one call at a time, so an answer says that the sleep was cut short.
    assert_eq!(yard.call("echo", json!(2)).await, Ok(json!(2)));
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_places_are_refused_with_a_time_to_come_back() {
    let mut manifest = manifest(&["hang"]);
    manifest["limits"]["calls"] = 2.into();
    let yard = Yard::new(&[manifest]);
    yard.until("kit", State::Ready).await;
    let mut held: Vec<_> = (0..4).map(|_| Box::pin(yard.call("echo", Value::Null))).collect();
    for call in &mut held {
        assert!(timeout(Duration::from_millis(20), call).await.is_err());
    }
    let fault = yard.call("echo", Value::Null).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooMany);
    assert!(fault.retry_after_ms.is_some());
    held.pop();
    let fifth = timeout(Duration::from_millis(20), yard.call("echo", Value::Null)).await;
    assert!(fifth.is_err(), "it waits, since there is a place again");
    drop(held);
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_beyond_the_plugins_line_are_refused() {
    let mut manifest = manifest(&["good"]);
    manifest["limits"]["line_bytes"] = 2048.into();
    let yard = Yard::new(&[manifest]);
    yard.until("kit", State::Ready).await;
    let fault = yard.call("echo", json!("x".repeat(4096))).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooLarge);
    assert_eq!(yard.call("echo", json!("x")).await, Ok(json!("x")));
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_plugin_dies_is_answered_and_the_next_one_after_the_restart() {
    let yard = Yard::ready(&["good"]).await;
    let pid = yard.status("kit").pid;
    let fault = yard.call("exit", json!({ "code": 3 })).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert!(fault.retry_after_ms.is_some());
    let status = eventually("a new process", || {
        Some(yard.status("kit")).filter(|now| now.state == State::Ready && now.restarts > 0)
    })
    .await;
    assert_eq!((status.restarts, status.pid == pid), (1, false));
    assert_eq!(yard.call("echo", json!(1)).await, Ok(json!(1)));
    assert!(yard.events("plugin.state").await.iter().any(|event| {
        event.priority.number() == 4 && event.message.contains("exited with status 3")
    }));
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_down_is_said_to_be_down_at_once() {
    let yard = Yard::ready(&["good"]).await;
    let stopped = yard.host.control("kit", Verb::Stop).await.unwrap();
    assert_eq!((stopped.state, stopped.pid), (State::Inactive, None));
    let fault = yard.call("echo", Value::Null).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert!(fault.hint.unwrap().contains("plugins start kit"));
    let started = yard.host.control("kit", Verb::Start).await.unwrap();
    assert_eq!(started.state, State::Ready);
    assert_eq!(yard.call("echo", json!(1)).await, Ok(json!(1)));
    yard.end().await;
}
