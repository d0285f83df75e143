//! Plays the client's half of a conversation and compares what comes.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::transcript::{Body, Connect, Conversation, Elsewhere, Names, Response, Step};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::stage::{Stage, World};
use super::talk::{Bytes, Came, Opened, Talker, Talkers, bytes_of};
use crate::http::{self, Reply};
use crate::player::SILENCE;

/// How long a request that waits for its answer is given to arrive before the next is sent: they
/// come on connections of their own, and nothing on the wire says which was heard first.
const HEAD_START: Duration = Duration::from_millis(200);

/// A conversation that is being had.
pub(super) struct Play {
    pub(super) stage: Stage,
    pub(super) talkers: Talkers,
    /// Requests that are not answered yet.
    pub(super) asked: BTreeMap<String, Box<dyn Bytes>>,
}

impl Play {
    pub(super) fn on(stage: Stage) -> Self {
        Self { stage, talkers: Talkers::new(), asked: BTreeMap::new() }
    }

    /// Has the whole conversation.
    ///
    /// # Errors
    /// Where it went otherwise: file, line, path and both sides.
    pub(super) async fn have(&mut self, conversation: &Conversation) -> Result<(), String> {
        for line in &conversation.steps {
            self.step(&line.on, &line.step).await.map_err(|differs| {
                format!("{}:{}: {differs}", conversation.path.display(), line.number)
            })?;
        }
        Ok(())
    }

    pub(super) async fn step(&mut self, on: &str, step: &Step) -> Result<(), String> {
        match step {
            Step::Remark => Ok(()),
            Step::Server(what) => self.hear(on, std::slice::from_ref(what), true).await,
            Step::ServerInAnyOrder(all) => self.hear(on, all, false).await,
            Step::ServerUntil(what) => self.hear_until(on, what).await,
            Step::Closed(code) => self.closed(on, *code).await,
            Step::Response(response) => {
                let came = self.answered(on).await?;
                compare_reply(self.names(), response, &came)
            }
            // A script does not wait until something happens elsewhere.
            Step::Silence if matches!(self.stage.world, World::Script) => Ok(()),
            Step::Silence => match self.talker(on)?.within(SILENCE).await {
                Some(Came::Text(text)) => Err(format!("nothing was to come, but {text}")),
                _ => Ok(()),
            },
            act => self.act(on, act).await,
        }
    }

    async fn act(&mut self, on: &str, step: &Step) -> Result<(), String> {
        match step {
            Step::Connect(connect) => self.connect(on, connect).await,
            Step::Client(what) => self.say(on, what).await,
            Step::ClientInAnyOrder(all) => {
                for what in all {
                    self.say(on, what).await?;
                }
                Ok(())
            }
            Step::ClientBinary(text) => {
                let bytes = self.names().fill(text).into_bytes();
                self.talker(on)?.send(Message::binary(bytes)).await
            }
            Step::Close(code) => self.talker(on)?.close(*code).await,
            Step::Request(request) => {
                if !self.asked.is_empty() {
                    tokio::time::sleep(HEAD_START).await;
                }
                let mut stream = self.stage.ways.open(request.unix).await?;
                http::send(&mut stream, &bytes_of(request, self.names())?).await;
                self.asked.insert(on.to_owned(), stream);
                Ok(())
            }
            Step::Elsewhere(call) => self.elsewhere(call).await,
            Step::Restart => self.stage.restart().await,
            Step::Prove(prove) => self.stage.prove(prove),
            other => Err(format!("nothing is done for {other:?}")),
        }
    }

    pub(super) fn names(&mut self) -> &mut Names {
        &mut self.stage.names
    }

    pub(super) fn talker(&mut self, on: &str) -> Result<&mut Talker, String> {
        self.talkers.get_mut(on).ok_or(format!("there is no websocket {on:?} yet"))
    }

    async fn connect(&mut self, on: &str, connect: &Connect) -> Result<(), String> {
        let opened = Talker::connect(&self.stage.ways, connect, &self.stage.names).await?;
        match (opened, &connect.refused) {
            (Opened::Websocket(talker), None) => {
                self.talkers.insert(on.to_owned(), *talker);
                Ok(())
            }
            (Opened::Refused(came), Some(response)) => compare_reply(self.names(), response, &came),
            (Opened::Websocket(_), Some(_)) => Err("the upgrade was to be refused".to_owned()),
            (Opened::Refused(came), None) => Err(format!("the upgrade is refused: {came:?}")),
        }
    }

