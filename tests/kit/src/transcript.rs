//! Recorded conversations: reading a file of `tests/transcripts` into steps.
//!
//! `tests/transcripts/README.md` says what each step means. Both players read them here: the one that
//! plays the client against a daemon, and `replay-server`, which plays the daemon against a client.

mod names;
mod pattern;

pub mod script;
mod shape;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

pub use names::Names;
pub use shape::Shape;

/// One file.
#[derive(Debug)]
pub struct Conversation {
    /// Where it was read from.
    pub path: PathBuf,
    /// What it needs before it can begin.
    pub needs: Needs,
    /// What is said, in order.
    pub steps: Vec<Line>,
}

/// A step and the number of its line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// The connection it is about.
    pub on: String,
    /// What happens.
    pub step: Step,
}

/// What happens in a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Words for people.
    Remark,
    /// The client opens a websocket.
    Connect(Connect),
    /// The client says this: a text as it is, anything else as compact JSON.
    Client(Value),
    /// The client says these, in any order.
    ClientInAnyOrder(Vec<Value>),
    /// The client says this in a binary frame.
    ClientBinary(String),
    /// The next message that comes.
    Server(Value),
    /// The next messages that come, in any order.
    ServerInAnyOrder(Vec<Value>),
    /// Messages are passed over until this one comes.
    ServerUntil(Value),
    /// The client closes with this code.
    Close(u16),
    /// The server closes with this code.
    Closed(u16),
    /// The client sends an HTTP request.
    Request(Request),
    /// What is answered to it.
    Response(Response),
    /// An administrator calls something elsewhere.
    Elsewhere(Elsewhere),
    /// Nothing comes.
    Silence,
    /// The daemon is stopped and started again.
    Restart,
    /// The client works out what `rpc/auth_ssl` wants to see.
    Prove(Prove),
}

/// How a websocket is opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Connect {
    /// Whether it is on the unix socket; over TLS otherwise.
    pub unix: bool,
    /// Path and query.
    pub path: String,
    /// What `Sec-WebSocket-Protocol` asks for, and must be granted.
    pub subprotocol: Option<String>,
    /// More headers.
    pub headers: BTreeMap<String, String>,
    /// The status and body of a refusal, when there is to be no websocket.
    pub refused: Option<Response>,
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Whether it is on the unix socket; over TLS otherwise.
    pub unix: bool,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers that count.
    pub headers: Vec<(String, String)>,
    /// A user and a password for HTTP Basic.
    pub basic: Option<(String, String)>,
    /// The body.
    pub body: Body,
    /// Whether the body is sent in chunks, without a length.
    pub chunked: bool,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Headers that count; `null` for one that must not be there.
    pub headers: BTreeMap<String, Value>,
    /// The body.
    pub body: Body,
}

/// A body.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Nothing, or nothing that counts.
    Nothing,
    /// JSON; sent as compact JSON, and compared as JSON.
    Json(Value),
    /// Text, byte for byte.
    Text(String),
    /// Base64 of the bytes.
    Base64(String),
}

/// What an administrator does on another connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Elsewhere {
    /// `namespace` of the call.
    pub namespace: String,
    /// `name` of the call.
    pub name: String,
    /// `args` of the call.
    pub args: Value,
    /// What it is answered, as far as it counts.
    pub answer: Value,
}

/// An answer to the question of `rpc/auth_ssl`.
#[derive(Debug, Clone, PartialEq)]
pub struct Prove {
    /// The name of the key, from [`Needs::keys`].
    pub key: String,
    /// The question.
    pub question: String,
    /// The name that the answer gets.
    pub name: String,
}

/// What a conversation needs before it begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Needs {
    /// A daemon that nobody else has used or will use.
    pub own_daemon: bool,
    /// TOML of its configuration.
    pub settings: String,
    /// Whether the built-in plugins run that leave the machine as it is.
    pub built_in: bool,
    /// Whether the plugin `system` runs, on the machine that this is.
    pub system: bool,
    /// A token for each name, made with these arguments of `rpc/tokens create`.
    pub tokens: BTreeMap<String, Value>,
    /// A directory for each name, with these files in it.
    pub dirs: BTreeMap<String, BTreeMap<String, String>>,
    /// An RSA key for each name; the name stands for the base64 of its public PEM.
    pub keys: Vec<String>,
}

