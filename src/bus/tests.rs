//! The bus over a real log, with clients that read, stall and leave on demand.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use protocol::manifest::Retain;
use protocol::{
    Class, Cursor, Draft, Event, Filter, Gap, GapReason, Json, Overflow, Priority, Start, Time,
};

use super::{Bus, Face, Offer, Outlet, Subscribe, Subscription, Wording};
use crate::clock::Clock;
use crate::lifecycle::Tasks;
use crate::store::{Store, StoreSettings};

/// A recorded event with this number and priority.
pub(super) fn recorded(seq: u64, priority: u8) -> Arc<Event> {
    Arc::new(Event {
        seq: Some(seq),
        id: uuid::Uuid::from_u128(seq.into()),
        time: Time::from_micros(seq),
        source: "test".to_owned(),
        class: Class::parse("test.event").unwrap(),
        subject: String::new(),
        priority: Priority::clamped(priority),
        message: format!("event {seq}"),
        data: Json::default(),
    })
}

/// One line an event, one line a gap: `event SEQ PRIORITY CURSOR`.
static PLAIN: Wording = Wording {
    name: "plain",
    event: |event, cursor, _, out| {
        let seq = event.seq.unwrap_or(0);
        let line = format!("event {seq} {} {cursor}\n", event.priority.number());
        out.extend_from_slice(line.as_bytes());
    },
    gap: |gap: &Gap, _, _, out| {
        let missed = gap.missed.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let line = format!("gap {} {} {missed}\n", gap.from_seq, gap.to_seq);
        out.extend_from_slice(line.as_bytes());
    },
};

/// A client that takes at most `room` bytes until somebody reads.
#[derive(Debug, Default)]
struct Client {
    state: Mutex<ClientState>,
}

#[derive(Debug, Default)]
struct ClientState {
    text: String,
    waiting: usize,
    room: usize,
    /// Offers that are refused although there was room a moment ago: others share the outlet.
    refusals: usize,
    closed: bool,
    wakers: Vec<Waker>,
}

impl Client {
    fn reading() -> Arc<Self> {
        Self::with_room(usize::MAX)
    }

