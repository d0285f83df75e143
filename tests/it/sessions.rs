//! What a login is worth when its connection is gone, and what is left of it when it is revoked.

use std::time::Duration;

use kit::client::{Came, SysAdmClient};
use protocol::Time;
use serde_json::{Value, json};
use sysadmd::clock::Clock;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::harness::{Door, PATIENCE, Running, Site, until};

/// How long whoever is revoked may go on.
const CUT_WITHIN: Duration = Duration::from_secs(1);

/// Logs in with this; the session token.
async fn login(client: &mut SysAdmClient, secret: &str) -> Result<String, Value> {
    let answer = client.call("rpc", "auth_token", json!({"token": secret})).await?;
    Ok(answer[0].as_str().unwrap().to_owned())
}

/// A session over TLS, whose connection is gone again.
async fn session(door: &Door, token: &str) -> String {
    login(&mut door.anonymous().await, token).await.expect("a session")
}

async fn is_good(door: &Door, session: &str) -> bool {
    match login(&mut door.anonymous().await, session).await {
        Ok(again) => {
            assert_eq!(again, session);
            true
        }
        Err(refusal) => {
            assert!(refusal["code"] == "401" || refusal["code"] == "429", "{refusal}");
            false
        }
    }
}

async fn sessions(door: &Door) -> Vec<Value> {
    let listed = door.admin().await.call("rpc", "sessions", json!({"action": "list"})).await;
    listed.unwrap()["sessions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_session_outlives_the_daemon_but_not_its_token() {
    let running = Site::new().start().await;
    let made = running.make_token(json!({"name": "t", "role": "operator"})).await;
    let one = session(&running, made["token"].as_str().unwrap()).await;
    let running = running.restart().await;
    let mut client = running.remote(&one).await;
    let hello = client.call("rpc", "hello", json!({})).await.unwrap();
    assert_eq!(hello["principal"], json!({"name": "token:t", "role": "operator"}));
    let program = {
        drop(client);
        running.stop().await.spawn().await
    };
    assert!(is_good(&program, &one).await);
    let running = program.kill().await.start().await;
    assert!(is_good(&running, &one).await, "also when the daemon was killed");
    let revoke = json!({"action": "revoke", "id": made["id"]});
    running.admin().await.call("rpc", "tokens", revoke).await.unwrap();
    assert!(!is_good(&running, &one).await);
    let running = running.restart().await;
    assert!(!is_good(&running, &one).await, "what is revoked stays revoked");
    running.stop().await;
}

#[tokio::test]
async fn a_session_is_worth_nothing_from_elsewhere() {
    let running = Site::new().start().await;
    let token = running.token("viewer").await;
    let by_tcp = session(&running, &token).await;
    let by_unix = login(&mut running.admin().await, &token).await.unwrap();
    assert_eq!(login(&mut running.admin().await, &by_tcp).await.unwrap_err()["code"], "401");
    assert!(!is_good(&running, &by_unix).await);
    assert!(is_good(&running, &by_tcp).await);
    assert_eq!(login(&mut running.admin().await, &by_unix).await.unwrap(), by_unix);
    let peers = sessions(&running).await;
    let peers: Vec<&str> = peers.iter().map(|it| it["peer"].as_str().unwrap()).collect();
    let uid = format!("uid:{}", nix::unistd::geteuid());
    assert_eq!(peers, ["127.0.0.1", &uid]);
    running.stop().await;
}

#[tokio::test]
async fn a_session_ends_after_a_quarter_of_an_hour_of_silence() {
    let mut site = Site::new();
    let clock = Clock::fake(Time::from_micros(1_800_000_000_000_000));
    site.clock = clock.clone();
    let mut running = site.start().await;
    let token = running.token("viewer").await;
    let (used, silent) = (session(&running, &token).await, session(&running, &token).await);
    assert_eq!(sessions(&running).await.len(), 2);
    clock.advance(Duration::from_mins(10));
    assert!(is_good(&running, &used).await);
    // A restart is no use of it.
    running = running.restart().await;
    clock.advance(Duration::from_secs(301));
    assert!(!is_good(&running, &silent).await);
    assert!(is_good(&running, &used).await);
    assert_eq!(sessions(&running).await.len(), 1);
    clock.advance(Duration::from_secs(901));
    assert!(!is_good(&running, &used).await);
    assert_eq!(sessions(&running).await, Vec::<Value>::new());
    running.stop().await;
}

#[tokio::test]
async fn rotating_a_token_leaves_its_sessions_to_whoever_has_the_new_one() {
    let running = Site::new().start().await;
    let made = running.make_token(json!({"name": "t", "role": "viewer"})).await;
    let old = session(&running, made["token"].as_str().unwrap()).await;
    let mut live = running.remote(&old).await;
    let rotate = json!({"action": "rotate", "id": made["id"]});
    let rotated = running.admin().await.call("rpc", "tokens", rotate).await.unwrap();
    assert_eq!(live.closed().await.0, 4001);
    assert!(!is_good(&running, &old).await, "it was begun with the old secret");
    let new = session(&running, rotated["token"].as_str().unwrap()).await;
    assert!(is_good(&running, &new).await);
    drop(live);
    running.stop().await;
}

/// Fires one event after the other until told to stop.
async fn fire_on(running: &Running) -> (oneshot::Sender<()>, JoinHandle<u64>) {
    let mut admin = running.admin().await;
    let (stop, mut stopped) = oneshot::channel();
    let firing = Handle::current().spawn(async move {
        let mut fired = 0;
        while stopped.try_recv().is_err() {
            admin.call("events", "fire", json!({"class": "user.tick"})).await.unwrap();
            fired += 1;
        }
        fired
    });
    (stop, firing)
}

#[tokio::test]
async fn whoever_is_revoked_hears_nothing_more() {
    let running = Site::new().start().await;
    let made = running.make_token(json!({"name": "t", "role": "viewer"})).await;
    let token = made["token"].as_str().unwrap();
    let (stop, firing) = fire_on(&running).await;
    for how in ["session", "rotate", "revoke"] {
        let mut client = match how {
            "revoke" => running.remote(&running.token("viewer").await).await,
            _ => running.remote(token).await,
        };
        client.subscribe(json!({"sub": "s", "filter": {"classes": ["user.*"]}})).await.unwrap();
        client.events(3).await;
        let mut admin = running.admin().await;
        let (name, args) = match how {
            "session" => {
                let listed = sessions(&running).await;
                ("sessions", json!({"action": "revoke", "id": listed.last().unwrap()["id"]}))
            }
            "rotate" => ("tokens", json!({"action": "rotate", "id": made["id"]})),
            _ => {
                let listed = admin.call("rpc", "tokens", json!({"action": "list"})).await.unwrap();
                let tokens = listed["tokens"].as_array().unwrap();
                let newest = tokens.iter().find(|token| token["name"] == "viewer").unwrap();
                ("tokens", json!({"action": "revoke", "id": newest["id"]}))
            }
        };
        admin.call("rpc", name, args).await.expect("it is revoked");
        sleep(CUT_WITHIN).await;
        let late = admin.call("events", "fire", json!({"class": "user.late"})).await.unwrap();
        let mut last = 0;
        let (code, _) = loop {
            match client.came_within(PATIENCE).await.expect("the end comes") {
                Came::Closed(code, reason) => break (code, reason),
                Came::Message(message) => {
                    last = last.max(message["args"]["seq"].as_u64().unwrap_or_default());
                }
            }
        };
        assert_eq!(code, 4001, "{how}");
        assert!(last < late["seq"].as_u64().unwrap(), "{how}: an event came a second later");
        let after = client.came_within(Duration::from_millis(50)).await;
        assert!(!matches!(after, Some(Came::Message(_))), "{how}: {after:?}");
    }
    stop.send(()).unwrap();
    assert!(firing.await.unwrap() > 9);
    running.stop().await;
}

#[tokio::test]
async fn logging_out_ends_whatever_else_is_connected_by_the_session() {
    let running = Site::new().start().await;
    let token = running.token("viewer").await;
    let mut first = running.anonymous().await;
    let session = login(&mut first, &token).await.unwrap();
    let mut second = running.remote(&session).await;
    let mut other = running.remote(&token).await;
    second.subscribe(json!({"sub": "s"})).await.unwrap();
    first.send("rpc", "auth_clear", json!("")).await;
    assert_eq!(second.closed().await, (4001, "the login was revoked".to_owned()));
    assert!(!is_good(&running, &session).await);
    assert!(other.call("rpc", "query", json!("")).await.is_ok(), "another session goes on");
    assert_eq!(first.call("rpc", "query", json!("")).await.unwrap_err()["code"], "401");
    login(&mut first, &token).await.expect("the connection itself may be used again");
    drop((first, second, other));
    running.stop().await;
}

#[tokio::test]
async fn a_session_is_good_as_long_as_its_connection_and_a_while_longer() {
    let mut site = Site::new();
    let clock = Clock::fake(Time::from_micros(1_800_000_000_000_000));
    site.clock = clock.clone();
    site.settings = "[limits]\nping_s = 1\n".to_owned();
    let running = site.start().await;
    let token = running.token("viewer").await;
    let mut client = running.anonymous().await;
    let one = login(&mut client, &token).await.unwrap();
    let used = async || sessions(&running).await.first().map(|told| told["used"].clone());
    let mut last = used().await;
    for _ in 0..4 {
        clock.advance(Duration::from_mins(6));
        until("its use is noted", async || {
            // Only to read what comes, such as pings.
            client.came_within(Duration::from_millis(50)).await;
            let now = used().await;
            now.is_some() && std::mem::replace(&mut last, now.clone()) != now
        })
        .await;
    }
    clock.advance(Duration::from_mins(4));
    client.close().await;
    until("the end of its connection is noted", async || used().await != last).await;
    clock.advance(Duration::from_mins(14));
    let running = running.restart().await;
    assert!(is_good(&running, &one).await, "after 42 minutes of which it was silent for 14");
    running.stop().await;
}

#[tokio::test]
async fn sessions_are_listed_and_revoked_by_name_without_their_secret() {
    let running = Site::new().start().await;
    let token = running.token("viewer").await;
    let (one, other) = (session(&running, &token).await, session(&running, &token).await);
    let listed = sessions(&running).await;
    assert_eq!(listed.len(), 2);
    for told in &listed {
        assert!(told["who"].as_str().unwrap().starts_with("token "), "{told}");
        assert!(told["created"].is_string() && told["used"].is_string());
        let text = told.to_string();
        assert!(!text.contains(&one) && !text.contains(&other) && !text.contains(&token));
    }
    let mut admin = running.admin().await;
    let revoke = |args: Value| json!({"action": "revoke", "id": args});
    let ended = admin.call("rpc", "sessions", revoke(listed[0]["id"].clone())).await.unwrap();
    assert_eq!(ended, json!({"revoked": 1}));
    let good = [is_good(&running, &one).await, is_good(&running, &other).await];
    assert_eq!(good.iter().filter(|good| **good).count(), 1, "only the one");
    let ended = admin.call("rpc", "sessions", revoke(json!("nonsense"))).await.unwrap();
    assert_eq!(ended, json!({"revoked": 0}));
    let nobody = admin.call("rpc", "sessions", json!({"action": "revoke"})).await.unwrap_err();
    assert_eq!(nobody["code"], "400");
    drop(admin);
    running.stop().await;
}
