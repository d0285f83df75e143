//! Ten thousand wrong passwords, from one address and from two hundred, while an administrator goes
//! on logging in.
//!
//! A helper that notes each start stands in for `sysadmd-pam`, so that real checks can be counted.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::client::{SysAdmClient, Target};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::it::harness::{Program, Site};
use crate::it::http::{self, Reply};

/// Wrong passwords from one address.
const ALONE: usize = 5_000;
/// Addresses that share as many.
const SOURCES: u8 = 200;
/// Wrong passwords from each of them.
const EACH: usize = 25;
/// Checks by PAM that one address may cause in ten minutes.
const CHECKS_MAX: usize = 25;
/// Much more than a login takes while nobody guesses, and much less than guessing would cost it.
const LOGIN_MAX: Duration = Duration::from_secs(5);
/// Says yes to one password of root, and takes longer for a user that
/// exists.
const HELPER: &str = r#"#!/bin/sh
fields=$(tr '\0' '|')
rest=${fields#*|}; user=${rest%%|*}
rest=${rest#*|}; password=${rest%%|*}
rest=${rest#*|}; source=${rest%%|*}
echo "$source" >>"${0%/*}/checks"
[ "$user" = root ] && sleep 0.05
case $user/$password in
root/right) echo '{"verdict":"ok"}' ;;
*) echo '{"verdict":"denied"}' ;;
esac
"#;

#[test]
fn guessing_is_bounded_and_an_administrator_gets_in_all_the_same() {
    assert!(nix::unistd::geteuid().is_root(), "run tests/run as root");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let program = daemon().await;
        let at = program.addresses[1];
        let mut admin = SysAdmClient::connect(Target::Plain { addr: at, token: None }).await;
        let admin = admin.as_mut().expect("a connection");
        log_in(admin).await;
        an_unknown_user_is_answered_as_a_known_one_is(at).await;
        let attack = Arc::new(Attack::default());
        let mut guessing = begin(at, &attack);
        let mut logins = 0;
        while !guessing.is_empty() {
            log_in(admin).await;
            logins += 1;
            while let Some(ended) = guessing.try_join_next() {
                ended.expect("no guess was right, and who waits is told how long");
            }
            sleep(Duration::from_millis(20)).await;
        }
        assert!(logins >= 10, "{logins} logins during the attack");
        let tried = attack.tried.load(Ordering::Relaxed);
        assert_eq!(tried, ALONE + usize::from(SOURCES) * EACH);
        let waiting = attack.told_to_wait.load(Ordering::Relaxed);
        assert!(waiting > tried / 2, "{waiting} of {tried} had to wait");
        let checks = checks(&program);
        let guessed = checks.iter().filter(|(source, _)| *source != "127.0.0.1");
        let worst = guessed.clone().map(|(_, count)| *count).max();
        assert!(worst.is_some_and(|worst| worst <= CHECKS_MAX), "{worst:?} checks");
        println!(
            "{tried} guesses, {waiting} told to wait, {logins} logins, at most {worst:?} checks"
        );
        program.stop().await;
    });
}

#[test]
fn a_guesser_at_the_same_address_keeps_no_known_administrator_out_not_even_after_a_restart() {
    assert!(nix::unistd::geteuid().is_root(), "run tests/run as root");
    crate::run(async {
        let program = daemon().await;
        let at = program.addresses[1];
        let shared = "127.4.0.1";
        assert_eq!(ask(at, shared, "root", "right").await.status, 200);
        let program = program.kill().await.spawn().await;
        let at = program.addresses[1];
        for turn in 0..5 {
            let reply = ask(at, shared, &format!("nobody{turn}"), "wrong").await;
            assert_eq!(reply.status, 401, "{reply:?}");
        }
        assert_eq!(ask(at, shared, "nobody", "wrong").await.status, 429, "it has to wait");
        assert_eq!(ask(at, shared, "root", "right").await.status, 200, "who is known does not");
        for _ in 0..5 {
            assert_eq!(ask(at, shared, "root", "wrong").await.status, 401);
        }
        assert_eq!(ask(at, shared, "root", "also wrong").await.status, 429, "nor guesses at them");
        program.stop().await;
    });
}

