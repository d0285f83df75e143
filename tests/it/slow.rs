//! Clients that read too slowly, in the words of SysAdm, JSON-RPC and `CloudEvents`: what each policy
//! promises, what they cost, and that nobody else notices.
//!
//! (A client that is cut because it answers no ping any more takes 75 seconds; that is proved where
//! the time is arithmetic, in `listen::timers`.)

mod listener;

use std::time::Duration;

use futures_util::future::join_all;
use kit::client::{SysAdmClient, Target};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Door, Program, Site};

use listener::Listener;

/// Every so many events one is critical.
const CRITICAL_EVERY: u64 = 100;
/// Subjects the events are about.
const SUBJECTS: u64 = 10;
/// Where JSON-RPC is spoken.
const JSONRPC: &str = "/jsonrpc";
/// Events that are fired before the one who reads at once must have them.
const BATCH: u64 = 50;

#[tokio::test]
async fn a_stalled_lossless_client_gets_everything_and_the_critical_first() {
    let (program, mut stage) = Stage::of(program().await, 3_000, 1_000).await;
    let everybody = stage.listen("lossless").await;
    stage.play().await;
    for mut stalled in everybody {
        stalled.read_all(stage.last).await;
        assert_eq!(stalled.missed, 0);
        assert_eq!(stalled.sorted(), stage.numbers());
        let overtook = stalled.overtook();
        assert!(!overtook.is_empty(), "nothing has overtaken");
        assert!(overtook.iter().all(|number| is_critical(*number)), "{overtook:?}");
    }
    drop(stage);
    program.stop().await;
}

#[tokio::test]
async fn a_stalled_dropping_client_is_told_exactly_what_it_lacks_and_can_have_it() {
    let (program, mut stage) = Stage::of(program().await, 3_000, 1_000).await;
    let everybody = stage.listen("drop").await;
    stage.play().await;
    let back = stage.listeners("lossless").await;
    for (mut stalled, mut again) in everybody.into_iter().zip(back) {
        stalled.read_all(stage.last).await;
        assert!(stalled.missed > 0, "nothing was dropped");
        assert_eq!(stalled.got.len() as u64 + stalled.missed, stage.count);
        let critical = stalled.got.iter().filter(|number| is_critical(**number)).count() as u64;
        assert_eq!(critical, stage.count / CRITICAL_EVERY, "critical ones were dropped");
        let gap = &stalled.gaps[0];
        assert_eq!(gap["reason"], "slow");
        again.subscribe_from(&gap["resume_from"]).await;
        again.read_all(stage.last).await;
        let mut both = [stalled.sorted(), again.sorted()].concat();
        both.sort_unstable();
        both.dedup();
        assert_eq!(both, stage.numbers(), "what was dropped can be had from where the gap says");
    }
    drop(stage);
    program.stop().await;
}

#[tokio::test]
async fn a_stalled_client_that_wants_the_latest_has_the_latest_of_every_subject() {
    let (program, mut stage) = Stage::of(program().await, 3_000, 1_000).await;
    let everybody = stage.listen("latest").await;
    stage.play().await;
    for mut stalled in everybody {
        stalled.read_all(stage.last).await;
        assert!(stalled.missed > 0, "nothing was coalesced");
        assert_eq!(stalled.got.len() as u64 + stalled.missed, stage.count);
        assert!(stalled.gaps.iter().all(|gap| gap["reason"] == "coalesced"), "{:?}", stalled.gaps);
        for subject in 0..SUBJECTS {
            assert_eq!(stalled.newest(subject), stage.fast.newest(subject), "subject {subject}");
        }
    }
    drop(stage);
    program.stop().await;
}

#[tokio::test]
async fn a_stalled_client_that_wants_to_be_disconnected_is_and_goes_on_later() {
    let (program, mut stage) = Stage::of(program().await, 90, 10_000).await;
    let mut everybody = stage.listen("disconnect").await;
    stage.play_in_one_go().await;
    // At the same time: who does not read the goodbye soon does not get it.
    let ends = join_all(everybody.iter_mut().map(Listener::read_to_the_end)).await;
    let back = stage.listeners("lossless").await;
    let ended = everybody.into_iter().zip(ends);
    for ((stalled, (code, reason)), mut again) in ended.zip(back) {
        assert_eq!((code, reason.contains("retry_after_ms")), (4008, true), "{reason}");
        again.subscribe_from(&stalled.cursor.into()).await;
        again.read_all(stage.last).await;
        let mut both = [stalled.got, again.got].concat();
        both.sort_unstable();
        assert_eq!(both, stage.numbers());
    }
    drop(stage);
    program.stop().await;
}

/// What a slow client may cost: what waits for it (`queue_bytes` of `rpc/hello`), and one offer
/// from the log, which has 128 KiB of events in a little more JSON; TLS holds up to 64 KiB more.
const SLOW_BYTES: u64 = (256 + 160 + 64) * 1024;
/// What the daemon may grow by for reasons of its own.
const OWN_BYTES: u64 = 8 * 1024 * 1024;

