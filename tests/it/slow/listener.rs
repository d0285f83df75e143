//! A subscriber that reads when it is told to, and notes what it got and what it was told it lacks.

use std::path::PathBuf;
use std::time::Duration;

use kit::client::{Came, SysAdmClient, Target};
use protocol::Cursor;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::harness::PATIENCE;

/// In which words it asks and is told.
#[derive(Debug, Clone)]
enum Words {
    SysAdm,
    JsonRpc,
    /// On the unix socket that lies here: the question is in the path, so each stream is a
    /// connection.
    CloudEvents(PathBuf),
}

/// The subscriber.
pub(super) struct Listener {
    pub(super) client: SysAdmClient,
    words: Words,
    pub(super) overflow: &'static str,
    /// The numbers of the events, in the order in which they came.
    pub(super) got: Vec<u64>,
    /// Their places in the log, in the same order.
    pub(super) seqs: Vec<u64>,
    /// How many it was told are missing, in all.
    pub(super) missed: u64,
    /// The gaps that said so.
    pub(super) gaps: Vec<Value>,
    /// The cursor of the last message.
    pub(super) cursor: String,
}

impl Listener {
    /// Not subscribed yet.
    pub(super) fn new(client: SysAdmClient, overflow: &'static str) -> Self {
        Self::speaking(Words::SysAdm, client, overflow)
    }

    /// The same on a connection that speaks JSON-RPC, logged in with this token or as it is.
    pub(super) async fn in_jsonrpc(
        client: SysAdmClient,
        token: Option<&str>,
        overflow: &'static str,
    ) -> Self {
        let mut listener = Self::speaking(Words::JsonRpc, client, overflow);
        if let Some(token) = token {
            let granted = listener.ask("rpc.auth_token", json!({ "token": token })).await;
            assert!(granted.is_array(), "{granted}");
        }
        listener
    }

    /// The same as a stream of `CloudEvents`, on the unix socket that lies here.
    pub(super) async fn in_cloudevents(socket: PathBuf, overflow: &'static str) -> Self {
        // It says nothing until it subscribes, and then on another one.
        let idle = SysAdmClient::connect(Target::Unix(socket.clone())).await;
        Self::speaking(Words::CloudEvents(socket), idle.expect("a connection"), overflow)
    }

    fn speaking(words: Words, client: SysAdmClient, overflow: &'static str) -> Self {
        Self {
            client,
            words,
            overflow,
            got: Vec::new(),
            seqs: Vec::new(),
            missed: 0,
            gaps: Vec::new(),
            cursor: String::new(),
        }
    }

    /// Subscribes under this name, from now on.
    pub(super) async fn subscribe(&mut self, name: &str) {
        self.subscribe_as(name, "now").await;
    }

    /// Subscribes from a cursor on.
    pub(super) async fn subscribe_from(&mut self, cursor: &Value) {
        self.subscribe_as("again", cursor.as_str().expect("a cursor")).await;
    }

    async fn subscribe_as(&mut self, name: &str, from: &str) {
        let filter = json!({"classes": ["user.slow"]});
        let wanted = json!({"sub": name, "filter": filter, "from": from,
                            "overflow": self.overflow, "heartbeat_s": 1});
        let answer = match self.words.clone() {
            Words::SysAdm => self.client.subscribe(wanted).await.expect("it is accepted"),
            Words::JsonRpc => {
                assert_eq!(self.ask("events.subscribe", wanted).await, name);
                self.client.next().await["params"]["result"].take()
            }
            Words::CloudEvents(socket) => {
                let overflow = self.overflow;
                let query =
                    format!("classes=user.slow&from={from}&overflow={overflow}&heartbeat=1");
                let path = format!("/cloudevents?{query}");
                let spoken = [("Sec-WebSocket-Protocol", "cloudevents.json")];
                let stream = SysAdmClient::connect_at(Target::Unix(socket), &path, &spoken).await;
                self.client = stream.expect("a stream");
                let standing = self.client.next().await;
                json!({"gap": standing["data"]["gap"], "cursor": standing["cursor"]})
            }
        };
        assert_eq!(answer["gap"], Value::Null);
        answer["cursor"].as_str().expect("a cursor").clone_into(&mut self.cursor);
    }

