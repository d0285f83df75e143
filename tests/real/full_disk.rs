//! A disk that is full: what is refused is refused in plain words and whole, reading goes on, and
//! so does everything else as soon as there is room.

use std::collections::BTreeSet;
use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::client::SysAdmClient;
use kit::lab::Lab;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::it::harness::{Program, Site, until};
use crate::it::http;
use crate::run;

/// The size of the disk.
const DISK_BYTES: usize = 8 << 20;

#[test]
fn a_full_disk_is_told_in_plain_words_and_nothing_is_half_recorded() {
    let _lab = Lab::enter("full");
    let site = Site::new();
    let disk = Disk::mount(site.path());
    run(async {
        let program = site.with_kit().spawn().await;
        program.ready("kit").await;
        let mut client = program.admin().await;
        let mut listener = program.admin().await;
        subscribe(&mut listener, "now").await;
        let mut recorded = BTreeSet::from([fire(&mut client, 0).await.expect("there is room")]);

        let ballast = disk.fill();
        let refused = fire_until_refused(&mut client, &mut recorded).await;
        check_refusal(&refused);
        for number in 5_000..5_050 {
            check_refusal(&fire(&mut client, number).await.expect_err("there is no room"));
        }
        let said = program.log().matches("events were not recorded").count();
        assert_eq!(said, 1, "the daemon's log is told once:\n{}", program.log());
        let args = json!({"draft": {"class": "kit.event", "message": "x".repeat(4_000)}, "n": 50});
        let published = client.call("kit", "publish", args.clone()).await;
        check_refusal(&published.expect_err("the plugin is refused as well"));

        // Reading goes on, for those who are there and for those who come.
        assert_eq!(fired(&mut client).await, recorded);
        let mut newcomer = program.admin().await;
        subscribe(&mut newcomer, "oldest").await;
        assert_eq!(next_fired(&mut newcomer, recorded.len()).await, recorded);
        assert_eq!(client.call("kit", "echo", json!(7)).await, Ok(json!(7)));

        std::fs::remove_file(&ballast).expect("the ballast goes");
        until("it is recorded again", async || {
            let fired = fire(&mut client, 9_999).await;
            fired.is_ok_and(|number| recorded.insert(number))
        })
        .await;
        until("the daemon's log is told", async || program.log().contains("recorded again")).await;
        client.call("kit", "publish", args).await.expect("so can the plugin");
        assert_eq!(fired(&mut client).await, recorded);
        assert_eq!(next_fired(&mut listener, recorded.len()).await, recorded);
        check_unbroken(&mut client).await;

        drop((client, listener, newcomer));
        restart_on_a_full_disk(program, &disk, &recorded).await;
    });
}

/// Says yes to one password of root.
const HELPER: &str = r#"#!/bin/sh
fields=$(tr '\0' '|')
case $fields in
*'|root|right|'*) echo '{"verdict":"ok"}' ;;
*) echo '{"verdict":"denied"}' ;;
esac
"#;

#[test]
fn on_a_full_disk_nothing_changes_and_whoever_may_look_gets_in() {
    let lab = Lab::enter("full-login");
    let helper = lab.dir().join("helper");
    std::fs::write(&helper, HELPER).expect("the helper is written");
    std::fs::set_permissions(&helper, Permissions::from_mode(0o755)).expect("it can be run");
    let mut site = Site::new();
    site.settings = format!("[access]\npam_helper = {:?}\n", helper.display().to_string());
    let disk = Disk::mount(site.path());
    run(async {
        let program = site.with_kit().spawn().await;
        program.ready("kit").await;
        let made = program.make_token(json!({"name": "t", "role": "admin"})).await;
        let token = made["token"].as_str().expect("a token");
        let session = session(&program, token).await;
        let old = self::session(&program, token).await;
        // As if it had been silent for two minutes: then its use is stored.
        let db = rusqlite::Connection::open(program.site().path().join("sysadmd.db"));
        let aged = db
            .expect("the database")
            .execute("UPDATE sessions SET used = used - ?1", [120_000_000]);
        assert_eq!(aged.expect("they are older"), 2);
        let mut admin = program.admin().await;

        let ballast = disk.fill();
        fire_until_refused(&mut admin, &mut BTreeSet::new()).await;
        fill_the_last_page(&mut admin, &disk).await;
        nothing_is_changed(&mut admin, &made["id"]).await;
        everybody_gets_in(&program, &[token, &session, &old]).await;

        std::fs::remove_file(&ballast).expect("the ballast goes");
        until("changes are made again", async || {
            let rotate = json!({"action": "rotate", "id": made["id"]});
            admin.call("rpc", "tokens", rotate).await.is_ok()
        })
        .await;
        let mut late = program.anonymous().await;
        let refused = late.call("rpc", "auth_token", json!({ "token": token })).await;
        assert_eq!(refused.expect_err("the old secret is dead")["code"], "401");
        drop(late);
        let trail = admin.call("rpc", "audit", json!({"action": "verify"})).await;
        assert_eq!(trail.expect("the trail")["intact"], true);
        drop(admin);
        let site = program.stop().await;
        disk.unmount();
        drop(site);
    });
}

