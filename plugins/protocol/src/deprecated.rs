//! What still works and should no longer be used.

use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Time;

/// That a method, or an event class, goes on as before but is on its way out.
///
/// A single member of arguments or of `data` is marked in its JSON Schema: `"deprecated": true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Deprecated {
    /// The day from which on it should not be used in anything new.
    pub since: Day,
    /// What to use in its place: a method, a class, or a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// The day from which on it may be gone. Absent: nobody plans that yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Day>,
}

impl Deprecated {
    /// Whether the days are in order.
    ///
    /// # Errors
    /// The sentence to answer with.
    pub fn check(&self) -> Result<(), String> {
        match self.until {
            Some(until) if until <= self.since => {
                Err(format!("deprecated until {until}, but only since {}", self.since))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a JSON Schema marks some member as on its way out.
pub fn has_ending(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            members.get("deprecated") == Some(&Value::Bool(true))
                || members.values().any(has_ending)
        }
        Value::Array(items) => items.iter().any(has_ending),
        _ => false,
    }
}

/// The members of a value that its JSON Schema marks as on their way out, such as `filter.text` or
/// `items[].name`, each once.
pub fn ending_members(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    find(schema, value, "", &mut found);
    found
}

fn find(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    // What is nested deeper than JSON is read, no schema of a manifest can follow.
    if !place.is_empty() && schema.get("deprecated") == Some(&Value::Bool(true)) {
        if !found.iter().any(|known| known == place) {
            found.push(place.to_owned());
        }
        return;
    }
    let kinds = ["anyOf", "oneOf", "allOf"].iter().filter_map(|key| schema.get(*key)?.as_array());
    for kind in kinds.flatten() {
        find(kind, value, place, found);
    }
    if let (Some(members), Some(values)) = (schema.get("properties"), value.as_object()) {
        let named =
            values.iter().filter_map(|(name, value)| Some((name, members.get(name)?, value)));
        for (name, schema, value) in named {
            let dot = if place.is_empty() { "" } else { "." };
            find(schema, value, &format!("{place}{dot}{name}"), found);
        }
    }
    if let (Some(schema), Some(items)) = (schema.get("items"), value.as_array()) {
        for item in items {
            find(schema, item, &format!("{place}[]"), found);
        }
    }
}

/// A day in UTC, written as `2026-11-26`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("format" = "date")))]
#[serde(try_from = "String", into = "String")]
pub struct Day(NaiveDate);

impl Day {
    /// Its first moment.
    pub fn begins(self) -> Time {
        let seconds = self.0.and_time(chrono::NaiveTime::MIN).and_utc().timestamp();
        Time::from_micros(u64::try_from(seconds).unwrap_or_default().saturating_mul(1_000_000))
    }

    /// Its first moment as HTTP writes it (RFC 9110, section 5.6.7).
    pub fn http_date(self) -> String {
        self.0.format("%a, %d %b %Y 00:00:00 GMT").to_string()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || DayError(text.chars().take(64).collect());
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| refuse())?;
        // What a `Time` can say, and nothing in another spelling.
        let is_plain = Self(day).to_string() == text;
        let is_written = ("1970-01-01".."9999-12-31").contains(&text);
        (is_plain && is_written).then_some(Self(day)).ok_or_else(refuse)
    }
}

impl TryFrom<String> for Day {
    type Error = DayError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

/// A text that is no day from 1970 on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a day: expected year, month and day, such as \"2026-11-26\"")]
pub struct DayError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_one_way() {
        let day: Day = "2026-11-26".parse().unwrap();
        assert_eq!(day.to_string(), "2026-11-26");
        assert_eq!(day.begins().to_string(), "2026-11-26T00:00:00.000000Z");
        assert_eq!(day.http_date(), "Thu, 26 Nov 2026 00:00:00 GMT");
        for bad in ["", "2026-11-31", "2026-1-2", "26-11-2026", "1969-12-31", "+2026-11-26", "x"] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_end_comes_after_its_announcement() {
        let read = |text: &str| serde_json::from_str::<Deprecated>(text).unwrap().check();
        assert_eq!(read(r#"{"since":"2026-01-01"}"#), Ok(()));
        assert_eq!(read(r#"{"since":"2026-01-01","until":"2027-01-01"}"#), Ok(()));
        assert!(read(r#"{"since":"2026-01-01","until":"2026-01-01"}"#).is_err());
    }

    #[test]
    fn members_on_their_way_out_are_found_where_they_are_used() {
        let schema = serde_json::json!({
            "type": "object",
            "properties": {
                "old": {"type": "string", "deprecated": true},
                "filter": {"anyOf": [{"type": "null"}, {"properties": {
                    "text": {"deprecated": true}, "source": {}}}]},
                "items": {"items": {"properties": {"name": {"deprecated": true}}}},
            },
        });
        assert!(has_ending(&schema) && !has_ending(&serde_json::json!({"deprecated": false})));
        let used = |value| ending_members(&schema, &value);
        assert!(
            used(serde_json::json!({"filter": {"source": 1}, "items": [{}], "x": 1})).is_empty()
        );
        assert_eq!(
            used(
                serde_json::json!({"old": 1, "filter": {"text": ""}, "items": [{"name": 1}, {"name": 2}]})
            ),
            ["filter.text", "items[].name", "old"]
        );
        assert!(used(Value::Null).is_empty());
    }
}