impl Conversation {
    /// Reads a file.
    ///
    /// # Errors
    /// A sentence that names the file, the line and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let mut conversation = Self::empty(path);
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            conversation.add(number, line).map_err(|error| format!("{shown}:{number}: {error}"))?;
        }
        Ok(conversation)
    }

    /// A conversation in which nothing is said yet.
    pub fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), needs: Needs::default(), steps: Vec::new() }
    }

    /// The folder and the file's name without its ending.
    pub fn name(&self) -> String {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let folder = self.path.parent().and_then(Path::file_name).unwrap_or_default();
        format!("{}/{stem}", folder.to_string_lossy())
    }

    /// Reads one more line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, number: usize, line: &str) -> Result<(), String> {
        let mut members: Members = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if let Some(needs) = members.remove("needs") {
            if self.steps.iter().any(|line| line.step != Step::Remark) {
                return Err("\"needs\" stands before everything that is said".to_owned());
            }
            self.needs = needs_of(needs)?;
            return rest(&members);
        }
        let on = optional_text(&mut members, "on")?.unwrap_or_default();
        let verb = members.keys().next().cloned().ok_or("a step is an object with one member")?;
        let what = members.remove(&verb).unwrap_or_default();
        rest(&members)?;
        self.steps.push(Line { number, on, step: step(&verb, what)? });
        Ok(())
    }
}

type Members = Map<String, Value>;

fn step(verb: &str, what: Value) -> Result<Step, String> {
    Ok(match verb {
        "remark" => Step::Remark,
        "connect" => Step::Connect(connect(what)?),
        "client" => Step::Client(what),
        "client-in-any-order" => Step::ClientInAnyOrder(list(what)?),
        "client-binary" => Step::ClientBinary(as_text(what)?),
        "server" => Step::Server(what),
        "server-in-any-order" => Step::ServerInAnyOrder(list(what)?),
        "server-until" => Step::ServerUntil(what),
        "close" => Step::Close(code(&what)?),
        "closed" => Step::Closed(code(&what)?),
        "request" => Step::Request(request(what)?),
        "response" => Step::Response(response(what)?),
        "elsewhere" => Step::Elsewhere(elsewhere(what)?),
        "silence" => Step::Silence,
        "restart" => Step::Restart,
        "prove" => Step::Prove(prove(what)?),
        other => return Err(format!("there is no step {other:?}")),
    })
}

fn needs_of(what: Value) -> Result<Needs, String> {
    let mut members = object(what)?;
    let own_daemon = match optional_text(&mut members, "daemon")?.as_deref() {
        None => false,
        Some("own") => true,
        Some(other) => return Err(format!("a daemon is \"own\" or not mentioned, not {other:?}")),
    };
    let mut needs = Needs { own_daemon, ..Needs::default() };
    if let Some(settings) = optional_text(&mut members, "settings")? {
        needs.settings = settings;
    }
    needs.built_in = members.remove("built-in").is_some_and(|it| it == true);
    needs.system = members.remove("system").is_some_and(|it| it == true);
    for (name, args) in object(members.remove("tokens").unwrap_or_else(|| json!({})))? {
        needs.tokens.insert(name, args);
    }
    for (name, files) in object(members.remove("dirs").unwrap_or_else(|| json!({})))? {
        let files = object(files)?.into_iter().map(|(file, text)| Ok((file, as_text(text)?)));
        needs.dirs.insert(name, files.collect::<Result<_, String>>()?);
    }
    let keys = list(members.remove("keys").unwrap_or_else(|| json!([])))?;
    needs.keys = keys.into_iter().map(as_text).collect::<Result<_, _>>()?;
    rest(&members).map(|()| needs)
}

fn connect(what: Value) -> Result<Connect, String> {
    let mut members = match what {
        Value::String(over) => Map::from_iter([("over".to_owned(), over.into())]),
        other => object(other)?,
    };
    let connect = Connect {
        unix: is_unix(&mut members)?,
        path: optional_text(&mut members, "path")?.unwrap_or_else(|| "/".to_owned()),
        subprotocol: optional_text(&mut members, "subprotocol")?,
        headers: texts(&mut members, "headers")?.into_iter().collect(),
        refused: members.remove("refused").map(response).transpose()?,
    };
    rest(&members).map(|()| connect)
}

fn request(what: Value) -> Result<Request, String> {
    let mut members = object(what)?;
    let basic = members.remove("basic").map(|pair| match pair.as_array().map(Vec::as_slice) {
        Some([Value::String(user), Value::String(password)]) => {
            Ok((user.clone(), password.clone()))
        }
        _ => Err("\"basic\" is a user and a password"),
    });
    let request = Request {
        unix: is_unix(&mut members)?,
        method: optional_text(&mut members, "method")?.ok_or("a request has a method")?,
        path: optional_text(&mut members, "path")?.ok_or("a request has a path")?,
        headers: texts(&mut members, "headers")?,
        basic: basic.transpose()?,
        chunked: members.remove("chunked").is_some_and(|it| it == true),
        body: body(&mut members)?,
    };
    rest(&members).map(|()| request)
}

