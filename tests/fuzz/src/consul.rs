//! What Consul's clients send.

use sysadmd::config;
use sysadmd::dispatch::consul::{Filters, Node, UserEvent};
use sysadmd::wire::consul::{self, Asked, ConsulEvent, Method, Shown};

use crate::{line_and_rest, utf8};

/// A path with its query, and behind a line end an `Authorization` header.
pub fn consul_request(data: &[u8]) {
    let (target, header) = line_and_rest(data);
    let (Some(target), Some(header)) = (utf8(target), utf8(header)) else { return };
    if consul::takes_gzip(header) {
        assert!(header.contains('*') || header.to_ascii_lowercase().contains("gzip"));
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    for (method, word) in [(Method::Put, "PUT"), (Method::Get, "GET"), (Method::Head, "HEAD")] {
        match consul::read((method, word), path, query) {
            Ok((asked, query)) => {
                check(&asked);
                if let Shown::Token(token) = consul::shown(&query, None, Some(header)) {
                    assert!(!token.is_empty() && token.trim() == token);
                }
            }
            Err(reply) => {
                assert!(matches!(reply.status, 200 | 301 | 400 | 404 | 405 | 500));
                let location = reply.location.unwrap_or_else(|| "/".to_owned());
                assert!(location.starts_with('/') && !location.starts_with("//"), "{location}");
                assert!(!location.contains(['\r', '\n']), "{location}");
            }
        }
    }
}

fn check(asked: &Asked) {
    match asked {
        Asked::Fire { name } => assert!(!name.contains(char::is_control), "{name:?}"),
        Asked::List { wait: Some((index, wait)), .. } => {
            assert!(*index > 0 && (1..=600_000_000_000).contains(&wait.as_nanos()));
        }
        Asked::List { .. } | Asked::AgentSelf => {}
    }
}

/// An expression, and behind a line end a text to look in.
pub fn consul_pattern(data: &[u8]) {
    let (pattern, text) = line_and_rest(data);
    let (Some(pattern), Some(text)) = (utf8(pattern), utf8(text)) else { return };
    let node = Node { name: text.to_owned(), services: Vec::new() };
    match Filters::new(pattern, "", "") {
        Ok(filters) => {
            let covers = filters.cover(&node);
            assert!(covers || !pattern.is_empty());
        }
        Err(why) => assert!(why.starts_with("Invalid node filter: error parsing regexp: ")),
    }
}

/// An event, as `consul/fire` takes it and as clients read it.
pub fn consul_event(data: &[u8]) {
    if let Ok(event) = serde_json::from_slice::<UserEvent>(data)
        && event.check(&config::Consul::default()).is_ok()
    {
        assert!(event.subject().len() <= 8 + 512 && !event.subject().contains("/../"));
        let seen = ConsulEvent::new(uuid::Uuid::nil(), event.clone(), 7);
        let wire = consul::object(&seen);
        let again: ConsulEvent = serde_json::from_slice(&wire).unwrap();
        assert_eq!(consul::object(&again), wire);
        assert_eq!(again.event(), event);
        let pretty = consul::pretty(&wire);
        assert_eq!(serde_json::from_slice::<ConsulEvent>(&pretty).unwrap(), seen);
    }
}
