//! User events of Consul's clients among all others, and the list of them as a way out.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::client::SysAdmClient;
use serde_json::{Value, json};

use super::Who;
use crate::chance::Chance;
use crate::harness::Running;
use crate::http;

/// Their class; the subject is `/consul/NAME`.
pub(super) const CLASS: &str = "consul.event";
/// How many are fired while the others are published.
const FIRED: usize = 2_000;
/// Under way at once.
const AT_ONCE: usize = 32;
/// The newest of a list.
const LISTED: usize = 256;
const NAMES: [&str; 6] = ["tank/home", "tank", "tanker", "pool", "pool/a", "other"];

/// What was fired: number in the log, name, payload.
pub(super) type Fired = Vec<(u64, &'static str, String)>;

pub(super) fn subject(name: &str) -> String {
    format!("/consul/{name}")
}

/// Fires them all, several at once.
pub(super) async fn fire(mut admin: SysAdmClient, mut chance: Chance) -> Fired {
    let (mut fired, mut under_way) = (Fired::new(), VecDeque::new());
    for number in 0..FIRED {
        let name = NAMES[usize::try_from(chance.below(NAMES.len() as u64)).expect("small")];
        let payload = STANDARD.encode(number.to_string());
        let id = admin.send("consul", "fire", json!({"name": name, "payload": payload})).await;
        under_way.push_back((id, name, payload));
        if under_way.len() == AT_ONCE || number + 1 == FIRED {
            for (id, name, payload) in under_way.drain(..) {
                let receipt = admin.answer(&id).await.expect("it is fired");
                fired.push((receipt["seq"].as_u64().expect("a number"), name, payload));
            }
        }
    }
    fired.sort_unstable_by_key(|(seq, ..)| *seq);
    admin.close().await;
    fired
}

/// The list of all names, and of each: exactly the newest that are for them.
pub(super) async fn check_lists(at: &Running, token: &str, who: Who, fired: &Fired) {
    for wanted in std::iter::once(None).chain(NAMES.map(Some)) {
        let path = match wanted {
            Some(name) => format!("/v1/event/list?name={}", name.replace('/', "%2F")),
            None => "/v1/event/list".to_owned(),
        };
        let shown = [format!("X-Consul-Token: {token}")];
        let reply = http::over_tls(at.tls(), &http::request("GET", &path, &shown, "")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let listed = reply.json();
        let text = |event: &Value, name: &str| event[name].as_str().expect("a text").to_owned();
        let listed: Vec<(String, String)> = listed
            .as_array()
            .expect("a list")
            .iter()
            .map(|event| (text(event, "Name"), text(event, "Payload")))
            .collect();
        for (name, _) in &listed {
            assert!(who.hears(CLASS, &subject(name)), "LEAK to {who:?} by Consul's list: {name}");
        }
        let is_for = |name: &str| who.hears(CLASS, &subject(name));
        let wants = |name: &str| wanted.is_none_or(|wanted| wanted == name);
        let all = fired.iter().filter(|(_, name, _)| wants(name) && is_for(name));
        let all: Vec<(String, String)> =
            all.map(|(_, name, payload)| ((*name).to_owned(), payload.clone())).collect();
        assert_eq!(listed, all[all.len().saturating_sub(LISTED)..], "{who:?} {wanted:?}");
    }
}