    /// Asks in JSON-RPC, on a connection on which nothing else is under way.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.client.send_raw(&request.to_string()).await;
        let mut answer = self.client.next().await;
        assert_eq!(answer["id"], 1, "{answer}");
        answer["result"].take()
    }

    /// Reads until its cursor has reached this number.
    pub(super) async fn read_all(&mut self, last: u64) {
        while self.reached() < last {
            match self.client.came_within(PATIENCE).await {
                Some(Came::Message(message)) => self.take(&message),
                Some(Came::Closed(code, reason)) => panic!("closed: {code} {reason}"),
                None => panic!("{}: nothing came in {PATIENCE:?}", self.overflow),
            }
        }
    }

    /// Reads until the connection ends; with which code and reason.
    pub(super) async fn read_to_the_end(&mut self) -> (u16, String) {
        loop {
            match self.client.came_within(PATIENCE).await {
                Some(Came::Message(message)) => self.take(&message),
                Some(Came::Closed(code, reason)) => return (code, reason),
                None => panic!("nothing came in {PATIENCE:?}"),
            }
        }
    }

    /// Reads a message now and then, and everything up to `last` as soon as that is known.
    pub(super) async fn read_slowly(mut self, last: watch::Receiver<u64>) -> Self {
        while *last.borrow() == 0 {
            if let Some(Came::Message(message)) =
                self.client.came_within(Duration::from_millis(20)).await
            {
                self.take(&message);
            }
            sleep(Duration::from_millis(20)).await;
        }
        let last = *last.borrow();
        self.read_all(last).await;
        self
    }

    /// The numbers in order.
    pub(super) fn sorted(&self) -> Vec<u64> {
        let mut sorted = self.got.clone();
        sorted.sort_unstable();
        sorted
    }

    /// The numbers of those that came before an earlier one.
    pub(super) fn overtook(&self) -> Vec<u64> {
        let mut lowest = u64::MAX;
        let mut overtook = Vec::new();
        for (number, seq) in self.got.iter().zip(&self.seqs).rev() {
            if *seq > lowest {
                overtook.push(*number);
            }
            lowest = lowest.min(*seq);
        }
        overtook
    }

    /// The number of the newest event of this subject.
    pub(super) fn newest(&self, subject: u64) -> Option<u64> {
        let all = self.got.iter().zip(&self.seqs);
        let of_it = all.filter(|(number, _)| *number % super::SUBJECTS == subject);
        of_it.max_by_key(|(_, seq)| **seq).map(|(number, _)| *number)
    }

    fn reached(&self) -> u64 {
        self.cursor.parse::<Cursor>().expect("a cursor").seq
    }

    fn take(&mut self, message: &Value) {
        let (kind, args, cursor) = match self.words {
            Words::SysAdm => (&message["name"], &message["args"], &message["args"]["cursor"]),
            Words::JsonRpc => {
                let result = &message["params"]["result"];
                (&result["type"], result, &result["cursor"])
            }
            Words::CloudEvents(_) => (&message["type"], &message["data"], &message["cursor"]),
        };
        match kind.as_str().map(|kind| kind.trim_start_matches("cloudevents.")) {
            Some("event" | "user.slow") => {
                let sequence = || message["sequence"].as_str()?.parse().ok();
                let seq = args["seq"].as_u64().or_else(sequence);
                self.got.push(args["data"]["n"].as_u64().expect("a number"));
                self.seqs.push(seq.expect("a place in the log"));
            }
            Some("gap") => {
                self.missed += args["missed"].as_u64().expect("the gap is exact");
                self.gaps.push(args.clone());
            }
            Some("heartbeat") => {}
            _ => panic!("unexpected: {message}"),
        }
        cursor.as_str().expect("a cursor").clone_into(&mut self.cursor);
    }
}
