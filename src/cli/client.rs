//! A small client: connect, greet, log in, call, and follow one subscription.
//!
//! One task owns it and reads only when it waits for something, so the daemon's own flow control
//! reaches us and nothing piles up here.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use protocol::{Fault, FaultKind, Time};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use super::connect::{self, Stream};
use super::exit::{Exit, Failure};
use super::target::Target;

/// The daemon pings every 30 seconds. When not even that has come for so long, it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(75);
/// The most messages of a subscription that may come before the answer to a call.
const WAITING_MAX: usize = 1024;
/// The name of our one subscription.
const SUBSCRIPTION: &str = "sysadmctl";

/// A connection to the daemon.
pub(crate) struct Client {
    socket: WebSocketStream<Stream>,
    place: String,
    has_token: bool,
    calls: u64,
    /// Messages of the subscription that came while an answer was awaited.
    waiting: VecDeque<Pushed>,
}

/// What the daemon says about itself.
#[derive(Debug, Deserialize)]
pub(crate) struct Hello {
    /// Its version.
    pub(crate) version: String,
    /// The machine's name.
    pub(crate) hostname: String,
    /// The database the event numbers belong to.
    pub(crate) instance: String,
    /// SHA-256 of its certificate.
    #[serde(default)]
    pub(crate) fingerprint: Option<String>,
    /// Its clock.
    pub(crate) time: Time,
    /// Who we are to it; absent when nobody is logged in.
    #[serde(default)]
    pub(crate) principal: Option<Principal>,
}

/// Who is logged in.
#[derive(Debug, Deserialize)]
pub(crate) struct Principal {
    /// The name.
    pub(crate) name: String,
    /// The role.
    pub(crate) role: String,
}

/// A message of the subscription.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// An event, as the daemon wrote it.
    Event(Box<RawValue>),
    /// A stretch that is missing.
    Gap(Box<RawValue>),
    /// A sign of life; it may move the cursor.
    Heartbeat(Box<RawValue>),
}

/// The answer to a subscription.
#[derive(Debug, Deserialize)]
pub(crate) struct Subscribed {
    /// Where the subscription begins.
    #[serde(default)]
    pub(crate) cursor: Option<String>,
    /// What is missing from the start.
    #[serde(default)]
    pub(crate) gap: Option<Box<RawValue>>,
}

impl Client {
    /// Connects, logs in when there is a token, and opts in to what the original protocol has not.
    pub(crate) async fn open(target: &Target) -> Result<(Self, Hello), Failure> {
        let mut client = Self {
            socket: connect::open(&target.place).await?,
            place: target.place.to_string(),
            has_token: target.token.is_some(),
            calls: 0,
            waiting: VecDeque::new(),
        };
        if let Some(token) = &target.token {
            client.call::<Value>("rpc", "auth_token", json!({ "token": token })).await?;
        }
        let version = env!("CARGO_PKG_VERSION");
        let about = json!({"protocols": [1], "client": {"name": "sysadmctl", "version": version}});
        let hello = client.call("rpc", "hello", about).await?;
        Ok((client, hello))
    }

    /// Asks and waits for the answer. How long that may take is the daemon's to decide, as long
    /// as it gives signs of life.
    pub(crate) async fn call<T: DeserializeOwned>(
        &mut self,
        namespace: &str,
        name: &str,
        args: Value,
    ) -> Result<T, Failure> {
        self.calls += 1;
        let id = self.calls.to_string();
        let request = json!({"namespace": namespace, "name": name, "id": id, "args": args});
        let sent = self.socket.send(Message::text(request.to_string())).await;
        sent.map_err(|error| self.lost(&error))?;
        loop {
            match read_message(&self.next_text().await?) {
                Read::Answer { id: answered, result } if answered == id => {
                    let answer = result.map_err(|fault| self.refused(fault))?;
                    return serde_json::from_str(answer.get())
                        .map_err(|error| unexpected(&error.to_string()));
                }
                Read::Pushed(pushed) if self.waiting.len() < WAITING_MAX => {
                    self.waiting.push_back(pushed);
                }
                Read::Pushed(_) => {
                    return Err(unexpected("too many events came before the answer"));
                }
                Read::Answer { .. } | Read::Other => {}
            }
        }
    }

