//! The certificate is replaced while clients come and go.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::client::SysAdmClient;
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;
use rcgen::date_time_ymd;
use rustls::ClientConfig;
use serde_json::{Value, json};
use sysadmd::certificate::fingerprint;
use sysadmd::clock::Clock;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::files::{Files, Made, key, made, replace};
use crate::harness::{Door, Site, binary, until};

/// How often the certificate is replaced under load.
const CHANGES: usize = 100;
/// Handshakes before the next change, so that each meets clients in every step of theirs.
const BETWEEN: usize = 50;
/// Clients that connect again and again meanwhile.
const CLIENTS: usize = 8;

/// The fingerprint a client sees.
async fn seen(door: &Door) -> Result<String, String> {
    let stream = kit::client::tls(door.tls()).await?;
    let shown = stream.get_ref().1.peer_certificates().expect("a certificate");
    Ok(fingerprint(&shown[0]))
}

/// The fingerprint the daemon says it has.
async fn said(client: &mut SysAdmClient) -> Value {
    client.call("rpc", "hello", json!({})).await.expect("an answer")["fingerprint"].clone()
}

/// An administrator who hears of certificates from the beginning.
async fn listener(door: &Door) -> SysAdmClient {
    let mut admin = door.admin().await;
    let wanted =
        json!({"sub": "c", "filter": {"classes": ["daemon.certificate"]}, "from": "oldest"});
    admin.subscribe(wanted).await.expect("a subscription");
    admin
}

