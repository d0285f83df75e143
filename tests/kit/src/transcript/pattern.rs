//! Whether what came is what was to come.

use serde_json::{Map, Value};

use super::names::{Names, Special};
use super::shape::alike;

/// Whether an object may have members that the pattern does not mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Members {
    MayBeMore,
    AreThese,
}

impl Names {
    /// What differs, as a path and both sides; `None` when it is as expected. An object may hold more
    /// members than are expected: so a client takes what a later server says. Nothing is kept of what
    /// differs.
    pub fn compare(&mut self, expected: &Value, came: &Value) -> Option<String> {
        self.attempt(|names| names.compare_at("", (expected, came), Members::MayBeMore))
    }

    /// The same, but what is not expected may not be there, unless it is `null`: so a server takes what
    /// a client says.
    pub fn compare_exactly(&mut self, expected: &Value, came: &Value) -> Option<String> {
        self.attempt(|names| names.compare_at("", (expected, came), Members::AreThese))
    }

    /// The same for a text; `$*` in what is expected stands for any run of characters.
    pub fn compare_text(&mut self, expected: &str, came: &str) -> Option<String> {
        let is_same = self.learn(expected, came) || fits(&self.fill(expected), came);
        (!is_same).then(|| format!("expected {:?}, got {came:?}", self.fill(expected)))
    }

    /// Takes out of `open` the first of the first `candidates` that this is.
    ///
    /// # Errors
    /// What differs from each of them.
    pub fn take(
        &mut self,
        open: &mut Vec<&Value>,
        candidates: usize,
        came: &Value,
    ) -> Result<(), String> {
        let mut differences = Vec::new();
        for place in 0..candidates.min(open.len()) {
            match self.compare(open[place], came) {
                None => {
                    open.remove(place);
                    return Ok(());
                }
                Some(difference) => differences.push(difference),
            }
        }
        Err(format!("{}\nin {came}", differences.join("\nor ")))
    }

    fn attempt(&mut self, compare: impl FnOnce(&mut Self) -> Option<String>) -> Option<String> {
        let before = self.clone();
        let difference = compare(self);
        if difference.is_some() {
            *self = before;
        }
        difference
    }

    fn compare_at(
        &mut self,
        path: &str,
        (expected, came): (&Value, &Value),
        members: Members,
    ) -> Option<String> {
        let place = if path.is_empty() { "/" } else { path };
        match (expected, came) {
            (Value::String(text), _) if text == "*" => None,
            (Value::String(text), _) if text.starts_with("$=") => {
                self.keep(&text[2..], came);
                None
            }
            (Value::String(text), Value::Number(_)) if text.starts_with("$#") => {
                let is_same = self.number(text).as_ref() == Some(came)
                    || self.learn(&text.replacen('#', "", 1), &came.to_string());
                (!is_same).then(|| format!("{place}: expected {}, got {came}", self.fill(text)))
            }
            (Value::String(text), Value::String(value)) => {
                self.compare_text(text, value).map(|difference| format!("{place}: {difference}"))
            }
            (Value::Object(expected), came) => self.compare_object(path, (expected, came), members),
            (Value::Array(expected), Value::Array(came)) if expected.len() == came.len() => {
                let mut pairs = expected.iter().zip(came).enumerate();
                pairs.find_map(|(i, pair)| self.compare_at(&format!("{path}/{i}"), pair, members))
            }
            _ if expected == came => None,
            _ => Some(format!("{place}: expected {expected}, got {came}")),
        }
    }

    fn compare_object(
        &mut self,
        path: &str,
        (expected, came): (&Map<String, Value>, &Value),
        members: Members,
    ) -> Option<String> {
        let place = if path.is_empty() { "/" } else { path };
        match Special::of(expected) {
            Some(Special::Any(example)) => self.compare_example(place, example, came),
            Some(Special::Keep(name, example)) => {
                let difference = self.compare_example(place, example, came);
                self.keep(name, came);
                difference
            }
            Some(Special::AtLeast(items)) => self.compare_holds(path, (items, came), members),
            None => {
                let Value::Object(came) = came else {
                    return Some(format!("{place}: expected an object, got {came}"));
                };
                let missing = Value::Null;
                let differs = expected.iter().find_map(|(name, value)| {
                    let name = self.fill(name);
                    let below = format!("{path}/{name}");
                    match came.get(&name) {
                        Some(has) => self.compare_at(&below, (value, has), members),
                        None if members == Members::AreThese && *value == missing => None,
                        None => Some(format!("{below} is missing")),
                    }
                });
                let surplus = || {
                    let names: Vec<String> = expected.keys().map(|name| self.fill(name)).collect();
                    let mut more = came.iter().filter(|(name, has)| {
                        **has != Value::Null && !names.iter().any(|known| known == *name)
                    });
                    more.next().map(|(name, has)| format!("{path}/{name}: not expected, got {has}"))
                };
                differs.or_else(|| (members == Members::AreThese).then(surplus).flatten())
            }
        }
    }

