//! The server's half of a conversation: what it answers when the client says what is written, and
//! where the client said something else. No sockets: `replay-server` has those.

mod request;

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use request::{Answer, Asked};

use super::{Conversation, Names, Needs, Step};

/// Messages of one websocket that nobody has written out yet. A script says few at once.
pub const WAITING: usize = 1024;

/// What the script says on a websocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// A message.
    Text(String),
    /// The end, with this code.
    Close(u16),
}

/// What an upgrade leads to.
#[derive(Debug)]
pub enum Opened {
    /// A websocket, its subprotocol, and what is said on it.
    Websocket(Websocket, Option<String>, mpsc::Receiver<Out>),
    /// This instead.
    Refused(Answer),
}

/// A websocket that a client has opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Websocket {
    on: String,
    /// Tells it from an older one of the same name, whose end may be noticed late.
    number: usize,
}

/// Where a client departed from the script: file, line, path and both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure(pub String);

/// A conversation, played from the server's side again and again.
#[derive(Debug)]
pub struct Script {
    conversation: Conversation,
    given: Names,
    state: State,
    /// How often it was had to its end.
    had: usize,
    departures: Vec<Departure>,
    /// Websockets that were ever opened.
    opened: usize,
}

/// Where one run of it stands.
#[derive(Debug)]
struct State {
    /// The step that comes next.
    place: usize,
    /// What of a step in any order is still to be said.
    open: Option<Vec<Value>>,
    names: Names,
    websockets: BTreeMap<String, (usize, mpsc::Sender<Out>)>,
    asked: BTreeMap<String, oneshot::Sender<Answer>>,
    /// Ids as the script has them and as this client chose them, oldest first.
    ids: Vec<(Value, Value)>,
    is_over: bool,
}

impl State {
    fn new(names: &Names) -> Self {
        Self {
            place: 0,
            open: None,
            names: names.clone(),
            websockets: BTreeMap::new(),
            asked: BTreeMap::new(),
            ids: Vec::new(),
            is_over: false,
        }
    }
}

impl Script {
    /// A script that nobody has begun.
    pub fn new(conversation: Conversation) -> Self {
        let given = given(&conversation.needs);
        let state = State::new(&given);
        Self { conversation, given, state, had: 0, departures: Vec::new(), opened: 0 }
    }

    /// The folder and the file's name without its ending.
    pub fn name(&self) -> String {
        self.conversation.name()
    }

    /// The tokens and directories that the client is to use.
    pub fn given(&self) -> &BTreeMap<String, String> {
        self.given.all()
    }

    /// How often it was had to its end.
    pub fn had(&self) -> usize {
        self.had
    }

    /// Where clients departed from it.
    pub fn departures(&self) -> &[Departure] {
        &self.departures
    }

    /// Where a run stands that was begun and is not over.
    pub fn unfinished(&self) -> Option<String> {
        let begun = !self.state.is_over && self.state.place > 0;
        begun.then(|| self.at(&format!("{} is still to come", self.awaited())))
    }

    /// The client opens a websocket.
    ///
    /// # Errors
    /// When that is not what comes next.
    pub fn opened(&mut self, path: &str, offered: Option<&str>) -> Result<Opened, Departure> {
        self.begin();
        let Some((on, Step::Connect(connect))) = self.next() else {
            return Err(self.depart(&format!("{} comes next, not a websocket", self.awaited())));
        };
        if let Err(differs) = request::compare_path(&mut self.state.names, &connect.path, path) {
            return Err(self.depart(&differs));
        }
        let has = |wanted: &String| {
            offered.is_some_and(|offered| offered.split(',').any(|it| it.trim() == wanted))
        };
        if !connect.subprotocol.as_ref().is_none_or(has) {
            let (wanted, offered) =
                (connect.subprotocol.unwrap_or_default(), offered.unwrap_or(""));
            return Err(self.depart(&format!("/subprotocol: expected {wanted:?}, got {offered:?}")));
        }
        let opened = if let Some(refusal) = &connect.refused {
            Opened::Refused(Answer::of(refusal, &mut self.state.names))
        } else {
            let (sender, receiver) = mpsc::channel(WAITING);
            self.opened += 1;
            let number = self.opened;
            self.state.websockets.insert(on.clone(), (number, sender));
            Opened::Websocket(Websocket { on, number }, connect.subprotocol.clone(), receiver)
        };
        self.advance(1);
        Ok(opened)
    }

