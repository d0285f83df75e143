//! When a rule acts, how often it tries, and what may run beside each other.

use std::time::Duration;

use protocol::{Event, Filter, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Seconds anything of a rule may last: a week.
const SECONDS_MAX: u64 = 7 * 24 * 3_600;
/// Tries of one run.
const ATTEMPTS_MAX: u32 = 100;
/// Runs of one rule at once.
const AT_ONCE_MAX: u32 = 16;
/// Families of events that no rule hears: what rules themselves do would never end.
const DEAF_TO: [&str; 1] = ["rule"];

/// What a rule waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum When {
    /// An event that this filter wants.
    Event(Filter),
    /// A moment of a schedule.
    Schedule(Schedule),
    /// A change of this file, or in this directory.
    Path(String),
}

/// Moments that come again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Minute, hour, day of the month, month, day of the week, as cron has them; with seconds before
    /// them when there are six.
    pub cron: String,
    /// The time zone, such as `Europe/Zurich`; absent: UTC.
    #[serde(default = "utc")]
    pub zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// How a rule acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Manner {
    /// Seconds it must have lasted: it acts only when, so long after the event, no event of the same
    /// family and subject has come that the filter does not want.
    #[schemars(range(max = 604_800))]
    pub for_s: u64,
    /// Seconds of quiet: of several with the same key that come so close after each other it acts on
    /// the last alone.
    #[schemars(range(max = 604_800))]
    pub debounce_s: u64,
    /// What counts as the same.
    pub key: Key,
    /// Runs of one key at once.
    #[schemars(range(min = 1, max = 16))]
    pub at_once: u32,
    /// Tries of one run, the first one too.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// Seconds until the second try; each later one waits twice as long.
    #[schemars(range(min = 1, max = 604_800))]
    pub retry_s: u64,
    /// The longest wait between two tries, in seconds.
    #[schemars(range(min = 1, max = 604_800))]
    pub retry_max_s: u64,
    /// Seconds after which what was not begun is given up.
    #[schemars(range(min = 1, max = 604_800))]
    pub expires_s: u64,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            for_s: 0,
            debounce_s: 0,
            key: Key::Subject,
            at_once: 1,
            attempts: 5,
            retry_s: 1,
            retry_max_s: 300,
            expires_s: 24 * 3_600,
        }
    }
}

/// What counts as the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// What events are about.
    #[default]
    Subject,
    /// The rule: everything.
    Rule,
}

impl Key {
    /// The key of an event.
    pub fn of(self, subject: &str) -> &str {
        match self {
            Self::Subject => subject,
            Self::Rule => "",
        }
    }
}

impl Manner {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, number: u64, least: u64, most: u64| {
            let fits = (least..=most).contains(&number);
            if fits { Ok(()) } else { Err(format!("{name:?} must be from {least} to {most}")) }
        };
        within("for_s", self.for_s, 0, SECONDS_MAX)?;
        within("debounce_s", self.debounce_s, 0, SECONDS_MAX)?;
        within("at_once", self.at_once.into(), 1, AT_ONCE_MAX.into())?;
        within("attempts", self.attempts.into(), 1, ATTEMPTS_MAX.into())?;
        within("retry_s", self.retry_s, 1, SECONDS_MAX)?;
        within("retry_max_s", self.retry_max_s, 1, SECONDS_MAX)?;
        within("expires_s", self.expires_s, 1, SECONDS_MAX)
    }

    /// When a run that was caused at this moment is to begin.
    pub fn due(&self, caused: Time) -> Time {
        after(caused, Duration::from_secs(self.for_s.max(self.debounce_s)))
    }

    /// When what was caused at this moment is too old to begin.
    pub fn expires(&self, caused: Time) -> Time {
        after(self.due(caused), Duration::from_secs(self.expires_s))
    }

    /// How long after this many tries the next one comes; `None`: there is none.
    pub fn next_try(&self, tries: u32) -> Option<Duration> {
        if tries >= self.attempts {
            return None;
        }
        let doubled = 1_u64.checked_shl(tries.saturating_sub(1)).unwrap_or(u64::MAX);
        Some(Duration::from_secs(
            self.retry_s.saturating_mul(doubled).min(self.retry_max_s.max(self.retry_s)),
        ))
    }
}

/// Whether a rule acts on an event.
pub fn wants(filter: &Filter, event: &Event) -> bool {
    !DEAF_TO.contains(&event.class.family()) && filter.matches(event)
}

/// Whether a rule with this filter would hear the event that this call fires.
pub fn covers_fired(filter: &Filter, method: &str, args: &serde_json::Value) -> bool {
    if method != "events/fire" {
        return false;
    }
    let text = |name: &str| args[name].as_str().unwrap_or_default();
    let class = args["class"].as_str().unwrap_or("user.event");
    let Ok(class) = protocol::Class::parse(class) else { return false };
    let priority = args["priority"].as_u64().and_then(|it| u8::try_from(it).ok());
    let fired = Event {
        seq: None,
        id: Uuid::nil(),
        time: Time::default(),
        source: "client".to_owned(),
        class,
        subject: text("subject").to_owned(),
        // Without one it may be any.
        priority: priority.map_or(filter.min_priority, protocol::Priority::clamped),
        message: text("message").to_owned(),
        data: protocol::Json::default(),
    };
    filter.matches(&fired)
}

