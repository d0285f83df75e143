//! The messages between the daemon and a plugin process.
//!
//! JSON-RPC 2.0, one object a line, UTF-8, on the plugin's standard input and output. Both sides
//! ignore members and notifications they do not know; an unknown request is answered with −32601.
//! `docs/protocols/plugin.md` is the normative page.

use jsonrpsee_types::{ErrorObjectOwned, Id};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{Fault, FaultKind, Json, Role, Time};

/// The protocol's name in `initialize`.
pub const PROTOCOL: &str = "sysadmd-plugin";
/// The versions this build speaks.
pub const VERSIONS: [u32; 1] = [1];

/// JSON-RPC error code of a [`Fault`]; the fault itself is in the error's `data`.
pub const FAULT_CODE: i32 = -32_000;
/// JSON-RPC error code for a method nobody knows.
pub const METHOD_NOT_FOUND: i32 = -32_601;

/// Names of the messages.
pub mod method {
    /// daemon → plugin, request: who we are, what is allowed. Must be answered first.
    pub const INITIALIZE: &str = "initialize";
    /// daemon → plugin, notification: calls follow.
    pub const INITIALIZED: &str = "initialized";
    /// daemon → plugin, request: do this.
    pub const CALL: &str = "call";
    /// daemon → plugin, notification: nobody waits for that call any more.
    pub const CANCEL: &str = "cancel";
    /// daemon → plugin, request: are you well? Any result will do.
    pub const HEALTH: &str = "health";
    /// daemon → plugin, request: finish, answer, exit. Standard input is closed next.
    pub const SHUTDOWN: &str = "shutdown";
    /// daemon → plugin, notification: so many more events may be published. Each `event/publish`,
    /// as a request or a notification, also a refused one, costs one; only this gives it back.
    pub const CREDIT: &str = "event/credit";
    /// plugin → daemon: this happened. As a request it is answered when the event is durable.
    pub const PUBLISH: &str = "event/publish";
    /// plugin → daemon: this is wrong. As a request it is answered when that is durable. Like each
    /// of the three about alerts it costs the credit of one event.
    pub const ALERT_RAISE: &str = "alert/raise";
    /// plugin → daemon: this is over.
    pub const ALERT_CLEAR: &str = "alert/clear";
    /// plugin → daemon: this is all that is wrong.
    pub const ALERT_SYNC: &str = "alert/sync";
    /// plugin → daemon, notification: how far a call is.
    pub const PROGRESS: &str = "progress";
    /// plugin → daemon, notification: a line for whoever follows a call that is a job.
    pub const NOTE: &str = "note";
    /// plugin → daemon, notification: a line for the daemon's log.
    pub const LOG: &str = "log";
}

/// One line, either way: a request (`id` and `method`), a notification (`method`) or an answer
/// (`id` and `result` or `error`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Frame {
    /// Always `"2.0"`. Accepted when absent, so that a shell plugin stays short.
    #[serde(default)]
    pub jsonrpc: Version,
    /// Which request this is, or answers.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "owned_id")]
    pub id: Option<Id<'static>>,
    /// What is asked or told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub params: Option<Json>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub result: Option<Json>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObjectOwned>,
}

/// The text `2.0`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// The only version there is.
    #[default]
    #[serde(rename = "2.0")]
    V2,
}

fn owned_id<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Id<'static>>, D::Error> {
    Id::deserialize(source).map(|id| Some(id.into_owned()))
}

/// A `null` that is there differs from a member that is not: it is a result.
fn present<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(source).map(Some)
}

impl Frame {
    /// A request.
    pub fn request(id: u64, method: &str, params: Json) -> Self {
        Self { id: Some(Id::Number(id)), ..Self::notification(method, params) }
    }

    /// A notification.
    pub fn notification(method: &str, params: Json) -> Self {
        Self { method: Some(method.to_owned()), params: Some(params), ..Self::default() }
    }

    /// The answer to a request.
    pub fn result(id: Id<'static>, result: Json) -> Self {
        Self { id: Some(id), result: Some(result), ..Self::default() }
    }

    /// The refusal of a request.
    pub fn fault(id: Id<'static>, fault: &Fault) -> Self {
        let error = ErrorObjectOwned::owned(FAULT_CODE, fault.message.as_str(), Some(fault));
        Self { id: Some(id), error: Some(error), ..Self::default() }
    }

    /// The answer to a request of an unknown method.
    pub fn unknown_method(id: Id<'static>, name: &str) -> Self {
        let sentence = format!("there is no method {name:?} on this link");
        let error = ErrorObjectOwned::owned::<()>(METHOD_NOT_FOUND, sentence, None);
        Self { id: Some(id), error: Some(error), ..Self::default() }
    }

    /// The frame as one line, without its end.
    pub fn line(&self) -> String {
        // Every part is already JSON or a text, so printing cannot fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        // Carried JSON may be spread over lines; outside of texts an end of line is only a blank.
        if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text }
    }

    /// Reads one line.
    ///
    /// # Errors
    /// When it is not a JSON-RPC object.
    pub fn parse(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }

    /// The parameters as a `T`; absent ones read as `null`.
    ///
    /// # Errors
    /// When they have another shape.
    pub fn read_params<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.params.clone().unwrap_or_default().read()
    }
}

/// The fault in a JSON-RPC error: its `data` when it is one, else the error's message.
pub fn fault_of(error: &ErrorObjectOwned) -> Fault {
    error
        .data()
        .and_then(|data| serde_json::from_str(data.get()).ok())
        .unwrap_or_else(|| Fault::new(FaultKind::Failed, error.message()))
}

