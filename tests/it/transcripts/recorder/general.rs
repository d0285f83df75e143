//! What came twice, as a pattern that both times are.

use kit::transcript::{Names, Shape};
use nix::unistd::{Uid, User, gethostname};
use serde_json::{Map, Value, json};

/// Members whose values a client must not rely on, though two runs may agree on them: places in the
/// log, moments, this machine, and sentences for people.
const VOLATILE: [&str; 23] = [
    "seq",
    "sequence",
    "pid",
    "hostname",
    "version",
    "fingerprint",
    "error",
    "hint",
    "summary",
    "time",
    "started",
    "uptime_s",
    "heartbeat_s",
    "queue_bytes",
    "calls_in_flight",
    "message_bytes",
    "subscriptions",
    "memory_bytes",
    "retry_after_ms",
    "LTime",
    "Index",
    "description",
    "reason_text",
];
/// Members that list what there is: a later daemon may have more.
const GROWING: [&str; 6] = ["features", "roles", "plugins", "grants", "backends", "methods"];
/// A shorter value of a name may stand somewhere by chance.
const TELLING: usize = 8;

type Both<'a> = (&'a Names, &'a Names);

/// One step, as a line.
pub(super) fn step(
    first: &Map<String, Value>,
    second: &Map<String, Value>,
    names: Both<'_>,
) -> Result<String, String> {
    let mut step = Map::new();
    for (verb, what) in first {
        let other = second.get(verb).ok_or(format!("{first:?} was then {second:?}"))?;
        let general = match verb.as_str() {
            "on" | "closed" => what.clone(),
            "response" => response(what, other, names),
            "server-in-any-order" => {
                let (what, other) = (sorted(what), sorted(other));
                value("", (&what, &other), names)
            }
            _ => value("", (what, other), names),
        };
        step.insert(verb.clone(), general);
    }
    serde_json::to_string(&step).map_err(|error| error.to_string())
}

fn sorted(messages: &Value) -> Value {
    let mut messages = messages.as_array().cloned().unwrap_or_default();
    messages.sort_by_key(|it| (it["name"].to_string(), it["id"].to_string()));
    messages.into()
}

fn response(first: &Value, second: &Value, names: Both<'_>) -> Value {
    let mut general = json!({"status": first["status"], "headers": {}});
    for (name, has) in first["headers"].as_object().into_iter().flatten() {
        general["headers"][name] = value("", (has, &second["headers"][name]), names);
    }
    if let (Some(first), Some(second)) = (first.get("json"), second.get("json")) {
        general["json"] = value("", (first, second), names);
    }
    if let (Some(first), Some(second)) = (first["text"].as_str(), second["text"].as_str()) {
        let (first, second) = (named(first, names.0), named(second, names.1));
        general["text"] = if first == second { first } else { common(&first, &second) }.into();
    }
    general
}