    async fn say(&mut self, on: &str, what: &Value) -> Result<(), String> {
        let text = match what {
            Value::String(text) => self.names().fill(text),
            other => self.names().say(other).to_string(),
        };
        self.talker(on)?.send(Message::text(text)).await
    }

    async fn hear(&mut self, on: &str, all: &[Value], in_order: bool) -> Result<(), String> {
        let mut open: Vec<&Value> = all.iter().collect();
        while !open.is_empty() {
            let came = self.text(on).await?;
            let candidates = if in_order { 1 } else { open.len() };
            if let (Value::String(expected), 1) = (open[0], candidates) {
                let differs = self.names().compare_text(expected, &came);
                differs.map_or(Ok(()), Err)?;
                open.remove(0);
                continue;
            }
            let came = serde_json::from_str(&came).map_err(|error| format!("{error} in {came}"))?;
            self.names().take(&mut open, candidates, &came)?;
        }
        Ok(())
    }

    async fn hear_until(&mut self, on: &str, what: &Value) -> Result<(), String> {
        let mut passed = 0;
        loop {
            let text =
                self.text(on).await.map_err(|end| format!("{end}, after {passed} others"))?;
            let came = serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))?;
            if self.names().compare(what, &came).is_none() {
                return Ok(());
            }
            passed += 1;
        }
    }

    async fn text(&mut self, on: &str) -> Result<String, String> {
        match self.talker(on)?.next().await? {
            Came::Text(text) => Ok(text),
            Came::Closed(code) => Err(format!("a message was to come, but it is closed: {code}")),
        }
    }

    async fn closed(&mut self, on: &str, code: u16) -> Result<(), String> {
        match self.talker(on)?.next().await? {
            Came::Closed(came) if came == code => Ok(()),
            other => Err(format!("expected the end with code {code}, got {other:?}")),
        }
    }

    pub(super) async fn answered(&mut self, on: &str) -> Result<Reply, String> {
        let mut stream = self.asked.remove(on).ok_or(format!("nothing was asked on {on:?}"))?;
        http::answer(&mut stream).await.ok_or("the request is not answered".to_owned())
    }

    pub(super) async fn elsewhere(&mut self, call: &Elsewhere) -> Result<(), String> {
        // Against a script nothing happens elsewhere, but its names are good.
        let World::Daemon(daemon) = &self.stage.world else {
            self.stage.names.say(&call.answer);
            return Ok(());
        };
        let args = self.stage.names.say(&call.args);
        let mut admin = daemon.admin().await;
        let answer = admin.call(&call.namespace, &call.name, args).await;
        admin.close().await;
        let answer = answer.map_err(|refusal| format!("elsewhere it is refused: {refusal}"))?;
        self.stage.names.compare(&call.answer, &answer).map_or(Ok(()), Err)
    }
}

/// Whether this is the response.
pub(super) fn compare_reply(
    names: &mut Names,
    expected: &Response,
    came: &Reply,
) -> Result<(), String> {
    if came.status != expected.status {
        return Err(format!("/status: expected {}, got {came:?}", expected.status));
    }
    for (name, value) in &expected.headers {
        let has = came.header(name).map_or(Value::Null, Value::from);
        if let Some(differs) = names.compare(value, &has) {
            return Err(format!("/headers/{name}{differs}"));
        }
    }
    let differs = match &expected.body {
        Body::Nothing => None,
        Body::Json(json) => match serde_json::from_str(&came.body) {
            Ok(body) => names.compare(json, &body).map(|differs| format!("/json{differs}")),
            Err(error) => Some(format!("/json: {error} in {:?}", came.body)),
        },
        Body::Text(text) => {
            names.compare_text(text, &came.body).map(|differs| format!("/text: {differs}"))
        }
        Body::Base64(text) => {
            let came = STANDARD.encode(&came.body);
            (*text != came).then(|| format!("/base64: expected {text}, got {came}"))
        }
    };
    differs.map_or(Ok(()), Err)
}
