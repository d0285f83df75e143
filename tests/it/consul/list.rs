//! Lists: which events, in which order, under which index.

use serde_json::Value;

use super::talk::{ask, fire, index_of, list, names, site};
use crate::harness::Site;
use crate::http;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_in_the_order_of_the_log_and_ends_with_its_index() {
    let running = Site::new().start().await;
    assert_eq!(list(&running, "").await, (Vec::new(), 1));
    let mut fired = Vec::new();
    for (name, body) in [("foo", "1"), ("bar", "2"), ("foo", "3"), ("foo", "4"), ("bar", "5")] {
        fired.push(fire(&running, name, body).await);
    }
    let (all, index) = list(&running, "").await;
    let ids = |events: &[Value]| events.iter().map(|e| e["ID"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&all), ids(&fired));
    assert_eq!(index, index_of(&fired[4]));
    assert!(all.windows(2).all(|two| index_of(&two[0]) < index_of(&two[1])));
    assert!(all.windows(2).all(|two| two[0]["LTime"].as_u64() < two[1]["LTime"].as_u64()));
    assert!(all[0]["LTime"].as_u64() > Some(0));
    let (foos, index) = list(&running, "name=foo").await;
    assert_eq!(ids(&foos), ids(&[&fired[0], &fired[2], &fired[3]].map(Clone::clone)));
    assert_eq!(index, index_of(&fired[3]));
    let reply = ask(&running, "GET", "/v1/event/list?pretty", "").await;
    assert!(reply.body.starts_with("[\n    {\n        \"ID\": ") && reply.body.ends_with("]\n"));
    assert_eq!(reply.json().as_array().unwrap().len(), 5);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_256_newest_are_there_also_after_a_restart() {
    let running = Site::new().start().await;
    let mut admin = running.admin().await;
    for n in 0..300 {
        let args = serde_json::json!({"name": if n % 2 == 0 { "even" } else { "odd" },
            "payload": base64_of(&format!("{n}"))});
        admin.call("consul", "fire", args).await.unwrap();
        if n == 100 {
            assert_eq!(list(&running, "").await.0.len(), 101, "and it is brought up to date");
        }
    }
    admin.close().await;
    let (all, index) = list(&running, "").await;
    assert_eq!(all.len(), 256);
    assert_eq!(all[0]["Payload"], base64_of("44").as_str());
    assert_eq!(all[255]["Payload"], base64_of("299").as_str());
    let (even, even_index) = list(&running, "name=even").await;
    assert_eq!(even.len(), 150, "as many of one name as there are");
    let running = running.restart().await;
    assert_eq!(list(&running, "").await, (all, index));
    assert_eq!(list(&running, "name=even").await, (even, even_index));
    let next = fire(&running, "odd", "").await;
    assert!(index_of(&next) > index);
    running.stop().await;
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_listed_where_its_filters_let_this_node_through() {
    let settings = "[consul]\nnode_name = \"Node-1\"\ndatacenter = \"north\"\n\
        services = [{ id = \"mysql\", tags = [\"primary\", \"foo\"] }, { id = \"web\" }]\n";
    let running = site(settings).start().await;
    for (filters, meant) in [
        ("", true),
        ("node=^Node", true),
        ("node=foobar", false),
        ("service=.*sql", true),
        ("service=foobar", false),
        ("service=.*sql&tag=replica", false),
        ("service=.*sql&tag=primary", true),
        ("service=web&tag=primary", false),
        ("dc=north", true),
    ] {
        let name = format!("f{}", filters.len());
        fire(&running, &format!("{name}?{filters}"), "").await;
        let (found, _) = list(&running, &format!("name={name}")).await;
        assert_eq!(!found.is_empty(), meant, "{filters}");
        let (asked, index) = list(&running, &format!("name=f0&{filters}")).await;
        assert_eq!(!asked.is_empty(), meant, "the same filters of a list: {filters}");
        assert!(meant || index == 1);
    }
    for bad in ["node=(", "tag=x"] {
        let reply = ask(&running, "GET", &format!("/v1/event/list?{bad}"), "").await;
        assert_eq!(reply.status, 400, "{reply:?}");
    }
    let reply = ask(&running, "GET", "/v1/agent/self", "").await;
    let config = &reply.json()["Config"];
    assert_eq!((&config["NodeName"], &config["Datacenter"]), (&"Node-1".into(), &"north".into()));
    let (found, _) = list(&running, "").await;
    assert!(names(&found).iter().all(|name| !name.is_empty()));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_and_paths_that_are_not_there_say_so() {
    let running = Site::new().start().await;
    for method in ["PUT", "POST", "HEAD", "DELETE"] {
        let reply = ask(&running, method, "/v1/event/list", "").await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("OPTIONS,GET")), "{method}");
    }
    assert_eq!(ask(&running, "OPTIONS", "/v1/event/list", "").await.status, 200);
    for path in ["/v1/event/list/", "/v1/event/", "/v1", "/v1/", "/v1/agent/members"] {
        assert_eq!(ask(&running, "GET", path, "").await.status, 404, "{path}");
    }
    let reply = ask(&running, "GET", "/v1/event/list?a=%zz", "").await;
    assert_eq!((reply.status, reply.body.as_str()), (500, ""));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_gzip_gets_it_and_nobody_else() {
    let running = Site::new().start().await;
    fire(&running, "packed", &"x".repeat(5_000)).await;
    let plain = ask(&running, "GET", "/v1/event/list?name=packed", "").await;
    assert_eq!(plain.header("content-encoding"), None);
    let get = async |path: &str, wishes: &str| {
        let wish = format!("Accept-Encoding: {wishes}");
        let request = http::request("GET", path, &[wish], "");
        let stream = tokio::net::UnixStream::connect(&running.socket).await.expect("a connection");
        unpacked(&http::bytes_over(stream, &request).await)
    };
    for (path, same) in [
        ("/v1/event/list?name=packed", Some(&plain)),
        ("/v1/event/list?name=packed&pretty", None),
        ("/v1/event/list?name=nobody", None),
        ("/v1/agent/self", None),
    ] {
        let (head, body) = get(path, "deflate, gzip;q=0.5").await;
        assert!(head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"));
        serde_json::from_str::<Value>(&body).expect("JSON");
        assert!(same.is_none_or(|same| same.body == body), "{path}");
        let (again, _) = get(path, "identity, gzip;q=0").await;
        assert!(!again.contains("content-encoding"), "{path}: {again}");
    }
    running.stop().await;
}

/// The head in lower case, and the body without gzip, if it had it.
fn unpacked(answer: &[u8]) -> (String, String) {
    use std::io::Read as _;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let mut body = String::new();
    let mut rest = &answer[end + 4..];
    if head.contains("content-encoding: gzip") {
        flate2::read::GzDecoder::new(rest).read_to_string(&mut body).expect("gzip");
    } else {
        rest.read_to_string(&mut body).expect("text");
    }
    (head, body)
}