fn value(name: &str, (first, second): (&Value, &Value), names: Both<'_>) -> Value {
    let is_sentence = |value: &Value| value.as_str().is_some_and(|text| text.contains(' '));
    let changes = VOLATILE.contains(&name)
        || name.ends_with("_seq")
        || name == "reason" && is_sentence(first);
    match (first, second) {
        // It has a name already.
        (Value::Object(a), Value::Object(_)) if a.keys().any(|key| key.starts_with('=')) => {
            first.clone()
        }
        (Value::Object(a), Value::Object(b)) => {
            let other = |inner: &str| b.get(inner).or_else(|| b.get(&there(inner, names)));
            let both = a.iter().filter_map(|(inner, a)| Some((inner, a, other(inner)?)));
            // What the daemon and its plugins say, but not what a client or the tests' plugin said.
            let said_by = a.get("source").and_then(Value::as_str);
            let is_ours = said_by.is_some_and(|source| source != "client" && source != "kit");
            let is_error = name == "fault" || a.get("code").is_some_and(Value::is_number);
            let in_fault = |inner: &str| (is_error || is_ours) && inner == "message";
            let members = both.map(|(inner, a, b)| {
                let key = if in_fault(inner) { "error" } else { inner };
                (member(inner, names.0), value(key, (a, b), names))
            });
            Value::Object(members.collect())
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let items: Value = a.iter().zip(b).map(|pair| value("", pair, names)).collect();
            let grows = GROWING.contains(&name) && !a.is_empty();
            if grows { json!({"*+": items}) } else { items }
        }
        (Value::String(a), Value::String(b)) => {
            let (named_a, named_b) = (named(a, names.0), named(b, names.1));
            let is_whole = named_a.starts_with('$') && !named_a.contains('.');
            let changes = changes || Shape::of(a).is_volatile() && !is_whole;
            if named_a != *a && named_a == named_b && !changes {
                return named_a.into();
            }
            let changes =
                changes || Shape::of(a).is_volatile() || is_of_this_machine(a) || a.contains('$');
            if changes || a != b { json!({"*": first}) } else { first.clone() }
        }
        (Value::Null, Value::Null) => Value::Null,
        _ if changes || first != second => json!({"*": first}),
        _ => first.clone(),
    }
}

/// What a member is called: some are called by a value that has a name.
fn member(inner: &str, names: &Names) -> String {
    let called = names.all().iter().find(|(_, value)| *value == inner && value.len() > 3);
    called.map_or_else(|| inner.to_owned(), |(name, _)| format!("${name}"))
}

/// The same member the second time.
fn there(inner: &str, names: Both<'_>) -> String {
    names.1.fill(&member(inner, names.0))
}

/// The text with names in place of their values.
fn named(text: &str, names: &Names) -> String {
    let mut telling: Vec<_> =
        names.all().iter().filter(|(_, value)| value.len() >= TELLING).collect();
    telling.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    telling
        .into_iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(value, &format!("${name}")))
}

/// What both texts begin and end with.
fn common(first: &str, second: &str) -> String {
    let same = |(a, b): &(char, char)| a == b;
    let front: String =
        first.chars().zip(second.chars()).take_while(same).map(|(a, _)| a).collect();
    let (rest, other) = (&first[front.len()..], &second[front.len()..]);
    let back: Vec<char> =
        rest.chars().rev().zip(other.chars().rev()).take_while(same).map(|(a, _)| a).collect();
    format!("{front}$*{}", back.iter().rev().collect::<String>())
}

fn is_of_this_machine(text: &str) -> bool {
    let user = User::from_uid(Uid::effective()).ok().flatten().map(|user| user.name);
    let host = gethostname().ok().and_then(|host| host.into_string().ok());
    [user, host].into_iter().flatten().any(|own| text.contains(&own))
}

#[test]
fn what_changes_becomes_a_placeholder() {
    let (mut first, mut second) = (Names::default(), Names::default());
    first.set("TOKEN", "sad_first_token");
    second.set("TOKEN", "sad_other_token");
    let a = json!({"a": 1, "n": 2, "seq": 5, "t": "by sad_first_token", "e": ["x"], "only": 1,
        "fault": {"kind": "k", "message": "m"}, "time": "2026-01-01T00:00:00Z"});
    let b = json!({"a": 1, "n": 3, "seq": 5, "t": "by sad_other_token", "e": ["x"],
        "fault": {"kind": "k", "message": "m"}, "time": "2026-01-01T00:00:00Z"});
    let expected = json!({"a": 1, "n": {"*": 2}, "seq": {"*": 5}, "t": "by $TOKEN", "e": ["x"],
        "fault": {"kind": "k", "message": {"*": "m"}}, "time": {"*": "2026-01-01T00:00:00Z"}});
    assert_eq!(value("", (&a, &b), (&first, &second)), expected);
    assert_eq!(common("took 12 ms", "took 3 ms"), "took $* ms");
}