    /// Begins the subscription; `args` are those of `events/subscribe` without `sub`.
    pub(crate) async fn subscribe(&mut self, mut args: Value) -> Result<Subscribed, Failure> {
        args["sub"] = json!(SUBSCRIPTION);
        self.call("events", "subscribe", args).await
    }

    /// The next message of the subscription.
    pub(crate) async fn pushed(&mut self) -> Result<Pushed, Failure> {
        if let Some(pushed) = self.waiting.pop_front() {
            return Ok(pushed);
        }
        loop {
            match read_message(&self.next_text().await?) {
                Read::Pushed(pushed) => return Ok(pushed),
                // An error that answers nothing we asked for is about the connection.
                Read::Answer { result: Err(fault), .. } => return Err(fault.into()),
                Read::Answer { .. } | Read::Other => {}
            }
        }
    }

    /// The next message of the subscription, if it is here already.
    pub(crate) fn pushed_already(&mut self) -> Option<Result<Pushed, Failure>> {
        self.pushed().now_or_never()
    }

    async fn next_text(&mut self) -> Result<String, Failure> {
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, self.socket.next());
            match next.await {
                Err(_) => return Err(self.gone("the daemon has been silent for too long")),
                Ok(None) => return Err(self.gone("the daemon closed the connection")),
                Ok(Some(Err(error))) => return Err(self.lost(&error)),
                Ok(Some(Ok(Message::Text(text)))) => return Ok(text.as_str().to_owned()),
                Ok(Some(Ok(Message::Close(frame)))) => {
                    let (code, reason) = frame
                        .map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                    return Err(self.closed(code, &reason));
                }
                Ok(Some(Ok(_))) => {}
            }
        }
    }

    /// The daemon cannot know how this client is told to log in.
    fn refused(&self, mut fault: Fault) -> Failure {
        if fault.kind == FaultKind::Unauthorized && !self.has_token {
            fault.hint = Some(
                "log in with --token-file FILE; a token is made on the daemon's machine with: \
                 sysadmctl tokens create --name NAME --role ROLE"
                    .to_owned(),
            );
        }
        fault.into()
    }

    fn closed(&self, code: u16, reason: &str) -> Failure {
        let mut failure = match code {
            1001 => self.gone("the daemon stops"),
            1009 => Failure::new(Exit::Failed, "the message is larger than the daemon takes"),
            4001 => self.gone("the login has ended"),
            4008 => self.gone("events were not read fast enough"),
            _ => self.gone(&format!("the daemon closed the connection ({code} {reason})")),
        };
        failure.retry_after = retry_after(reason);
        failure
    }

    fn lost(&self, error: &tungstenite::Error) -> Failure {
        self.gone(&format!("the connection broke ({error})"))
    }

    fn gone(&self, what: &str) -> Failure {
        Failure::new(Exit::Unreachable, format!("{}: {what}", self.place))
    }
}

/// Says goodbye, as far as that takes no waiting: a daemon that hears nothing would have to take
/// the end for a broken connection.
impl Drop for Client {
    fn drop(&mut self) {
        // Whether it was heard makes no difference to us any more.
        self.socket.close(None).now_or_never();
    }
}

/// A message, sorted.
pub(crate) enum Read {
    Answer { id: String, result: Result<Box<RawValue>, Fault> },
    Pushed(Pushed),
    Other,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    id: String,
    args: Box<RawValue>,
}

pub(crate) fn read_message(text: &str) -> Read {
    let Ok(Envelope { namespace, name, id, args }) = serde_json::from_str(text) else {
        return Read::Other;
    };
    if namespace == "error" {
        return Read::Answer { id, result: Err(read_fault(&args)) };
    }
    if id == SUBSCRIPTION {
        return match name.as_str() {
            "event" => Read::Pushed(Pushed::Event(args)),
            "gap" => Read::Pushed(Pushed::Gap(args)),
            "heartbeat" => Read::Pushed(Pushed::Heartbeat(args)),
            _ => Read::Other,
        };
    }
    Read::Answer { id, result: Ok(args) }
}