#[tokio::test]
async fn fifty_slow_clients_cost_a_fixed_number_of_bytes_and_delay_nobody() {
    let mut site = Site::new();
    site.plain = true;
    let program = site.spawn().await;
    let token = program.token("operator").await;
    // First what belongs to any daemon that is in use, such as the newest events in memory.
    let (program, mut stage) = Stage::of(program, 800, 8_000).await;
    stage.play().await;
    let mut crowd = Vec::new();
    for number in 0..50 {
        let overflow = ["lossless", "drop", "latest"][number % 3];
        let mut slow = narrow(&program, number, &token, overflow).await;
        slow.subscribe(&format!("slow-{number}")).await;
        crowd.push(slow);
    }
    let before = program.resident_bytes();
    let readers = crowd.split_off(25);
    let mut reading = JoinSet::new();
    stage.count = 1_000;
    let (last, stop) = tokio::sync::watch::channel(0);
    for slow in readers {
        reading.spawn(slow.read_slowly(stop.clone()));
    }
    let most = stage.play_and_watch(&program).await;
    last.send_replace(stage.last);
    let allowed = before + (50 * SLOW_BYTES) / 10 * 11 + OWN_BYTES;
    println!("resident: {before} before, {most} at most, {allowed} allowed");
    assert!(most <= allowed, "{most} bytes are resident, {allowed} are allowed");
    for slow in &mut crowd {
        slow.read_all(stage.last).await;
    }
    crowd.extend(reading.join_all().await);
    for slow in &crowd {
        let (got, missed) = (slow.got.len() as u64, slow.missed);
        assert_eq!(got + missed, stage.count, "{}: {got} and {missed}", slow.overflow);
        assert!(slow.overflow != "lossless" || missed == 0, "{missed} missed");
        let critical = (0..stage.count).filter(|number| is_critical(*number));
        let kept = critical.filter(|number| slow.got.contains(number)).count() as u64;
        assert!(slow.overflow == "latest" || kept == stage.count / CRITICAL_EVERY, "{kept} kept");
    }
    drop((crowd, stage));
    program.stop().await;
}

/// Every other one over TLS, every other two in JSON-RPC.
async fn narrow(door: &Door, number: usize, token: &str, overflow: &'static str) -> Listener {
    let addr = door.addresses[number % 2];
    let in_jsonrpc = number % 4 >= 2;
    // There it logs in in its own words.
    let by_kit = (!in_jsonrpc).then(|| token.to_owned());
    let target = match number % 2 {
        0 => Target::Tls { addr, token: by_kit },
        _ => Target::Plain { addr, token: by_kit },
    };
    let path = if in_jsonrpc { JSONRPC } else { "/" };
    let connected = SysAdmClient::connect_narrow_at(target, 4096, path).await;
    let client = connected.expect("a connection");
    if in_jsonrpc {
        return Listener::in_jsonrpc(client, Some(token), overflow).await;
    }
    Listener::new(client, overflow)
}

async fn program() -> Program {
    Site::new().spawn().await
}

fn is_critical(number: u64) -> bool {
    number % CRITICAL_EVERY == CRITICAL_EVERY / 2
}

/// Somebody who fires and somebody who reads at once.
struct Stage {
    socket: std::path::PathBuf,
    firing: SysAdmClient,
    fast: Listener,
    count: u64,
    bytes: usize,
    /// The number of the last event in the log.
    last: u64,
}

impl Stage {
    /// That fires so many events of so many bytes.
    async fn of(program: Program, count: u64, bytes: usize) -> (Program, Self) {
        let mut fast = Listener::new(program.admin().await, "lossless");
        fast.subscribe("fast").await;
        let (socket, firing) = (program.socket.clone(), program.admin().await);
        (program, Self { socket, firing, fast, count, bytes, last: 0 })
    }

    /// One who subscribes and then reads nothing, in each face's words.
    async fn listen(&self, overflow: &'static str) -> [Listener; 3] {
        let mut everybody = self.listeners(overflow).await;
        for listener in &mut everybody {
            listener.subscribe(overflow).await;
        }
        everybody
    }

    /// The same, not subscribed yet.
    async fn listeners(&self, overflow: &'static str) -> [Listener; 3] {
        let target = Target::Unix(self.socket.clone());
        let classic = SysAdmClient::connect(target.clone()).await.expect("a connection");
        let other = SysAdmClient::connect_at(target, JSONRPC, &[]).await.expect("a connection");
        [
            Listener::new(classic, overflow),
            Listener::in_jsonrpc(other, None, overflow).await,
            Listener::in_cloudevents(self.socket.clone(), overflow).await,
        ]
    }

    /// Fires, batch by batch; the fast one has each before the next is fired.
    async fn play(&mut self) {
        (self.fast.got, self.fast.seqs) = Default::default();
        for first in (0..self.count).step_by(usize::try_from(BATCH).expect("a step")) {
            self.batch(first, BATCH).await;
        }
    }

    /// Fires everything at once.
    async fn play_in_one_go(&mut self) {
        self.batch(0, self.count).await;
    }

    /// The same as [`Self::play`]; the most memory that the daemon ever had.
    async fn play_and_watch(&mut self, program: &Program) -> u64 {
        (self.fast.got, self.fast.seqs) = Default::default();
        let mut most = 0;
        for first in (0..self.count).step_by(usize::try_from(BATCH).expect("a step")) {
            self.batch(first, BATCH).await;
            most = most.max(program.resident_bytes());
        }
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            most = most.max(program.resident_bytes());
        }
        most
    }

    async fn batch(&mut self, first: u64, count: u64) {
        let mut waiting = Vec::new();
        for number in first..first + count {
            waiting.push(self.firing.send("events", "fire", self.event(number)).await);
        }
        for id in waiting {
            let answer: Value = self.firing.answer(&id).await.expect("it is recorded");
            self.last = self.last.max(answer["seq"].as_u64().expect("a number"));
        }
        self.fast.read_all(self.last).await;
        assert_eq!(self.fast.got.len() as u64, first + count, "the fast one has all of them");
    }

    fn event(&self, number: u64) -> Value {
        json!({
            "class": "user.slow",
            "subject": format!("/things/{}", number % SUBJECTS),
            "priority": if is_critical(number) { 7 } else { number % 6 },
            "data": {"n": number, "pad": "x".repeat(self.bytes)},
        })
    }

    fn numbers(&self) -> Vec<u64> {
        (0..self.count).collect()
    }
}
