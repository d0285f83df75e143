//! Nobody's death loses or repeats an event: the daemon, a plugin and clients are killed at random
//! moments, 200 times in all, while several clients and a plugin fire events.
//!
//! `SYSADMD_TEST_ROUNDS` multiplies the rounds, for a night of it.

mod crew;
mod ledger;
mod reader;
mod tail;
mod writer;

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::chance::Chance;
use crate::harness::{Door, Site, binary, until};

use crew::Crew;
use reader::Manner;
use tail::Tails;

const DAEMON_ROUNDS: u64 = 80;
const PLUGIN_ROUNDS: u64 = 60;
const CLIENT_ROUNDS: u64 = 60;

#[tokio::test]
async fn the_daemon_may_be_killed_at_any_moment() {
    let mut chance = Chance::new();
    let mut program = site().spawn().await;
    let mut crew = Crew::new(program.socket.clone(), &mut chance);
    crew.write(3);
    for manner in [Manner::Steady, Manner::Nervous, Manner::Sleepy] {
        crew.read(manner, json!({}));
    }
    crew.read(Manner::Sleepy, json!({"source": "kit"}));
    crew.read(Manner::Nervous, json!({"min_priority": 6}));
    for _ in 0..rounds(DAEMON_ROUNDS) {
        sleep(chance.millis(150)).await;
        let site = program.kill().await;
        if chance.one_in(4) {
            kill_while_it_starts(&site, chance.millis(80)).await;
        }
        program = site.spawn().await;
        crew.look();
    }
    crew.finish(&program).await;
    program.stop().await;
}

#[tokio::test]
async fn a_plugin_may_be_killed_at_any_moment() {
    let mut chance = Chance::new();
    let program = site().spawn().await;
    let mut crew = Crew::new(program.socket.clone(), &mut chance);
    crew.write(1);
    crew.read(Manner::Steady, json!({}));
    crew.read(Manner::Nervous, json!({"source": "kit"}));
    let mut killed = 0;
    for _ in 0..rounds(PLUGIN_ROUNDS) {
        killed = plugin_after(&program, killed).await;
        sleep(chance.millis(60)).await;
        kill(Pid::from_raw(killed), Signal::SIGKILL).expect("the plugin's process is there");
        crew.look();
    }
    plugin_after(&program, killed).await;
    let log = crew.finish(&program).await;
    let deaths = log.iter().filter(|event| event["data"]["to"] == "failed").count();
    assert_eq!(deaths as u64, rounds(PLUGIN_ROUNDS), "every death is on record");
    program.stop().await;
}

#[tokio::test]
async fn clients_may_be_killed_at_any_moment() {
    let mut chance = Chance::new();
    let program = site().spawn().await;
    let mut crew = Crew::new(program.socket.clone(), &mut chance);
    crew.write(2);
    for _ in 0..3 {
        crew.read(Manner::Nervous, json!({}));
    }
    crew.read(Manner::Sleepy, json!({"classes": ["user.*"]}));
    let mut tails = Tails::new(&program.socket, program.site().path());
    for _ in 0..rounds(CLIENT_ROUNDS) {
        tails.run_and_kill(chance.millis(120)).await;
        crew.look();
    }
    let log = crew.finish(&program).await;
    tails.finish(&log).await;
    program.stop().await;
}

/// A place with the kit's plugin, which may die as often as it wants.
fn site() -> Site {
    let mut manifest = kit::plugins::manifest("kit", &["good"]);
    manifest["restart"] =
        json!({"backoff_min_ms": 1, "backoff_max_ms": 20, "max": 1_000_000, "window_s": 1});
    Site::new().with_plugin(manifest)
}

fn rounds(usual: u64) -> u64 {
    let times = std::env::var("SYSADMD_TEST_ROUNDS").ok().and_then(|text| text.parse().ok());
    usual * times.unwrap_or(1)
}

async fn kill_while_it_starts(site: &Site, patience: Duration) {
    let mut command = Command::new(binary());
    command.arg("--config").arg(site.path().join("sysadmd.toml"));
    command.arg("--state-dir").arg(site.path()).args(["--listen", "127.0.0.1:0"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    sleep(patience).await;
    child.kill().expect("it is killed");
    child.wait().expect("it has ended");
    until("its plugins have ended", async || crate::harness::processes_of(site.path()).is_empty())
        .await;
}

/// The process of the kit's plugin that takes calls after that one was killed.
async fn plugin_after(door: &Door, killed: i32) -> i32 {
    let mut admin = door.admin().await;
    let mut pid = killed;
    until("the killed plugin has a successor", async || {
        let plugins = admin.call("rpc", "plugins", json!({"action": "list"})).await;
        let plugins: Value = plugins.expect("the plugins are listed");
        let list = plugins["plugins"].as_array().expect("a list");
        let ready = list.iter().find(|plugin| plugin["id"] == "kit" && plugin["state"] == "ready");
        let found = ready.and_then(|kit| kit["pid"].as_i64()).unwrap_or_default();
        pid = i32::try_from(found).expect("a pid");
        pid != 0 && pid != killed
    })
    .await;
    pid
}
