//! Alerts: what is wrong now, as opposed to what happened.
//!
//! A plugin says that something is wrong and that it is over; the daemon keeps what is wrong, waits
//! before it tells anybody, and tells it once. An alert is named by its source, its kind and its
//! subject: saying the same again counts, and makes no second one.

use serde::{Deserialize, Serialize};

use crate::event::{DATA_BYTES_MAX, TEXT_BYTES_MAX, check_bounds};
use crate::{Class, Json, Priority};

/// The longest subject of an alert, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 512;
/// The longest message and advice of an alert, in bytes: they stand in tables and mails.
pub const ALERT_TEXT_BYTES_MAX: usize = 1024;
/// The largest `data` of an alert, in bytes of JSON text.
pub const ALERT_DATA_BYTES_MAX: usize = 16 * 1024;
/// The most alerts in one `alert/sync`.
pub const SYNC_MAX: usize = 256;
/// The longest `for_s` and `clear_for_s`, in seconds: a day.
pub const WAIT_S_MAX: u64 = 86_400;

const _: () =
    assert!(ALERT_TEXT_BYTES_MAX <= TEXT_BYTES_MAX && ALERT_DATA_BYTES_MAX < DATA_BYTES_MAX);

/// A kind of alert that a plugin may raise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertDeclaration {
    /// The kind, such as `system.disk-full`.
    pub kind: Class,
    /// One sentence for people.
    #[serde(default)]
    pub summary: String,
    /// What to do about it, unless the plugin says it better each time.
    #[serde(default)]
    pub advice: String,
    /// What an alert has that says no priority.
    #[serde(default = "AlertDeclaration::usual")]
    pub priority_default: Priority,
    /// The most urgent it may be; a higher one is lowered to this.
    #[serde(default = "AlertDeclaration::any")]
    pub priority_max: Priority,
    /// Seconds it must last before it is told.
    #[serde(default)]
    pub for_s: u64,
    /// Seconds it must be over before that is told.
    #[serde(default = "AlertDeclaration::minute")]
    pub clear_for_s: u64,
    /// For measured alerts: it begins at this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raise_at: Option<i64>,
    /// For measured alerts: it ends at this value. Between the two nothing changes. Absent: where it
    /// begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear_at: Option<i64>,
}

impl AlertDeclaration {
    const fn usual() -> Priority {
        Priority::clamped(5)
    }

    const fn any() -> Priority {
        Priority::MAX
    }

    const fn minute() -> u64 {
        60
    }

    /// Whether its times make sense.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let say = |what: &str| Err(format!("alert {:?}: {what}", self.kind.as_str()));
        if self.for_s > WAIT_S_MAX || self.clear_for_s > WAIT_S_MAX {
            return say(&format!("for_s and clear_for_s are at most {WAIT_S_MAX}"));
        }
        if self.raise_at.is_none() && self.clear_at.is_some() {
            return say("clear_at needs a raise_at");
        }
        Ok(())
    }
}

/// Parameters of `alert/raise`, and one of those of `alert/sync`: this is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raise {
    /// The kind; the manifest must declare it.
    pub kind: Class,
    /// What it is about: a resource URI such as `/disks/%2Fsrv`; may be empty.
    #[serde(default)]
    pub subject: String,
    /// How urgent; absent: the kind's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// One sentence about what is wrong.
    #[serde(default)]
    pub message: String,
    /// One sentence about what to do; empty: the kind's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
    /// For measured alerts: how it is now. Whether that is wrong, the thresholds say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<i64>,
    /// More for machines.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub data: Json,
}

/// Parameters of `alert/clear`: this is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clear {
    /// The kind.
    pub kind: Class,
    /// What it is about.
    #[serde(default)]
    pub subject: String,
}

/// Parameters of `alert/sync`: this is all that is wrong; whatever else the plugin has raised is
/// over. For the moment after its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// All of them.
    pub alerts: Vec<Raise>,
}

/// What a source says of its alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// This is wrong.
    Raise(Raise),
    /// This is over.
    Clear(Clear),
    /// These are wrong and nothing else is.
    Sync(Sync),
}

impl Raise {
    /// Whether every part is within its bound.
    ///
    /// # Errors
    /// The sentence to answer with.
    pub fn check(&self) -> Result<(), String> {
        let bounds = [
            ("message", self.message.len(), ALERT_TEXT_BYTES_MAX),
            ("advice", self.advice.len(), ALERT_TEXT_BYTES_MAX),
            ("subject", self.subject.len(), SUBJECT_BYTES_MAX),
            ("data", self.data.text().len(), ALERT_DATA_BYTES_MAX),
        ];
        check_bounds("alert", &bounds)
    }
}

impl Report {
    /// Every kind that it names.
    pub fn kinds(&self) -> Vec<&Class> {
        match self {
            Self::Raise(raise) => vec![&raise.kind],
            Self::Clear(clear) => vec![&clear.kind],
            Self::Sync(sync) => sync.alerts.iter().map(|raise| &raise.kind).collect(),
        }
    }

    /// Whether every part is within its bound.
    ///
    /// # Errors
    /// The sentence to answer with.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Raise(raise) => raise.check(),
            Self::Clear(clear) if clear.subject.len() > SUBJECT_BYTES_MAX => {
                Err(format!("the alert's subject has more than {SUBJECT_BYTES_MAX} bytes"))
            }
            Self::Clear(_) => Ok(()),
            Self::Sync(sync) if sync.alerts.len() > SYNC_MAX => {
                Err(format!("there are more than {SYNC_MAX} alerts"))
            }
            Self::Sync(sync) => sync.alerts.iter().try_for_each(Raise::check),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_over_a_bound_is_refused_with_its_name() {
        let text = r#"{"kind":"demo.broken","message":"it is"}"#;
        let raise: Raise = serde_json::from_str(text).unwrap();
        assert_eq!(Report::Raise(raise.clone()).check(), Ok(()));
        let long = |bytes| "x".repeat(bytes);
        let broken = [
            (Raise { message: long(1025), ..raise.clone() }, "message"),
            (Raise { advice: long(1025), ..raise.clone() }, "advice"),
            (Raise { subject: long(513), ..raise.clone() }, "subject"),
            (
                Raise { data: serde_json::Value::from(long(16 * 1024)).into(), ..raise.clone() },
                "data",
            ),
        ];
        for (raise, part) in broken {
            assert!(Report::Raise(raise).check().unwrap_err().contains(part), "{part}");
        }
        let many = Sync { alerts: vec![raise; SYNC_MAX + 1] };
        assert!(Report::Sync(many).check().unwrap_err().contains("256"));
    }

    #[test]
    fn a_declaration_has_times_that_end() {
        let text = r#"{"kind":"demo.broken"}"#;
        let declared: AlertDeclaration = serde_json::from_str(text).unwrap();
        assert_eq!((declared.for_s, declared.clear_for_s), (0, 60));
        assert_eq!(declared.check(), Ok(()));
        let late = AlertDeclaration { for_s: WAIT_S_MAX + 1, ..declared.clone() };
        assert!(late.check().unwrap_err().contains("for_s"));
        let odd = AlertDeclaration { clear_at: Some(1), ..declared };
        assert!(odd.check().unwrap_err().contains("raise_at"));
    }
}