/// The next event's state, problem, priority and fingerprint.
async fn told(listener: &mut SysAdmClient) -> (String, String, String, String) {
    let event = listener.event().await;
    assert_eq!(event["args"]["source"], "sysadmd", "{event}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let data = &event["args"]["data"];
    let priority = text(&event["args"]["priority"]);
    (text(&data["state"]), text(&data["problem"]), priority, text(&data["fingerprint"]))
}

/// Connects again and again until it is to stop. The daemon takes up no session from before, so
/// each is a whole handshake.
async fn reconnect(door: Door, config: ClientConfig, load: Arc<Load>) {
    while !load.stop.load(Ordering::SeqCst) {
        match kit::client::tls_with(door.tls(), config.clone()).await {
            Ok(_) => drop(load.handshakes.fetch_add(1, Ordering::SeqCst)),
            Err(why) => load.failed.lock().expect("nobody panics with it").push(why),
        }
    }
}

/// What reconnecting clients share.
#[derive(Debug, Default)]
struct Load {
    stop: AtomicBool,
    handshakes: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

impl Load {
    fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_changes_cost_no_handshake_and_no_session() {
    let pairs = [made(&key(), |_| ()), made(&key(), |_| ())];
    let mut site = Site::new();
    let files = Files::of(&mut site, &pairs[0]);
    let running = site.start().await;
    let token = running.token("admin").await;
    let mut session = running.remote(&token).await;

    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let version =
            if number % 2 == 0 { &rustls::version::TLS13 } else { &rustls::version::TLS12 };
        let config = kit::tls::believing_in(&[version]);
        clients.spawn(reconnect(Door::clone(&running), config, Arc::clone(&load)));
    }
    let begun = Instant::now();
    for change in 1..=CHANGES {
        // So many between any two changes, however fast this machine is.
        until("clients have connected", async || load.handshakes() >= change * BETWEEN).await;
        let made = &pairs[change % 2];
        files.put(made);
        running.daemon.reload();
        until("the new certificate is in use", async || {
            running.daemon.fingerprint() == made.fingerprint
        })
        .await;
        assert_eq!(said(&mut session).await, made.fingerprint.as_str());
    }
    let took = begun.elapsed();
    load.stop.store(true, Ordering::SeqCst);
    while clients.join_next().await.is_some() {}
    let handshakes = load.handshakes();
    let rate = f64::from(u32::try_from(handshakes).expect("fewer")) / took.as_secs_f64();
    println!("{handshakes} handshakes during {CHANGES} changes: {rate:.0} a second");
    assert_eq!(*load.failed.lock().expect("it is whole"), [""; 0], "of {handshakes} handshakes");
    assert!(handshakes >= CHANGES * BETWEEN, "{handshakes}");
    assert_eq!(seen(&running).await.unwrap(), pairs[CHANGES % 2].fingerprint);
    drop(session);
    running.stop().await;
}

#[tokio::test]
async fn broken_files_keep_the_old_and_are_told_once() {
    let key = key();
    let first = made(&key, |_| ());
    let mut site = Site::new();
    let files = Files::of(&mut site, &first);
    let running = site.start().await;
    let mut listener = listener(&running).await;
    let expired = made(&key, |params| params.not_after = date_time_ymd(2020, 1, 1));
    let other = made(&super::files::key(), |_| ());
    let half = &first.pem[..first.pem.len() / 2];
    let mut in_use = first.fingerprint.clone();
    for (problem, path, text) in [
        ("expired", &files.cert, expired.pem.as_str()),
        ("mismatch", &files.key, other.key.as_str()),
        ("empty", &files.cert, ""),
        ("wrong-content", &files.cert, first.key.as_str()),
        ("damaged", &files.cert, half),
        ("unreadable", &files.cert, "a directory"),
    ] {
        if problem == "unreadable" {
            // Permissions would not keep root from reading.
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        } else {
            replace(path, text);
        }
        let expected = ("refused", problem, "7 - Critical", in_use.as_str());
        let (state, kind, priority, kept) = told(&mut listener).await;
        assert_eq!((&*state, &*kind, &*priority, &*kept), expected);
        assert_eq!(seen(&running).await.unwrap(), in_use, "{problem}");
        running.daemon.reload();
        let healed = made(&key, |_| ());
        files.put(&healed);
        running.daemon.reload();
        let (state, _, priority, now) = told(&mut listener).await;
        assert_eq!((&*state, &*priority), ("in-use", "0 - Information"), "after {problem}");
        assert_eq!(now, healed.fingerprint, "after {problem}");
        assert_eq!(seen(&running).await.unwrap(), now);
        in_use = now;
    }
    drop(listener);
    running.stop().await;
}

#[tokio::test]
async fn a_pair_that_is_put_in_place_is_noticed() {
    let first = made(&key(), |_| ());
    let mut site = Site::new();
    let files = Files::of(&mut site, &first);
    let running = site.start().await;
    assert_eq!(seen(&running).await.unwrap(), first.fingerprint);
    let second = made(&key(), |_| ());
    files.put(&second);
    until("the new certificate is in use", async || {
        seen(&running).await.unwrap() == second.fingerprint
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_pair_behind_a_link_that_is_changed_is_noticed() {
    let (first, second) = (made(&key(), |_| ()), made(&key(), |_| ()));
    let mut site = Site::new();
    let files = Files::of(&mut site, &first);
    // As secrets are mounted into containers: the files are links through a link to a directory,
    // and that one is changed.
    let dir = files.cert.parent().unwrap().to_path_buf();
    for (name, made) in [("1", &first), ("2", &second)] {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("cert.pem"), &made.pem).unwrap();
        std::fs::write(dir.join(name).join("key.pem"), &made.key).unwrap();
    }
    symlink("1", dir.join("now")).unwrap();
    for path in [&files.cert, &files.key] {
        std::fs::remove_file(path).unwrap();
        symlink(Path::new("now").join(path.file_name().unwrap()), path).unwrap();
    }
    let running = site.start().await;
    assert_eq!(seen(&running).await.unwrap(), first.fingerprint);
    symlink("2", dir.join("next")).unwrap();
    std::fs::rename(dir.join("next"), dir.join("now")).unwrap();
    until("the new certificate is in use", async || {
        seen(&running).await.unwrap() == second.fingerprint
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_signal_has_the_files_read_and_ends_nothing() {
    let program = Site::new().spawn().await;
    let own = program.site().path().join("tls");
    let files = Files { cert: own.join("cert.pem"), key: own.join("key.pem") };
    let mut admin = program.admin().await;
    let second = made(&key(), |_| ());
    files.put(&second);
    program.signal(Signal::SIGHUP);
    until("the new certificate is in use", async || {
        said(&mut admin).await == second.fingerprint.as_str()
    })
    .await;
    until("the log says so", async || {
        let log = program.log();
        let said = log.contains("looking at the certificate's files again");
        said && log.contains(&format!("served with certificate {}", second.fingerprint))
    })
    .await;
    drop(admin);
    program.stop().await;
}

#[tokio::test]
async fn an_old_certificate_is_served_at_the_start_and_called_old() {
    let month = |made: &mut rcgen::CertificateParams| {
        made.not_before = date_time_ymd(2026, 3, 1);
        made.not_after = date_time_ymd(2026, 5, 1);
    };
    let made = made(&key(), month);
    let mut site = Site::new();
    Files::of(&mut site, &made);
    site.clock = Clock::fake("2026-04-25T00:00:00Z".parse().unwrap());
    let clock = site.clock.clone();
    let running = site.start().await;
    let mut listener = listener(&running).await;
    let expected = |state: &str, problem: &str, priority: &str| {
        let words = [state, problem, priority].map(str::to_owned);
        let [state, problem, priority] = words;
        (state, problem, priority, made.fingerprint.clone())
    };
    assert_eq!(told(&mut listener).await, expected("expiring", "", "4 - Warning"));
    clock.advance(Duration::from_hours(7 * 24));
    running.daemon.reload();
    let critical = expected("refused", "expired", "7 - Critical");
    assert_eq!(told(&mut listener).await, critical);
    drop(listener);
    // The listener of the new start reads from the oldest event on.
    let running = running.restart().await;
    let mut listener = self::listener(&running).await;
    let mut all = vec![told(&mut listener).await, told(&mut listener).await];
    all.push(told(&mut listener).await);
    assert_eq!(all.iter().filter(|told| **told == critical).count(), 2, "{all:?}");
    assert_eq!(seen(&running).await.unwrap(), made.fingerprint);
    drop(listener);
    running.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_served_with_stop_the_start_and_fail_the_check() {
    let mut site = Site::new();
    let Made { pem, .. } = made(&key(), |_| ());
    let Made { key: other, fingerprint, .. } = made(&key(), |_| ());
    let files = Files::of(&mut site, &Made { pem, key: other, fingerprint });
    for check in [false, true] {
        let (code, sentence) = run(&site, check).await;
        assert_eq!(code, Some(78), "{sentence}");
        assert!(
            sentence.contains("own/key.pem") && sentence.contains("made together"),
            "{sentence}"
        );
        assert!(!sentence.contains("PRIVATE"), "{sentence}");
    }
    files.put(&made(&key(), |params| params.not_after = date_time_ymd(2020, 1, 1)));
    let (code, sentence) = run(&site, true).await;
    assert_eq!((code, sentence.contains("expired at 2020-01-01")), (Some(78), true), "{sentence}");
    files.put(&made(&key(), |_| ()));
    let (code, sentence) = run(&site, true).await;
    assert_eq!(code, Some(0), "{sentence}");
}

/// Runs the binary until it ends: its exit code and what it says.
async fn run(site: &Site, check: bool) -> (Option<i32>, String) {
    let config = site.path().join("sysadmd.toml");
    std::fs::write(&config, site.toml()).unwrap();
    let mut command = Command::new(binary());
    command.arg("--config").arg(&config).arg("--state-dir").arg(site.path());
    command.args(["--listen", "127.0.0.1:0"]).args(check.then_some("--check"));
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn closing_the_terminal_ends_the_daemon_that_was_started_there() {
    let site = Site::new();
    // Not inherited: the terminal is closed when we close it.
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let terminal = ptsname_r(&master).unwrap();
    let end = || File::options().read(true).write(true).open(&terminal).unwrap();
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(binary()).arg("--state-dir").arg(site.path());
    command.args(["--listen", "127.0.0.1:0"]).stdin(end()).stdout(end()).stderr(end());
    let daemon = command.spawn().expect("setsid is there (apt-get install util-linux)");
    let mut daemon = KilledOnDrop(daemon);
    until("the daemon is served", async || {
        tokio::net::UnixStream::connect(site.socket()).await.is_ok()
    })
    .await;
    drop(master);
    let mut status = None;
    until("the daemon has ended", async || {
        status = daemon.0.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success(), "{status:?}");
}

/// A process that a failed test does not leave behind.
struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // It has ended already when all is well.
        self.0.kill().ok();
    }
}
