//! Replays conversations: what a client says, what must come back.
//!
//! `"*"` stands for any value; an object may hold members that are not listed, an array may not.
//! `$NAME` in what the client says is replaced by a value that was set or heard before; an expected
//! text `$=NAME` takes whatever text comes and keeps it under that name.

use std::collections::BTreeMap;
use std::time::Duration;

use kit::client::{Came, SysAdmClient};
use serde_json::Value;

/// How long to listen for what should not come.
const SILENCE: Duration = Duration::from_millis(50);

/// Values by name.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<String, String>);

impl Names {
    /// Sets a name.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// Puts values in place of names.
    pub(crate) fn fill(&self, text: &str) -> String {
        let longest_first = self.0.iter().rev();
        longest_first
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
    }

    /// What differs, as a path and both sides; `None` when it is as expected.
    pub(crate) fn compare(&mut self, expected: &Value, came: &Value) -> Option<String> {
        self.compare_at("", expected, came)
    }

    fn compare_at(&mut self, path: &str, expected: &Value, came: &Value) -> Option<String> {
        let differs = || Some(format!("{path}: expected {expected}, got {came}"));
        match (expected, came) {
            (Value::String(any), _) if any == "*" => None,
            (Value::String(text), Value::String(value)) if text.starts_with("$=") => {
                self.set(&text[2..], value);
                None
            }
            (Value::String(text), Value::String(value)) if self.fill(text) == *value => None,
            (Value::Object(expected), Value::Object(came)) => {
                expected.iter().find_map(|(name, value)| match came.get(name) {
                    Some(has) => self.compare_at(&format!("{path}/{name}"), value, has),
                    None => Some(format!("{path}/{name} is missing")),
                })
            }
            (Value::Array(expected), Value::Array(came)) if expected.len() == came.len() => {
                let mut pairs = expected.iter().zip(came).enumerate();
                pairs.find_map(|(i, (e, c))| self.compare_at(&format!("{path}/{i}"), e, c))
            }
            _ if expected == came => None,
            _ => differs(),
        }
    }
}

/// Reads as many messages as are expected and compares them, in order or in any.
///
/// # Panics
/// When something else comes.
pub(crate) async fn expect(
    client: &mut SysAdmClient,
    names: &mut Names,
    expected: &[Value],
    in_order: bool,
) {
    let mut open: Vec<&Value> = expected.iter().collect();
    while !open.is_empty() {
        let came = client.next().await;
        let candidates = if in_order { 1 } else { open.len() };
        let compared: Vec<Option<String>> =
            open.iter().take(candidates).map(|wanted| names.compare(wanted, &came)).collect();
        match compared.iter().position(Option::is_none) {
            Some(place) => drop(open.remove(place)),
            None => panic!("{compared:?}\nin {came}"),
        }
    }
}

/// Nothing that was not expected has come by now.
///
/// # Panics
/// When something has.
pub(crate) async fn expect_silence(client: &mut SysAdmClient) {
    let came = client.came_within(SILENCE).await;
    assert!(matches!(came, None | Some(Came::Closed(..))), "nobody asked for {came:?}");
}

#[test]
fn a_difference_is_found_and_extra_members_are_not_one() {
    use serde_json::json;
    let mut names = Names::default();
    names.set("T", "secret");
    assert_eq!(
        names.compare(&json!({"a": "*", "b": [1]}), &json!({"a": {}, "b": [1], "c": 2})),
        None
    );
    assert_eq!(names.compare(&json!("$T"), &json!("secret")), None);
    assert_eq!(names.compare(&json!({"x": "$=S"}), &json!({"x": "kept"})), None);
    assert_eq!(names.fill("<$S $T>"), "<kept secret>");
    let differences =
        [(json!({"a": 1}), json!({})), (json!([1]), json!([1, 2])), (json!("7"), json!(7))];
    for (expected, came) in differences {
        assert!(names.compare(&expected, &came).is_some(), "{expected} {came}");
    }
}