    /// The client says something on a websocket.
    ///
    /// # Errors
    /// When that is not what comes next.
    pub fn said(&mut self, websocket: &Websocket, text: &str) -> Result<(), Departure> {
        if !self.is_current(websocket) {
            return Err(self.depart(&format!("{text} came on a websocket that was replaced")));
        }
        if let Some(open) = self.state.open.take() {
            return self.said_one_of(open, text);
        }
        let next = self.next().filter(|(on, _)| *on == websocket.on).map(|(_, step)| step);
        let differs = match next {
            Some(Step::Client(expected)) => self.compare(&expected, text),
            Some(Step::ClientBinary(expected)) => self.compare(&expected.into(), text),
            Some(Step::ClientInAnyOrder(all)) => return self.said_one_of(all, text),
            _ => Some(format!("{} comes next, not {text}", self.awaited())),
        };
        match differs {
            None => self.advance(1),
            Some(differs) => return Err(self.depart(&differs)),
        }
        Ok(())
    }

    fn said_one_of(&mut self, mut open: Vec<Value>, text: &str) -> Result<(), Departure> {
        let mut differences = Vec::new();
        for place in 0..open.len() {
            match self.compare(&open[place], text) {
                None => {
                    open.remove(place);
                    if open.is_empty() {
                        self.advance(1);
                    } else {
                        self.state.open = Some(open);
                    }
                    return Ok(());
                }
                Some(differs) => differences.push(differs),
            }
        }
        Err(self.depart(&differences.join("; or ")))
    }

    /// The client has gone, with this code.
    ///
    /// # Errors
    /// When it should have stayed.
    pub fn closed(&mut self, websocket: &Websocket, code: u16) -> Result<(), Departure> {
        if !self.is_current(websocket) || self.state.is_over {
            return Ok(());
        }
        self.state.websockets.remove(&websocket.on);
        match self.next() {
            Some((on, Step::Close(expected))) if on == websocket.on => {
                if code == expected {
                    self.advance(1);
                    return Ok(());
                }
                Err(self.depart(&format!("expected it to close with {expected}, not with {code}")))
            }
            Some((on, Step::Client(_) | Step::ClientBinary(_) | Step::ClientInAnyOrder(_)))
                if on == websocket.on =>
            {
                Err(self.depart(&format!("{} comes next, but the client has gone", self.awaited())))
            }
            _ => Ok(()),
        }
    }

    /// The client sends a request; the answer comes when the script has come to it.
    ///
    /// # Errors
    /// When that is not what comes next.
    pub fn asked(&mut self, asked: &Asked) -> Result<oneshot::Receiver<Answer>, Departure> {
        self.begin();
        let Some((on, Step::Request(request))) = self.next() else {
            let awaited = self.awaited();
            return Err(
                self.depart(&format!("{awaited} comes next, not {} {}", asked.method, asked.path))
            );
        };
        if let Err(differs) = asked.compare(&request, &mut self.state.names, &mut self.state.ids) {
            return Err(self.depart(&differs));
        }
        let (sender, receiver) = oneshot::channel();
        self.state.asked.insert(on, sender);
        self.advance(1);
        Ok(receiver)
    }

    fn is_current(&self, websocket: &Websocket) -> bool {
        let current = self.state.websockets.get(&websocket.on);
        current.is_some_and(|(number, _)| *number == websocket.number)
    }

    /// After its end, or after a departure, it begins anew.
    fn begin(&mut self) {
        if self.state.is_over {
            self.state = State::new(&self.given);
        }
        self.advance(0);
    }

    /// The step that comes next, and its connection.
    fn next(&self) -> Option<(String, Step)> {
        if self.state.is_over {
            return None;
        }
        let line = self.conversation.steps.get(self.state.place)?;
        Some((line.on.clone(), line.step.clone()))
    }

