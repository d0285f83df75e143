//! Values by name: what was set or heard before, and what stands for it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Values by name. A name is capitals, digits and underscores; `$NAME` in a text stands for its
/// value, and a text that is just `$#NAME` for its value as a number.
#[derive(Debug, Default, Clone)]
pub struct Names {
    values: BTreeMap<String, String>,
    /// Whether a name that nobody has set takes what stands in its place.
    learns: bool,
}

impl Names {
    /// No names. Whoever compares with a name that has no value takes what came for its value: so a
    /// server does that cannot know what a client made up.
    pub fn learning() -> Self {
        Self { values: BTreeMap::new(), learns: true }
    }

    /// Sets a name.
    pub fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    /// Every name and its value.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// Puts values in place of names; a name that has none is left.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            let (name, behind) = split_name(after);
            match self.values.get(name) {
                Some(value) => filled.push_str(value),
                None => filled.extend(["$", name]),
            }
            rest = behind;
        }
        filled + rest
    }

    /// The number that a text stands for.
    pub(super) fn number(&self, text: &str) -> Option<Value> {
        let value = self.values.get(text.strip_prefix("$#")?)?;
        serde_json::from_str(value).ok().filter(Value::is_number)
    }

    /// Learns the value of a text that is a name and nothing else.
    pub(super) fn learn(&mut self, text: &str, value: &str) -> bool {
        let Some(name) = text.strip_prefix('$') else { return false };
        let unknown = is_name(name) && !self.values.contains_key(name);
        if unknown && self.learns {
            self.set(name, value);
        }
        unknown && self.learns
    }

    /// What is said where a pattern stands: examples in place of what may be anything, values in place
    /// of names. Names that the pattern gives to examples are kept.
    pub fn say(&mut self, pattern: &Value) -> Value {
        match pattern {
            Value::String(text) => self.say_text(text),
            Value::Array(items) => items.iter().map(|item| self.say(item)).collect(),
            Value::Object(members) => match Special::of(members) {
                Some(Special::Any(example) | Special::AtLeast(example)) => self.say(example),
                Some(Special::Keep(name, example)) => {
                    let said = self.say(example);
                    self.keep(name, &said);
                    said
                }
                None => {
                    let said = members.iter().map(|(name, value)| {
                        let value = match value {
                            Value::String(any) if any == "*" => usual(name),
                            value => self.say(value),
                        };
                        (self.fill(name), value)
                    });
                    Value::Object(said.collect())
                }
            },
            other => other.clone(),
        }
    }

    fn say_text(&mut self, text: &str) -> Value {
        if let Some(name) = text.strip_prefix("$=") {
            let said = usual(name);
            self.keep(name, &said);
            return said;
        }
        if text == "*" {
            return usual("");
        }
        self.number(text).unwrap_or_else(|| self.fill(text).replace("$*", "any").into())
    }

    /// Keeps what came under a name: a text as it is, anything else as JSON.
    pub(super) fn keep(&mut self, name: &str, value: &Value) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.set(name, &text);
    }
}

/// An object of one member that stands for a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Special<'a> {
    /// `{"*": EXAMPLE}`: anything like the example.
    Any(&'a Value),
    /// `{"=NAME": EXAMPLE}`: the same, and it gets a name.
    Keep(&'a str, &'a Value),
    /// `{"*+": [PATTERN, …]}`: an array that holds these, and perhaps more.
    AtLeast(&'a Value),
}

impl<'a> Special<'a> {
    pub(super) fn of(members: &'a Map<String, Value>) -> Option<Self> {
        let mut members = members.iter();
        let (Some((name, value)), None) = (members.next(), members.next()) else { return None };
        match name.as_str() {
            "*" => Some(Self::Any(value)),
            "*+" => Some(Self::AtLeast(value)),
            _ => name.strip_prefix('=').filter(|it| is_name(it)).map(|it| Self::Keep(it, value)),
        }
    }
}

/// What a server says where a file of the first days has `"*"`, by the name of the member.
fn usual(name: &str) -> Value {
    const ID: &str = "00000000-0000-8000-8000-000000000000";
    match name {
        "time" | "expires" | "since" => "2026-01-01T00:00:00.000000Z".into(),
        "event_id" | "id" | "instance" | "INSTANCE" => ID.into(),
        "cursor" | "CURSOR" => format!("{ID}.7").into(),
        name if name == "seq" || name.ends_with("_seq") => 7.into(),
        _ => "any".into(),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && split_name(text).0 == text
}

fn split_name(text: &str) -> (&str, &str) {
    let inside = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.split_at(text.find(|c| !inside(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_filled_whole() {
        let mut names = Names::default();
        names.set("S", "kept");
        names.set("SEQ", "7");
        assert_eq!(names.fill("<$S $SEQ $SE $* $>"), "<kept 7 $SE $* $>");
        assert_eq!(names.say(&json!({"n": "$#SEQ", "t": "$SEQ"})), json!({"n": 7, "t": "7"}));
    }

    #[test]
    fn examples_are_said() {
        let mut names = Names::default();
        let pattern = json!({"a": {"*": 5}, "b": {"=B": "x"}, "c": {"*+": [{"*": 1}]}, "seq": "*"});
        assert_eq!(names.say(&pattern), json!({"a": 5, "b": "x", "c": [1], "seq": 7}));
        assert_eq!(names.fill("$B"), "x");
    }
}