/// The identity of what a rule does because of one cause: the same each time it is asked.
pub fn run_id(rule: Uuid, cause: &[u8]) -> Uuid {
    let mut hash = Sha256::new_with_prefix(rule.as_bytes());
    hash.update(cause);
    let bytes: [u8; 32] = hash.finalize().into();
    let (first, _) = bytes.split_at(16);
    let first: [u8; 16] = first.try_into().unwrap_or_default();
    uuid::Builder::from_random_bytes(first).into_uuid()
}

/// Of runs that wait, those that may begin now: due, and no more of one key at once than allowed.
/// `waiting` are `(place, key, due)` in their order, `running` the keys of those that run.
pub fn begin<'a>(
    waiting: impl Iterator<Item = (usize, &'a str, Time)>,
    running: &[&'a str],
    (at_once, most, now): (u32, usize, Time),
) -> Vec<usize> {
    let mut running: Vec<&str> = running.to_vec();
    let mut places = Vec::new();
    let mut held: Vec<&str> = Vec::new();
    for (place, key, due) in waiting {
        let same = running.iter().filter(|it| **it == key).count();
        let is_full = same >= usize::try_from(at_once).unwrap_or(usize::MAX);
        if due > now || is_full || held.contains(&key) || running.len() >= most {
            // What comes later does not overtake what has the same key.
            held.push(key);
            continue;
        }
        running.push(key);
        places.push(place);
    }
    places
}

fn after(time: Time, span: Duration) -> Time {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Time::from_micros(time.micros().saturating_add(micros))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn each_try_waits_twice_as_long_up_to_a_bound() {
        let manner = Manner { attempts: 6, retry_s: 2, retry_max_s: 10, ..Manner::default() };
        let waits: Vec<u64> =
            (1..7).map_while(|tries| manner.next_try(tries)).map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 10, 10]);
        assert_eq!(Manner { attempts: 1, ..manner }.next_try(1), None);
        assert!(Manner { at_once: 17, ..Manner::default() }.check().is_err());
        assert!(Manner { expires_s: 0, ..Manner::default() }.check().is_err());
        assert_eq!(Manner::default().check(), Ok(()));
    }

    #[test]
    fn one_cause_has_one_identity() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(run_id(one, b"x"), run_id(one, b"x"));
        assert_ne!(run_id(one, b"x"), run_id(one, b"y"));
        assert_ne!(run_id(one, b"x"), run_id(other, b"x"));
        assert_eq!(run_id(one, b"x").get_version_num(), 4);
    }

    #[test]
    fn no_rule_hears_what_rules_do() {
        let event = |class: &str| Event {
            seq: Some(1),
            id: Uuid::nil(),
            time: at(1),
            source: "sysadmd".to_owned(),
            class: protocol::Class::parse(class).unwrap(),
            subject: "/a".to_owned(),
            priority: protocol::Priority::clamped(5),
            message: String::new(),
            data: protocol::Json::default(),
        };
        assert!(wants(&Filter::default(), &event("user.x")));
        assert!(!wants(&Filter::default(), &event("rule.ended")));
        assert!(!wants(&Filter::classes(["rule.*"]), &event("rule.dead")));
    }

    proptest! {
        #[test]
        fn nothing_overtakes_its_own_kind_and_no_bound_is_passed(
            waiting in proptest::collection::vec((0usize..3, 0u64..20), 0..20),
            running in proptest::collection::vec(0usize..3, 0..4),
            at_once in 1u32..4, most in 1usize..8, now in 0u64..20,
        ) {
            let keys = ["a", "b", "c"];
            let running: Vec<&str> = running.into_iter().map(|key| keys[key]).collect();
            let all = waiting.iter().enumerate().map(|(place, (key, due))| (place, keys[*key], at(*due)));
            let begun = begin(all, &running, (at_once, most, at(now)));
            prop_assert!(begun.is_empty() || running.len() + begun.len() <= most);
            for key in keys {
                let before = running.iter().filter(|it| **it == key).count();
                let new: Vec<usize> = begun.iter().copied().filter(|it| keys[waiting[*it].0] == key).collect();
                prop_assert!(new.is_empty() || before + new.len() <= at_once as usize);
                // Those that begin are the first of their key, and all of them are due.
                let first: Vec<usize> = (0..waiting.len()).filter(|it| keys[waiting[*it].0] == key).take(new.len()).collect();
                prop_assert_eq!(&new, &first);
                prop_assert!(new.iter().all(|it| waiting[*it].1 <= now));
            }
        }
    }
}