    /// Goes on, and does everything up to where the client is to act.
    fn advance(&mut self, steps: usize) {
        self.state.place += steps;
        while let Some((on, step)) = self.next() {
            match step {
                Step::Server(what) | Step::ServerUntil(what) => self.say(&on, &what),
                Step::ServerInAnyOrder(all) => all.iter().for_each(|what| self.say(&on, what)),
                Step::Closed(code) => self.send(&on, Out::Close(code)),
                Step::Response(response) => {
                    let mut answer = Answer::of(&response, &mut self.state.names);
                    answer.map_ids(&self.state.ids);
                    if let Some(asked) = self.state.asked.remove(&on) {
                        // A client that has gone does not wait for its answer.
                        drop(asked.send(answer));
                    }
                }
                Step::Elsewhere(call) => drop(self.state.names.say(&call.answer)),
                Step::Remark | Step::Silence | Step::Restart | Step::Prove(_) => {}
                Step::Connect(_)
                | Step::Client(_)
                | Step::ClientBinary(_)
                | Step::ClientInAnyOrder(_)
                | Step::Close(_)
                | Step::Request(_) => return,
            }
            self.state.place += 1;
        }
        if !self.state.is_over {
            self.state.is_over = true;
            self.had += 1;
        }
    }

    fn say(&mut self, on: &str, what: &Value) {
        let text = match what {
            Value::String(text) => self.state.names.fill(text).replace("$*", ""),
            other => {
                let mut said = self.state.names.say(other);
                request::map_ids(&mut said, &self.state.ids);
                said.to_string()
            }
        };
        self.send(on, Out::Text(text));
    }

    fn send(&mut self, on: &str, out: Out) {
        if let Some((_, websocket)) = self.state.websockets.get(on) {
            // A client that has gone, or does not read so much, sees in its own half what it missed.
            drop(websocket.try_send(out));
        }
    }

    fn compare(&mut self, expected: &Value, text: &str) -> Option<String> {
        let State { names, ids, .. } = &mut self.state;
        request::compare_message(expected, text, names, ids)
    }

    /// Remembers a departure; whatever comes on this run is over.
    fn depart(&mut self, differs: &str) -> Departure {
        let departure = Departure(self.at(differs));
        self.departures.push(departure.clone());
        self.state.is_over = true;
        departure
    }

    fn at(&self, what: &str) -> String {
        let line = self.conversation.steps.get(self.state.place).map_or(0, |line| line.number);
        format!("{}:{line}: {what}", self.conversation.path.display())
    }

    /// What comes next, in words.
    fn awaited(&self) -> String {
        match self.next() {
            None => "nothing".to_owned(),
            Some((_, Step::Client(what))) => format!("the message {what}"),
            Some((_, Step::ClientBinary(text))) => format!("the binary message {text}"),
            Some((_, Step::ClientInAnyOrder(_))) => "one of several messages".to_owned(),
            Some((_, Step::Connect(connect))) => format!("a websocket at {}", connect.path),
            Some((_, Step::Request(it))) => format!("the request {} {}", it.method, it.path),
            Some((_, Step::Close(code))) => format!("the client's end with {code}"),
            Some((_, other)) => format!("{other:?}"),
        }
    }
}

/// Names that a client is told, because a daemon would have given them out.
fn given(needs: &Needs) -> Names {
    let mut names = Names::learning();
    let tokens = ["TOKEN".to_owned()].into_iter().chain(needs.tokens.keys().cloned());
    for (number, name) in tokens.enumerate() {
        let secret = format!("sad_{:A>43}", name.replace(|c: char| !c.is_alphanumeric(), ""));
        names.set(&name, &secret);
        if name != "TOKEN" {
            names.set(&format!("{name}_ID"), &format!("00000000-0000-8000-8000-{number:012}"));
        }
    }
    names.set("ME", "somebody");
    names.set("GROUP", "some-group");
    for name in needs.dirs.keys() {
        names.set(name, &format!("/srv/{}", name.to_lowercase()));
    }
    names
}

#[cfg(test)]
mod tests;