/// Parameters of `initialize`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Initialize {
    /// [`PROTOCOL`].
    pub protocol: String,
    /// The versions the daemon speaks.
    pub versions: Vec<u32>,
    /// Who starts you.
    pub daemon: DaemonInfo,
    /// Who you are.
    pub plugin: PluginInfo,
    /// Optional parts of the protocol the daemon knows.
    #[serde(default)]
    pub features: Vec<String>,
    /// Events you may have published and not yet got back as credit.
    pub credit: u32,
    /// Bytes of the longest line either side may send.
    pub line_bytes: usize,
    /// Your private directory, mode 0700; yours across restarts.
    pub state_dir: String,
    /// Your section of the daemon's configuration.
    #[serde(default)]
    pub config: Value,
}

/// The daemon, as a plugin sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DaemonInfo {
    /// Its version.
    pub version: String,
    /// The database it writes.
    pub instance: Uuid,
}

/// A plugin, in the handshake.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PluginInfo {
    /// The manifest's id.
    pub id: String,
    /// The plugin's version; absent from the daemon, optional from the plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Result of `initialize`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Initialized {
    /// The version the plugin chose, one of those offered.
    pub version: u32,
    /// Must carry the manifest's id.
    pub plugin: PluginInfo,
    /// Optional parts of the protocol the plugin uses.
    #[serde(default)]
    pub features: Vec<String>,
    /// Methods of its manifest that do not work on this machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unavailable: Vec<Unavailable>,
}

/// A method that the manifest has and this machine cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unavailable {
    /// `namespace/name`.
    pub method: String,
    /// Only this action of it; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What is missing, for people, such as `systemd does not run here`.
    pub reason: String,
}

impl Unavailable {
    /// Whether it is about this call.
    pub fn concerns(&self, method: &str, action: Option<&str>) -> bool {
        self.method == method && (self.action.is_none() || self.action.as_deref() == action)
    }
}

/// Parameters of `call`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// The first part of the method.
    pub namespace: String,
    /// The second part of the method.
    pub name: String,
    /// The arguments as the client sent them.
    #[serde(default)]
    pub args: Value,
    /// Who asks, and until when.
    pub ctx: CallContext,
}

/// Who asks, and until when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CallContext {
    /// Names this call in `cancel` and `progress`.
    pub request_id: String,
    /// Who asks, for example `token:backup` or `local:root`.
    pub actor: String,
    /// What they may do. The daemon has checked it already.
    pub role: Role,
    /// Milliseconds until the daemon gives up and cancels.
    pub deadline_ms: u64,
    /// Which entry of the method is meant: the `since` in the manifest. Absent: 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub version: u32,
}

const fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_first(version: &u32) -> bool {
    *version == 1
}

/// Parameters of `cancel`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cancel {
    /// The call nobody waits for any more.
    pub request_id: String,
}

/// Parameters of `shutdown`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shutdown {
    /// Why.
    pub reason: String,
    /// Milliseconds until SIGTERM.
    pub grace_ms: u64,
}

/// Parameters of `event/credit`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Credit {
    /// So many more events.
    pub n: u32,
}

/// Result of `event/publish` when it was a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Published {
    /// Its place in the log; absent for classes that are not kept there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Its identity.
    pub id: Uuid,
    /// When it was recorded.
    pub time: Time,
}

/// Result of `alert/raise` and `alert/clear`; of `alert/sync`: an empty object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerted {
    /// The alert's number; absent when there is none, because nothing is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// `pending`, `open`, `clearing` or `closed`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
}

/// Parameters of `progress`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The call it is about.
    pub request_id: String,
    /// What is done, in `unit`.
    #[serde(default)]
    pub done: u64,
    /// All there is to do, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// `bytes`, `files`, `percent`, …
    #[serde(default)]
    pub unit: String,
    /// What is going on, for a person.
    #[serde(default)]
    pub message: String,
    /// Which part of the work it is, in a word or two; empty: there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
}

/// Parameters of `note`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Note {
    /// The call it is about.
    pub request_id: String,
    /// One line.
    pub text: String,
}

/// Parameters of `log`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// The line.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_back_as_written() {
        let frames = [
            Frame::request(7, method::HEALTH, Json::default()),
            Frame::notification(method::CREDIT, Json::of(&Credit { n: 3 }).unwrap()),
            Frame::result(Id::Number(7), Json::default()),
            Frame::fault(Id::Str("a".into()), &Fault::bad_request("no")),
            Frame::unknown_method(Id::Number(1), "dance"),
        ];
        for frame in frames {
            let line = frame.line();
            assert_eq!(Frame::parse(&line).unwrap().line(), line);
        }
    }

    #[test]
    fn a_fault_crosses_the_link_whole() {
        let fault = Fault::not_found("no dataset").with_hint("list them");
        let frame = Frame::parse(&Frame::fault(Id::Number(1), &fault).line()).unwrap();
        assert_eq!(fault_of(&frame.error.unwrap()), fault);
    }

    #[test]
    fn carried_json_over_several_lines_goes_out_as_one() {
        let pretty = Json::parse("{\r\n  \"text\": \"a\\nb\"\n}".to_owned()).unwrap();
        let line = Frame::notification(method::PUBLISH, pretty).line();
        assert!(!line.contains(['\n', '\r']), "{line}");
        let back: Value = Frame::parse(&line).unwrap().read_params().unwrap();
        assert_eq!(back["text"], "a\nb");
    }

    #[test]
    fn an_answer_of_null_is_an_answer() {
        let frame = Frame::parse(r#"{"jsonrpc":"2.0","id":1,"result":null}"#).unwrap();
        assert!(frame.result.is_some());
    }
}
