//! The classic event classes: what is in them, and what is said of each event. Pure.
//!
//! Faces tell it as it happens, and `rpc/logs` looks it up.

mod followed;

use protocol::Event;
use serde_json::{Map, Value};

/// The event classes of `dispatcher`. `job.state` is for plugins whose work the original has in its
/// dispatcher: updates, packages.
pub const DISPATCHER: &[&str] = &["job.process", "job.output", "job.state"];
/// The event classes of `life-preserver`.
pub const LIFE_PRESERVER: &[&str] = &["snapshot.*", "replication.*"];

pub use followed::system;

/// What `dispatcher` says of an event.
pub fn dispatcher(event: &Event) -> Map<String, Value> {
    let mut members: Map<String, Value> = event.data.read().unwrap_or_default();
    if event.class.as_str() != "job.state" {
        // By it is judged who hears of it; the original knows jobs by their names alone.
        members.remove("job");
    }
    match event.class.as_str() {
        // That it begins is told of all jobs alike.
        "job.process" if members.get("state").is_some_and(|state| state == "running") => members,
        "job.process" | "job.output" => followed::told(process(members)),
        _ => members,
    }
}

/// What `life-preserver` says of an event.
pub fn life_preserver(event: &Event) -> Map<String, Value> {
    let shown = [
        ("class", event.class.family().to_owned()),
        ("message", event.message.clone()),
        ("priority", event.priority.to_string()),
    ];
    shown.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// Commands as the original tells of them: each text is the name of a member with its output, and
/// those of equal commands are one.
fn process(mut data: Map<String, Value>) -> Map<String, Value> {
    let Some(Value::Array(commands)) = data.remove("commands") else { return data };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut args = Map::new();
    args.insert("cmd_list".to_owned(), commands.iter().map(|it| it["text"].clone()).collect());
    for command in commands.iter().filter(|command| command["output"].is_string()) {
        let (name, output) = (text(&command["text"]), text(&command["output"]));
        let before = args.get(&name).map(text).unwrap_or_default();
        if command["code"].is_string() {
            args.insert(format!("return_codes/{name}"), command["code"].clone());
        }
        args.insert(name, (before + &output).into());
    }
    // What says which process it is comes last, so that no command can pose as it.
    args.extend(data);
    args
}