/// Where a large event found no room a small one may, also again and again, as long as the log
/// finds some in its own files: fires those until there is none left for good.
async fn fill_the_last_page(client: &mut SysAdmClient, disk: &Disk) {
    let mut refused = 0;
    for _ in 0..20_000 {
        let fired = client.call("events", "fire", json!({"class": "user.small"})).await;
        refused = if fired.is_err() { refused + 1 } else { 0 };
        if fired.is_err() {
            disk.fill();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if refused == 15 {
            return;
        }
    }
    panic!("the disk of {DISK_BYTES} bytes never became full");
}

/// Every change is refused, and nothing of it is made.
async fn nothing_is_changed(admin: &mut SysAdmClient, id: &Value) {
    for (name, args) in [
        ("tokens", json!({"action": "create", "name": "x", "role": "viewer"})),
        ("tokens", json!({"action": "rotate", "id": id})),
        ("tokens", json!({"action": "revoke", "id": id})),
        ("sessions", json!({"action": "revoke", "user": "root"})),
        ("plugins", json!({"action": "restart", "id": "kit"})),
    ] {
        let answer = admin.call("rpc", name, args.clone()).await;
        check_refusal(&answer.expect_err(&format!("{name} {args}")));
    }
    let kept = admin.call("rpc", "tokens", json!({"action": "list"})).await;
    assert_eq!(kept.expect("reading goes on")["tokens"].as_array().map(Vec::len), Some(1));
}

/// By whatever proof, they may look and listen, and may not change anything.
async fn everybody_gets_in(program: &Program, proofs: &[&str]) {
    for proof in proofs {
        look_around(program.remote(proof).await, proof).await;
    }
    let mut by_password = program.anonymous().await;
    let proof = json!({"username": "root", "password": "right"});
    by_password.call("rpc", "auth", proof).await.expect("a login by password");
    look_around(by_password, "a password").await;
    let wrong = json!({"username": "root", "password": "wrong"});
    let refused = program.anonymous().await.call("rpc", "auth", wrong).await;
    assert_eq!(refused.expect_err("a wrong password")["code"], "401");
    for header in
        [format!("Bearer {}", proofs[0]), format!("Basic {}", STANDARD.encode("root:right"))]
    {
        let request = http::request("GET", "/rpc/query", &[format!("Authorization: {header}")], "");
        assert_eq!(http::over_tls(program.tls(), &request).await.status, 200, "{header}");
    }
}

/// A session whose connection is gone again.
async fn session(program: &Program, token: &str) -> String {
    let mut client = program.anonymous().await;
    let answer = client.call("rpc", "auth_token", json!({ "token": token })).await;
    client.close().await;
    answer.expect("a login")[0].as_str().expect("a session token").to_owned()
}

/// Somebody who came in by `proof` looks, listens and changes nothing.
async fn look_around(mut client: SysAdmClient, proof: &str) {
    for (namespace, name, args) in [
        ("rpc", "plugins", json!({"action": "list"})),
        ("rpc", "audit", json!({"action": "head"})),
        ("events", "list", json!({"limit": 1})),
        ("kit", "echo", json!(1)),
    ] {
        let answer = client.call(namespace, name, args).await;
        answer.unwrap_or_else(|refusal| panic!("{proof} {namespace}/{name}: {refusal}"));
    }
    let everything = json!({"sub": "s", "from": "oldest"});
    client.subscribe(everything).await.expect("the subscription is accepted");
    client.event().await;
    check_refusal(&fire(&mut client, 0).await.expect_err("there is no room"));
}

/// A daemon that is killed on a full disk starts there again and serves what it has.
async fn restart_on_a_full_disk(program: Program, disk: &Disk, recorded: &BTreeSet<u64>) {
    let ballast = disk.fill();
    let program = program.kill().await.spawn().await;
    program.ready("kit").await;
    let mut client = program.admin().await;
    assert_eq!(fired(&mut client).await, *recorded);
    check_refusal(&fire(&mut client, 1).await.expect_err("there is no room"));
    std::fs::remove_file(&ballast).expect("the ballast goes");
    until("it is recorded again", async || fire(&mut client, 2).await.is_ok()).await;
    check_unbroken(&mut client).await;
    drop(client);
    let site = program.stop().await;
    disk.unmount();
    drop(site);
}

/// Fires large events until one is refused; its refusal.
async fn fire_until_refused(client: &mut SysAdmClient, recorded: &mut BTreeSet<u64>) -> Value {
    for number in 1..5_000 {
        match fire(client, number).await {
            Ok(number) => assert!(recorded.insert(number)),
            Err(refusal) => return refusal,
        }
    }
    panic!("the disk of {DISK_BYTES} bytes never became full");
}

/// Fires an event with this number; the number, or the refusal.
async fn fire(client: &mut SysAdmClient, number: u64) -> Result<u64, Value> {
    let event = json!({"class": "user.full", "message": "x".repeat(4_000), "data": {"n": number}});
    client.call("events", "fire", event).await.map(|_| number)
}

fn check_refusal(refusal: &Value) {
    assert_eq!(refusal["code"], "503", "{refusal}");
    assert_eq!(refusal["fault"]["kind"], "unavailable", "{refusal}");
    let sentence = refusal["error"].as_str().expect("a sentence");
    assert!(sentence.contains("the disk is full"), "{sentence}");
    assert!(refusal["fault"]["retry_after_ms"].is_u64(), "{refusal}");
}

async fn subscribe(client: &mut SysAdmClient, from: &str) {
    let wanted = json!({"sub": "s", "filter": {"classes": ["user.full"]}, "from": from});
    client.subscribe(wanted).await.expect("the subscription is accepted");
}

/// The numbers of the next so many events.
async fn next_fired(client: &mut SysAdmClient, count: usize) -> BTreeSet<u64> {
    let events = client.events(count).await;
    let numbers = events.iter().map(|event| event["args"]["data"]["n"].as_u64());
    numbers.map(|number| number.expect("a number")).collect()
}

/// The numbers of all events that history has.
async fn fired(client: &mut SysAdmClient) -> BTreeSet<u64> {
    let filter = json!({"classes": ["user.full"]});
    let events = history(client, &filter).await;
    let numbers: Vec<u64> =
        events.iter().map(|event| event["data"]["n"].as_u64().expect("a number")).collect();
    let once: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(numbers.len(), once.len(), "an event is recorded twice");
    once
}

async fn check_unbroken(client: &mut SysAdmClient) {
    let events = history(client, &json!({})).await;
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().expect("seq")).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

async fn history(client: &mut SysAdmClient, filter: &Value) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    let mut after = Value::from(0);
    loop {
        let question = json!({"filter": filter, "after_seq": after, "limit": 200});
        let page = client.call("events", "list", question).await.expect("a page of history");
        all.extend(page["events"].as_array().expect("a list").iter().cloned());
        if page["more"] != true {
            return all;
        }
        after = page["resume"].clone();
    }
}

/// A small disk at a directory. It goes with the thread that mounted it.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Self {
        let size = format!("size={DISK_BYTES}");
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
            .expect("a small disk is mounted");
        Self(at.to_owned())
    }

    /// Writes a file that leaves no room; its path.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }

    fn unmount(&self) {
        umount2(&self.0, MntFlags::MNT_DETACH).expect("the small disk is unmounted");
    }
}

impl Drop for Disk {
    /// When the test has failed: so that its directory can go.
    fn drop(&mut self) {
        if umount2(&self.0, MntFlags::MNT_DETACH).is_ok() {
            drop(std::fs::remove_dir(&self.0));
        }
    }
}