    fn compare_example(&mut self, place: &str, example: &Value, came: &Value) -> Option<String> {
        let example = self.clone().say(example);
        (!alike(&example, came))
            .then(|| format!("{place}: expected the like of {example}, got {came}"))
    }

    fn compare_holds(
        &mut self,
        path: &str,
        (items, came): (&Value, &Value),
        members: Members,
    ) -> Option<String> {
        let (Value::Array(items), Value::Array(came)) = (items, came) else {
            return Some(format!("{path}: expected an array, got {came}"));
        };
        let mut open: Vec<&Value> = came.iter().collect();
        items.iter().find_map(|item| {
            let place = (0..open.len()).find(|place| {
                let pair = (item, open[*place]);
                self.attempt(|names| names.compare_at(path, pair, members)).is_none()
            });
            match place {
                Some(place) => {
                    open.remove(place);
                    None
                }
                None => Some(format!(
                    "{path}: nothing here is {item}, got {}",
                    Value::from(came.clone())
                )),
            }
        })
    }
}

/// Whether a text is a pattern in which `$*` stands for any run of characters.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, pattern)) = pattern.split_once("$*") else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let (inner, last) = pattern.rsplit_once("$*").unwrap_or(("", pattern));
    for part in inner.split("$*") {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_found_and_extra_members_are_not_one() {
        let mut names = Names::default();
        names.set("T", "secret");
        let same = [
            (json!({"a": "*", "b": [1]}), json!({"a": {}, "b": [1], "c": 2})),
            (json!("$T"), json!("secret")),
            (json!({"x": "$=S"}), json!({"x": "kept"})),
            (json!("a$*c$*"), json!("abcd")),
            (json!({"*": 1}), json!(2)),
            (json!({"=SEQ": 1}), json!(17)),
            (json!({"n": "$#SEQ"}), json!({"n": 17})),
            (json!({"*+": [2, {"a": 1}]}), json!([{"a": 1, "b": 2}, 3, 2])),
        ];
        for (expected, came) in same {
            assert_eq!(names.compare(&expected, &came), None, "{expected} {came}");
        }
        assert_eq!(names.fill("<$S $T $SEQ>"), "<kept secret 17>");
        let differences = [
            (json!({"a": 1}), json!({}), "/a is missing"),
            (json!([1]), json!([1, 2]), "/: expected [1], got [1,2]"),
            (json!("7"), json!(7), "/: expected \"7\", got 7"),
            (
                json!({"a": {"b": "$T"}}),
                json!({"a": {"b": "x"}}),
                "/a/b: expected \"secret\", got \"x\"",
            ),
            (json!({"*": 1}), json!("x"), "/: expected the like of 1, got \"x\""),
            (
                json!({"a": {"*+": [1, 1]}}),
                json!({"a": [1, 2]}),
                "/a: nothing here is 1, got [1,2]",
            ),
            (json!({"a": 1}), json!(null), "/: expected an object, got null"),
        ];
        for (expected, came, difference) in differences {
            assert_eq!(names.compare(&expected, &came).as_deref(), Some(difference));
        }
    }

    #[test]
    fn a_client_says_neither_more_nor_less() {
        let mut names = Names::learning();
        let expected = json!({"a": {"b": "$MADE"}, "c": null});
        assert_eq!(names.compare_exactly(&expected, &json!({"a": {"b": "up"}, "d": null})), None);
        assert_eq!(names.fill("$MADE"), "up");
        let more = json!({"a": {"b": "up", "z": 1}});
        let difference = names.compare_exactly(&expected, &more);
        assert_eq!(difference.as_deref(), Some("/a/z: not expected, got 1"));
        let other = json!({"a": {"b": "down"}});
        assert!(names.compare_exactly(&expected, &other).is_some(), "learnt once");
    }

    #[test]
    fn what_differs_leaves_no_name_behind() {
        let mut names = Names::default();
        assert!(names.compare(&json!({"a": "$=A", "b": 1}), &json!({"a": "x", "b": 2})).is_some());
        assert_eq!(names.fill("$A"), "$A");
        let (one, two) = (json!({"n": 1}), json!({"n": 2}));
        let mut open = vec![&one, &two];
        assert!(names.take(&mut open, 1, &two).is_err());
        names.take(&mut open, 2, &two).unwrap();
        assert_eq!(open, [&one]);
    }
}
