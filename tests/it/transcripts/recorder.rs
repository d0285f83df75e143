//! Writes down the server's half of a conversation.
//!
//! `NAME.half` holds what the client does. With `UPDATE=1` in the environment it is had twice with a
//! daemon, and what came becomes `NAME.jsonl`. What was different the second time, or always is (see
//! [`general`]), becomes a placeholder with an example.

mod general;

use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::transcript::{Conversation, Line, Names, Step};
use serde_json::{Map, Value, json};

use super::play::Play;
use super::stage::Stage;
use super::talk::Came;
use crate::harness::Running;

/// How long nothing comes when everything has come.
const QUIET: Duration = Duration::from_millis(120);

/// Headers of a response that a client may rely on.
const HEADERS: [&str; 13] = [
    "content-type",
    "allow",
    "www-authenticate",
    "location",
    "retry-after",
    "deprecation",
    "sunset",
    "link",
    "sysadmd-cursor",
    "webhook-allowed-origin",
    "x-consul-index",
    "x-consul-default-acl-policy",
    "x-consul-results-filtered-by-acls",
];

/// Records what is there in halves, when it is asked for.
pub(super) async fn record_halves(shared: &Running, halves: &[PathBuf]) -> Result<(), String> {
    if halves.is_empty() {
        return Ok(());
    }
    if std::env::var_os("UPDATE").is_none() {
        let names: Vec<_> = halves.iter().map(|half| half.display().to_string()).collect();
        return Err(format!("half a conversation; record it with UPDATE=1: {}", names.join(", ")));
    }
    let mut wrong = Vec::new();
    for half in halves {
        println!("{}", half.display());
        match record(shared, half).await {
            Err(error) => wrong.push(format!("{}: {error}", half.display())),
            Ok(text) => {
                std::fs::write(half.with_extension("jsonl"), text).expect("it is written");
                std::fs::remove_file(half).expect("its half is removed");
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// One line of what is written.
#[derive(Debug, Clone)]
enum Entry {
    /// As it stands in the half.
    Said(String),
    /// What came: the step's object.
    Heard(Map<String, Value>),
}

async fn record(shared: &Running, half: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(half).map_err(|error| error.to_string())?;
    let (first, first_names) = once(shared, half, &text).await?;
    let (second, second_names) = once(shared, half, &text).await?;
    if first.len() != second.len() {
        return Err(format!("it went differently: {first:#?}\nand then: {second:#?}"));
    }
    let names = (&first_names, &second_names);
    let mut lines = Vec::new();
    for pair in first.into_iter().zip(second) {
        lines.push(match pair {
            (Entry::Said(line), Entry::Said(_)) => line,
            (Entry::Heard(first), Entry::Heard(second)) => general::step(&first, &second, names)?,
            other => return Err(format!("it went differently: {other:?}")),
        });
    }
    Ok(lines.join("\n") + "\n")
}

/// Has the conversation once.
async fn once(shared: &Running, half: &Path, text: &str) -> Result<(Vec<Entry>, Names), String> {
    let mut read = Conversation::empty(half);
    let mut told = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let members: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| format!("{}: {error}", index + 1))?;
        let order = Order::of(&members);
        if order.is_none() {
            read.add(index + 1, line).map_err(|error| format!("{}: {error}", index + 1))?;
        }
        told.push((line, order));
    }
    let by_hand = told.iter().any(|(_, order)| matches!(order, Some(Order::Hear(_))));
    let play = Play::on(Stage::set(shared, &read.needs).await);
    let mut recording = Recording { play, entries: Vec::new(), by_hand };
    let mut steps = read.steps.into_iter().peekable();
    for (index, (line, order)) in told.into_iter().enumerate() {
        let step = steps.next_if(|step| step.number == index + 1);
        let done = recording.follow(line, order, step).await;
        done.map_err(|error| format!("line {}: {error}", index + 1))?;
    }
    let Recording { play, entries, .. } = recording;
    let Play { stage, talkers, asked } = play;
    let names = stage.names.clone();
    drop((talkers, asked));
    stage.clear().await;
    Ok((entries, names))
}

/// What only a half may say.
enum Order {
    /// `{"server": null}`: here comes one message.
    Hear(String),
    /// `{"response": null}`: here comes the answer.
    Answer(String),
    /// `{"keep": {"NAME": "/a/pointer"}}`: this part of what came last gets a name.
    Keep(Map<String, Value>),
}

impl Order {
    fn of(members: &Map<String, Value>) -> Option<Self> {
        let on = members.get("on").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(Value::Object(kept)) = members.get("keep") {
            return Some(Self::Keep(kept.clone()));
        }
        match (members.get("server"), members.get("response")) {
            (Some(Value::Null), _) => Some(Self::Hear(on)),
            (_, Some(Value::Null)) => Some(Self::Answer(on)),
            _ => None,
        }
    }
}

struct Recording {
    play: Play,
    entries: Vec<Entry>,
    /// Whether the half says itself where a message comes.
    by_hand: bool,
}

impl Recording {
    async fn follow(
        &mut self,
        line: &str,
        order: Option<Order>,
        step: Option<Line>,
    ) -> Result<(), String> {
        match order {
            Some(Order::Hear(on)) => {
                let came = self.play.talker(&on)?.next().await?;
                self.heard(&on, vec![came], true);
                return Ok(());
            }
            Some(Order::Answer(on)) => return self.answered(&on).await,
            Some(Order::Keep(kept)) => return self.keep(&kept),
            None => self.entries.push(Entry::Said(line.to_owned())),
        }
        let Some(Line { on, step, .. }) = step else { return Ok(()) };
        self.play.step(&on, &step).await?;
        match &step {
            _ if self.by_hand => Ok(()),
            Step::Client(_) | Step::ClientBinary(_) | Step::ClientInAnyOrder(_) => {
                self.listen(&on, &step).await
            }
            Step::Connect(connect)
                if connect.subprotocol.is_some() && connect.refused.is_none() =>
            {
                self.listen(&on, &step).await
            }
            Step::Request(_) if on.is_empty() => self.answered(&on).await,
            Step::Elsewhere(_) => {
                let all: Vec<String> = self.play.talkers.keys().cloned().collect();
                for on in all {
                    self.listen(&on, &step).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes everything that comes, at least the answer to what was said.
    async fn listen(&mut self, on: &str, said: &Step) -> Result<(), String> {
        let id = match said {
            Step::Client(said) => awaited(&self.play.names().clone().say(said)),
            _ => None,
        };
        let mut came = Vec::new();
        let mut answered = id.is_none();
        loop {
            let next = if answered {
                self.play.talker(on)?.within(QUIET).await
            } else {
                Some(self.play.talker(on)?.next().await?)
            };
            let Some(next) = next else { break };
            let ended = matches!(next, Came::Closed(_));
            answered |= matches!((&next, &id), (Came::Text(text), Some(id)) if answers(text, id));
            came.push(next);
            if ended {
                break;
            }
        }
        if came.iter().any(|it| matches!(it, Came::Closed(_))) {
            self.play.talkers.remove(on);
        }
        let in_order = !matches!(said, Step::ClientInAnyOrder(_))
            && (id.is_none() || format!("{said:?}").contains("subscribe"));
        self.heard(on, came, in_order);
        Ok(())
    }

    fn heard(&mut self, on: &str, came: Vec<Came>, in_order: bool) {
        let mut messages = Vec::new();
        let mut ended = None;
        for came in came {
            match came {
                Came::Closed(code) => ended = Some(code),
                Came::Text(text) => messages
                    .push(serde_json::from_str::<Value>(&text).unwrap_or_else(|_| json!(text))),
            }
        }
        if messages.len() > 1 && !in_order {
            self.enter(on, "server-in-any-order", messages.into());
        } else {
            for message in messages {
                self.enter(on, "server", message);
            }
        }
        if let Some(code) = ended {
            self.enter(on, "closed", code.into());
        }
    }

    async fn answered(&mut self, on: &str) -> Result<(), String> {
        let reply = self.play.answered(on).await?;
        let mut headers = Map::new();
        for name in HEADERS {
            if let Some(value) = reply.header(name) {
                headers.insert(name.to_owned(), value.into());
            }
        }
        let is_json = reply.header("content-type").is_some_and(|kind| kind.contains("json"));
        let mut response = json!({"status": reply.status, "headers": headers});
        match serde_json::from_str::<Value>(&reply.body) {
            Ok(json) if is_json => response["json"] = json,
            _ => response["text"] = reply.body.into(),
        }
        self.enter(on, "response", response);
        Ok(())
    }

    fn enter(&mut self, on: &str, verb: &str, what: Value) {
        let mut step = Map::from_iter([(verb.to_owned(), what)]);
        if !on.is_empty() {
            step.insert("on".to_owned(), on.into());
        }
        self.entries.push(Entry::Heard(step));
    }

    /// Names parts of what came last that has such a part.
    fn keep(&mut self, kept: &Map<String, Value>) -> Result<(), String> {
        for (name, pointer) in kept {
            let pointer = pointer.as_str().unwrap_or_default();
            let heard = self.entries.iter_mut().rev().filter_map(|entry| match entry {
                Entry::Heard(step) => step.values_mut().find_map(|what| what.pointer_mut(pointer)),
                Entry::Said(_) => None,
            });
            let place = { heard }.next().ok_or(format!("nothing came that has a {pointer}"))?;
            let text = place.as_str().map_or_else(|| place.to_string(), str::to_owned);
            self.play.stage.names.set(name, &text);
            *place = json!({format!("={name}"): place.take()});
        }
        Ok(())
    }
}

/// The id whose answer is awaited. A classic request is answered by its id only if that is a text.
fn awaited(said: &Value) -> Option<Value> {
    let said = match said {
        Value::String(text) => &serde_json::from_str(text).ok()?,
        other => other,
    };
    match said {
        Value::Array(batch) => batch.iter().find_map(awaited),
        // A CloudEvent's id is its own.
        Value::Object(members) if !members.contains_key("specversion") => {
            let id = members.get("id").filter(|id| **id != Value::Null && **id != "");
            let is_classic = members.contains_key("namespace");
            let is_logout = members.get("name").is_some_and(|name| name == "auth_clear");
            id.filter(|id| !is_logout && (id.is_string() || !is_classic)).cloned()
        }
        _ => None,
    }
}

fn answers(text: &str, id: &Value) -> bool {
    match serde_json::from_str(text) {
        Ok(Value::Array(batch)) => batch.iter().any(|it| it["id"] == *id),
        Ok(message) => message["id"] == *id,
        Err(_) => false,
    }
}
