//! What a text that changes from run to run looks like, so that "anything" is not just anything.

use protocol::{Cursor, Time};
use serde_json::Value;

/// The forms that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing.
    Empty,
    /// A UUID.
    Uuid,
    /// A moment as RFC 3339 has it.
    Time,
    /// A place in the event log.
    Cursor,
    /// A secret of the daemon's making.
    Secret,
    /// Digits only, as in an index.
    Digits,
    /// Any other text.
    Text,
}

impl Shape {
    /// The form of a text.
    pub fn of(text: &str) -> Self {
        let is_uuid = text.len() == 36 && uuid::Uuid::try_parse(text).is_ok();
        match text {
            "" => Self::Empty,
            _ if is_uuid => Self::Uuid,
            _ if text.parse::<Time>().is_ok() => Self::Time,
            _ if text.parse::<Cursor>().is_ok() => Self::Cursor,
            _ if is_secret(text) => Self::Secret,
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => Self::Digits,
            _ => Self::Text,
        }
    }

    /// Whether it is always different from run to run.
    pub fn is_volatile(self) -> bool {
        matches!(self, Self::Uuid | Self::Time | Self::Cursor | Self::Secret)
    }
}

fn is_secret(text: &str) -> bool {
    text.strip_prefix("sad_").is_some_and(|rest| rest.len() > 20)
}

/// Whether a value could stand where the example stood: the same kind of JSON, texts of the same
/// form, objects with at least the example's members. Where the example is `null`, anything may
/// stand, and `null` may stand anywhere.
pub(super) fn alike(example: &Value, came: &Value) -> bool {
    match (example, came) {
        (Value::Null, _) | (_, Value::Null) | (Value::Bool(_), Value::Bool(_)) => true,
        (Value::Number(example), Value::Number(came)) => example.is_f64() || !came.is_f64(),
        (Value::String(example), Value::String(came)) => {
            let (example, came) = (Shape::of(example), Shape::of(came));
            example == came || example == Shape::Text && came != Shape::Empty
        }
        (Value::Array(example), Value::Array(came)) => match example.first() {
            Some(first) => came.iter().all(|came| alike(first, came)),
            None => true,
        },
        (Value::Object(example), Value::Object(came)) => example
            .iter()
            .all(|(name, value)| came.get(name).is_some_and(|came| alike(value, came))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_told_apart_by_their_form() {
        let id = "2ddef436-3e9b-4078-bfde-045e9fc2521c";
        let shapes = [
            ("", Shape::Empty),
            (id, Shape::Uuid),
            ("2026-11-21T22:20:00.000001Z", Shape::Time),
            ("2ddef436-3e9b-4078-bfde-045e9fc2521c.40", Shape::Cursor),
            ("sad_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Shape::Secret),
            ("1764192000000000", Shape::Digits),
            ("7 - Critical", Shape::Text),
        ];
        for (text, shape) in shapes {
            assert_eq!(Shape::of(text), shape, "{text}");
        }
        assert!(alike(&json!({"a": 1}), &json!({"a": 7, "b": 2})));
        assert!(alike(&json!([{"id": id}]), &json!([])));
        for (example, came) in [
            (json!(id), json!("nas")),
            (json!(1), json!("1")),
            (json!(1), json!(1.5)),
            (json!({"a": 1}), json!({"b": 1})),
            (json!("x"), json!("")),
            (json!([1]), json!([1, "2"])),
        ] {
            assert!(!alike(&example, &came), "{example} {came}");
        }
    }
}
