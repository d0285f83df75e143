//! A disk that is full: what is refused is refused in plain words and whole, reading goes on, and
//! so does everything else as soon as there is room.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use kit::client::SysAdmClient;
use kit::lab::Lab;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::it::harness::{Program, Site, until};
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
        let mut file = File::create(&path).expect("a file");
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