fn response(what: Value) -> Result<Response, String> {
    let mut members = object(what)?;
    let status = members.remove("status").ok_or("a response has a status")?;
    let headers = object(members.remove("headers").unwrap_or_else(|| json!({})))?;
    let response = Response {
        status: code(&status)?,
        headers: headers.into_iter().collect(),
        body: body(&mut members)?,
    };
    rest(&members).map(|()| response)
}

fn body(members: &mut Members) -> Result<Body, String> {
    let mut found = Vec::new();
    if let Some(json) = members.remove("json") {
        found.push(Body::Json(json));
    }
    if let Some(text) = optional_text(members, "text")? {
        found.push(Body::Text(text));
    }
    if let Some(base64) = optional_text(members, "base64")? {
        found.push(Body::Base64(base64));
    }
    if found.len() > 1 {
        return Err("a body is one of \"json\", \"text\" and \"base64\"".to_owned());
    }
    Ok(found.pop().unwrap_or(Body::Nothing))
}

fn elsewhere(what: Value) -> Result<Elsewhere, String> {
    let mut members = object(what)?;
    let elsewhere = Elsewhere {
        namespace: optional_text(&mut members, "namespace")?.ok_or("a call has a namespace")?,
        name: optional_text(&mut members, "name")?.ok_or("a call has a name")?,
        args: members.remove("args").unwrap_or_else(|| json!({})),
        answer: members.remove("answer").unwrap_or_else(|| json!("*")),
    };
    rest(&members).map(|()| elsewhere)
}

fn prove(what: Value) -> Result<Prove, String> {
    let mut members = object(what)?;
    let mut member = |name| optional_text(&mut members, name)?.ok_or(format!("{name:?} is needed"));
    let prove = Prove { key: member("key")?, question: member("question")?, name: member("as")? };
    rest(&members).map(|()| prove)
}

fn is_unix(members: &mut Members) -> Result<bool, String> {
    match optional_text(members, "over")?.as_deref() {
        None | Some("tls") => Ok(false),
        Some("unix") => Ok(true),
        Some(other) => Err(format!("one connects over \"tls\" or \"unix\", not {other:?}")),
    }
}

fn texts(members: &mut Members, name: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = object(members.remove(name).unwrap_or_else(|| json!({})))?;
    pairs.into_iter().map(|(name, text)| Ok((name, as_text(text)?))).collect()
}

fn optional_text(members: &mut Members, name: &str) -> Result<Option<String>, String> {
    members.remove(name).map(as_text).transpose()
}

fn as_text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("{other} is no text")),
    }
}

fn object(value: Value) -> Result<Members, String> {
    match value {
        Value::Object(members) => Ok(members),
        other => Err(format!("{other} is no object")),
    }
}

fn list(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(format!("{other} is no array")),
    }
}

fn code(value: &Value) -> Result<u16, String> {
    value.as_u64().and_then(|code| code.try_into().ok()).ok_or(format!("{value} is no code"))
}

fn rest(members: &Members) -> Result<(), String> {
    members.keys().next().map_or(Ok(()), |name| Err(format!("{name:?} is not known here")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<Conversation, String> {
        let mut conversation = Conversation::empty(Path::new("a-v1/b.jsonl"));
        for (index, line) in lines.lines().enumerate() {
            conversation.add(index + 1, line)?;
        }
        Ok(conversation)
    }

    #[test]
    fn a_conversation_is_read_and_what_it_does_not_know_is_refused() {
        let read_well = read(
            r#"{"remark": "x"}
               {"needs": {"daemon": "own", "tokens": {"V": {"role": "viewer"}}, "dirs": {"D": {"a": "b"}}}}
               {"connect": "unix"}
               {"connect": {"path": "/jsonrpc", "subprotocol": "s"}, "on": "b"}
               {"request": {"method": "PUT", "path": "/v1", "headers": {"x": "y"}, "base64": "AA=="}}
               {"response": {"status": 200, "json": []}}"#,
        )
        .unwrap();
        assert_eq!(read_well.name(), "a-v1/b");
        assert!(read_well.needs.own_daemon);
        assert_eq!(read_well.needs.dirs["D"]["a"], "b");
        assert_eq!((read_well.steps.len(), read_well.steps[2].on.as_str()), (5, "b"));
        let wrong = [
            r#"{"conect": "tls"}"#,
            r#"{"connect": "udp"}"#,
            r#"{"connect": {"pat": "/"}}"#,
            r#"{"client": 1, "server": 2}"#,
            r#"{"closed": 70000}"#,
            r#"{"response": {"status": 200, "json": 1, "text": ""}}"#,
            "{\"silence\": true}\n{\"needs\": {}}",
            r#"{"needs": {"daemon": "shared"}}"#,
            "{}",
            "client",
        ];
        for wrong in wrong {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