async fn daemon() -> Program {
    let mut site = Site::new();
    let helper = site.path().join("helper");
    fs::write(&helper, HELPER).expect("the helper is written");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("it can be run");
    site.settings = format!("[access]\npam_helper = {:?}\n", helper.display().to_string());
    site.plain = true;
    site.spawn().await
}

/// Starts of the helper by address.
fn checks(program: &Program) -> BTreeMap<String, usize> {
    let noted = read(&program.site().path().join("checks"));
    let mut checks = BTreeMap::new();
    for source in noted.lines() {
        *checks.entry(source.to_owned()).or_default() += 1;
    }
    checks
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("the helper was started")
}

/// Over a websocket, where no right password is remembered. From 127.0.0.1, which guesses nothing.
async fn log_in(admin: &mut SysAdmClient) {
    let begun = Instant::now();
    let answer = admin.call("rpc", "auth", json!({"username": "root", "password": "right"})).await;
    answer.expect("an administrator is never refused");
    assert!(begun.elapsed() < LOGIN_MAX, "a login took {:?}", begun.elapsed());
}

#[derive(Debug, Default)]
struct Attack {
    tried: AtomicUsize,
    told_to_wait: AtomicUsize,
}

fn begin(at: SocketAddr, attack: &Arc<Attack>) -> JoinSet<()> {
    let mut guessing = JoinSet::new();
    for worker in 0..8 {
        guessing.spawn(guess(at, "127.2.0.1".to_owned(), ALONE / 8, worker, Arc::clone(attack)));
    }
    for number in 1..=SOURCES {
        let source = format!("127.3.0.{number}");
        guessing.spawn(guess(at, source, EACH, number, Arc::clone(attack)));
    }
    guessing
}

/// Half of them at the administrator's account, the others at one each that does not exist.
async fn guess(at: SocketAddr, from: String, count: usize, number: u8, attack: Arc<Attack>) {
    let user = if number.is_multiple_of(2) { "root".to_owned() } else { format!("nobody{number}") };
    for turn in 0..count {
        let reply = ask(at, &from, &user, &format!("wrong {turn}")).await;
        attack.tried.fetch_add(1, Ordering::Relaxed);
        let wait = &reply.json()["args"]["fault"]["retry_after_ms"];
        match reply.status {
            401 => assert_eq!(*wait, Value::Null),
            429 => {
                assert!(wait.as_u64() > Some(0), "{reply:?}");
                assert!(reply.header("retry-after").is_some(), "{reply:?}");
                attack.told_to_wait.fetch_add(1, Ordering::Relaxed);
            }
            other => panic!("{other}: {reply:?}"),
        }
    }
}

async fn ask(at: SocketAddr, from: &str, user: &str, password: &str) -> Reply {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("its address can be used again");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("all of 127.0.0.0/8");
    let stream = socket.connect(at).await.expect("a connection");
    let pair = STANDARD.encode(format!("{user}:{password}"));
    let header = [format!("Authorization: Basic {pair}")];
    http::over(stream, &http::request("GET", "/rpc/query", &header, "")).await
}

/// The same words, and, each to a step of half a second, after the same time.
async fn an_unknown_user_is_answered_as_a_known_one_is(at: SocketAddr) {
    let mut seen = Vec::new();
    for (user, net) in [("root", 4), ("no-such-user", 5)] {
        let mut times = Vec::new();
        let mut bodies = Vec::new();
        for turn in 1..=5 {
            let begun = Instant::now();
            let reply = ask(at, &format!("127.{net}.0.{turn}"), user, "wrong").await;
            times.push(begun.elapsed());
            assert_eq!(reply.status, 401, "{reply:?}");
            bodies.push(reply.body);
        }
        times.sort_unstable();
        seen.push((times[2], bodies));
    }
    let [(known, of_known), (unknown, of_unknown)] = &seen[..] else { unreachable!() };
    assert_eq!(of_known, of_unknown);
    let apart = known.abs_diff(*unknown);
    // A step may be missed on a machine that does much else, but not by both medians.
    assert!(apart < Duration::from_millis(700), "{known:?} and {unknown:?}");
}