    fn with_room(room: usize) -> Arc<Self> {
        let state = ClientState { room, ..ClientState::default() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn read_all(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting = 0;
        state.wakers.drain(..).for_each(Waker::wake);
    }

    fn read_all_from_now_on(&self) {
        self.state.lock().unwrap().room = usize::MAX;
        self.read_all();
    }

    fn lines(&self) -> Vec<String> {
        self.state.lock().unwrap().text.lines().map(str::to_owned).collect()
    }

    fn seqs(&self) -> Vec<u64> {
        let number = |line: &String| line.split(' ').nth(1)?.parse().ok();
        self.lines().iter().filter(|line| line.starts_with("event")).filter_map(number).collect()
    }

    async fn until(&self, what: &str, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        for _ in 0..1_000 {
            let lines = self.lines();
            if enough(&lines) {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited for {what}, got {:?}", self.lines());
    }
}

impl Outlet for Client {
    fn offer(&self, bytes: &Bytes) -> Offer {
        let mut state = self.state.lock().unwrap();
        if state.closed {
            return Offer::Gone;
        }
        if state.refusals > 0 {
            state.refusals -= 1;
            return Offer::Full;
        }
        if state.waiting >= state.room {
            return Offer::Full;
        }
        state.waiting = if state.room == usize::MAX { 0 } else { state.waiting + bytes.len() };
        state.text.push_str(std::str::from_utf8(bytes).unwrap());
        Offer::Taken
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.state.lock().unwrap();
        if state.closed {
            return Poll::Ready(false);
        }
        if state.waiting < state.room {
            return Poll::Ready(true);
        }
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    fn close_slow(&self) {
        self.state.lock().unwrap().closed = true;
    }
}

struct Bench {
    bus: Bus,
    tasks: Tasks,
    _store: Store,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let store = Store::open(dir.path(), clock.clone(), StoreSettings::default()).unwrap();
        let (tasks, _gone) = Tasks::new();
        let bus = Bus::start(store.log(), clock, store.instance(), tasks.clone()).unwrap();
        Self { bus, tasks, _store: store, _dir: dir }
    }

    async fn publish(&self, priority: u8, retain: Retain) -> Arc<Event> {
        let mut draft = Draft::new(Class::parse("test.event").unwrap());
        draft.priority = Priority::new(priority);
        self.bus.publish("test", draft, retain).await.unwrap()
    }

    async fn publish_many(&self, count: usize, priority: u8) {
        let publishing = (0..count).map(|_| self.publish(priority, Retain::Log));
        futures_util::future::join_all(publishing).await;
    }

    /// One after the other, so that each is an offer of its own and a small client is soon full.
    async fn publish_singly(&self, count: usize, priority: u8) {
        for _ in 0..count {
            self.publish(priority, Retain::Log).await;
        }
    }

    async fn subscribe(&self, client: &Arc<Client>, start: Start, over: Overflow) -> Subscription {
        let outlet: Arc<Client> = Arc::clone(client);
        let wanted = Subscribe {
            interest: Filter::default().into(),
            start,
            overflow: over,
            face: Face::new(&PLAIN, "t"),
            outlet,
        };
        let greet =
            |standing: &super::Standing| format!("hello {}\n", standing.cursor).into_bytes();
        self.bus.subscribe(wanted, greet).await.unwrap()
    }

    fn cursor(&self, seq: u64) -> Cursor {
        Cursor::after(self.bus.instance(), seq)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn has_seqs(count: usize) -> impl Fn(&[String]) -> bool {
    move |lines| lines.iter().filter(|line| line.starts_with("event")).count() >= count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_subscriber_hears_the_greeting_and_then_everything_in_order() {
    let bench = Bench::new();
    bench.publish_many(3, 1).await;
    let client = Client::reading();
    let _subscription = bench.subscribe(&client, Start::Now, Overflow::Lossless).await;
    bench.publish_many(50, 1).await;
    let lines = client.until("50 events", has_seqs(50)).await;
    assert!(lines[0].starts_with("hello"), "{lines:?}");
    assert_eq!(client.seqs(), (4..=53).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_resumes_without_a_hole_and_without_a_repeat() {
    let bench = Bench::new();
    bench.publish_many(2_000, 1).await;
    let client = Client::reading();
    let start = Start::After(bench.cursor(500));
    let _subscription = bench.subscribe(&client, start, Overflow::Lossless).await;
    bench.publish_many(500, 1).await;
    client.until("2000 events", has_seqs(2_000)).await;
    assert_eq!(client.seqs(), (501..=2_500).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_lossless_client_gets_everything_when_it_reads_and_urgent_first() {
    let bench = Bench::new();
    let client = Client::with_room(100);
    let _subscription = bench.subscribe(&client, Start::Now, Overflow::Lossless).await;
    bench.publish_singly(10, 1).await;
    bench.publish_many(1_490, 1).await;
    let urgent = bench.publish(9, Retain::Log).await;
    bench.publish_many(100, 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = client.seqs().len();
    assert!(before < 100, "took {before} without reading");
    client.read_all_from_now_on();
    client.until("all", has_seqs(1_601)).await;
    let seqs = client.seqs();
    let place = seqs.iter().position(|seq| Some(*seq) == urgent.seq).unwrap();
    assert!(place <= before + 1, "the urgent event came at place {place} after {before}");
    let mut sorted = seqs.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=1_601).collect::<Vec<_>>(), "each exactly once");
}

/// Everything a client heard up to any line, plus what its cursor there asks for, is everything.
#[tokio::test(flavor = "multi_thread")]
async fn the_cursor_of_every_message_is_exact_even_when_urgent_events_overtook() {
    let bench = Bench::new();
    let client = Client::with_room(60);
    let _subscription = bench.subscribe(&client, Start::Now, Overflow::Lossless).await;
    for round in 0..200u8 {
        bench.publish(if round % 7 == 0 { 8 } else { 1 }, Retain::Log).await;
        if round % 5 == 0 {
            client.read_all();
        }
    }
    client.read_all_from_now_on();
    let lines = client.until("all", has_seqs(200)).await;
    let mut heard = BTreeSet::new();
    for line in lines.iter().filter(|line| line.starts_with("event")) {
        let words: Vec<&str> = line.split(' ').collect();
        let seq: u64 = words[1].parse().unwrap();
        assert!(heard.insert(seq), "{seq} came twice");
        let cursor: Cursor = words[3].parse().unwrap();
        for seq in 1..=200 {
            assert_eq!(cursor.covers(seq), heard.contains(&seq), "{seq} at {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropping_subscription_tells_exactly_what_is_missing_and_keeps_the_critical() {
    let bench = Bench::new();
    let client = Client::with_room(100);
    let _subscription = bench.subscribe(&client, Start::Now, Overflow::Drop).await;
    bench.publish_singly(10, 1).await;
    for round in 0..30 {
        bench.publish_many(100, 1).await;
        bench.publish(if round % 2 == 0 { 7 } else { 2 }, Retain::Log).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.read_all_from_now_on();
    bench.publish(1, Retain::Log).await;
    let last = format!("event {} ", 10 + 30 * 101 + 1);
    let lines = client.until("the last", |l| l.iter().any(|l| l.starts_with(&last))).await;
    let missed: usize = lines
        .iter()
        .filter(|line| line.starts_with("gap"))
        .map(|line| line.split(' ').nth(3).unwrap().parse::<usize>().unwrap())
        .sum();
    assert!(missed > 0, "nothing was dropped");
    assert_eq!(client.seqs().len() + missed, 10 + 30 * 101 + 1);
    let critical = lines.iter().filter(|l| l.split(' ').nth(2) == Some("7")).count();
    assert_eq!(critical, 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnecting_subscription_closes_its_client() {
    let bench = Bench::new();
    let client = Client::with_room(50);
    let _subscription = bench.subscribe(&client, Start::Now, Overflow::Disconnect).await;
    bench.publish_singly(10, 1).await;
    for _ in 0..500 {
        if client.state.lock().unwrap().closed {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_changed_while_behind_comes_once_and_newest() {
    let bench = Bench::new();
    let client = Client::with_room(30);
    let _subscription = bench.subscribe(&client, Start::Now, Overflow::Lossless).await;
    bench.publish_singly(5, 1).await;
    for priority in 1..=5 {
        bench.publish(priority, Retain::Latest).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.read_all_from_now_on();
    client.until("the state", |l| l.iter().any(|l| l.starts_with("event 0 5"))).await;
    assert_eq!(client.seqs().iter().filter(|seq| **seq == 0).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_from_elsewhere_are_told_apart() {
    let bench = Bench::new();
    bench.publish_many(3, 1).await;
    let gap_of = async |cursor: Cursor| {
        let (told, gap) = std::sync::mpsc::sync_channel(1);
        let wanted = Subscribe {
            interest: Filter::default().into(),
            start: Start::After(cursor),
            overflow: Overflow::Lossless,
            face: Face::new(&PLAIN, "t"),
            outlet: Client::reading(),
        };
        let greet = move |standing: &super::Standing| {
            told.send(standing.gap.as_ref().map(|gap| gap.reason)).unwrap();
            Vec::new()
        };
        let _subscription = bench.bus.subscribe(wanted, greet).await.unwrap();
        gap.recv().unwrap()
    };
    assert_eq!(gap_of(bench.cursor(2)).await, None);
    assert_eq!(gap_of(bench.cursor(99)).await, Some(GapReason::AheadOfLog));
    assert_eq!(gap_of(Cursor::after(uuid::Uuid::nil(), 2)).await, Some(GapReason::OtherInstance));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_left_hears_nothing_more() {
    let bench = Bench::new();
    let client = Client::reading();
    let subscription = bench.subscribe(&client, Start::Now, Overflow::Lossless).await;
    bench.publish_many(1, 1).await;
    client.until("one", has_seqs(1)).await;
    drop(subscription);
    let other = Client::reading();
    let _other = bench.subscribe(&other, Start::Now, Overflow::Lossless).await;
    bench.publish_many(1, 1).await;
    other.until("one", has_seqs(1)).await;
    assert_eq!(client.seqs().len(), 1);
}

#[tokio::test]
async fn what_overtakes_is_not_lost_when_somebody_else_has_taken_the_room() {
    let bench = Bench::new();
    let client = Client::with_room(100);
    let _subscription = bench.subscribe(&client, Start::Now, Overflow::Lossless).await;
    bench.publish_singly(10, 1).await;
    let urgent = bench.publish(9, Retain::Log).await;
    bench.publish_singly(10, 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.state.lock().unwrap().refusals = 3;
    client.read_all_from_now_on();
    client.until("all", |lines| lines.len() >= 22).await;
    let mut seqs = client.seqs();
    assert_eq!(seqs.iter().filter(|seq| Some(**seq) == urgent.seq).count(), 1);
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=21).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_cursor_beyond_a_restored_log_passes_over_nothing() {
    let bench = Bench::new();
    bench.publish_many(5, 1).await;
    let instance = bench.bus.instance();
    let client = Client::reading();
    let cursor = Cursor { instance, seq: 2, ahead: vec![4, 6] };
    let _subscription = bench.subscribe(&client, Start::After(cursor), Overflow::Lossless).await;
    bench.publish_many(2, 1).await;
    client.until("the last", |lines| lines.iter().any(|line| line.starts_with("event 7"))).await;
    assert_eq!(client.seqs(), [3, 5, 6, 7]);
}
