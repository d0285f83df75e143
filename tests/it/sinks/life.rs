//! What a sink gets, and what an administrator can do with it.

use kit::receiver::{Act, Receiver};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::sleep;

use super::{SOON, numbers, said, site, status, ticks, until_taken};
use crate::harness::{Site, until};

#[tokio::test]
async fn every_wanted_event_comes_once_and_in_order_in_every_mode() {
    for (mode, kind) in [
        ("structured", "application/cloudevents+json"),
        ("binary", "application/json"),
        ("batch", "application/cloudevents-batch+json"),
    ] {
        let receiver = Receiver::start(None);
        let mut site = site(&receiver, &format!("mode = \"{mode}\"\nmin_priority = 0\n"));
        let token = site.path().join("token");
        std::fs::write(&token, " canary-in-token\n").unwrap();
        let line = format!("token_file = {:?}\n", token.display().to_string());
        site.settings.push_str(&line);
        let running = site.start().await;
        let mut admin = running.admin().await;
        ticks(&mut admin, 0..30).await;
        until(mode, async || receiver.received().len() >= 30 || mode == "batch").await;
        if mode == "binary" {
            let all = receiver.received();
            let got: Vec<u64> = all
                .iter()
                .map(|it| {
                    let data: Value = serde_json::from_str(&it.body).unwrap();
                    data["data"]["n"].as_u64().unwrap()
                })
                .collect();
            assert_eq!(got, (0..30).collect::<Vec<u64>>());
            assert!(all.iter().all(|it| it.header("ce-type") == Some("user.tick")));
            assert_eq!(all[0].header("ce-specversion"), Some("1.0"));
        } else {
            until_taken(&receiver, 29).await;
            assert_eq!(numbers(&receiver.taken()), (0..30).collect::<Vec<u64>>(), "{mode}");
        }
        for received in receiver.received() {
            assert_eq!(received.header("Content-Type"), Some(kind), "{received:?}");
            assert_eq!(received.header("Authorization"), Some("Bearer canary-in-token"));
            assert!(received.head.starts_with("POST /in?key=canary-in-url HTTP/1.1\r\n"));
        }
        until("all are counted", async || status(&mut admin).await["delivered"] == 30).await;
        let shown = status(&mut admin).await;
        assert_eq!(shown["state"], "running");
        assert!(!shown.to_string().contains("canary"), "{shown}");
        assert_eq!(said(&mut admin).await, Vec::<String>::new());
        drop(admin);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_sink_goes_on_where_it_was_and_a_new_one_begins_as_it_says() {
    let receiver = Receiver::start(None);
    let mut running = site(&receiver, "from = \"oldest\"").start().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 0..5).await;
    until_taken(&receiver, 4).await;
    running.site.settings = running.site.settings.replace("sinks.out", "sinks.new");
    drop(admin);
    let running = running.restart().await;
    until("the new one has the old events", async || receiver.taken().len() == 10).await;
    let mut running = running;
    running.site.settings = running.site.settings.replace("sinks.new", "sinks.out");
    let running = running.restart().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 5..6).await;
    until_taken(&receiver, 5).await;
    assert_eq!(receiver.taken().len(), 11, "nothing is repeated after a restart");
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn whoever_is_paused_gets_nothing_until_it_is_resumed_also_after_a_restart() {
    let receiver = Receiver::start(None);
    let running = site(&receiver, "").start().await;
    let mut admin = running.admin().await;
    let order = |action: &str| json!({"action": action, "name": "out"});
    let paused = admin.call("rpc", "sinks", order("pause")).await.unwrap();
    assert_eq!(paused["sink"]["state"], "paused");
    ticks(&mut admin, 0..3).await;
    drop(admin);
    let running = running.restart().await;
    sleep(SOON).await;
    assert_eq!(receiver.taken(), Vec::<String>::new());
    let mut admin = running.admin().await;
    assert_eq!(status(&mut admin).await["state"], "paused");
    let tested = admin.call("rpc", "sinks", order("test")).await.unwrap();
    assert_eq!((&tested["test"]["status"], &tested["test"]["sink"]), (&json!(204), &json!("out")));
    assert!(receiver.taken()[0].contains("cloudevents.test"));
    admin.call("rpc", "sinks", order("resume")).await.unwrap();
    until_taken(&receiver, 2).await;
    assert_eq!(numbers(&receiver.taken()), [0, 1, 2]);
    let unknown = json!({"action": "pause", "name": "none"});
    assert_eq!(admin.call("rpc", "sinks", unknown).await.unwrap_err()["code"], "404");
    let mut viewer = running.remote(&running.token("viewer").await).await;
    assert!(viewer.call("rpc", "sinks", json!({"action": "list"})).await.is_ok());
    assert_eq!(viewer.call("rpc", "sinks", order("pause")).await.unwrap_err()["code"], "403");
    drop((admin, viewer));
    running.stop().await;
}

#[tokio::test]
async fn the_command_line_shows_and_tries_sinks() {
    let receiver = Receiver::start(None);
    let running = site(&receiver, "").start().await;
    for (args, expected) in [
        ("list", "running"),
        ("test out", "204"),
        ("pause out", "paused"),
        ("resume out", "running"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sysadmctl"));
        let socket = running.socket.clone();
        command.arg("--socket").arg(socket).arg("sinks").args(args.split(' '));
        let output = command.output().await.unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && out.contains(expected), "{args}: {out}");
        assert!(!out.contains("canary"), "{out}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_certificate_is_judged_by_the_authorities_that_are_named() {
    let pair = KeyPair::generate().unwrap();
    let made = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let made = made.self_signed(&pair).unwrap();
    let key = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
    let tls = ServerConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], key)
        .unwrap();
    let receiver = Receiver::start(Some(tls));
    let mut site = Site::new();
    let authority = site.path().join("ca.pem");
    std::fs::write(&authority, made.pem()).unwrap();
    let url = format!("https://{}/in", receiver.addr);
    site.settings = format!(
        "[sinks.good]\nurl = \"{url}\"\nclasses = [\"user.*\"]\nca_file = {:?}\n\
         [sinks.bad]\nurl = \"{url}\"\nclasses = [\"user.*\"]\nretry_max_s = 1\n\
         [sinks.without]\nurl = \"{url}\"\nclasses = [\"user.*\"]\nca_file = \"/none\"\n",
        authority.display().to_string()
    );
    let running = site.start().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 0..2).await;
    until_taken(&receiver, 1).await;
    assert_eq!(numbers(&receiver.taken()), [0, 1], "only one of them is believed");
    until("the others say why not", async || {
        let answer = admin.call("rpc", "sinks", json!({"action": "list"})).await.unwrap();
        let trouble =
            |place: usize| answer["sinks"][place]["trouble"].as_str().unwrap_or("").to_owned();
        trouble(0).contains("ssuer") && trouble(2).contains("/none")
    })
    .await;
    drop(admin);
    running.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_for_good_is_left_alone_until_it_is_resumed() {
    let receiver = Receiver::start(None);
    receiver.plan([Act::Answer(410, "")]);
    let running = site(&receiver, "").start().await;
    let mut admin = running.admin().await;
    ticks(&mut admin, 0..3).await;
    until("it is retired", async || status(&mut admin).await["state"] == "retired").await;
    until("it is said", async || said(&mut admin).await == ["sink.retired"]).await;
    drop(admin);
    let running = running.restart().await;
    sleep(SOON).await;
    assert_eq!(receiver.received().len(), 1);
    let mut admin = running.admin().await;
    admin.call("rpc", "sinks", json!({"action": "resume", "name": "out"})).await.unwrap();
    until_taken(&receiver, 2).await;
    assert_eq!(numbers(&receiver.taken()), [0, 1, 2], "nothing is lost");
    drop(admin);
    running.stop().await;
}