/// The fault, or what can be made of a classic error.
fn read_fault(args: &RawValue) -> Fault {
    let args: Value = serde_json::from_str(args.get()).unwrap_or_default();
    if let Ok(fault) = serde_json::from_value(args["fault"].clone()) {
        return fault;
    }
    let kind = match args["code"].as_str() {
        Some("400") => FaultKind::BadRequest,
        Some("401") => FaultKind::Unauthorized,
        Some("403") => FaultKind::Forbidden,
        Some("404") => FaultKind::NotFound,
        Some("429") => FaultKind::TooMany,
        Some("503") => FaultKind::Unavailable,
        Some("504") => FaultKind::Timeout,
        _ => FaultKind::Internal,
    };
    Fault::new(kind, args["message"].as_str().unwrap_or("the daemon refused without a reason"))
}

/// The wait that a closing daemon asks for, from a reason such as `retry_after_ms=1500`.
pub fn retry_after(reason: &str) -> Option<Duration> {
    let rest = reason.split_once("retry_after_ms")?.1;
    let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok().map(Duration::from_millis)
}

fn unexpected(what: &str) -> Failure {
    Failure::new(Exit::Failed, format!("the daemon's answer makes no sense: {what}"))
        .with_hint("its version may be another one; compare `sysadmctl status`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fake::Fake;

    #[test]
    fn a_wait_is_read_from_either_form_of_the_reason() {
        let wait = |reason| retry_after(reason).map(|wait| wait.as_millis());
        assert_eq!(wait("retry_after_ms=1500"), Some(1500));
        assert_eq!(wait(r#"{"retry_after_ms": 20, "x": 1}"#), Some(20));
        assert_eq!(wait("bye"), None);
        assert_eq!(wait("retry_after_ms"), None);
    }

    #[test]
    fn a_classic_error_is_understood() {
        let text = r#"{"args":{"code":"401","message":"Unauthorized"},"id":"1","name":"error","namespace":"error"}"#;
        let Read::Answer { id, result: Err(fault) } = read_message(text) else {
            panic!("not an error")
        };
        assert_eq!((id.as_str(), fault.kind), ("1", FaultKind::Unauthorized));
    }

    #[tokio::test]
    async fn a_refusal_ends_with_its_number_and_its_sentence() {
        let cases =
            [("bad-request", 1), ("from-the-future", 1), ("forbidden", 77), ("timeout", 75)];
        let fake = Fake::new();
        let script = async {
            let mut visitor = fake.accept().await;
            for (kind, _) in cases {
                let request = visitor.request("a/b").await;
                visitor.refuse(&request, kind).await;
            }
        };
        let target = fake.target();
        let ask = async {
            let (mut client, _) = Client::open(&target).await.unwrap();
            for (kind, code) in cases {
                let failure = client.call::<Value>("a", "b", json!({})).await.unwrap_err();
                assert_eq!(failure.exit.code(), code, "{kind}");
                assert_eq!(failure.message, "no");
                assert_eq!(failure.hint.as_deref(), Some("do"));
            }
            let failure = client.call::<Value>("a", "b", json!({})).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Unreachable, "the script has ended");
        };
        tokio::join!(script, ask);
    }

    #[tokio::test]
    async fn answers_find_their_call_whatever_comes_before_them() {
        let fake = Fake::new();
        let script = async {
            let mut visitor = fake.accept().await;
            let request = visitor.request("a/b").await;
            visitor.send(json!({"namespace": "events", "name": "event", "id": SUBSCRIPTION, "args": {"n": 1}})).await;
            visitor
                .send(json!({"namespace": "events", "name": "dispatcher", "id": "", "args": {}}))
                .await;
            visitor.answer(&json!({"id": "other", "namespace": "a"}), json!(0)).await;
            visitor.answer(&request, json!(1e9)).await;
            visitor
        };
        let target = fake.target();
        let ask = async {
            let (mut client, _) = Client::open(&target).await.unwrap();
            let answer = client.call::<Value>("a", "b", json!({})).await.unwrap();
            assert_eq!(answer, json!(1e9));
            let Pushed::Event(event) = client.pushed().await.unwrap() else { panic!("no event") };
            assert_eq!(event.get(), r#"{"n":1}"#);
        };
        tokio::join!(script, ask);
    }
}
