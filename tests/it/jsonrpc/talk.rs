//! Talking JSON-RPC on a websocket, word for word.

use std::collections::VecDeque;
use std::time::Duration;

use kit::client::{Came, SysAdmClient, Target};
use serde_json::{Value, json};

use crate::harness::Door;

/// Where it is spoken.
pub(super) const PATH: &str = "/jsonrpc";

/// One connection.
pub(super) struct Talk {
    pub(super) line: SysAdmClient,
    last: u64,
    /// What came while an answer was awaited, oldest first.
    early: VecDeque<Value>,
}

impl Talk {
    /// On the unix socket: an administrator.
    pub(super) async fn admin(door: &Door) -> Self {
        Self::to(Target::Unix(door.socket.clone()), &[]).await
    }

    /// Over TLS, in the name of nobody.
    pub(super) async fn stranger(door: &Door) -> Self {
        Self::to(Target::Tls { addr: door.tls(), token: None }, &[]).await
    }

    /// Over TLS, with this token in a header.
    pub(super) async fn remote(door: &Door, token: &str) -> Self {
        let header = format!("Bearer {token}");
        let target = Target::Tls { addr: door.tls(), token: None };
        Self::to(target, &[("Authorization", &header)]).await
    }

    async fn to(target: Target, headers: &[(&str, &str)]) -> Self {
        let line = SysAdmClient::connect_at(target, PATH, headers).await.expect("a connection");
        Self::over(line)
    }

    /// On a connection that is there.
    pub(super) fn over(line: SysAdmClient) -> Self {
        Self { line, last: 0, early: VecDeque::new() }
    }

    /// Says this.
    pub(super) async fn say(&mut self, message: &Value) {
        self.line.send_raw(&message.to_string()).await;
    }

    /// Asks without waiting; the id it was given.
    pub(super) async fn ask(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        let id = self.last;
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        id
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// The error object.
    pub(super) async fn call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.ask(method, params).await;
        self.answer(id).await
    }

    /// Waits for the answer with this id; what comes in between is kept for [`Self::next`].
    ///
    /// # Errors
    /// The error object.
    pub(super) async fn answer(&mut self, id: u64) -> Result<Value, Value> {
        let mut answer = loop {
            let message = self.line.next().await;
            if message["id"] == id {
                break message;
            }
            self.early.push_back(message);
        };
        assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
        match answer.get("error") {
            Some(_) => Err(answer["error"].take()),
            None => Ok(answer["result"].take()),
        }
    }

    /// The next message that no call has taken.
    pub(super) async fn next(&mut self) -> Value {
        match self.early.pop_front() {
            Some(message) => message,
            None => self.line.next().await,
        }
    }

    /// Subscribes; the id and where it stands.
    pub(super) async fn subscribe(&mut self, params: Value) -> (String, Value) {
        let id = self.call("events.subscribe", params).await.expect("a subscription");
        let id = id.as_str().expect("an id that is a string").to_owned();
        let standing = self.delivered(&id).await;
        assert_eq!(standing["type"], "standing", "{standing}");
        (id, standing)
    }

    /// What the subscription delivers next, heartbeats aside.
    pub(super) async fn delivered(&mut self, id: &str) -> Value {
        loop {
            let mut message = self.next().await;
            assert_eq!(message["method"], "events.subscription", "{message}");
            assert_eq!(message["params"]["subscription"], id, "{message}");
            let result = message["params"]["result"].take();
            if result["type"] != "heartbeat" {
                return result;
            }
        }
    }

    /// The next event of the subscription.
    pub(super) async fn event(&mut self, id: &str) -> Value {
        let event = self.delivered(id).await;
        assert_eq!(event["type"], "event", "{event}");
        event
    }

    /// What comes within `wait`, if something does.
    pub(super) async fn came_within(&mut self, wait: Duration) -> Option<Came> {
        match self.early.pop_front() {
            Some(message) => Some(Came::Message(message)),
            None => self.line.came_within(wait).await,
        }
    }
}

/// The code of a refusal; 0 when there is none.
pub(super) fn code(answer: &Result<Value, Value>) -> i64 {
    match answer {
        Ok(_) => 0,
        Err(error) => error["code"].as_i64().expect("a code"),
    }
}
